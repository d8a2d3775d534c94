//! Epochs through the loader: every cell once, the right values, the same on every backend.

use std::path::Path;
use std::sync::Arc;

use crate::common::{Kind, matrix, value_type, write_store};
use cellring::__internal::{Cause, LoaderError};
use cellring::engine::{Backend, Direct};
use cellring::format::{CsrRows, Encoding, ValueBuffer, ValueType};
use cellring::minibatch::{Layout, ObsValues, OutputConfig, OutputError};
use cellring::plan::{SamplerConfig, Strategy};
use cellring::writer::WriterOptions;
use cellring::{Loader, LoaderConfig, Minibatch, Store};

fn store(path: &Path, rows: &CsrRows, kind: Kind, encoding: Encoding, n_vars: u64) -> Arc<Store> {
    let mut options = WriterOptions::new(n_vars, value_type(kind));
    options.encoding = encoding;
    options.block_size = 16;
    options.shard_bytes = 30_000;
    if encoding == Encoding::Raw && kind == Kind::Counts {
        options.raw_value_type = ValueType::U32;
    }
    write_store(path, rows, options, None).unwrap();
    Arc::new(Store::open(path).unwrap())
}

fn config(sampler: SamplerConfig) -> LoaderConfig {
    LoaderConfig::default()
        .sampler(sampler)
        .memory_bytes(16 << 20)
        .decode_threads(2)
}

fn sampler(block_size: u64, batch_size: u32, fetch_factor: u32) -> SamplerConfig {
    SamplerConfig::default()
        .block_size(block_size)
        .batch_size(batch_size)
        .fetch_factor(fetch_factor)
        .seed(3)
}

/// Everything that a minibatch holds: obs, indptr, indices, bits of the data.
type Content = (Vec<u64>, Vec<i32>, Vec<i32>, Vec<u32>);

fn content(minibatch: &Minibatch) -> Content {
    let bits = minibatch.data().iter().map(|x| x.to_bits()).collect();
    (
        minibatch.obs().to_vec(),
        minibatch.indptr().to_vec(),
        minibatch.indices().to_vec(),
        bits,
    )
}

fn epoch(store: &Arc<Store>, config: &LoaderConfig, epoch: u64) -> Vec<Content> {
    let loader = Loader::new(store.clone(), config.clone()).unwrap();
    loader
        .epoch(epoch)
        .unwrap()
        .map(|minibatch| content(&minibatch.unwrap()))
        .collect()
}

#[test]
fn every_row_is_delivered_once_and_equals_the_source() {
    let dir = tempfile::tempdir().unwrap();
    for kind in [Kind::Counts, Kind::LogNormalised] {
        let rows = matrix(500, 400, kind, 11);
        let ValueBuffer::F32(values) = &rows.values else {
            unreachable!()
        };
        for &encoding in Encoding::ALL {
            let store = store(
                &dir.path().join(format!("{kind:?}{}", encoding.name())),
                &rows,
                kind,
                encoding,
                400,
            );
            for sampler in [
                sampler(1, 7, 3),
                sampler(16, 32, 4),
                sampler(500, 64, 1),
                sampler(3, 1000, 1),
                sampler(1, 13, 5).strategy(Strategy::Sequential),
            ] {
                let loader = Loader::new(store.clone(), config(sampler)).unwrap();
                let mut seen = vec![0; 500];
                for minibatch in loader.epoch(1).unwrap() {
                    let minibatch = minibatch.unwrap();
                    let view = minibatch.as_sprs();
                    assert_eq!(
                        (view.rows(), view.cols(), view.nnz()),
                        (minibatch.n_obs(), 400, minibatch.nnz())
                    );
                    assert_eq!(view.data().as_ptr(), minibatch.data().as_ptr(), "no copy");
                    for (k, &obs) in minibatch.obs().iter().enumerate() {
                        let source =
                            rows.indptr[obs as usize] as usize..rows.indptr[obs as usize + 1] as usize;
                        let here = minibatch.indptr()[k] as usize..minibatch.indptr()[k + 1] as usize;
                        assert!(
                            minibatch.indices()[here.clone()]
                                .iter()
                                .zip(&rows.indices[source.clone()])
                                .all(|(&a, &b)| a as u32 == b)
                        );
                        assert_eq!(minibatch.data()[here], values[source]);
                        seen[obs as usize] += 1;
                    }
                }
                assert!(seen.iter().all(|&n| n == 1));
            }
        }
    }
}

#[test]
fn the_same_epoch_on_every_backend_thread_count_depth_and_budget() {
    let dir = tempfile::tempdir().unwrap();
    let rows = matrix(700, 300, Kind::Counts, 12);
    for &encoding in Encoding::ALL {
        let store = store(
            &dir.path().join(encoding.name()),
            &rows,
            Kind::Counts,
            encoding,
            300,
        );
        let base = config(sampler(4, 16, 8));
        let expected = epoch(&store, &base, 5);
        let mut ways = vec![];
        for backend in [Backend::Auto, Backend::Uring, Backend::Pread, Backend::Mmap] {
            for direct in [Direct::Auto, Direct::Off] {
                ways.push((backend, direct, 1, None, 16 << 20));
            }
        }
        ways.extend([
            (Backend::Auto, Direct::Auto, 3, Some(1), 16 << 20),
            (Backend::Pread, Direct::Auto, 2, None, 5 << 20),
            // Two threads plan, and four.
            (Backend::Auto, Direct::Auto, 16, None, 64 << 20),
            (Backend::Auto, Direct::Auto, 40, None, 64 << 20),
        ]);
        for (backend, direct, threads, depth, memory) in ways {
            let mut config = base.clone();
            config.engine.backend = backend;
            config.engine.direct = direct;
            config.engine.depth = depth;
            config.decode_threads = threads;
            config.memory_bytes = memory;
            let found = epoch(&store, &config, 5);
            assert!(
                found == expected,
                "{backend} {direct} {threads} threads, depth {depth:?}, {memory} bytes"
            );
        }
        assert!(
            epoch(&store, &base, 6) != expected,
            "another epoch, another order"
        );
        let other = base.clone().sampler(base.sampler.clone().seed(4));
        assert!(
            epoch(&store, &other, 5) != expected,
            "another seed, another order"
        );
    }
}

/// Each waits with a fetch that is taken from it, or never is.
#[test]
fn threads_that_plan_end_with_their_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let rows = matrix(600, 50, Kind::Counts, 13);
    let store = store(&dir.path().join("s"), &rows, Kind::Counts, Encoding::Packed, 50);
    let expected = epoch(&store, &config(sampler(2, 8, 2)), 0);
    let config = config(sampler(2, 8, 2)).decode_threads(32).memory_bytes(64 << 20);
    let loader = Loader::new(store.clone(), config).unwrap();
    for n_taken in [0, 1, 20, expected.len()] {
        let mut begun = loader.epoch(0).unwrap();
        for expected in &expected[..n_taken] {
            assert!(content(&begun.next().unwrap().unwrap()) == *expected);
        }
        let state = begun.state();
        drop(begun);
        let rest = loader.resume(&state).unwrap();
        let rest: Vec<_> = rest.map(|minibatch| content(&minibatch.unwrap())).collect();
        assert!(rest == expected[n_taken..], "{n_taken}");
    }
}

#[test]
fn ranks_share_an_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let rows = matrix(333, 50, Kind::Counts, 13);
    let store = store(&dir.path().join("s"), &rows, Kind::Counts, Encoding::Packed, 50);
    let whole: Vec<_> = epoch(&store, &config(sampler(2, 8, 4)), 0);
    let mut parts = vec![];
    for rank in 0..3 {
        let sampler = sampler(2, 8, 4).rank(rank).world_size(3);
        let loader = Loader::new(store.clone(), config(sampler)).unwrap();
        let minibatches: Vec<Minibatch> = loader.epoch(0).unwrap().map(Result::unwrap).collect();
        assert_eq!(minibatches.len(), 14);
        parts.extend(
            minibatches
                .iter()
                .filter(|m| !m.is_padding())
                .map(|m| (m.global(), content(m))),
        );
    }
    parts.sort_by_key(|(global, _)| *global);
    assert_eq!(
        parts.into_iter().map(|(_, content)| content).collect::<Vec<_>>(),
        whole
    );
}

#[test]
fn obs_columns_come_along() {
    let dir = tempfile::tempdir().unwrap();
    let rows = matrix(200, 50, Kind::Counts, 14);
    let store = store(&dir.path().join("s"), &rows, Kind::Counts, Encoding::Packed, 50);
    let mut config = config(sampler(4, 16, 4));
    config.obs_columns = vec!["plate".into(), "score".into(), "number".into()];
    let loader = Loader::new(store.clone(), config.clone()).unwrap();
    assert_eq!(loader.categories("plate").unwrap().len(), 7);
    for minibatch in loader.epoch(0).unwrap() {
        let minibatch = minibatch.unwrap();
        let [plate, score, number] = minibatch.columns() else {
            panic!("three columns")
        };
        let obs = || minibatch.obs().iter().map(|&obs| obs as i64);
        let missing = |i: i64| i % 11 == 5;
        let codes = obs()
            .map(|i| if missing(i) { -1 } else { (i * 7 / 200) as i32 })
            .collect();
        assert_eq!(plate.values, ObsValues::Codes(codes));
        assert_eq!(plate.valid, Some(obs().map(|i| !missing(i)).collect()));
        assert_eq!(
            score.values,
            ObsValues::Floats(obs().map(|i| i as f64 * 0.5).collect())
        );
        assert_eq!(number.values, ObsValues::Integers(obs().map(|i| i * 3).collect()));
    }
    config.obs_columns = vec!["plat".into()];
    let message = Loader::new(store, config).unwrap_err().to_string();
    assert!(message.contains("plat") && message.contains("score"), "{message}");
}

#[test]
fn values_beyond_f32_need_a_word() {
    let dir = tempfile::tempdir().unwrap();
    let rows = matrix(50, 50, Kind::Anything, 15);
    let store = store(&dir.path().join("s"), &rows, Kind::Anything, Encoding::Packed, 50);
    let mut config = config(sampler(4, 16, 4));
    assert!(matches!(
        Loader::new(store.clone(), config.clone()),
        Err(error) if matches!(error.cause(), Cause::Loader(LoaderError::Rounding { .. }))
    ));
    config.allow_rounding = true;
    let ValueBuffer::F64(values) = &rows.values else {
        unreachable!()
    };
    let sum = |values: &mut dyn Iterator<Item = f32>| {
        values
            .filter(|x| x.is_finite())
            .map(|x| u64::from(x.to_bits()))
            .sum::<u64>()
    };
    let mut found = 0;
    for minibatch in Loader::new(store, config).unwrap().epoch(0).unwrap() {
        found += sum(&mut minibatch.unwrap().data().iter().copied());
    }
    assert_eq!(found, sum(&mut values.iter().map(|&x| x as f32)));
}

#[test]
fn an_epoch_may_be_left_early_and_minibatches_kept() {
    let dir = tempfile::tempdir().unwrap();
    let rows = matrix(600, 300, Kind::Counts, 16);
    let store = store(&dir.path().join("s"), &rows, Kind::Counts, Encoding::Packed, 300);
    let base = config(sampler(4, 8, 4));
    let expected = epoch(&store, &base, 0);
    let loader = Loader::new(store, base).unwrap();
    for taken in [0, 1, 30] {
        let mut kept: Vec<Minibatch> = loader.epoch(0).unwrap().take(taken).map(Result::unwrap).collect();
        assert_eq!(kept.iter().map(content).collect::<Vec<_>>(), expected[..taken]);
        kept.extend(loader.epoch(0).unwrap().map(Result::unwrap));
        assert_eq!(
            kept[taken..].iter().map(content).collect::<Vec<_>>(),
            expected,
            "all kept at the same time"
        );
        std::mem::forget(kept.pop());
    }
}

#[test]
fn a_fetch_beyond_the_budget_is_refused_and_what_is_advised_suffices() {
    let dir = tempfile::tempdir().unwrap();
    let rows = matrix(4000, 2000, Kind::Counts, 17);
    for (&encoding, (block, batch, fetch), threads) in Encoding::ALL.iter().flat_map(|encoding| {
        let shapes = [(4, 64, 1000), (1, 512, 8), (64, 16, 250)];
        shapes.map(|shape| (encoding, shape, 1 + shape.0 as usize % 3))
    }) {
        let path = dir.path().join(format!("{}-{block}", encoding.name()));
        let store = store(&path, &rows, Kind::Counts, encoding, 2000);
        let results = |memory_bytes: usize| -> Vec<_> {
            let mut config = config(sampler(block, batch, fetch));
            config.memory_bytes = memory_bytes;
            config.decode_threads = threads;
            let loader = Loader::new(store.clone(), config).unwrap();
            loader.epoch(0).unwrap().collect()
        };
        let refused = results(1);
        let [Err(error)] = &refused[..] else {
            // Packed, a fetch may fit into the least that there is.
            assert_ne!(encoding, Encoding::Raw);
            continue;
        };
        let Cause::Loader(LoaderError::Budget { enough_bytes, .. }) = error.cause() else {
            panic!("{error}")
        };
        assert!(error.to_string().contains(" MiB"), "{error}");
        let advised = results(*enough_bytes);
        let failed = advised.iter().find_map(|minibatch| minibatch.as_ref().err());
        assert!(failed.is_none(), "{enough_bytes}: {failed:?}");
    }
}

/// Where minibatches are large, one of them is enough.
#[test]
fn what_is_advised_for_dense_minibatches_has_room_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let rows = matrix(4000, 2000, Kind::Counts, 17);
    let store = store(&dir.path().join("s"), &rows, Kind::Counts, Encoding::Raw, 2000);
    let first_error = |memory_bytes: usize| {
        let mut config = config(sampler(1, 2048, 1)).output(OutputConfig::default().layout(Layout::Dense));
        config.memory_bytes = memory_bytes;
        config.decode_threads = 7;
        let mut results = Loader::new(store.clone(), config)?.epoch(0)?;
        results.find_map(Result::err).map_or(Ok(()), Err)
    };
    let error = first_error(1).unwrap_err();
    let Cause::Output(OutputError::Budget {
        needed_bytes: minibatch_bytes,
        ..
    }) = error.cause()
    else {
        panic!("{error}")
    };
    let error = first_error(*minibatch_bytes).unwrap_err();
    let Cause::Loader(LoaderError::Budget {
        enough_bytes,
        needed_bytes,
        ..
    }) = error.cause()
    else {
        panic!("{error}")
    };
    assert!(*enough_bytes < 2 * (minibatch_bytes + needed_bytes), "{error}");
    first_error(*enough_bytes).unwrap();
}

/// A run never delivers damaged cells: it ends with an error that names the obs, and all minibatches before it are right.
#[test]
fn damage_is_never_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let rows = matrix(60, 60, Kind::Counts, 18);
    for &encoding in Encoding::ALL {
        let path = dir.path().join(encoding.name());
        let good_store = store(&path, &rows, Kind::Counts, encoding, 60);
        let mut config = config(sampler(2, 8, 2));
        config.obs_columns = vec!["plate".into()];
        let expected = epoch(&good_store, &config, 0);
        let (mut noticed, mut harmless) = (0, 0);
        for entry in std::fs::read_dir(&path).unwrap() {
            let file = entry.unwrap().path();
            let good = std::fs::read(&file).unwrap();
            let step = if file.extension().is_some_and(|e| e == "arrow") {
                97
            } else {
                23
            };
            for at in (0..good.len()).step_by(step) {
                let mut bad = good.clone();
                bad[at] ^= 1 << (at % 8);
                std::fs::write(&file, &bad).unwrap();
                let Ok(store) = Store::open(&path) else {
                    noticed += 1;
                    continue;
                };
                let Ok(loader) = Loader::new(Arc::new(store), config.clone()) else {
                    noticed += 1;
                    continue;
                };
                let mut results = loader.epoch(0).unwrap();
                let mut n = 0;
                let failed = results.find_map(|result| match result {
                    Ok(minibatch) => {
                        assert_eq!(content(&minibatch), expected[n], "{} byte {at}", file.display());
                        n += 1;
                        None
                    }
                    Err(error) => Some(error),
                });
                match failed {
                    Some(error) => {
                        assert!(!error.to_string().contains('\n'), "one sentence: {error}");
                        assert!(results.next().is_none(), "the epoch ends");
                        noticed += 1;
                    }
                    None => {
                        assert_eq!(n, expected.len());
                        harmless += 1
                    }
                }
            }
            std::fs::write(&file, &good).unwrap();
        }
        // Padding, and the parts of the tables that were not asked for, are not looked at.
        assert!(
            noticed > harmless / 4 && noticed > 100,
            "{noticed} noticed, {harmless} harmless"
        );
    }
}

#[test]
fn a_shard_cut_short_under_the_loader_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let rows = matrix(600, 300, Kind::Counts, 19);
    let path = dir.path().join("s");
    let store = store(&path, &rows, Kind::Counts, Encoding::Packed, 300);
    for backend in [Backend::Uring, Backend::Pread] {
        let mut config = config(sampler(4, 8, 4));
        config.engine.backend = backend;
        let loader = Loader::new(store.clone(), config).unwrap();
        let shard = store.shard_paths()[1].clone();
        let good = std::fs::read(&shard).unwrap();
        std::fs::OpenOptions::new()
            .write(true)
            .open(&shard)
            .unwrap()
            .set_len(4096)
            .unwrap();
        let error = loader.epoch(0).unwrap().find_map(Result::err).expect("an error");
        assert!(matches!(error.cause(), Cause::Engine(_)), "{error}");
        assert!(error.to_string().contains("shard-00001.bin"), "{error}");
        std::fs::write(&shard, good).unwrap();
    }
}
