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

#[path = "common/seccomp.rs"]
mod seccomp;

use std::env;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::mpsc;
use std::time::Duration;

use cellring::__internal::buffer::{PageKind, Pool};
use cellring::engine::{
    Backend, Choice, Completion, Direct, Engine, EngineConfig, EngineError, Read, Submission, cached_fraction,
};
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

#[test]
fn direct_reads_leave_the_page_cache_alone_and_auto_prefers_a_full_one() {
    let (_dir, path) = file();
    if !ring_and_direct_work(&path) || cached_fraction(&path).is_err() {
        return;
    }
    assert!(
        cached_fraction(&path).unwrap() < 0.05,
        "the file could not be evicted"
    );
    for backend in [Backend::Uring, Backend::Pread] {
        assert!(
            read_all(&path, &config(backend, Direct::On))
                .unwrap()
                .method
                .direct
        );
        assert!(
            cached_fraction(&path).unwrap() < 0.05,
            "{backend} read through the page cache"
        );
    }
    let choice = read_all(&path, &EngineConfig::default()).unwrap();
    assert!(
        choice.method.direct && choice.method.backend == Backend::Uring,
        "{}",
        choice.reason
    );
    assert!(cached_fraction(&path).unwrap() < 0.05);
    for backend in [Backend::Uring, Backend::Pread, Backend::Mmap] {
        evict(&path);
        assert!(
            !read_all(&path, &config(backend, Direct::Off))
                .unwrap()
                .method
                .direct
        );
        assert!(
            cached_fraction(&path).unwrap() > 0.95,
            "{backend} read past the page cache"
        );
    }
    let choice = read_all(&path, &EngineConfig::default()).unwrap();
    assert!(
        !choice.method.direct && choice.reason.contains("100 % of the files"),
        "{}",
        choice.reason
    );
    // What is asked for by name stays so.
    assert!(
        read_all(&path, &config(Backend::Auto, Direct::On))
            .unwrap()
            .method
            .direct
    );
}

#[test]
fn what_cannot_be_had_is_an_error_or_said() {
    let (_dir, path) = file();
    let refused = read_all(&path, &config(Backend::Mmap, Direct::On)).unwrap_err();
    assert!(
        refused.to_string().contains("choose backend uring or pread"),
        "{refused}"
    );
    // tmpfs takes the flag O_DIRECT and is page cache all the same.
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else {
        return;
    };
    let path = dir.path().join("shard");
    fs::write(&path, content()).unwrap();
    let refused = read_all(&path, &config(Backend::Auto, Direct::On)).unwrap_err();
    assert!(
        matches!(&refused, EngineError::Unavailable { .. }) && refused.to_string().contains("tmpfs"),
        "{refused}"
    );
    let choice = read_all(&path, &EngineConfig::default()).unwrap();
    assert!(
        !choice.method.direct && choice.reason.contains(", because "),
        "{}",
        choice.reason
    );
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

#[test]
fn a_sandbox_that_refuses_io_uring_leaves_pread() {
    let (_dir, path) = file();
    if ring_and_direct_work(&path) {
        for case in ["setup-eperm", "setup-enosys", "enter-eperm", "register-eperm"] {
            in_child(case, &path);
        }
    }
}

#[test]
fn a_sandbox_that_refuses_copies_from_maps_is_told_what_to_choose() {
    let (_dir, path) = file();
    for case in ["map-eperm", "map-enosys"] {
        in_child(case, &path);
    }
}

#[test]
fn a_ring_that_is_refused_later_ends_the_engine() {
    in_child_with_a_ring("enter-later");
}

#[test]
fn threads_that_cannot_be_started_are_an_error() {
    let (_dir, path) = file();
    in_child("no-threads", &path);
}

#[test]
fn a_small_limit_on_locked_memory_leaves_a_ring_without_registered_buffers() {
    in_child_with_a_ring("memlock");
}

#[test]
fn memory_that_cannot_be_registered_later_is_read_into_without() {
    in_child_with_a_ring("register-later");
}

#[test]
fn memory_that_nothing_is_read_into_is_not_taken() {
    in_child_with_a_ring("lazy");
}

#[test]
fn a_forked_child_is_told_to_start_its_own_engine() {
    let (_dir, path) = file();
    in_child("fork", &path);
}

/// Does nothing unless one of the tests above runs it in a process of its own.
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

fn refused_ring(path: &Path, calls: &[libc::c_long], code: i32, step: &str, remedy: &str) {
    refuse_calls(calls, code, Threads::This);
    let choice = read_all(path, &EngineConfig::default()).unwrap();
    let reason = &choice.reason;
    assert!(
        choice.method.backend == Backend::Pread && choice.method.direct,
        "{reason}"
    );
    assert_eq!(choice.attempts.len(), 3);
    assert!(
        reason.contains(step) && reason.contains(&format!("(errno {code})")) && reason.contains(remedy),
        "{reason}"
    );
    let refused = read_all(path, &config(Backend::Uring, Direct::Auto)).unwrap_err();
    assert!(
        matches!(refused, EngineError::Unavailable { .. }) && refused.to_string().contains(remedy),
        "{refused}"
    );
}

/// A ring that is refused when it has proven itself: the engine ends, and nobody waits for the slots that are lost.
fn refused_later(path: &Path) {
    let pool = Pool::new(2, LEN).unwrap();
    let (send, receive) = mpsc::channel();
    let config = config(Backend::Uring, Direct::Auto);
    let engine = Engine::start(&[path.to_owned()], &pool, &config, move |done| {
        drop(send.send(done))
    });
    let engine = engine.unwrap();
    let read = |tag, slots| {
        let reads = vec![Read {
            file: 0,
            offset_bytes: 0,
            len_bytes: 65536,
            slot: 0,
            slot_offset_bytes: 0,
        }];
        engine.submit(Submission { tag, slots, reads });
        receive.recv_timeout(LIMIT).unwrap().result
    };
    read(1, pool.take(1).unwrap()).unwrap();
    assert!(engine.breakdown().is_none());
    // The ring's thread, too, which sleeps in a call that it made before.
    refuse_calls(&[libc::SYS_io_uring_enter], libc::EPERM, Threads::All);
    let slots = pool.take(2).unwrap();
    let (send_slots, waits_for_slots) = mpsc::channel();
    let waiting = pool.clone();
    std::thread::spawn(move || send_slots.send(waiting.take(1).is_none()));
    let error = read(2, slots).unwrap_err();
    assert!(matches!(error, EngineError::Ring { .. }), "{error}");
    assert!(waits_for_slots.recv_timeout(LIMIT).unwrap(), "the pool is closed");
    assert!(matches!(engine.breakdown(), Some(EngineError::Ring { .. })));
    engine.submit(Submission {
        tag: 3,
        slots: Vec::new(),
        reads: Vec::new(),
    });
    let error = receive.recv_timeout(LIMIT).unwrap().result.unwrap_err();
    assert!(matches!(error, EngineError::Ring { .. }), "{error}");
}

/// A system that gives no thread is an error, whatever needs one.
fn no_threads(path: &Path) {
    refuse_calls(&[libc::SYS_clone, libc::SYS_clone3], libc::EAGAIN, Threads::This);
    for backend in [Backend::Auto, Backend::Uring, Backend::Pread, Backend::Mmap] {
        let error = read_all(path, &config(backend, Direct::Auto)).unwrap_err();
        assert!(
            matches!(error, EngineError::Thread { .. }) && error.to_string().contains("ulimit -u"),
            "{backend}: {error}"
        );
    }
}

fn small_memlock(path: &Path) {
    let limit = libc::rlimit {
        rlim_cur: 64 << 10,
        rlim_max: 64 << 10,
    };
    // SAFETY: `limit` lives through the call.
    let refused = unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
    assert_eq!(refused, 0);
    give_up_ipc_lock();
    let choice = read_all(path, &EngineConfig::default()).unwrap();
    let reason = &choice.reason;
    assert!(
        choice.method.backend == Backend::Uring && !choice.method.registered_buffers && choice.method.direct,
        "{reason}"
    );
    assert!(
        reason.contains("ENOMEM (errno 12): raise RLIMIT_MEMLOCK, now 65536 bytes"),
        "{reason}"
    );
    // Where memory for one ring is short, it is for several.
    let mut several = EngineConfig::default();
    several.rings = Some(3);
    let choice = read_all(path, &several).unwrap();
    assert!(!choice.method.registered_buffers, "{}", choice.reason);
}

/// An engine whose slots are as long as the file.
fn engine_of(path: &Path, n_slots: usize) -> (Pool, Engine, mpsc::Receiver<Completion>) {
    let pool = Pool::new(n_slots, LEN).unwrap();
    let (send, receive) = mpsc::channel();
    let config = config(Backend::Uring, Direct::Auto);
    let engine = Engine::start(&[path.to_owned()], &pool, &config, move |done| {
        drop(send.send(done))
    });
    (pool, engine.unwrap(), receive)
}

/// Reads the file into so many slots at once, and looks at what is there.
fn read_into((pool, engine, receive): &(Pool, Engine, mpsc::Receiver<Completion>), n_slots: usize) {
    let read = |slot| Read {
        file: 0,
        offset_bytes: 0,
        len_bytes: LEN as u32,
        slot,
        slot_offset_bytes: 0,
    };
    engine.submit(Submission {
        tag: 1,
        slots: pool.take(n_slots).unwrap(),
        reads: (0..n_slots as u32).map(read).collect(),
    });
    let done = receive.recv_timeout(LIMIT).unwrap();
    done.result.unwrap();
    let content = content();
    assert_eq!(done.slots.len(), n_slots);
    assert!(done.slots.iter().all(|slot| slot.as_slice() == content));
}

/// Others of this user may use up what may be locked while the ring is running.
fn refused_registration(path: &Path) {
    let n_slots = 24;
    let engine = engine_of(path, n_slots);
    let choice = engine.1.choice();
    assert!(choice.method.registered_buffers, "{}", choice.reason);
    read_into(&engine, 1);
    refuse_calls(&[libc::SYS_io_uring_register], libc::ENOMEM, Threads::All);
    // Twice, so that slots that are registered and others are used again.
    read_into(&engine, n_slots);
    read_into(&engine, n_slots);
}

/// A budget is the most that is taken.
fn lazy(path: &Path) {
    let resident_mib = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        line.split_whitespace().next().unwrap().parse::<usize>().unwrap() >> 10
    };
    let n_slots = 128;
    let engine = engine_of(path, n_slots);
    read_into(&engine, 2);
    let few = resident_mib();
    read_into(&engine, n_slots);
    let all = resident_mib();
    let (budget, page_kind) = ((n_slots * LEN) >> 20, engine.0.page_kind());
    assert!(all >= budget, "{all} MiB");
    assert!(
        few <= budget / 4 || page_kind == PageKind::Hugetlb,
        "{few} MiB, {page_kind}"
    );
}

/// Takes from this thread, and those that it starts, the right to lock memory without limit, which root has.
fn give_up_ipc_lock() {
    // Version 3 of linux/capability.h; 0 stands for the calling thread.
    let header = [0x2008_0522u32, 0];
    const CAP_IPC_LOCK: u32 = 14;
    // Effective, permitted and inheritable rights 0 to 31, and the same of rights 32 to 63.
    let mut rights = [0u32; 6];
    // SAFETY: both arrays have the layout and the size that capget(2) and capset(2) ask for.
    unsafe {
        assert_eq!(
            libc::syscall(libc::SYS_capget, header.as_ptr(), rights.as_mut_ptr()),
            0
        );
        rights[..3]
            .iter_mut()
            .for_each(|word| *word &= !(1 << CAP_IPC_LOCK));
        assert_eq!(
            libc::syscall(libc::SYS_capset, header.as_ptr(), rights.as_ptr()),
            0
        );
    }
}

fn forked(path: &Path) {
    let pool = Pool::new(1, 4096).unwrap();
    let parent = process::id();
    let (send, receive) = mpsc::channel();
    let engine = Engine::start(&[path.to_owned()], &pool, &EngineConfig::default(), move |done| {
        drop(send.send(done.result));
    });
    let engine = engine.unwrap();
    let slots = pool.take(1).unwrap();
    // SAFETY: the child uses no lock that another thread could have held, and ends without running
    // destructors.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        engine.submit(Submission {
            tag: 1,
            slots,
            reads: Vec::new(),
        });
        let told =
            matches!(receive.try_recv(), Ok(Err(EngineError::Forked { started_by })) if started_by == parent);
        drop(engine);
        // SAFETY: ends this process at once.
        unsafe { libc::_exit(if told { 0 } else { 1 }) };
    }
    let mut status = -1;
    // SAFETY: `status` is a valid place for the answer.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(status, 0);
    // The parent's engine is none the worse.
    let read = Read {
        file: 0,
        offset_bytes: 0,
        len_bytes: 4096,
        slot: 0,
        slot_offset_bytes: 0,
    };
    engine.submit(Submission {
        tag: 2,
        slots,
        reads: vec![read],
    });
    receive.recv().unwrap().unwrap();
}
