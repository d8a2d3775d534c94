//! What people do next with what they get: exported files in the Python environments that are in use, and inputs of all kinds on
//! their way there and back.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests; the settings for tests do not reach helper functions"
)]

mod cases;
mod environments;
mod exports;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A folder beside the repository, or `None` (said aloud) if it is not there.
pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let folder = root().join("../shared").join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    aloud(&format!("skipped: {} does not exist", folder.display()));
    None
}

/// Says something although the test passes, whose output is not shown then.
pub(crate) fn aloud(text: &str) {
    // Not by `eprintln!`, which tests capture.
    std::io::stderr()
        .write_all(format!("{text}\n").as_bytes())
        .unwrap();
}

/// A directory beside the test binary: the one for temporary files may be held in memory, and exports are large.
pub(crate) fn scratch() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Runs `cellring`; gives its sentence if it fails.
pub(crate) fn cellring<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Result<String, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_cellring"))
        .args(args)
        .output()
        .unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap()),
        false => Err(format!(
            "{}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}

/// Calls `work` with each item, two at a time.
pub(crate) fn two_at_a_time<T: Sync>(items: &[T], work: impl Fn(usize, &T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((number, item)) =
                    items.iter().enumerate().nth(next.fetch_add(1, Ordering::Relaxed))
                {
                    work(number, item);
                }
            });
        }
    });
}
