//! Memory: the limit on what may be locked, and what is taken of a budget.

use std::fs;
use std::path::Path;
use std::sync::mpsc;

use cellring::__internal::buffer::{PageKind, Pool};
use cellring::engine::{Backend, Completion, Direct, Engine, EngineConfig, Read, Submission};

use crate::seccomp::{Threads, refuse_calls};
use crate::{LEN, LIMIT, config, content, in_child_with_a_ring, read_all};

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

pub(super) fn small_memlock(path: &Path) {
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
pub(super) fn refused_registration(path: &Path) {
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
pub(super) fn lazy(path: &Path) {
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
