//! Calls that a sandbox refuses, threads that cannot be started, and forks.

use std::path::Path;
use std::process;
use std::sync::mpsc;

use cellring::__internal::buffer::Pool;
use cellring::engine::{Backend, Direct, Engine, EngineConfig, EngineError, Read, Submission};

use crate::seccomp::{Threads, refuse_calls};
use crate::{LEN, LIMIT, config, file, in_child, in_child_with_a_ring, read_all, ring_and_direct_work};

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
fn a_forked_child_is_told_to_start_its_own_engine() {
    let (_dir, path) = file();
    in_child("fork", &path);
}

pub(super) fn refused_ring(path: &Path, calls: &[libc::c_long], code: i32, step: &str, remedy: &str) {
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
pub(super) fn refused_later(path: &Path) {
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
pub(super) fn no_threads(path: &Path) {
    refuse_calls(&[libc::SYS_clone, libc::SYS_clone3], libc::EAGAIN, Threads::This);
    for backend in [Backend::Auto, Backend::Uring, Backend::Pread, Backend::Mmap] {
        let error = read_all(path, &config(backend, Direct::Auto)).unwrap_err();
        assert!(
            matches!(error, EngineError::Thread { .. }) && error.to_string().contains("ulimit -u"),
            "{backend}: {error}"
        );
    }
}

pub(super) fn forked(path: &Path) {
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
