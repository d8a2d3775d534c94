//! From AnnData to a store and back: what comes out is what went in, and what cannot be converted is refused.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    reason = "tests; the settings for tests do not reach helper functions"
)]

mod absent_chunks;
mod aloud;
mod append;
mod as_linked;
mod changes;
mod collection;
mod command;
mod equality;
mod forms;
mod hostile;
mod inputs;
mod interruption;
mod joined;
mod linked;
mod linked_cache;
mod linked_checksums;
mod linked_digests;
mod linked_joined;
mod linked_measured;
mod linked_refusals;
mod linked_watched;
mod linked_zarr;
mod machines;
mod matrices;
mod orders;
mod parts;
mod refusals;
mod relinked;
mod round_trip;
#[path = "../../anndata/tests/samples/mod.rs"]
mod samples;
mod stripe;
mod zip64;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cellring_tools::convert::{ConvertError, ConvertOptions, ConvertReport, convert};
use cellring_tools::synth::Synth;
use serde_json::Value;
use tempfile::TempDir;

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("anndata/tests/data")
        .join(name)
}

/// The shared collection of real data, or `None` (said aloud) when it is not there.
pub(crate) fn shared_data() -> Option<PathBuf> {
    let folder = std::env::var_os("CELLRING_SHARED_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")),
        PathBuf::from,
    );
    if folder.is_dir() {
        return Some(folder);
    }
    println!(
        "skipped real data: {} does not exist; set CELLRING_SHARED_DATA",
        folder.display()
    );
    None
}

/// The inputs that a script of `tests/python` makes, and what it prints.
pub(crate) fn made_by(script: &str) -> (TempDir, String) {
    let directory = scratch();
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/python")
        .join(script);
    let made = Command::new(python())
        .args(["-W", "ignore"])
        .arg(script)
        .arg(directory.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (directory, String::from_utf8(made.stdout).unwrap())
}

/// The interpreter: `CELLRING_PYTHON`, else `.venv` of this repository. It must have anndata.
pub(crate) fn python() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let python =
        std::env::var_os("CELLRING_PYTHON").map_or_else(|| root.join(".venv/bin/python"), PathBuf::from);
    let works = Command::new(&python)
        .args(["-c", "import anndata, scipy"])
        .output();
    assert!(
        works.is_ok_and(|output| output.status.success()),
        "{} does not run or has no anndata, which tests/python/compare_h5ad.py needs; run tests/all.sh, which sets it up, \
         or name another interpreter in CELLRING_PYTHON",
        python.display()
    );
    python
}

/// A directory beside the test binary: the one for temporary files is often tmpfs, which knows no direct I/O.
pub(crate) fn scratch() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// About a million values in several windows of the least size.
pub(crate) fn synthetic(directory: &Path) -> PathBuf {
    let path = directory.join("synthetic.h5ad");
    Synth::new(1_500, 8_000, 3).write_h5ad(&path, |_| {}).unwrap();
    path
}

pub(crate) fn run_convert(
    input: &Path,
    output: &Path,
    options: &ConvertOptions,
) -> Result<ConvertReport, ConvertError> {
    convert(&[input.to_path_buf()], output, options, &|done, total| {
        assert!(done <= total)
    })
}

/// Names in a directory, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Runs `cellring` and gives its exit code, standard output and standard error.
pub(crate) fn cellring(args: &[&str]) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_cellring"))
        .args(args)
        .output()
        .unwrap();
    (
        status.code().unwrap(),
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
    )
}

/// What a command reports.
pub(crate) fn report(args: &[&str]) -> Value {
    let (code, stdout, stderr) = cellring(&[args, &["--json"]].concat());
    assert_eq!(code, 0, "{args:?}: {stderr}");
    serde_json::from_str(&stdout).unwrap()
}

/// The digest of an epoch of a store, or of a file that is linked on the way.
pub(crate) fn digest(of: &str, options: &[&str]) -> Value {
    report(&[&["epoch", of, "--digest", "--block-size", "4"], options].concat())["digest"].clone()
}

/// The sentence of a run that must fail with code 1 and say nothing else.
pub(crate) fn fail(args: &[&str]) -> String {
    let (code, stdout, stderr) = cellring(args);
    assert_eq!((code, stdout.as_str()), (1, ""), "{args:?}: {stderr}");
    let line = stderr.strip_suffix('\n').unwrap();
    assert!(
        !line.contains('\n') && !line.contains(". "),
        "one sentence: {line}"
    );
    line.strip_prefix("error: ").unwrap().to_owned()
}
