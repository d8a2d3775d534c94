//! Which file of a crate uses which, read off its text: `use` declarations, and paths in the code.
//!
//! A path leads to the file that defines the item, through re-exports. Modules that are declared, and items that are only re-exported,
//! are not used. Tests do not count.

use std::collections::{BTreeMap, BTreeSet};

/// A file of a crate.
struct File {
    /// The modules that lead to it.
    module: Vec<String>,
    /// Modules that it declares.
    children: BTreeSet<String>,
    /// What its `use` declarations bring: a name, the path to it, and whether it is only for others.
    uses: Vec<Import>,
    /// Paths and single names in its code.
    paths: Vec<Vec<String>>,
    /// Macros that it defines.
    macros: BTreeSet<String>,
}

struct Import {
    name: String,
    path: Vec<String>,
    is_public: bool,
}

/// The files that each file uses. `files` are paths below the root of the crate, and their texts.
pub(super) fn graph(root: &str, files: &[(String, String)]) -> BTreeMap<String, BTreeSet<String>> {
    let files: BTreeMap<String, File> = files
        .iter()
        .filter(|(name, _)| !name.contains("/tests") && !name.ends_with("/testing.rs"))
        .map(|(name, text)| (name.clone(), File::new(root, name, text)))
        .collect();
    let by_module: BTreeMap<&[String], &str> = files
        .iter()
        .map(|(name, file)| (file.module.as_slice(), name.as_str()))
        .collect();
    let resolver = Resolver {
        files: &files,
        by_module,
    };
    files
        .iter()
        .map(|(name, file)| (name.clone(), resolver.used_by(name, file)))
        .collect()
}

/// Files that use each other, directly or by way of others, largest sets first; and for each set one circle.
pub(super) fn circles(graph: &BTreeMap<String, BTreeSet<String>>) -> Vec<(BTreeSet<String>, Vec<String>)> {
    let reachable: BTreeMap<&str, BTreeSet<&str>> = graph
        .keys()
        .map(|from| {
            let (mut seen, mut next) = (BTreeSet::new(), vec![from.as_str()]);
            while let Some(file) = next.pop() {
                for to in &graph[file] {
                    if seen.insert(to.as_str()) {
                        next.push(to);
                    }
                }
            }
            (from.as_str(), seen)
        })
        .collect();
    let mut sets: BTreeSet<BTreeSet<String>> = BTreeSet::new();
    for (file, from_here) in &reachable {
        if from_here.contains(file) {
            let back = from_here.iter().filter(|to| reachable[*to].contains(file));
            sets.insert(back.map(|to| (*to).to_owned()).collect());
        }
    }
    let mut circles: Vec<_> = sets
        .into_iter()
        .map(|set| {
            let circle = shortest(graph, &set);
            (set, circle)
        })
        .collect();
    circles.sort_by_key(|(set, _)| std::cmp::Reverse(set.len()));
    circles
}

/// The shortest circle within a set.
fn shortest(graph: &BTreeMap<String, BTreeSet<String>>, set: &BTreeSet<String>) -> Vec<String> {
    let from = |start: &String| {
        let mut ways = vec![vec![start.clone()]];
        let mut seen = BTreeSet::new();
        loop {
            let mut longer = vec![];
            for way in &ways {
                for to in graph[&way[way.len() - 1]].intersection(set) {
                    if to == start {
                        return way.clone();
                    }
                    if seen.insert(to.clone()) {
                        longer.push([way.as_slice(), std::slice::from_ref(to)].concat());
                    }
                }
            }
            ways = longer;
        }
    };
    set.iter().map(from).min_by_key(Vec::len).unwrap_or_default()
}

impl File {
    fn new(root: &str, name: &str, text: &str) -> Self {
        let inner = name.strip_prefix(root).unwrap_or(name).trim_start_matches('/');
        let inner = inner.trim_end_matches(".rs");
        let mut module: Vec<String> = inner.split('/').map(str::to_owned).collect();
        if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
            module.pop();
        }
        let code = code_of(text);
        let mut file = Self {
            module,
            children: BTreeSet::new(),
            uses: vec![],
            paths: vec![],
            macros: BTreeSet::new(),
        };
        let tokens = tokens(&code);
        let mut at = 0;
        while at < tokens.len() {
            match tokens[at].as_str() {
                "use" => {
                    let is_public = at > 0 && (tokens[at - 1] == "pub" || tokens[at - 1] == ")");
                    let end = at + tokens[at..].iter().position(|token| token == ";").unwrap_or(0);
                    let mut rest = &tokens[at + 1..end];
                    file.read_tree(&mut rest, &[], is_public);
                    at = end;
                }
                "mod" if tokens.get(at + 2).is_some_and(|token| token == ";") => {
                    file.children.insert(tokens[at + 1].clone());
                    at += 2;
                }
                "macro_rules" => {
                    file.macros.insert(tokens[at + 2].clone());
                    at += 2;
                }
                first if is_name(first) => {
                    let mut path = vec![first.to_owned()];
                    let is_of_other = at > 0 && matches!(tokens[at - 1].as_str(), "$" | "." | "::");
                    while tokens.get(at + 1).is_some_and(|token| token == "::")
                        && tokens.get(at + 2).is_some_and(|token| is_name(token))
                    {
                        path.push(tokens[at + 2].clone());
                        at += 2;
                    }
                    if !is_of_other {
                        file.paths.push(path);
                    }
                }
                _ => {}
            }
            at += 1;
        }
        file
    }

    /// Reads a tree of a `use` declaration, such as `a::{b, c as d}`.
    fn read_tree(&mut self, tokens: &mut &[String], before: &[String], is_public: bool) {
        let mut path = before.to_vec();
        let mut name = None;
        while let Some((first, rest)) = tokens.split_first() {
            match first.as_str() {
                "{" => {
                    *tokens = rest;
                    while !matches!(tokens.first().map(String::as_str), None | Some("}")) {
                        self.read_tree(tokens, &path, is_public);
                        if tokens.first().is_some_and(|token| token == ",") {
                            *tokens = &tokens[1..];
                        }
                    }
                    *tokens = tokens.get(1..).unwrap_or_default();
                    return;
                }
                "}" | "," => break,
                "as" => {
                    name = rest.first().cloned();
                    *tokens = rest.get(1..).unwrap_or_default();
                }
                "::" => *tokens = rest,
                "self" if !path.is_empty() => *tokens = rest,
                segment => {
                    path.push(segment.to_owned());
                    *tokens = rest;
                }
            }
        }
        let name = name.or_else(|| path.last().cloned()).unwrap_or_default();
        self.uses.push(Import {
            name,
            path,
            is_public,
        });
    }
}

struct Resolver<'a> {
    files: &'a BTreeMap<String, File>,
    by_module: BTreeMap<&'a [String], &'a str>,
}

/// Where a path leads.
enum Found<'a> {
    /// To an item of this file.
    Item(&'a str),
    /// To a module.
    Module(Vec<String>),
}

impl<'a> Resolver<'a> {
    fn used_by(&self, name: &str, file: &File) -> BTreeSet<String> {
        let in_code: BTreeSet<&str> = file.paths.iter().map(|path| path[0].as_str()).collect();
        let imports = file.uses.iter();
        let imports = imports.filter(|import| !import.is_public || in_code.contains(import.name.as_str()));
        let imports = imports.map(|import| &import.path);
        let paths = imports.chain(file.paths.iter().filter(|path| path.len() > 1));
        let mut used = BTreeSet::new();
        for path in paths {
            if let Some(Found::Item(to)) = self.resolve(&file.module, path, 0)
                && to != name
            {
                used.insert(to.to_owned());
            }
        }
        used
    }

    /// Where a path leads that is written in a module; `None` if that is outside of the crate, or a type's own item.
    fn resolve(&self, module: &[String], path: &[String], depth: usize) -> Option<Found<'a>> {
        if depth > 8 {
            return None;
        }
        let (first, rest) = path.split_first()?;
        let mut here = module.to_vec();
        let rest = match first.as_str() {
            "crate" | "cellring_tools" => {
                here.clear();
                rest
            }
            "self" => rest,
            "super" => {
                here.pop();
                rest
            }
            _ => {
                let file = &self.files[*self.by_module.get(module)?];
                if file.children.contains(first) {
                    path
                } else {
                    let import = file.uses.iter().find(|import| {
                        // A path that begins with its own name is that of another crate.
                        import.name == *first && import.path[0] != *first
                    })?;
                    return match self.resolve(module, &import.path, depth + 1)? {
                        Found::Module(module) => self.descend(module, rest, depth),
                        Found::Item(_) => None,
                    };
                }
            }
        };
        self.descend(here, rest, depth)
    }

    /// Follows a path from a module down.
    fn descend(&self, mut module: Vec<String>, path: &[String], depth: usize) -> Option<Found<'a>> {
        let mut rest = path;
        while let Some((first, after)) = rest.split_first() {
            if first == "super" {
                module.pop();
                rest = after;
                continue;
            }
            module.push(first.clone());
            if self.by_module.contains_key(module.as_slice()) {
                rest = after;
                continue;
            }
            module.pop();
            let &name = self.by_module.get(module.as_slice())?;
            let file = &self.files[name];
            if first == "*" {
                return Some(Found::Item(name));
            }
            // An exported macro is at the root of the crate, wherever it is defined.
            if module.is_empty()
                && let Some((defined, _)) = self.files.iter().find(|(_, file)| file.macros.contains(first))
            {
                return Some(Found::Item(defined));
            }
            if let Some(import) = file.uses.iter().find(|import| import.name == *first)
                && let Some(found) = self.resolve(&module, &import.path, depth + 1)
            {
                return match found {
                    Found::Module(module) => self.descend(module, after, depth + 1),
                    item => Some(item),
                };
            }
            return Some(Found::Item(name));
        }
        Some(Found::Module(module))
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The code without comments, strings and the tests at its end.
fn code_of(text: &str) -> String {
    let end = text.find("\nmod tests {").unwrap_or(text.len());
    let mut code = String::new();
    for line in text[..end].lines() {
        let line = line.trim_start();
        if line.starts_with("//") {
            continue;
        }
        // What is between quotes is as good as always text.
        for (k, piece) in line.split('"').enumerate() {
            if k % 2 == 0 {
                code.push_str(piece.split("// ").next().unwrap_or_default());
                code.push(' ');
            }
        }
        code.push('\n');
    }
    code
}

fn tokens(code: &str) -> Vec<String> {
    let mut tokens = vec![];
    let mut chars = code.chars().peekable();
    while let Some(c) = chars.next() {
        if c.is_alphanumeric() || c == '_' {
            let mut name = String::from(c);
            while let Some(&next) = chars.peek().filter(|&&c| c.is_alphanumeric() || c == '_') {
                name.push(next);
                chars.next();
            }
            tokens.push(name);
        } else if c == ':' && chars.peek() == Some(&':') {
            chars.next();
            tokens.push("::".to_owned());
        } else if !c.is_whitespace() {
            tokens.push(c.to_string());
        }
    }
    tokens
}
