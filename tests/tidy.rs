//! House rules that the compiler does not check.
#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where the sources of the crates are.
const SOURCES: [&str; 6] = [
    "src",
    "tools/core/src",
    "tools/filters/src",
    "tools/anndata/src",
    "tools/src",
    "tools/python/src",
];

fn sources(dir: &str) -> Vec<(String, String)> {
    fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(&path, out),
                false if path.extension().is_some_and(|e| e == "rs") => out.push(path),
                false => {}
            }
        }
    }
    let mut paths = vec![];
    walk(&root().join(dir), &mut paths);
    paths.sort();
    let name = |path: &Path| path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
    paths
        .iter()
        .map(|path| (name(path), std::fs::read_to_string(path).unwrap()))
        .collect()
}

/// The files that may hold unsafe code, and why each needs it.
const UNSAFE: &[&str] = &[
    "src/buffer/arena.rs",                                // maps and page advice
    "src/buffer/slot.rs",                                 // slices of the arena
    "src/engine/backend/mmap.rs",                         // maps, and has the kernel copy from them
    "src/engine/backend/pread.rs",                        // pread into a slot
    "src/engine/backend/uring/queues.rs",                 // io_uring
    "src/engine/backend/uring/regions.rs",                // registers memory with io_uring
    "src/engine/backend/uring/setup.rs",                  // writes a byte through a ring; shares buffers
    "src/engine/backend/uring/thread.rs",                 // the clock of a thread
    "src/engine/direct.rs",                               // statx, cachestat, fiemap
    "src/format/encoding/packed/arch/avx2.rs",            // vector instructions
    "src/format/encoding/packed/arch/avx512.rs",          // vector instructions
    "src/format/encoding/packed/arch/eights.rs",          // vector instructions
    "src/format/encoding/packed/arch/generic/ahead.rs",   // memory that is not initialised
    "src/format/encoding/packed/arch/generic/general.rs", // vector loads and stores
    "src/format/encoding/packed/arch/generic/loops.rs",   // vector loads and stores
    "src/format/encoding/packed/arch/generic/mod.rs",     // calls code for an instruction set
    "src/format/encoding/packed/arch/vector.rs",          // states what vector instructions ask for
    "src/format/encoding/packed/decode.rs",               // calls code for an instruction set
    "src/format/encoding/prefetch.rs",                    // prefetch instructions
    "src/format/lazy.rs",                                 // pages that are filled as they are looked at
    "src/gpu/cuda.rs",                                    // calls libcuda
    "src/gpu/device.rs",                                  // takes over a stream
    "src/gpu/dlpack.rs",                                  // hands memory to C
    "src/gpu/driver.rs",                                  // has a driver copy from addresses
    "src/gpu/stager.rs",                                  // has a driver copy from addresses
    "src/gpu/standin/calls.rs",                           // copies from addresses
    "src/gpu/standin/mod.rs",                             // copies from addresses
    "src/gpu/tests/capsule.rs",                           // consumes capsules
    "src/gpu/tests/stager.rs",                            // does what must not be done
    "src/minibatch/lanes/avx2.rs",                        // vector instructions
    "src/minibatch/lanes/avx512.rs",                      // vector instructions
    "src/minibatch/lanes/mod.rs",                         // calls code for an instruction set
    "src/writer/publish/target.rs",                       // faccessat, geteuid
    "src/writer/rename.rs",                               // renameat2
    "tools/python/src/arrays.rs",                         // capsules, and arrays by their addresses
    "tools/python/src/device.rs",                         // streams by their addresses
];

/// Whether a source holds unsafe code, or would be allowed to.
fn has_unsafe(text: &str) -> bool {
    let code = text
        .lines()
        .map(str::trim_start)
        .filter(|line| !line.starts_with("//"));
    let mut words = code.flat_map(|line| line.split(|c: char| !(c.is_alphanumeric() || c == '_')));
    words.any(|word| word == "unsafe" || word == "unsafe_code")
}

#[test]
fn unsafe_code_lives_in_listed_files_only_and_in_each_of_them() {
    let found: Vec<String> = SOURCES
        .iter()
        .flat_map(|dir| sources(dir))
        .filter(|(_, text)| has_unsafe(text))
        .map(|(name, _)| name)
        .collect();
    let unlisted: Vec<_> = found
        .iter()
        .filter(|name| !UNSAFE.contains(&name.as_str()))
        .collect();
    assert!(
        unlisted.is_empty(),
        "unsafe code in files that are not listed: {unlisted:?}"
    );
    let safe: Vec<_> = UNSAFE
        .iter()
        .filter(|name| !found.iter().any(|found| found == *name))
        .collect();
    assert!(safe.is_empty(), "listed files without unsafe code: {safe:?}");
}

/// Functions that the C library computes, and every release of it in its own way: minibatches and plans must not depend on that.
const OF_THE_C_LIBRARY: &[&str] = &[
    "ln", "ln_1p", "log", "log2", "log10", "exp", "exp2", "exp_m1", "powf", "cbrt", "sin", "cos", "tan",
    "sinh", "cosh", "tanh", "hypot",
];

/// What is only reported may differ in its last digit.
const REPORTS: &[&str] = &["src/plan/entropy.rs", "src/plan/testing.rs"];

#[test]
fn minibatches_do_not_depend_on_the_c_library() {
    let mut found = vec![];
    for (name, text) in sources("src") {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let calls = |function: &&&str| code.contains(&format!(".{function}("));
        found.extend({ OF_THE_C_LIBRARY.iter().filter(calls) }.map(|function| (name.clone(), *function)));
    }
    let (reports, others): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|(name, _)| REPORTS.contains(&name.as_str()));
    assert!(others.is_empty(), "functions of the C library: {others:?}");
    assert!(!reports.is_empty(), "none is found where there are some");
}

/// Which modules a module may use: data flows one way.
const MAY_USE: &[(&str, &[&str])] = &[
    ("buffer", &[]),
    ("plan", &[]),
    ("engine", &["buffer"]),
    ("format", &[]),
    // Whether io_uring can be had is the engine's to find out; what is put together of parts, or added to, is read first.
    ("writer", &["engine::probe_ring", "format", "linked", "store"]),
    ("store", &["format", "linked"]),
    // Its reads are those of an engine, or of its own.
    ("linked", &["engine::Read", "engine::coalesce", "format"]),
    // From the obs table to what the plan takes.
    ("select", &["format", "plan", "store", "Store"]),
    // What it copies is told by those above.
    ("gpu", &["buffer"]),
    ("minibatch", &["format", "gpu", "Loader"]),
    (
        "loader",
        &[
            "buffer",
            "engine",
            "format",
            "gpu",
            "linked",
            "minibatch",
            "plan",
            "store",
            "Store",
            "Loader",
            "LoaderConfig",
        ],
    ),
];

#[test]
fn modules_import_only_downwards() {
    for (module, may) in MAY_USE {
        for (name, text) in sources(&format!("src/{module}")) {
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            for used in code.flat_map(|line| {
                line.split("crate::")
                    .skip(1)
                    .map(str::to_string)
                    .collect::<Vec<_>>()
            }) {
                let allowed = used.starts_with(module)
                    || may.iter().any(|m| used.starts_with(m))
                    // What all layers fail with.
                    || ["Error", "Result", "error::", "{Error", "{Result"].iter().any(|m| used.starts_with(m))
                    || name.contains("/tests")
                    || name.ends_with("/testing.rs");
                assert!(
                    allowed,
                    "{name} uses crate::{}",
                    used.lines().next().unwrap_or_default()
                );
            }
        }
    }
}

#[test]
fn files_fit_one_head() {
    let long: Vec<String> = SOURCES
        .iter()
        .flat_map(|dir| sources(dir))
        .filter(|(_, text)| text.lines().count() > 600)
        .map(|(name, text)| format!("{name}: {} lines", text.lines().count()))
        .collect();
    assert!(long.is_empty(), "files of more than 600 lines: {long:?}");
}

/// A C compiler is all that the README asks for.
#[test]
fn no_dependency_builds_with_cpp_or_cmake() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let found: Vec<&str> = lock
        .lines()
        .filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
        .filter(|name| {
            matches!(
                *name,
                "snappy_src" | "blosc-src" | "cmake" | "cxx-build" | "link-cplusplus"
            )
        })
        .collect();
    assert!(
        found.is_empty(),
        "crates that need more than a C compiler: {found:?}"
    );
}

#[test]
fn every_source_file_says_what_it_is() {
    let silent: Vec<String> = SOURCES
        .iter()
        .flat_map(|dir| sources(dir))
        .filter(|(name, text)| {
            !text.starts_with("//!") && !text.starts_with("#![doc") && !name.contains("/tests")
        })
        .map(|(name, _)| name)
        .collect();
    assert!(
        silent.is_empty(),
        "files without a first line that says what they are: {silent:?}"
    );
}

/// Words that recur in translated English, and what to write instead. `*` stands for one to four words.
const FAULTS: &[(&str, &str)] = &[
    ("is told by", "\"is identified by\", or say who says it"),
    ("are told by", "\"are identified by\", or say who says it"),
    ("nobody", "\"no thread\", \"no process\", or the passive"),
    ("anew", "\"again\""),
    ("be had", "\"is available\""),
    ("by turns", "\"in turn\", \"round-robin\""),
    ("in vain", "\"without success\""),
    ("come along", "\"are delivered with\""),
    ("comes along", "\"is delivered with\""),
    ("coming along", "\"delivered with\""),
    ("take * apart", "\"parse\", \"split\""),
    ("takes * apart", "\"parses\", \"splits\""),
    ("one behind the other", "\"one after the other\""),
    ("behind it", "\"after it\""),
    ("behind them", "\"after them\""),
    ("behind those", "\"after those\""),
    ("behind that", "\"after that\""),
    ("behind what", "\"after what\""),
    ("behind its own", "\"after its own\""),
    ("behind the last", "\"after the last\""),
    ("behind the first", "\"after the first\""),
    ("behind the end", "\"after the end\""),
];

/// What "is no" may come before: comparisons, and a few phrases.
const AFTER_IS_NO: &[&str] = &[
    "better", "concern", "faster", "harm", "larger", "less", "longer", "matter", "more", "need", "property",
    "reason", "slower", "smaller", "such", "use", "way", "wrong",
];

/// What may follow "lies", which says where something is on an axis. For "is" it is a fault.
const AFTER_LIES: &[&str] = &[
    "above", "at", "before", "below", "between", "beyond", "outside", "within", "wholly",
];

/// What may follow "further", which says how far. For "another" or "more" it is a fault.
const AFTER_FURTHER: &[&str] = &["away", "down", "from", "on", "right", "than", "up"];

/// Text that people read: words, and the line that each is in. Lines of a comment that follow each other are one text.
type Text<'a> = Vec<(&'a str, usize)>;

fn words(line: &str, number: usize) -> Text<'_> {
    line.split_whitespace().map(|word| (word, number)).collect()
}

/// Comments, and lines that hold strings.
fn texts_of_source(source: &str) -> Vec<Text<'_>> {
    let mut texts: Vec<Text<'_>> = vec![];
    let mut kind = "";
    for (number, line) in (1..).zip(source.lines()) {
        let line = line.trim_start();
        let comment = ["///", "//!", "//"]
            .into_iter()
            .find_map(|mark| Some((mark, line.strip_prefix(mark)?)));
        let (now, text) = comment.unwrap_or_default();
        if text.trim().is_empty() {
            kind = "";
        } else {
            if now != kind {
                texts.push(vec![]);
            }
            kind = now;
            let last = texts.len() - 1;
            texts[last].extend(words(text, number));
        }
        if comment.is_none() {
            // Code, which may hold a string and end with a comment.
            let (code, comment) = line.split_once(" // ").unwrap_or((line, ""));
            texts.push(words(if code.contains('"') { code } else { "" }, number));
            texts.push(words(comment, number));
        }
    }
    texts
}

/// The paragraphs of a page, or of a Python source, whose comments and code are read alike.
fn texts_of_page(page: &str) -> Vec<Text<'_>> {
    let mut texts: Vec<Text<'_>> = vec![vec![]];
    for (number, line) in (1..).zip(page.lines()) {
        let line = line.trim_start().trim_start_matches('#');
        if line.trim().is_empty() {
            texts.push(vec![]);
        }
        let last = texts.len() - 1;
        texts[last].extend(words(line, number));
    }
    texts
}

fn bare(word: &str) -> String {
    word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase()
}

/// Whether a pattern begins with the first of these words.
fn begins(words: &[String], pattern: &[&str]) -> bool {
    match pattern {
        [] => true,
        ["*", rest @ ..] => (1..=4.min(words.len())).any(|n| begins(&words[n..], rest)),
        [first, rest @ ..] => words.first().is_some_and(|word| word == first) && begins(&words[1..], rest),
    }
}

/// The faults of a text, each with its line.
fn faults(text: &Text<'_>) -> Vec<(usize, String)> {
    let words: Vec<String> = text.iter().map(|(word, _)| bare(word)).collect();
    let mut found = vec![];
    for (place, (_, line)) in text.iter().enumerate() {
        let rest = &words[place..];
        for (fault, instead) in FAULTS {
            let pattern: Vec<&str> = fault.split(' ').collect();
            if begins(rest, &pattern) {
                found.push((*line, format!("{fault:?}: write {instead}")));
            }
        }
        let next = rest.get(1).map_or("", String::as_str);
        if rest[0] == "lies" && !AFTER_LIES.contains(&next) {
            found.push((*line, "\"lies\": write \"is\"".to_owned()));
        }
        if rest[0] == "further" && !next.is_empty() && !AFTER_FURTHER.contains(&next) {
            found.push((
                *line,
                format!("\"further {next}\": write \"another\", \"other\" or \"more\""),
            ));
        }
        if begins(rest, &["is", "no"])
            && !AFTER_IS_NO.contains(&rest.get(2).map_or("", String::as_str))
            // "There is no" is plain English; it may be at the beginning of a string.
            && place.checked_sub(1).is_none_or(|before| !words[before].ends_with("there"))
        {
            let noun = rest.get(2).map_or("", String::as_str);
            found.push((
                *line,
                format!("\"is no {noun}\": write \"is not\" and an article"),
            ));
        }
    }
    found
}

#[test]
fn the_english_is_plain() {
    let mut found = vec![];
    for (name, text) in SOURCES.iter().flat_map(|dir| sources(dir)) {
        if name.contains("/tests") {
            continue;
        }
        let texts = texts_of_source(&text);
        let faults = texts.iter().flat_map(faults);
        found.extend(faults.map(|(line, fault)| format!("{name}:{line}: {fault}")));
    }
    let files_of = |folder: &str, extension: &'static str| {
        let files = std::fs::read_dir(root().join(folder)).unwrap();
        let paths = files.map(|entry| entry.unwrap().path());
        paths.filter(move |path| path.extension().is_some_and(|found| found == extension))
    };
    let named = [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "benches/record/README.md",
        "examples/README.md",
        "src/format/FORMAT.md",
        "src/loader/PERFORMANCE.md",
        "src/plan/SPEC.md",
        "tests/FAULTS.md",
        "tools/MANUAL.md",
        "tools/anndata/README.md",
        "tools/python/README.md",
        "tools/python/examples/README.md",
    ];
    let named = named.iter().map(|page| root().join(page));
    let sources = files_of("tools/python/python/cellring", "py");
    for page in files_of("src/guide", "md").chain(named).chain(sources) {
        let text = std::fs::read_to_string(&page).unwrap();
        let texts = texts_of_page(&text);
        let faults = texts.iter().flat_map(faults);
        found.extend(faults.map(|(line, fault)| format!("{}:{line}: {fault}", page.display())));
    }
    assert!(found.is_empty(), "{} faults:\n{}", found.len(), found.join("\n"));
}

#[test]
fn faults_of_english_are_found() {
    let lines = |source: &str| -> Vec<usize> {
        let texts = texts_of_source(source);
        texts.iter().flat_map(faults).map(|(line, _)| line).collect()
    };
    assert_eq!(lines("/// Columns that come\n/// along with it.\n"), [1]);
    assert_eq!(lines("let wrong = \"{text} is no size: give one\";\n"), [1]);
    assert_eq!(lines("/// What is no list of names is no longer read.\n"), [1]);
    assert_eq!(lines("//! Where the store lies.\n"), [1]);
    assert_eq!(lines("/// Takes the whole ring apart.\n"), [1]);
    assert_eq!(
        lines("/// The value lies between 0 and 1; there is no size, and it stands behind a trait.\n"),
        [0; 0]
    );
    assert_eq!(lines("let nobody = 1;\n"), [0; 0]);
    assert_eq!(
        lines("// Each block stands behind\n// its own length.\nlet x = 1; // nobody\n"),
        [1, 3]
    );
    assert_eq!(lines("/// A further matrix; further down are more.\n"), [1]);
}

/// The fault table names the test that makes each fault.
#[test]
fn tests_named_in_the_fault_table_exist() {
    let table = std::fs::read_to_string(root().join("tests/FAULTS.md")).unwrap();
    let quoted = table.split('`').skip(1).step_by(2);
    let named: Vec<(&str, &str)> = quoted.filter_map(|text| text.split_once(".rs: ")).collect();
    let missing: Vec<_> = named
        .iter()
        .filter(|(file, test)| {
            let source = std::fs::read_to_string(root().join(format!("{file}.rs"))).unwrap_or_default();
            !source.contains(&format!("#[test]\nfn {test}("))
                && !source.contains(&format!("    #[test]\n    fn {test}("))
        })
        .collect();
    assert!(
        named.len() > 50 && missing.is_empty(),
        "tests that do not exist: {missing:?}"
    );
}

#[path = "tidy/imports.rs"]
mod imports;

#[test]
fn files_do_not_use_each_other() {
    let mut found = vec![];
    for root in SOURCES {
        found.extend(imports::circles(&imports::graph(root, &sources(root))));
    }
    let circles: Vec<String> = found
        .iter()
        .map(|(set, circle)| format!("{} -> {}, of {set:?}", circle.join(" -> "), circle[0]))
        .collect();
    assert!(
        circles.is_empty(),
        "files that use each other:\n{}",
        circles.join("\n")
    );
}

#[test]
fn imports_lead_to_the_file_that_defines_the_item() {
    let files = [
        ("src/lib.rs", "pub mod a;\nmod b;\npub use a::Alpha;\n"),
        (
            "src/a/mod.rs",
            "mod one;\nmod two;\npub use one::One;\npub struct Alpha;\nfn f() { two::g() }\n",
        ),
        (
            "src/a/one.rs",
            "use super::Alpha;\npub struct One(crate::b::Beta);\n",
        ),
        (
            "src/a/two.rs",
            "use crate::{Alpha, a::One};\n// use crate::b::Beta;\npub fn g() { let _ = \"crate::b::Beta\"; }\n#[cfg(test)]\nmod tests {\n    use crate::b::Beta;\n}\n",
        ),
        (
            "src/b.rs",
            "use std::a::Alpha;\npub struct Beta;\n#[macro_export]\nmacro_rules! table { () => { $crate::a::One } }\n",
        ),
    ];
    let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let graph = imports::graph("src", &files);
    let used = |file: &str| graph[file].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(used("src/lib.rs"), [""; 0]);
    assert_eq!(used("src/a/mod.rs"), ["src/a/two.rs"]);
    assert_eq!(used("src/a/one.rs"), ["src/a/mod.rs", "src/b.rs"]);
    assert_eq!(used("src/a/two.rs"), ["src/a/mod.rs", "src/a/one.rs"]);
    assert_eq!(used("src/b.rs"), [""; 0]);
    let circles = imports::circles(&graph);
    assert_eq!(circles.len(), 1);
    assert_eq!(circles[0].1.len(), 2, "{:?}", circles[0]);
}
