//! House rules that the compiler does not check.
#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

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
    "src/buffer/arena.rs",                // maps and page advice
    "src/buffer/slot.rs",                 // slices of the arena
    "src/engine/direct.rs",               // statx, cachestat, fiemap
    "src/engine/mmap.rs",                 // maps
    "src/engine/pread.rs",                // pread into a slot
    "src/engine/ring.rs",                 // io_uring
    "src/engine/setup.rs",                // registers memory with io_uring
    "src/format/packed/arch/avx2.rs",     // vector loads and stores
    "src/format/packed/arch/avx512.rs",   // vector loads and stores
    "src/format/packed/arch/prefetch.rs", // prefetch instructions
    "src/format/packed/decode.rs",        // calls code for an instruction set
    "src/gpu/cuda.rs",                    // calls libcuda
    "src/gpu/device.rs",                  // takes over a stream
    "src/gpu/dlpack.rs",                  // hands memory to C
    "src/gpu/driver.rs",                  // has a driver copy from addresses
    "src/gpu/stager.rs",                  // has a driver copy from addresses
    "src/gpu/standin/calls.rs",           // copies from addresses
    "src/gpu/standin/mod.rs",             // copies from addresses
    "src/gpu/tests.rs",                   // does what must not be done; consumes capsules
    "src/store/lazy.rs",                  // pages that are filled as they are looked at
    "src/store/map.rs",                   // maps
    "src/writer/publish.rs",              // faccessat, geteuid
    "src/writer/rename.rs",               // renameat2
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
    let found: Vec<String> = ["src", "tools/src"]
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

/// Which modules a module may use: data flows one way.
const MAY_USE: &[(&str, &[&str])] = &[
    ("buffer", &[]),
    ("plan", &[]),
    ("engine", &["buffer"]),
    // How a table and an index are read is the store's; the format knows them only as bytes.
    ("format", &["store::lazy", "store::map"]),
    // Whether io_uring can be had is the engine's to find out; what is put together of parts, or added to, is read first.
    (
        "writer",
        &[
            "engine::probe_ring",
            "format",
            "store",
            "with_values",
            "with_element",
        ],
    ),
    ("store", &["format", "with_values", "with_element"]),
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
                    || used.starts_with("with_")
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
    let long: Vec<String> = ["src", "tools/src"]
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
    let silent: Vec<String> = ["src", "tools/src"]
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
