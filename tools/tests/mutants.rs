//! Stores, parts, states and inputs that are damaged in some hundreds of ways by a fixed seed, and what the commands make of each:
//! the data that independent readers find in it, or one clear refusal. The mutants and their judges are in `tests/mutants`.
//!
//! `CELLRING_MUTANTS=10000` makes so many of each family, and `CELLRING_BINARY` names another `cellring` to run them on.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may unwrap and print"
)]

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Mutants of each family, unless the environment says how many.
const COUNT: &str = "200";

#[test]
fn mutants_are_refused_or_read_as_others_read_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let python = env::var_os("CELLRING_PYTHON").map_or_else(|| root.join(".venv/bin/python"), PathBuf::from);
    let other = env::var_os("CELLRING_BINARY");
    // Another version may not read all of the inputs that are made here.
    let skip = other.as_ref().map(|_| "--skip");
    let binary = other.unwrap_or_else(|| env!("CARGO_BIN_EXE_cellring").into());
    let count = env::var("CELLRING_MUTANTS").unwrap_or_else(|_| COUNT.into());
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let judged = Command::new(&python)
        .args(["-B", "-W", "ignore"])
        .arg(root.join("tests/mutants"))
        .arg(&binary)
        .arg(scratch.path())
        .args(["--count", &count])
        .args(skip)
        .output();
    let judged = judged.unwrap_or_else(|error| {
        panic!(
            "{} does not run ({error}); run tests/all.sh, which sets it up, or name another interpreter in CELLRING_PYTHON",
            python.display()
        )
    });
    let said = String::from_utf8_lossy(&judged.stdout);
    println!("{said}");
    assert!(
        judged.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&judged.stderr)
    );
}
