//! What every backend must do.

use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;

const MIB: usize = 1 << 20;

/// Runs all of it with one configuration.
pub(super) fn run(config: &EngineConfig) {
    run_on(&Bench::new(&[5 * MIB + 1234, 777, 4096 * 3]), config);
}

/// Runs all of it on three files, the first of which has more than 5 MiB.
pub(super) fn run_on(bench: &Bench, config: &EngineConfig) {
    let seed = rand_seed();
    eprintln!("seed {seed}");
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    let pool = Pool::new(12, 5 * MIB / 2).unwrap();
    let Some((engine, _)) = bench.engine(config, &pool) else {
        return;
    };
    assert_eq!(
        engine.choice().attempts.last().unwrap().method,
        engine.choice().method
    );
    assert!(engine.alignment().is_power_of_two() && engine.alignment() <= 4096);
    eprintln!("{}", engine.choice().reason);
    drop(engine);
    random_reads(bench, config, &pool, rng);
    ten_thousand_reads(bench, config, &pool, rng);
    nothing_to_read(bench, config, &pool);
    rules_are_checked(bench, config, &pool);
    two_engines_share_a_pool(bench, config, &pool, rng);
    dropped_with_reads_in_flight(bench, config, &pool, rng);
    exhausted_pool_holds_back(bench, config);
    a_leaked_slot_is_only_lost(bench, config);
    a_panicking_caller_is_told(bench, config, &pool);
    dropped_by_its_own_completion(bench, config, &pool);
    deleted_files_stay_readable(config, &pool, rng);
    truncated_files_are_noticed(config, &pool);
    assert_eq!(pool.free(), pool.n_slots());
}

fn start(bench: &Bench, config: &EngineConfig, pool: &Pool) -> (Engine, Receiver<Completion>) {
    bench.engine(config, pool).expect("it could be started before")
}

fn random_reads(bench: &Bench, config: &EngineConfig, pool: &Pool, rng: &mut ChaCha8Rng) {
    let (engine, done) = start(bench, config, pool);
    let alignment = engine.alignment();
    let mut expected_bytes = 0;
    for round in 0..6 {
        let tags = round * 4..round * 4 + 4;
        for tag in tags.clone() {
            let slots = pool.take(rng.random_range(1..4)).unwrap();
            let submission = bench.submission(tag, slots, alignment, rng);
            for read in &submission.reads {
                let left = bench.contents[read.file as usize].len() as u64 - read.offset_bytes;
                expected_bytes += u64::from(read.len_bytes).min(left);
            }
            engine.submit(submission);
        }
        let mut seen: Vec<_> = tags
            .clone()
            .map(|_| {
                let completion = done.recv().unwrap();
                completion.result.as_ref().unwrap();
                bench.check(&completion);
                completion.tag
            })
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, tags.collect::<Vec<_>>());
    }
    let stats = engine.stats();
    assert_eq!((stats.submissions, stats.errors), (24, 0));
    assert!(stats.bytes >= expected_bytes && stats.reads > 24, "{stats:?}");
    assert_eq!(
        stats.enter_calls > 0,
        engine.choice().method.backend == Backend::Uring && config.sim.is_none()
    );
    drop(engine);
    assert!(done.recv().is_err(), "more completions than submissions");
}

fn ten_thousand_reads(bench: &Bench, config: &EngineConfig, pool: &Pool, rng: &mut ChaCha8Rng) {
    let (engine, done) = start(bench, config, pool);
    let unit = u64::from(engine.alignment().max(256));
    let per_slot = pool.slot_bytes() as u64 / unit;
    let n_slots = 10_000u64.div_ceil(per_slot) as usize;
    // A device of 4 KiB sectors would need more slots than there are.
    let n_reads = 10_000.min(per_slot * pool.n_slots() as u64);
    let mut slots = pool.take(n_slots.min(pool.n_slots())).unwrap();
    slots
        .iter_mut()
        .for_each(|slot| slot.as_mut_slice().fill(UNTOUCHED));
    let reads = (0..n_reads).map(|i| Read {
        file: 0,
        offset_bytes: rng.random_range(0..(5 * MIB) as u64 / unit) * unit,
        len_bytes: unit as u32,
        slot: (i / per_slot) as u32,
        slot_offset_bytes: (i % per_slot * unit) as u32,
    });
    engine.submit(submission(9, slots, reads.collect()));
    let completion = done.recv().unwrap();
    completion.result.as_ref().unwrap();
    assert_eq!(completion.reads.len() as u64, n_reads);
    bench.check(&completion);
}

fn nothing_to_read(bench: &Bench, config: &EngineConfig, pool: &Pool) {
    let (engine, done) = start(bench, config, pool);
    engine.submit(submission(1, Vec::new(), Vec::new()));
    assert!(done.recv().unwrap().result.is_ok());
    engine.submit(submission(2, pool.take(1).unwrap(), vec![read(0, 0); 3]));
    let completion = done.recv().unwrap();
    assert!(completion.result.is_ok());
    assert_eq!(
        (completion.tag, completion.slots.len(), completion.reads.len()),
        (2, 1, 3)
    );
    // Between reads of some bytes as well.
    let mut slots = pool.take(1).unwrap();
    slots[0].as_mut_slice().fill(UNTOUCHED);
    engine.submit(submission(
        3,
        slots,
        vec![read(0, 0), read(4096, 4096), read(0, 0)],
    ));
    let completion = done.recv().unwrap();
    assert!(completion.result.is_ok());
    bench.check(&completion);
}

fn rules_are_checked(bench: &Bench, config: &EngineConfig, pool: &Pool) {
    let (engine, done) = start(bench, config, pool);
    let slot_bytes = pool.slot_bytes() as u32;
    let mut cases = vec![
        (
            Read {
                file: 3,
                ..read(0, 4096)
            },
            "file 3 of 3",
        ),
        (
            Read {
                slot: 1,
                ..read(0, 4096)
            },
            "slot 1 of 1",
        ),
        (
            Read {
                slot_offset_bytes: slot_bytes,
                ..read(0, 4096)
            },
            "do not fit a slot",
        ),
        (
            Read {
                slot_offset_bytes: u32::MAX - 4095,
                ..read(0, 4096)
            },
            "do not fit a slot",
        ),
        (read(5 * MIB as u64, 8192), "past the end"),
        (read(u64::MAX - 4095, 4096), "past the end"),
    ];
    if engine.alignment() > 1 {
        cases.push((read(1, 4096), "multiples of"));
        cases.push((read(0, 4095), "multiples of"));
        cases.push((
            Read {
                slot_offset_bytes: 7,
                ..read(0, 4096)
            },
            "multiples of",
        ));
    }
    for (broken, words) in cases {
        engine.submit(submission(5, pool.take(1).unwrap(), vec![read(0, 0), broken]));
        let completion = done.recv().unwrap();
        assert_eq!((completion.tag, completion.slots.len()), (5, 1));
        match completion.result {
            Err(EngineError::InvalidRead { read: 1, problem }) => {
                assert!(problem.contains(words), "{problem}")
            }
            other => panic!("{broken:?}: {other:?}"),
        }
    }
    for reads in [[read(0, 8192), read(0, 4096)], [read(8192, 4096), read(0, 8192)]] {
        engine.submit(submission(6, pool.take(1).unwrap(), reads.to_vec()));
        let error = done.recv().unwrap().result.unwrap_err().to_string();
        assert!(error.contains("overlaps"), "{error}");
    }
    let other = Pool::new(1, 1 << 16).unwrap();
    engine.submit(submission(7, other.take(1).unwrap(), vec![read(0, 4096)]));
    assert!(matches!(
        done.recv().unwrap().result,
        Err(EngineError::ForeignSlot { slot: 0 })
    ));
    assert_eq!(engine.stats().reads, 0);
}

fn two_engines_share_a_pool(bench: &Bench, config: &EngineConfig, pool: &Pool, rng: &mut ChaCha8Rng) {
    let engines = [start(bench, config, pool), start(bench, config, pool)];
    for tag in 0..6 {
        for (engine, _) in &engines {
            engine.submit(bench.submission(tag, pool.take(1).unwrap(), engine.alignment(), rng));
        }
    }
    for (_, done) in &engines {
        for _ in 0..6 {
            let completion = done.recv().unwrap();
            completion.result.as_ref().unwrap();
            bench.check(&completion);
        }
    }
}

fn dropped_with_reads_in_flight(bench: &Bench, config: &EngineConfig, pool: &Pool, rng: &mut ChaCha8Rng) {
    for _ in 0..8 {
        let (engine, done) = start(bench, config, pool);
        for tag in 0..6 {
            engine.submit(bench.submission(tag, pool.take(2).unwrap(), engine.alignment(), rng));
        }
        drop(engine);
        // The engine is gone: whoever writes to the slots now is a bug.
        let mut completions = BTreeMap::new();
        while let Ok(mut completion) = done.recv() {
            match &completion.result {
                Ok(()) => bench.check(&completion),
                Err(EngineError::Stopped) => (),
                Err(other) => panic!("{other}"),
            }
            completion
                .slots
                .iter_mut()
                .for_each(|slot| slot.as_mut_slice().fill(0x55));
            assert!(
                completions.insert(completion.tag, completion).is_none(),
                "completed twice"
            );
        }
        assert_eq!(completions.len(), 6);
        #[allow(
            clippy::disallowed_methods,
            reason = "gives a read that was left in flight the time to do its harm"
        )]
        std::thread::sleep(Duration::from_millis(3));
        for slot in completions.values().flat_map(|completion| &completion.slots) {
            assert!(
                slot.as_slice().iter().all(|&byte| byte == 0x55),
                "written to after the engine was dropped"
            );
        }
    }
}

fn exhausted_pool_holds_back(bench: &Bench, config: &EngineConfig) {
    let pool = Pool::new(3, 1 << 16).unwrap();
    let (send, results) = mpsc::channel();
    // The slots go back to the pool when the function returns, and only that lets the loop below go on.
    let engine = Engine::start(&bench.paths, &pool, config, move |completion| {
        drop(send.send(completion.result))
    });
    let engine = engine.unwrap();
    for i in 0..300 {
        let slots = pool.take(1 + i % 3).unwrap();
        engine.submit(submission(
            i as u64,
            slots,
            vec![read(4096 * (i as u64 % 1000), 1 << 16)],
        ));
    }
    drop(engine);
    assert_eq!(pool.free(), 3);
    let results: Vec<_> = results.iter().collect();
    assert_eq!(results.len(), 300);
    let stopped = results
        .iter()
        .filter(|result| matches!(result, Err(EngineError::Stopped)))
        .count();
    assert_eq!(
        results.iter().filter(|result| result.is_ok()).count() + stopped,
        300
    );
    assert!(
        stopped <= 3,
        "{stopped} were waiting for the device when there were 3 slots"
    );
}

fn a_leaked_slot_is_only_lost(bench: &Bench, config: &EngineConfig) {
    let pool = Pool::new(2, 1 << 16).unwrap();
    let (engine, done) = start(bench, config, &pool);
    engine.submit(submission(1, pool.take(1).unwrap(), vec![read(0, 4096)]));
    std::mem::forget(done.recv().unwrap());
    engine.submit(submission(2, pool.take(1).unwrap(), vec![read(0, 4096)]));
    assert!(done.recv().unwrap().result.is_ok());
    drop(engine);
    assert_eq!(pool.free(), 1);
}

fn a_panicking_caller_is_told(bench: &Bench, config: &EngineConfig, pool: &Pool) {
    let engine = Engine::start(&bench.paths, pool, config, |completion| {
        assert!(completion.tag != 1, "this panic is part of the test");
    });
    let engine = engine.unwrap();
    engine.submit(submission(1, pool.take(1).unwrap(), vec![read(0, 4096)]));
    // The slot comes back while the stack is unwound, a little before the panic is noted.
    let free = pool.n_slots();
    while pool.free() != free || !engine.outlet.has_panicked() {
        std::thread::yield_now();
    }
    let again = panic::catch_unwind(AssertUnwindSafe(|| {
        engine.submit(submission(2, Vec::new(), Vec::new()))
    }));
    assert!(again.is_err());
}

fn dropped_by_its_own_completion(bench: &Bench, config: &EngineConfig, pool: &Pool) {
    let cell: Arc<Mutex<Option<Engine>>> = Arc::default();
    let (send, receive) = mpsc::channel();
    let inside = Arc::clone(&cell);
    let engine = Engine::start(&bench.paths, pool, config, move |completion| {
        let engine = inside.lock().unwrap().take();
        drop(engine);
        send.send(completion).unwrap();
    });
    let mut place = cell.lock().unwrap();
    let engine = place.insert(engine.unwrap());
    engine.submit(submission(1, pool.take(1).unwrap(), vec![read(0, 4096)]));
    drop(place);
    assert!(receive.recv().unwrap().result.is_ok());
    // The engine's thread ends on its own, and with it the sender.
    assert!(receive.recv().is_err());
}

fn deleted_files_stay_readable(config: &EngineConfig, pool: &Pool, rng: &mut ChaCha8Rng) {
    let bench = Bench::new(&[MIB]);
    let (engine, done) = start(&bench, config, pool);
    fs::remove_file(&bench.paths[0]).unwrap();
    engine.submit(bench.submission(1, pool.take(1).unwrap(), engine.alignment(), rng));
    let completion = done.recv().unwrap();
    completion.result.as_ref().unwrap();
    bench.check(&completion);
    let gone = Engine::start(&bench.paths, pool, config, drop).unwrap_err();
    assert!(
        matches!(&gone, EngineError::Open { path, .. } if *path == bench.paths[0]),
        "{gone}"
    );
    assert!(matches!(
        Engine::start(&[bench.dir.path().to_owned()], pool, config, drop),
        Err(EngineError::Open { .. })
    ));
}

fn truncated_files_are_noticed(config: &EngineConfig, pool: &Pool) {
    for cut in [0, 4096 * 20, 4096 * 20 + 700] {
        let bench = Bench::new(&[MIB]);
        let (engine, done) = start(&bench, config, pool);
        let file = fs::OpenOptions::new().write(true).open(&bench.paths[0]).unwrap();
        file.set_len(cut).unwrap();
        // Across the cut, wholly behind it, and in front of it.
        for (offset, len, survives) in [
            (4096 * 16, 4096 * 8, false),
            (MIB as u64 - 4096, 4096, false),
            (0, 4096, cut > 0),
        ] {
            engine.submit(submission(offset, pool.take(1).unwrap(), vec![read(offset, len)]));
            let completion = done.recv().unwrap();
            assert_eq!(completion.slots.len(), 1);
            match completion.result {
                Ok(()) => assert!(survives, "cut at {cut}, read at {offset}"),
                Err(EngineError::Truncated {
                    path,
                    offset_bytes,
                    found_bytes,
                    end_bytes,
                    ..
                }) => {
                    assert!(
                        !survives && path == bench.paths[0],
                        "cut at {cut}, read at {offset}"
                    );
                    assert!((offset..offset + u64::from(len)).contains(&offset_bytes));
                    assert_eq!(end_bytes, offset + u64::from(len));
                    assert!(offset_bytes + u64::from(found_bytes) <= cut.max(offset));
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
}
