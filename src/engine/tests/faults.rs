//! What a device that fails on purpose brings to light; every failure prints its seed.

use super::*;

/// Runs random submissions on a faulty device and hands each completion to `check`.
fn torture(
    faults: &Faults,
    n_submissions: u64,
    check: impl Fn(&Bench, &Completion),
) -> super::super::EngineStats {
    eprintln!("{faults:?}");
    let bench = Bench::new(&[300_000, 5000]);
    let pool = Pool::new(8, 1 << 17).unwrap();
    let config = EngineConfig {
        sim: Some(faults.clone()),
        ..EngineConfig::default()
    };
    let (engine, done) = bench.engine(&config, &pool).unwrap();
    let rng = &mut ChaCha8Rng::seed_from_u64(faults.seed);
    let mut seen = Vec::new();
    let mut take_one = || {
        let completion = done.recv().unwrap();
        assert!(!completion.slots.is_empty());
        check(&bench, &completion);
        seen.push(completion.tag);
    };
    for tag in 0..n_submissions {
        if tag >= 4 {
            take_one();
        }
        engine.submit(bench.submission(tag, pool.take(2).unwrap(), engine.alignment(), rng));
    }
    (0..n_submissions.min(4)).for_each(|_| take_one());
    let stats = engine.stats();
    drop(engine);
    seen.sort_unstable();
    assert_eq!(seen, (0..n_submissions).collect::<Vec<_>>());
    assert_eq!(pool.free(), 8);
    stats
}

#[test]
fn short_and_interrupted_reads_go_on_until_all_is_there() {
    for (alignment, seed) in [(1, rand_seed()), (512, rand_seed()), (4096, rand_seed())] {
        let faults = Faults {
            short: 0.3,
            eagain: 0.1,
            eintr: 0.1,
            alignment,
            depth: 1 + seed as u32 % 40,
            ..Faults::none(seed)
        };
        let stats = torture(&faults, 20, |bench, completion| {
            completion.result.as_ref().unwrap();
            bench.check(completion);
        });
        assert!(
            stats.short_reads > 0 && stats.retries > 0 && stats.errors == 0,
            "{stats:?}"
        );
    }
}

#[test]
fn an_error_of_the_device_fails_its_submission_and_no_other() {
    let faults = Faults {
        eio: 0.02,
        short: 0.1,
        ..Faults::none(rand_seed())
    };
    let stats = torture(&faults, 60, |bench, completion| match &completion.result {
        Ok(()) => bench.check(completion),
        Err(EngineError::Read {
            path,
            offset_bytes,
            source,
            ..
        }) => {
            assert_eq!(source.raw_os_error(), Some(libc::EIO));
            let file = bench.paths.iter().position(|p| p == path).unwrap();
            assert!(*offset_bytes < bench.contents[file].len() as u64);
            assert!(
                completion
                    .reads
                    .iter()
                    .any(|read| read.file == file as u32 && read.offset_bytes <= *offset_bytes)
            );
        }
        Err(other) => panic!("{other}"),
    });
    assert!(stats.errors > 0, "{stats:?}");
}

#[test]
fn a_device_that_never_recovers_is_given_up() {
    for (eagain, eintr, code) in [(1.0, 0.0, libc::EAGAIN), (0.0, 1.0, libc::EINTR)] {
        let faults = Faults {
            eagain,
            eintr,
            ..Faults::none(rand_seed())
        };
        torture(&faults, 3, |_, completion| match &completion.result {
            Err(EngineError::Read { source, .. }) => assert_eq!(source.raw_os_error(), Some(code)),
            other => panic!("{other:?}"),
        });
    }
}

#[test]
fn a_file_that_ends_early_is_truncated_wherever_it_is_cut() {
    for cut_bytes in [0, 1, 511, 512, 4096, 4097, 100_000] {
        let faults = Faults {
            cut_bytes: Some(cut_bytes),
            short: 0.2,
            ..Faults::none(rand_seed())
        };
        torture(&faults, 8, |bench, completion| match &completion.result {
            Ok(()) => bench.check(completion),
            Err(EngineError::Truncated {
                offset_bytes,
                found_bytes,
                expected_bytes,
                end_bytes,
                ..
            }) => {
                assert!(found_bytes < expected_bytes);
                assert!(*end_bytes > cut_bytes && offset_bytes + u64::from(*expected_bytes) == *end_bytes);
            }
            Err(other) => panic!("{other}"),
        });
    }
}

#[test]
fn dropping_the_engine_leaves_nothing_undone() {
    for seed in 0..20 {
        let bench = Bench::new(&[300_000]);
        let pool = Pool::new(6, 1 << 17).unwrap();
        let faults = Faults {
            short: 0.3,
            eagain: 0.3,
            eio: 0.01,
            ..Faults::none(seed)
        };
        let config = EngineConfig {
            sim: Some(faults),
            ..EngineConfig::default()
        };
        let (engine, done) = bench.engine(&config, &pool).unwrap();
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        for tag in 0..6 {
            engine.submit(bench.submission(tag, pool.take(1).unwrap(), engine.alignment(), rng));
        }
        drop(engine);
        assert_eq!(done.iter().count(), 6, "seed {seed}");
        assert_eq!(pool.free(), 6, "seed {seed}");
    }
}
