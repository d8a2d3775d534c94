//! A system that gives no more threads: an error, or the work is done without it.

use std::path::Path;

use cellring_anndata::MatrixSource;
use cellring_anndata::Selection;

use crate::fixture;

#[path = "../../../../tests/common/seccomp.rs"]
mod seccomp;

use seccomp::{Threads, refuse_calls};

/// Runs a part of a test in a thread that can start no other.
fn without_threads<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            refuse_calls(&[libc::SYS_clone, libc::SYS_clone3], libc::EAGAIN, Threads::This);
            work()
        });
        worker.join().unwrap()
    })
}

#[test]
fn rows_that_no_thread_decodes_are_an_error() {
    let source = MatrixSource::open(Path::new(&fixture("matrices.h5ad")), &Selection::X).unwrap();
    let error = without_threads(|| source.rows(0..source.n_obs(), 1 << 20).unwrap_err());
    let message = error.to_string();
    assert!(
        message.contains("matrices.h5ad") && message.contains("ulimit -u"),
        "{message}"
    );
}
