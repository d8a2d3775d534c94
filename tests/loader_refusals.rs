//! Where the kernel refuses, or files change under a loader: what writes and loads goes on, or ends with an error; nothing waits, and no
//! signal ends the process. Each case runs in a child process, because a refusal cannot be taken back.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::panic,
    reason = "tests; the settings for tests do not reach helper functions"
)]

mod common;
#[path = "common/seccomp.rs"]
mod seccomp;

use std::env;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cellring::__internal::Cause;
use cellring::engine::{Backend, Direct, EngineError};
use cellring::format::{CsrRows, FormatError, ValueType};
use cellring::minibatch::ColumnChoice;
use cellring::plan::SamplerConfig;
use cellring::store::verify;
use cellring::writer::WriterOptions;
use cellring::{ErrorKind, Loader, LoaderConfig, Store};
use common::{Kind, matrix, write_store};
use seccomp::{Threads, refuse_calls};

const N_VARS: u64 = 400;

fn rows() -> CsrRows {
    matrix(3000, N_VARS, Kind::Counts, 5)
}

fn write(path: &Path) {
    let mut options = WriterOptions::new(N_VARS, ValueType::F32);
    (options.block_size, options.shard_bytes) = (16, 100_000);
    write_store(path, &rows(), options, None).unwrap();
}

/// Has this test binary run the test [`child`] alone, told by the environment which case and directory. A child that waits for ever
/// is killed.
fn in_child(case: &str) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads", "1"])
        .env("CELLRING_CHILD", case)
        .env("CELLRING_DIR", dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let since = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if since.elapsed() > Duration::from_secs(120) {
            child.kill().unwrap();
            panic!("{case}: the child hangs");
        }
        #[allow(clippy::disallowed_methods, reason = "a wait with a limit")]
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("the child is content"),
        "{case}: {}: {text}",
        output.status
    );
}

#[test]
fn a_store_is_written_without_io_uring_where_only_using_it_is_refused() {
    in_child("writer-enter");
}

#[test]
fn a_store_is_written_where_no_thread_can_be_started() {
    in_child("writer-threads");
}

#[test]
fn a_ring_that_is_refused_during_an_epoch_ends_it_and_the_next() {
    in_child("ring-later");
}

#[test]
fn a_loader_that_gets_no_thread_is_an_error() {
    in_child("loader-threads");
}

#[test]
fn index_and_obs_cut_during_an_epoch_are_an_error_or_not_missed() {
    in_child("cut");
}

/// Does nothing unless one of the tests above runs it in a process of its own.
#[test]
fn child() {
    let (Ok(case), Some(dir)) = (env::var("CELLRING_CHILD"), env::var_os("CELLRING_DIR")) else {
        return;
    };
    let store = PathBuf::from(dir).join("store");
    match case.as_str() {
        "writer-enter" => {
            refuse_calls(&[libc::SYS_io_uring_enter], libc::EPERM, Threads::This);
            write(&store);
            verify(&Store::open(&store).unwrap(), 1, &|_| ()).unwrap();
        }
        "writer-threads" => {
            refuse_calls(&[libc::SYS_clone, libc::SYS_clone3], libc::EAGAIN, Threads::This);
            write(&store);
            Store::open(&store).unwrap();
        }
        "ring-later" => ring_later(&store),
        "loader-threads" => {
            write(&store);
            let opened = Arc::new(Store::open(&store).unwrap());
            refuse_calls(&[libc::SYS_clone, libc::SYS_clone3], libc::EAGAIN, Threads::This);
            let error = Loader::new(opened, config(Backend::Pread)).unwrap_err();
            assert!(
                matches!(error.cause(), Cause::Engine(EngineError::Thread { .. })),
                "{error}"
            );
        }
        "cut" => cut(&store),
        other => panic!("no case {other}"),
    }
    eprintln!("the child is content");
}

fn config(backend: Backend) -> LoaderConfig {
    let mut config = LoaderConfig::default()
        .sampler(
            SamplerConfig::default()
                .block_size(4)
                .batch_size(4)
                .fetch_factor(4),
        )
        .obs_columns(vec![
            "plate".into(),
            ColumnChoice::strings("number"),
            "score".into(),
        ])
        .decode_threads(1);
    (config.engine.backend, config.engine.direct) = (backend, Direct::Off);
    config
}

fn ring_later(path: &Path) {
    write(path);
    let store = Arc::new(Store::open(path).unwrap());
    let loader = match Loader::new(store, config(Backend::Uring)) {
        Err(error) if error.kind() == ErrorKind::Unavailable => return eprintln!("skipped: {error}"),
        loader => loader.unwrap(),
    };
    let mut epoch = loader.epoch(0).unwrap();
    epoch.next().unwrap().unwrap();
    refuse_calls(&[libc::SYS_io_uring_enter], libc::EPERM, Threads::All);
    let mut error = epoch.find_map(Result::err);
    assert!(epoch.next().is_none());
    drop(epoch);
    // All of the first may have been under way already.
    for number in 1..3 {
        error = loader.epoch(number).unwrap().find_map(Result::err).or(error);
        let is_right = error
            .as_ref()
            .is_some_and(|error| matches!(error.cause(), Cause::Engine(EngineError::Ring { .. })));
        assert!(is_right, "{error:?}");
    }
}

fn cut(path: &Path) {
    write(path);
    for file in ["index.bin", "obs.arrow"] {
        let whole = std::fs::read(path.join(file)).unwrap();
        let store = Arc::new(Store::open(path).unwrap());
        let loader = Loader::new(store.clone(), config(Backend::Pread)).unwrap();
        let mut epoch = loader.epoch(0).unwrap();
        epoch.next().unwrap().unwrap();
        let names = store.obs().names().unwrap();
        let opened = File::options().write(true).open(path.join(file)).unwrap();
        opened.set_len(0).unwrap();
        let mut n_minibatches = 1;
        let mut error = None;
        for minibatch in &mut epoch {
            match minibatch {
                Ok(_) => n_minibatches += 1,
                Err(found) => error = Some(found),
            }
        }
        match &error {
            // What had been read of it before was enough.
            None => assert_eq!(n_minibatches, epoch.n_minibatches()),
            Some(error) => assert!(error.to_string().contains(file), "{error}"),
        }
        drop(epoch);
        // Columns that were read before are as they were; others cannot be read any more.
        assert_eq!(names.batches()[0].len(), store.n_obs() as usize);
        assert!(names.batches()[0].to_data().validate_full().is_ok());
        if file == "obs.arrow" {
            let error = store.obs().names().unwrap_err();
            assert!(
                matches!(error.cause(), Cause::Format(FormatError::Length { found: 0, .. })),
                "{error}"
            );
        }
        // Nor does a later epoch end the process.
        loader.epoch(1).unwrap().for_each(drop);
        drop(loader);
        assert!(Store::open(path).is_err());
        std::fs::write(path.join(file), whole).unwrap();
    }
}
