//! Where the kernel refuses: the engine runs on what is left, and says why. Each case runs in a child
//! process, because a refusal cannot be taken back.
#![allow(
    unsafe_code,
    reason = "seccomp filters, limits and forks are made through libc"
)]
#![allow(clippy::unwrap_used, reason = "a helper of a test that fails fails the test")]
#![allow(
    clippy::print_stderr,
    reason = "a test says when a machine cannot do what it is about"
)]

#[path = "../common/seccomp.rs"]
mod seccomp;

mod direct;
mod memory;
mod refused;

use std::env;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use cellring::__internal::buffer::Pool;
use cellring::engine::{Backend, Choice, Direct, Engine, EngineConfig, EngineError, Read, Submission};
use memory::{lazy, refused_registration, small_memlock};
use refused::{forked, no_threads, refused_later, refused_ring};
use seccomp::{Threads, refuse_calls};
use tempfile::TempDir;

const LEN: usize = 4 << 20;
/// For what would else wait for ever; nothing is measured.
const LIMIT: Duration = Duration::from_secs(120);

/// A file on a filesystem that reads past the page cache, if there is one: beside the test binary, because
/// the directory for temporary files is often tmpfs.
fn file() -> (TempDir, PathBuf) {
    let exe = env::current_exe().unwrap();
    let dir = tempfile::tempdir_in(exe.parent().unwrap()).unwrap();
    let path = dir.path().join("shard");
    fs::write(&path, content()).unwrap();
    File::open(&path).unwrap().sync_all().unwrap();
    evict(&path);
    (dir, path)
}

fn content() -> Vec<u8> {
    (0..LEN as u32 / 4)
        .flat_map(|word| word.wrapping_mul(0x9E37_79B9).to_le_bytes())
        .collect()
}

fn evict(path: &Path) {
    let file = File::open(path).unwrap();
    // SAFETY: the call touches no memory.
    let refused = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    assert_eq!(refused, 0);
}

fn config(backend: Backend, direct: Direct) -> EngineConfig {
    let mut config = EngineConfig::default();
    config.backend = backend;
    config.direct = direct;
    config
}

/// Reads the whole file and checks it; returns how.
fn read_all(path: &Path, config: &EngineConfig) -> Result<Choice, EngineError> {
    let pool = Pool::new(2, LEN).unwrap();
    let (send, receive) = mpsc::channel();
    let engine = Engine::start(&[path.to_owned()], &pool, config, move |done| {
        drop(send.send(done))
    })?;
    let reads = (0..LEN as u64 / 65536).rev().map(|i| Read {
        file: 0,
        offset_bytes: i * 65536,
        len_bytes: 65536,
        slot: 0,
        slot_offset_bytes: i as u32 * 65536,
    });
    engine.submit(Submission {
        tag: 1,
        slots: pool.take(1).unwrap(),
        reads: reads.collect(),
    });
    let done = receive.recv().unwrap();
    done.result?;
    assert!(done.slots[0].as_slice()[..LEN] == content(), "wrong bytes");
    Ok(engine.choice().clone())
}

/// Whether the machine lets this process do all that the engine would like to.
fn ring_and_direct_work(path: &Path) -> bool {
    match read_all(path, &config(Backend::Uring, Direct::On)) {
        Ok(choice) => choice.method.registered_buffers,
        Err(e) => {
            assert!(env::var_os("CELLRING_TEST_EVERY_BACKEND").is_none(), "{e}");
            eprintln!("skipped: {e}");
            false
        }
    }
}

/// Has this test binary run the test [`child`] alone, told by the environment which case and file.
fn in_child(case: &str, path: &Path) {
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads", "1"])
        .env("CELLRING_CHILD", case)
        .env("CELLRING_FILE", path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("the child is content"),
        "{case}: {text}"
    );
}

/// Runs a case where rings and direct I/O work.
fn in_child_with_a_ring(case: &str) {
    let (_dir, path) = file();
    if ring_and_direct_work(&path) {
        in_child(case, &path);
    }
}

/// Does nothing unless a test runs it in a process of its own.
#[test]
fn child() {
    let (Ok(case), Some(path)) = (env::var("CELLRING_CHILD"), env::var_os("CELLRING_FILE")) else {
        return;
    };
    let path = PathBuf::from(path);
    match case.as_str() {
        "setup-eperm" => refused_ring(
            &path,
            &[libc::SYS_io_uring_setup],
            libc::EPERM,
            "io_uring_setup",
            "seccomp",
        ),
        "setup-enosys" => refused_ring(
            &path,
            &[
                libc::SYS_io_uring_setup,
                libc::SYS_io_uring_enter,
                libc::SYS_io_uring_register,
            ],
            libc::ENOSYS,
            "io_uring_setup",
            "Linux 5.6",
        ),
        "enter-eperm" => refused_ring(
            &path,
            &[libc::SYS_io_uring_enter],
            libc::EPERM,
            "io_uring_enter",
            "seccomp",
        ),
        "map-eperm" | "map-enosys" => {
            let code = if case == "map-eperm" {
                libc::EPERM
            } else {
                libc::ENOSYS
            };
            refuse_calls(&[libc::SYS_process_vm_readv], code, Threads::This);
            let error = read_all(&path, &config(Backend::Mmap, Direct::Auto)).unwrap_err();
            let said = error.to_string();
            assert!(said.contains("process_vm_readv from a memory map"), "{said}");
            assert!(said.contains("choose backend pread"), "{said}");
            read_all(&path, &config(Backend::Pread, Direct::Auto)).unwrap();
        }
        "register-eperm" => {
            refuse_calls(&[libc::SYS_io_uring_register], libc::EPERM, Threads::This);
            let choice = read_all(&path, &EngineConfig::default()).unwrap();
            assert!(
                choice.method.backend == Backend::Uring && !choice.method.registered_buffers,
                "{}",
                choice.reason
            );
            assert!(choice.reason.contains("registering") && choice.reason.contains("EPERM (errno 1)"));
        }
        "enter-later" => refused_later(&path),
        "no-threads" => no_threads(&path),
        "memlock" => small_memlock(&path),
        "register-later" => refused_registration(&path),
        "lazy" => lazy(&path),
        "fork" => forked(&path),
        other => panic!("no case {other}"),
    }
    eprintln!("the child is content");
}
