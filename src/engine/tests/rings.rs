//! Several rings, and windows that change.

use std::os::unix::fs::MetadataExt;

use super::*;

#[test]
fn two_rings_past_the_page_cache() {
    body::run(&EngineConfig {
        rings: Some(2),
        ..config(Backend::Uring, Direct::On)
    });
}

#[test]
fn three_rings_through_the_page_cache_without_registered_buffers() {
    body::run(&EngineConfig {
        rings: Some(3),
        no_registered_buffers: true,
        ..config(Backend::Uring, Direct::Off)
    });
}

#[test]
fn one_ring_that_changes_its_depth_all_the_time() {
    body::run(&EngineConfig {
        is_hasty: true,
        ..config(Backend::Uring, Direct::On)
    });
}

#[test]
fn two_rings_that_change_their_depth_all_the_time() {
    body::run(&EngineConfig {
        rings: Some(2),
        is_hasty: true,
        ..config(Backend::Uring, Direct::On)
    });
}

/// Reads 64 KiB at a time for a while, with more submissions at hand than any ring starts.
fn run_deep(
    bench: &Bench,
    config: &EngineConfig,
    n_submissions: u64,
) -> Option<(Vec<u64>, super::super::EngineStats)> {
    const READ: u32 = 65536;
    let pool = Pool::new(24, 16 * READ as usize).unwrap();
    let (engine, done) = bench.engine(config, &pool)?;
    eprintln!("{}", engine.choice().reason);
    let rng = &mut ChaCha8Rng::seed_from_u64(rand_seed());
    let files: Vec<_> = (0..bench.contents.len())
        .filter(|&i| bench.contents[i].len() >= READ as usize)
        .collect();
    let mut depths = Vec::new();
    let mut left = n_submissions;
    for tag in 0..n_submissions + 24 {
        if tag >= 24 {
            let completion: Completion = done.recv().unwrap();
            completion.result.as_ref().unwrap();
            depths.push(engine.stats().depth);
        }
        if left > 0 {
            left -= 1;
            let read = |i: u32| {
                let file = files[rng.random_range(0..files.len())];
                let n_places = bench.contents[file].len() as u64 / u64::from(READ);
                Read {
                    file: file as u32,
                    offset_bytes: rng.random_range(0..n_places) * u64::from(READ),
                    len_bytes: READ,
                    slot: 0,
                    slot_offset_bytes: i * READ,
                }
            };
            engine.submit(submission(
                tag,
                pool.take(1).unwrap(),
                (0..16).map(read).collect(),
            ));
        }
    }
    let stats = engine.stats();
    assert_eq!(
        (stats.submissions, stats.reads),
        (n_submissions, n_submissions * 16)
    );
    Some((depths, stats))
}

#[test]
fn the_depth_is_reported_and_never_more_than_was_asked_for() {
    let bench = Bench::new(&[4 << 20]);
    for (depth, rings) in [(1, 1), (24, 1), (24, 2)] {
        let config = EngineConfig {
            depth: Some(depth),
            rings: Some(rings),
            ..config(Backend::Uring, Direct::On)
        };
        let Some((depths, stats)) = run_deep(&bench, &config, 60) else {
            return;
        };
        assert_eq!(stats.rings, u64::from(rings));
        assert_eq!(depths.iter().max(), Some(&u64::from(depth * rings)));
    }
}

#[test]
fn an_adaptive_ring_starts_with_four_mebibytes_and_tries_its_neighbours() {
    let bench = Bench::new(&[4 << 20]);
    let config = EngineConfig {
        is_hasty: true,
        rings: Some(1),
        ..config(Backend::Uring, Direct::On)
    };
    let Some((depths, _)) = run_deep(&bench, &config, 600) else {
        return;
    };
    eprintln!("{depths:?}");
    // 64 reads are 4 MiB; every other depth is this one, halved or doubled up to three times.
    assert!(depths.contains(&64) && depths.contains(&128), "{depths:?}");
    assert!(
        depths
            .iter()
            .all(|depth| [0, 16, 32, 64, 128, 256].contains(depth) || *depth > 256),
        "{depths:?}"
    );
}

#[test]
fn files_on_two_devices_have_a_ring_each() {
    let (mut bench, other) = (
        Bench::new(&[(5 << 20) + 1234, 1 << 20, 4096]),
        tempfile::tempdir_in("/dev/shm"),
    );
    let Ok(other) = other else {
        return eprintln!("skipped: there is no tmpfs at /dev/shm");
    };
    let moved = other.path().join("shard-1");
    fs::write(&moved, &bench.contents[1]).unwrap();
    bench.paths[1] = moved;
    let devices = [0, 1].map(|i| fs::metadata(&bench.paths[i]).unwrap().dev());
    if devices[0] == devices[1] {
        return eprintln!("skipped: the test binary is on the same device as /dev/shm");
    }
    for (rings, expected) in [(None, 2), (Some(1), 1), (Some(5), 5)] {
        let config = EngineConfig {
            rings,
            ..config(Backend::Uring, Direct::Off)
        };
        let Some((_, stats)) = run_deep(&bench, &config, 60) else {
            return;
        };
        assert_eq!(stats.rings, expected);
        body::run_on(&bench, &config);
    }
}
