//! Reading, decoding and consuming overlap: proven by holding one of them back and seeing how far the others get,
//! without a clock.

use std::time::{Duration, Instant};

use super::reads::read_bytes;
use super::*;
use crate::engine::sim::{Faults, Gate};
use crate::engine::{Backend, Direct, EngineConfig, EngineError};
use crate::error::Cause;
use crate::format::Encoding;
use crate::plan::SamplerConfig;
use crate::{ErrorKind, Minibatch};

const N_OBS: u32 = 1200;
const BATCH_SIZE: u32 = 2;
const FETCH_FACTOR: u32 = 30;
/// Fetches of an epoch; each fits one slot.
const N_FETCHES: u64 = (N_OBS / BATCH_SIZE / FETCH_FACTOR) as u64;

fn config(sim: Option<Faults>) -> LoaderConfig {
    let engine = EngineConfig {
        sim,
        ..EngineConfig::default()
    };
    LoaderConfig {
        sampler: SamplerConfig {
            block_size: 4,
            batch_size: BATCH_SIZE,
            fetch_factor: FETCH_FACTOR,
            ..SamplerConfig::default()
        },
        engine,
        decode_threads: 1,
        ..LoaderConfig::default()
    }
}

/// A loader whose reads come back, in their order, as the gate lets them.
fn gated(store: &Arc<Store>, gate: &Gate) -> Loader {
    let faults = Faults {
        depth: 1,
        gate: Some(gate.clone()),
        ..Faults::none(1)
    };
    Loader::new(store.clone(), config(Some(faults))).unwrap()
}

fn open_store(dir: &tempfile::TempDir) -> Arc<Store> {
    Arc::new(testing::store(dir.path(), Encoding::Packed, N_OBS))
}

/// Waits for something that is bound to happen. The limit is for a loader with a bug; nothing is measured.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(
            since.elapsed() < Duration::from_secs(120),
            "waited in vain: {what}"
        );
        #[allow(
            clippy::disallowed_methods,
            reason = "what is waited for is a state that nobody announces"
        )]
        std::thread::sleep(Duration::from_millis(1));
    }
}

type Content = (Vec<u64>, Vec<i32>, Vec<i32>, Vec<f32>);

fn content(minibatch: Minibatch) -> Content {
    (
        minibatch.obs().to_vec(),
        minibatch.indptr().to_vec(),
        minibatch.indices().to_vec(),
        minibatch.data().to_vec(),
    )
}

fn next(epoch: &mut Epoch) -> Content {
    content(epoch.next().unwrap().unwrap())
}

#[test]
fn fetches_are_read_ahead_and_decoded_while_later_ones_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_store(&dir);
    let expected: Vec<_> = Loader::new(store.clone(), config(None))
        .unwrap()
        .epoch(3)
        .unwrap()
        .map(|minibatch| content(minibatch.unwrap()))
        .collect();

    let gate = Gate::closed();
    let loader = gated(&store, &gate);
    let pool = loader.shared.pool.clone();
    let n_slots = pool.n_slots() as u64;
    assert!(1 < n_slots && n_slots < N_FETCHES, "{n_slots} slots");
    let mut epoch = loader.epoch(3).unwrap();
    let mut found = vec![];

    // Nobody has asked for a minibatch, no read is done: reads fill the budget, and no more than the budget.
    gate.wait_for_submissions(n_slots);
    until("planning waits for a slot", || pool.n_waiting() == 1);
    assert_eq!((gate.submitted(), pool.free()), (n_slots, 0));

    // One fetch has come in, all later ones are held back: every minibatch of it is decoded and can be taken.
    for fetch in 0..N_FETCHES {
        gate.let_through(1);
        for _ in 0..FETCH_FACTOR {
            found.push(next(&mut epoch));
        }
        // Its slot was free when it was decoded, and the next reads are under way before more is asked for.
        let submitted = N_FETCHES.min(n_slots + fetch + 1);
        gate.wait_for_submissions(submitted);
        assert_eq!(gate.submitted(), submitted);
    }
    assert!(epoch.next().is_none());
    assert!(found == expected);
}

#[test]
fn the_first_minibatch_waits_for_its_own_cells_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_store(&dir);
    let config = |sim| {
        let mut config = config(sim);
        config.sampler.fetch_factor = 2 * FETCH_FACTOR;
        config
    };
    let whole = Loader::new(store.clone(), config(None)).unwrap();
    let state = whole.epoch(3).unwrap().state_after(7);
    let expected: Vec<_> = whole
        .epoch(3)
        .unwrap()
        .map(|minibatch| content(minibatch.unwrap()))
        .collect();
    assert_eq!(expected.len() as u64, N_FETCHES * u64::from(FETCH_FACTOR));

    for n_before in [0, 7] {
        let gate = Gate::closed();
        let faults = Faults {
            depth: 1,
            gate: Some(gate.clone()),
            ..Faults::none(1)
        };
        let loader = Loader::new(store.clone(), config(Some(faults))).unwrap();
        let mut epoch = match n_before {
            0 => loader.epoch(3).unwrap(),
            _ => loader.resume(&state).unwrap(),
        };
        // Its own submission is done, no other is.
        gate.let_through(1);
        let mut found = vec![next(&mut epoch)];
        assert_eq!(found[0].0.len(), BATCH_SIZE as usize);
        // With the second one the others of the fetch are there, and none of the next fetch.
        gate.let_through(1);
        found.extend((n_before + 1..2 * FETCH_FACTOR as usize).map(|_| next(&mut epoch)));
        gate.open();
        found.extend(epoch.map(|minibatch| content(minibatch.unwrap())));
        assert!(found == expected[n_before..], "after {n_before}");
    }
}

#[test]
fn a_consumer_that_holds_still_stops_the_reads_when_the_budget_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let gate = Gate::closed();
    gate.open();
    let loader = gated(&open_store(&dir), &gate);
    let (pool, ahead) = (loader.shared.pool.clone(), loader.shared.memory.ahead);
    let n_slots = pool.n_slots() as u64;
    assert!(0 < ahead && ahead < u64::from(FETCH_FACTOR), "{ahead} ahead");
    let mut epoch = loader.epoch(0).unwrap();
    let pipeline = epoch.running.pipeline.clone();

    // Reads are never held back, and nobody takes a minibatch: what may wait is decoded, what fits is read.
    let at_rest = |submitted| {
        until("decoding is as far ahead as it may", || {
            pipeline.n_done() == ahead
        });
        gate.wait_for_submissions(submitted);
        until("planning waits for a slot", || pool.n_waiting() == 1);
        assert_eq!((gate.submitted(), pool.free()), (submitted, 0));
    };
    at_rest(n_slots);
    // The first fetch occupies its slot until its last minibatch is decoded. That is when `ahead` are left of it.
    for _ in 1..u64::from(FETCH_FACTOR) - ahead {
        next(&mut epoch);
        at_rest(n_slots);
    }
    next(&mut epoch);
    at_rest(n_slots + 1);
    // From there on it moves by whole fetches, at the consumer's pace.
    (0..FETCH_FACTOR).for_each(|_| drop(next(&mut epoch)));
    at_rest(n_slots + 2);
}

#[test]
fn an_epoch_that_is_dropped_early_gives_its_slots_back() {
    let dir = tempfile::tempdir().unwrap();
    let gate = Gate::closed();
    let loader = gated(&open_store(&dir), &gate);
    let pool = loader.shared.pool.clone();
    let n_slots = pool.n_slots() as u64;
    let mut epoch = loader.epoch(0).unwrap();
    gate.let_through(1);
    let kept = epoch.next().unwrap().unwrap();
    gate.wait_for_submissions(n_slots);
    // Planning waits for slots, which reads hold: dropping waits for those, and for nothing else.
    gate.open();
    drop(epoch);
    until("every slot is free", || pool.free() as u64 == n_slots);
    let minibatches = loader.epoch(1).unwrap().map(Result::unwrap).count();
    assert_eq!(minibatches as u64, N_FETCHES * u64::from(FETCH_FACTOR));
    assert_eq!(kept.n_obs(), BATCH_SIZE as usize);
}

#[test]
fn reads_are_as_long_as_the_device_takes_them_within_limits() {
    let kib = |n: u64| n << 10;
    assert_eq!(read_bytes(None), kib(512));
    for (request, expected) in [(4, 64), (64, 64), (128, 128), (256, 256), (512, 512), (1280, 512)] {
        assert_eq!(read_bytes(Some(kib(request))), kib(expected));
    }
}

/// Slots that the caller keeps may be those that the submitter waits for.
#[test]
fn an_epoch_ends_whoever_keeps_its_fetches() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_store(&dir);
    let config = LoaderConfig {
        memory_bytes: 1,
        ..config(None)
    };
    let loader = Loader::new(store, config).unwrap();
    let n_slots = loader.shared.pool.n_slots();
    assert!(
        (n_slots as u64) < N_FETCHES,
        "{n_slots} slots are fewer than fetches"
    );
    let mut fetches = loader.fetches(0).unwrap();
    let kept: Vec<_> = fetches.by_ref().take(n_slots).map(Result::unwrap).collect();
    assert_eq!(kept.len(), n_slots);
    let pool = fetches.loader().shared.pool.clone();
    until("the submitter waits for a slot", || pool.n_waiting() == 1);
    drop(fetches);
    assert_eq!(pool.n_waiting(), 0);
    drop(kept);
    let n_minibatches = loader.epoch(0).unwrap().map(Result::unwrap).count() as u64;
    assert_eq!(n_minibatches, N_FETCHES * u64::from(FETCH_FACTOR));
}

#[test]
fn an_engine_that_breaks_down_ends_this_epoch_and_every_later_one() {
    for backend in [Backend::Uring, Backend::Pread] {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(None);
        config.engine = EngineConfig {
            backend,
            direct: Direct::Off,
            threads: Some(1),
            panics_after: Some(3),
            ..EngineConfig::default()
        };
        let store = open_store(&dir);
        let (send, ends) = std::sync::mpsc::channel();
        // In a thread of its own, so that a loader that waits for ever is seen.
        std::thread::spawn(move || {
            let loader = match Loader::new(store, config) {
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    return send.send(Err(error)).unwrap();
                }
                loader => loader.unwrap(),
            };
            for number in 0..3 {
                let mut epoch = loader.epoch(number).unwrap();
                let error = epoch.find_map(Result::err);
                send.send(Ok((number, error, epoch.next().is_none()))).unwrap();
            }
        });
        for number in 0..3 {
            let end = match ends.recv_timeout(Duration::from_secs(120)).unwrap() {
                Ok(end) => end,
                Err(refused) => {
                    eprintln!("skipped: {refused}");
                    break;
                }
            };
            let (of, Some(error), true) = end else {
                panic!("{backend}: {end:?}");
            };
            assert_eq!(of, number);
            let is_right = match backend {
                Backend::Uring => matches!(error.cause(), Cause::Engine(EngineError::Ring { .. })),
                _ => matches!(error.cause(), Cause::Engine(EngineError::Panicked)),
            };
            assert!(is_right, "{backend}: {error}");
        }
    }
}

/// An error may come from a thread that is behind what was handed out: the length stays a length, and what is over stays over.
#[test]
fn nothing_follows_the_end_of_an_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let loader = Loader::new(open_store(&dir), config(None)).unwrap();
    let mut epoch = loader.epoch(0).unwrap();
    epoch.by_ref().take(3).for_each(drop);
    let pipeline = epoch.running.pipeline.clone();
    pipeline.fail_at(0, LoaderError::Panicked.into());
    assert_eq!(epoch.len(), 1);
    assert_eq!(epoch.next().unwrap().unwrap_err().kind(), ErrorKind::Bug);
    pipeline.fail_at(0, LoaderError::Panicked.into());
    assert!(epoch.next().is_none() && epoch.len() == 0);

    // An error that was not taken yet is not lost to another epoch.
    let mut first = loader.epoch(0).unwrap();
    first.by_ref().take(2).for_each(drop);
    first.running.pipeline.fail_at(2, LoaderError::Panicked.into());
    let second = loader.epoch(1).unwrap();
    assert_eq!(first.next().unwrap().unwrap_err().kind(), ErrorKind::Bug);
    assert!(first.next().is_none());
    drop(first);
    assert!(second.into_iter().all(|minibatch| minibatch.is_ok()));
}
