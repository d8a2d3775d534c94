//! The pages of the repository name files that exist, link to pages and headings that exist, and show figures that were drawn from their data.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may unwrap, and says what it skips"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The pages that describe the repository. What `include_str!` brings into rustdoc is checked there, too.
const PAGES: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "benches/record/README.md",
    "examples/README.md",
    "tools/MANUAL.md",
    "tools/anndata/README.md",
];

fn pages() -> Vec<(PathBuf, String)> {
    let guide = std::fs::read_dir(root().join("src/guide")).unwrap();
    let guide = guide.map(|entry| entry.unwrap().path());
    let guide = guide.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let pages = PAGES.iter().map(|page| root().join(page)).chain(guide);
    pages
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path, text)
        })
        .collect()
}

/// The lines that are not in blocks of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let fence = line.starts_with("```");
        is_code ^= fence;
        !is_code && !fence
    })
}

/// Where the links of a page lead, but for the web and for items of the library, which rustdoc checks.
fn links(text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1);
    targets
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.to_owned())
        .filter(|target| !target.starts_with("https://") && !target.contains("::") && !target.is_empty())
        .collect()
}

/// The anchor of each heading, as GitHub makes it.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter_map(|line| {
        line.trim_start_matches('#')
            .strip_prefix(' ')
            .filter(|_| line.starts_with('#'))
    });
    let kept = |c: char| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
        _ => None,
    };
    let anchor = |heading: &str| heading.to_lowercase().chars().filter_map(kept).collect();
    headings.map(anchor).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut n_links = 0;
    for (page, text) in pages() {
        for link in links(&prose(&text).collect::<Vec<_>>().join("\n")) {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => page.clone(),
                file => page.parent().unwrap().join(file),
            };
            assert!(target.exists(), "{}: {link} leads nowhere", page.display());
            if !anchor.is_empty() {
                let text = std::fs::read_to_string(&target).unwrap();
                assert!(
                    anchors(&text).contains(anchor),
                    "{}: there is no heading for {link}",
                    page.display()
                );
            }
            n_links += 1;
        }
    }
    assert!(n_links >= 40, "{n_links} links");
}

/// Names of files between backticks.
fn named(text: &str) -> BTreeSet<&str> {
    let folders = ["src/", "tools/", "tests/", "benches/", "examples/", ".ci/"];
    let is_name = |word: &&str| {
        folders.iter().any(|folder| word.starts_with(folder))
            && word
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
    };
    prose(text)
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .filter(is_name)
        .collect()
}

#[test]
fn every_file_that_is_named_exists() {
    let mut n_named = 0;
    for (page, text) in pages() {
        for name in named(&text) {
            assert!(
                root().join(name).exists(),
                "{}: there is no {name}",
                page.display()
            );
            n_named += 1;
        }
    }
    assert!(n_named >= 80, "{n_named} names");
}

#[test]
fn every_page_of_the_guide_is_part_of_it() {
    let guide = std::fs::read_to_string(root().join("src/guide/mod.rs")).unwrap();
    for (page, _) in pages() {
        let name = page.file_name().unwrap().to_str().unwrap();
        if page.starts_with(root().join("src/guide")) {
            assert!(guide.contains(&format!("include_str!(\"{name}\")")), "{name}");
        }
    }
}

#[test]
fn the_readme_fits_a_page_and_has_what_ci_runs() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    assert!(
        readme.lines().count() <= 150,
        "the manual, the guide and the pages for contributors have room"
    );
    let examples = readme.lines().filter(|line| {
        line.starts_with("cargo run ") && (line.contains("convert") || line.contains("--example"))
    });
    assert!(examples.count() >= 4, "a store and three examples");
}

#[test]
fn the_figure_is_that_of_its_data() {
    let own = root().join(".venv/bin/python");
    let python = match std::env::var_os("CELLRING_PYTHON") {
        Some(python) => PathBuf::from(python),
        None if own.exists() => own,
        None => PathBuf::from("python3"),
    };
    let script = root().join("benches/record/throughput.py");
    let output = match Command::new(&python).arg(script).arg("--check").output() {
        Ok(output) => output,
        Err(error) if std::env::var_os("CELLRING_ENVIRONMENTS").is_none() => {
            eprintln!("skipped: {}: {error}", python.display());
            return;
        }
        Err(error) => panic!("{}: {error}", python.display()),
    };
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // Every figure is one of a record.
    let record = root().join("benches/record");
    let data = std::fs::read_to_string(record.join("throughput.csv")).unwrap();
    for row in data.lines().skip(1) {
        let fields: Vec<&str> = row.split(',').collect();
        let [.., cells, _, _, file] = fields[..] else {
            panic!("{row}");
        };
        let text = std::fs::read_to_string(record.join(file))
            .unwrap()
            .replace(',', "");
        assert!(text.contains(cells), "{file} does not have {cells}");
    }
}
