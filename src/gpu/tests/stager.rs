//! Stages, their memory, and what is copied to them.

use super::*;

#[test]
fn no_slot_and_no_stage_is_used_again_before_its_event() {
    for seed in 0..40 {
        let stand_in = StandIn::stopped(seed);
        while_stepping(&stand_in, || {
            let (gpu, pool) = setup(&stand_in, 5);
            let kernels = [gpu.stream().unwrap(), gpu.stream().unwrap()];
            let stagers = [2, 3, 3].map(|n_stages| {
                Stager::<Block>::new(&gpu, &gpu.stream().unwrap(), config(n_stages)).unwrap()
            });
            let mut held: [VecDeque<OnDevice<Block>>; 3] = Default::default();
            let mut read = Vec::new();
            for k in 0..120u8 {
                // Blocks until a copy is over: were it given back too early, the next line would spoil the copy.
                let slot = pool.take(1).unwrap().remove(0);
                let which = usize::from(k) * 7 % 3;
                let copied = stagers[which].copy(vec![Block::new(slot, k)]).unwrap().remove(0);
                let stream = &kernels[usize::from(k) % 2];
                let &[tag, block] = copied.on(stream).unwrap() else {
                    panic!("two arrays")
                };
                read.push((k, 5, stand_in.launch_read(stream, tag.address, 5)));
                let bytes = stand_in.launch_read(stream, block.address, SLOT_BYTES);
                read.push((k, SLOT_BYTES, bytes));
                held[which].push_back(copied);
                if held[which].len() == stagers[which].config().n_stages - 1 {
                    // Its kernels may not have run yet.
                    held[which].pop_front();
                }
            }
            kernels.iter().for_each(|stream| stream.synchronize().unwrap());
            for (k, len, bytes) in read {
                assert_eq!(*bytes.lock().unwrap(), vec![k; len], "seed {seed}");
            }
            drop((held, stagers));
            assert_eq!(pool.free(), 5);
            assert_eq!(gpu.pinned_bytes(), stand_in.counts().registered_bytes);
        });
        assert_clean(&stand_in);
        let counts = stand_in.counts();
        assert_eq!(counts.pinned_copies, counts.copies.len());
        assert!(counts.copies.iter().all(|&len| len >= 4096));
    }
}

#[test]
#[allow(unsafe_code, reason = "does what the stager must not do")]
fn the_stand_in_catches_memory_that_is_written_too_early() {
    let stand_in = StandIn::stopped(1);
    let (gpu, pool) = setup(&stand_in, 1);
    let mut slot = pool.take(1).unwrap().remove(0);
    slot.as_mut_slice().fill(1);
    let (stream, memory) = (gpu.stream().unwrap(), gpu.allocate(SLOT_BYTES).unwrap());
    let from = slot.as_slice().as_ptr();
    // SAFETY: the slot outlives the copy; it is written, so that the copy has other bytes, which is what is shown.
    unsafe { stand_in.copy_to_device(memory.start, from, SLOT_BYTES, stream.raw()) }.unwrap();
    slot.as_mut_slice().fill(2);
    while stand_in.step() {}
    assert_eq!(stand_in.device_bytes(memory.start, 3).unwrap(), [2, 2, 2]);
}

#[test]
fn a_source_goes_back_when_its_event_occurs_and_not_before() {
    let stand_in = StandIn::stopped(2);
    let (gpu, pool) = setup(&stand_in, 2);
    let stager = Stager::new(&gpu, &gpu.stream().unwrap(), config(2)).unwrap();
    let slot = pool.take(1).unwrap().remove(0);
    let copied = stager.copy(vec![Block::new(slot, 9)]).unwrap();
    // begin, two copies: all but the event.
    while stand_in.counts().pending > 1 {
        assert!(stand_in.step());
        assert_eq!(pool.free(), 1);
    }
    assert!(stand_in.step());
    while pool.free() < 2 {
        thread::yield_now();
    }
    assert_eq!(*copied[0].host_part(), 9);
    assert_eq!(
        copied[0].read_back(1, stager.stream()).unwrap(),
        vec![9; SLOT_BYTES]
    );
}

#[test]
fn memory_that_cannot_be_locked_is_copied_from_all_the_same_and_its_remedy_named_once() {
    let cases = [
        (code::OUT_OF_MEMORY, "ulimit -l unlimited"),
        (code::OPERATING_SYSTEM, "memlock"),
        (code::NOT_PERMITTED, "--cap-add IPC_LOCK"),
        (code::ALREADY_REGISTERED, "other library"),
        (code::NOT_SUPPORTED, "platform"),
        (code::INVALID_VALUE, "dmesg"),
        (12345, "CUDA error 12345"),
    ];
    for (code, remedy) in cases {
        let stand_in = StandIn::new(3).refusing(Refusals {
            register: Some((0, code)),
            ..Refusals::default()
        });
        {
            let (gpu, pool) = setup(&stand_in, 3);
            let said = gpu.degraded().unwrap().to_owned();
            assert!(said.contains(remedy), "{said}");
            let stager = Stager::new(&gpu, &gpu.stream().unwrap(), config(3)).unwrap();
            let blocks = pool
                .take(3)
                .unwrap()
                .into_iter()
                .zip(1..)
                .map(|(slot, k)| Block::new(slot, k));
            for (copied, k) in stager.copy(blocks.collect()).unwrap().iter().zip(1..) {
                assert_eq!(copied.read_back(0, stager.stream()).unwrap(), [k; 5]);
                assert_eq!(copied.read_back(1, stager.stream()).unwrap(), vec![k; SLOT_BYTES]);
            }
            let counts = stand_in.counts();
            // The second try, for the gathered bytes, is not made.
            assert_eq!((counts.registrations, counts.pinned_copies), (1, 0));
            assert_eq!((gpu.pinned_bytes(), gpu.degraded()), (0, Some(said.as_str())));
        }
        assert_clean(&stand_in);
    }
}

#[test]
fn gathered_bytes_are_pageable_where_only_the_pool_can_be_locked() {
    let stand_in = StandIn::new(4).refusing(Refusals {
        register: Some((1, code::OUT_OF_MEMORY)),
        ..Refusals::default()
    });
    {
        let (gpu, pool) = setup(&stand_in, 1);
        assert!(gpu.degraded().is_none());
        let stager = Stager::new(&gpu, &gpu.stream().unwrap(), config(2)).unwrap();
        let block = Block::new(pool.take(1).unwrap().remove(0), 3);
        let copied = stager.copy(vec![block]).unwrap().remove(0);
        assert_eq!(copied.read_back(0, stager.stream()).unwrap(), [3; 5]);
        assert!(gpu.degraded().unwrap().contains("ulimit"));
        let counts = stand_in.counts();
        assert_eq!((counts.copies.len(), counts.pinned_copies), (2, 1));
        assert_eq!(gpu.pinned_bytes(), counts.registered_bytes);
    }
    assert_clean(&stand_in);
}

#[test]
fn a_refused_copy_or_allocation_is_an_error_that_leaves_nothing_behind() {
    let at_copy = |copies| Refusals {
        copy: Some((copies, code::UNKNOWN)),
        ..Refusals::default()
    };
    let at_allocation = Refusals {
        allocate: Some((0, code::OUT_OF_MEMORY)),
        ..Refusals::default()
    };
    let cases = [
        (
            at_copy(0),
            "cuMemcpyHtoDAsync was refused with CUDA_ERROR_UNKNOWN (999)",
        ),
        // One is on its way already.
        (at_copy(1), "cannot continue"),
        (at_allocation, "GPU memory could not be allocated"),
    ];
    for (refusals, says) in cases {
        let stand_in = StandIn::new(5).refusing(refusals);
        {
            let (gpu, pool) = setup(&stand_in, 1);
            let stager = Stager::new(&gpu, &gpu.stream().unwrap(), config(2)).unwrap();
            // Three times: no stage may be lost.
            for _ in 0..3 {
                let block = Block::new(pool.take(1).unwrap().remove(0), 3);
                let error = stager.copy(vec![block]).unwrap_err().to_string();
                assert!(error.contains(says), "{error}");
                assert_eq!((pool.free(), stand_in.counts().pending), (1, 0));
            }
        }
        assert_clean(&stand_in);
    }
}

#[test]
fn what_a_lost_device_may_still_read_is_never_used_again() {
    // All but the event after the copies.
    for happened in 0..4 {
        let stand_in = StandIn::stopped(6);
        let (gpu, pool) = setup(&stand_in, 2);
        let stager = Stager::new(&gpu, &gpu.stream().unwrap(), config(2)).unwrap();
        let kernels = gpu.stream().unwrap();
        let block = Block::new(pool.take(1).unwrap().remove(0), 3);
        let copied = stager.copy(vec![block]).unwrap().remove(0);
        for _ in 0..happened {
            assert!(stand_in.step());
        }
        let _ = stand_in.clone().refusing(Refusals {
            lost_after: Some(happened),
            ..Refusals::default()
        });
        let error = stager.copy(vec![]).unwrap_err();
        assert!(
            error.to_string().contains("CUDA_ERROR_ILLEGAL_ADDRESS"),
            "{error}"
        );
        drop(stager);
        assert_eq!(pool.free(), 1, "the slot under way is gone for good");
        assert!(copied.on(&kernels).is_err());
        drop((copied, kernels, pool, gpu));
        assert!(stand_in.counts().registered > 0, "and its pages stay locked");
    }
}

#[test]
fn a_panic_or_an_early_drop_gives_everything_back() {
    for seed in 0..20 {
        let stand_in = StandIn::new(seed);
        let pool = {
            let (gpu, pool) = setup(&stand_in, 4);
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                let stager = Stager::new(&gpu, &gpu.stream().unwrap(), config(2)).unwrap();
                let blocks = |n| {
                    pool.take(n)
                        .unwrap()
                        .into_iter()
                        .map(|slot| Block::new(slot, 1))
                        .collect()
                };
                let first = stager.copy(blocks(2)).unwrap();
                let second = stager.copy(blocks(2)).unwrap();
                if seed % 2 == 0 {
                    // What is on the device outlives what brought it there.
                    drop(stager);
                    assert_eq!(
                        first[1].read_back(1, &gpu.stream().unwrap()).unwrap(),
                        vec![1; SLOT_BYTES]
                    );
                }
                std::hint::black_box(&second);
                std::panic::resume_unwind(Box::new("on purpose"));
            }));
            assert!(panicked.is_err());
            pool
        };
        assert_eq!(pool.free(), 4);
        // Only the pool is left, and with it its registration.
        let counts = stand_in.counts();
        assert_eq!((counts.registered, counts.allocations, counts.handles), (1, 0, 0));
        drop(pool);
        assert_clean(&stand_in);
    }
}

#[test]
fn a_stage_that_grows_waits_for_kernels_on_the_stream_of_the_copies() {
    let stand_in = StandIn::stopped(8);
    let (gpu, pool) = setup(&stand_in, 3);
    let stager = Stager::new(&gpu, &gpu.stream().unwrap(), config(2)).unwrap();
    let block = || Block::new(pool.take(1).unwrap().remove(0), 6);
    let first = stager.copy(vec![block()]).unwrap().remove(0);
    let address = first.on(stager.stream()).unwrap()[1].address;
    while stand_in.step() {}
    let read = stand_in.launch_read(stager.stream(), address, SLOT_BYTES);
    drop(first);
    // In the other stage, so that the next one is the first stage's.
    drop(stager.copy(vec![block()]).unwrap());
    let mut large = block();
    large.tag = vec![6; 5 << 20];
    thread::scope(|scope| {
        let copy = scope.spawn(|| stager.copy(vec![large]).map(drop));
        // Time to free the memory under the kernel, for a stager with that bug; this one waits.
        for _ in 0..100 {
            #[allow(clippy::disallowed_methods, reason = "nobody announces that a thread waits")]
            thread::sleep(std::time::Duration::from_millis(1));
        }
        stand_in.run();
        copy.join().unwrap().unwrap();
    });
    stager.stream().synchronize().unwrap();
    assert_eq!(*read.lock().unwrap(), vec![6; SLOT_BYTES]);
}

#[test]
fn stages_that_are_all_in_use_are_an_error() {
    let stand_in = StandIn::new(7);
    let (gpu, pool) = setup(&stand_in, 3);
    let stager = Stager::new(&gpu, &gpu.stream().unwrap(), config(2)).unwrap();
    let block = || Block::new(pool.take(1).unwrap().remove(0), 1);
    let held = [
        stager.copy(vec![block()]).unwrap(),
        stager.copy(vec![block()]).unwrap(),
    ];
    let error = stager.copy(vec![block()]).unwrap_err();
    assert!(
        matches!(error.cause(), Cause::Gpu(GpuError::NoStage { n_stages: 2 })),
        "{error}"
    );
    assert!(error.to_string().contains("StagerConfig::grow"), "{error}");
    drop(held);
    stager.copy(vec![block()]).unwrap();
    for (n_stages, unit_bytes) in [(1, 4096), (17, 4096), (2, 0), (2, (1 << 30) + 1)] {
        let config = config(n_stages).unit_bytes(unit_bytes);
        let stager = Stager::<Block>::new(&gpu, &gpu.stream().unwrap(), config);
        assert!(matches!(stager, Err(error) if matches!(error.cause(), Cause::Gpu(GpuError::Config { .. }))));
    }
}

#[test]
fn a_stager_that_may_grow_keeps_whatever_is_held() {
    let stand_in = StandIn::new(9);
    let (gpu, pool) = setup(&stand_in, 2);
    let stream = gpu.stream().unwrap();
    let stager = Stager::new(&gpu, &stream, config(2).grow(true)).unwrap();
    let copy = |k| {
        let block = Block::new(pool.take(1).unwrap().remove(0), k);
        stager.copy(vec![block]).unwrap().remove(0)
    };
    let held: Vec<_> = (0..40).map(copy).collect();
    assert_eq!(stand_in.counts().allocations, 40);
    for (k, copied) in held.iter().enumerate() {
        assert_eq!(copied.read_back(1, &stream).unwrap(), vec![k as u8; SLOT_BYTES]);
    }
    drop(held);
    // What was given back is used before more is made.
    (0..40).for_each(|k| drop(copy(k)));
    assert_eq!(stand_in.counts().allocations_made, 40);
    drop((stager, stream, gpu, pool));
    assert_clean(&stand_in);
}
#[test]
fn events_of_several_threads_do_not_mix() {
    let stand_in = StandIn::new(10);
    let (gpu, pool) = setup(&stand_in, 8);
    let wrong = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for thread in 0..4u8 {
            let (gpu, pool, wrong) = (&gpu, &pool, &wrong);
            scope.spawn(move || {
                let stager = Stager::new(gpu, &gpu.stream().unwrap(), config(2)).unwrap();
                for k in 0..50u8 {
                    let content = thread * 50 + k;
                    let slot = pool.take(1).unwrap().remove(0);
                    let copied = stager.copy(vec![Block::new(slot, content)]).unwrap().remove(0);
                    if copied.read_back(1, stager.stream()).unwrap() != vec![content; SLOT_BYTES] {
                        wrong.lock().unwrap().push(content);
                    }
                }
            });
        }
    });
    assert_eq!(*wrong.lock().unwrap(), Vec::<u8>::new());
    assert_eq!(pool.free(), 8);
}
