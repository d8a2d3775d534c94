//! Random access: any obs, in any order, in every form of output.

use std::path::Path;
use std::sync::Arc;

use cellring::format::{CsrRows, Encoding, ValueBuffer, ValueType};
use cellring::loader::MatrixChoice;
use cellring::minibatch::{IndexType, Indices};
use cellring::writer::WriterOptions;
use cellring::{
    Collection, ErrorKind, GeneSelection, Layout, Loader, LoaderConfig, Minibatch, Normalize, OutputConfig,
    OutputType, SamplerConfig, Store,
};

use crate::common::{self, Kind, Mix};

const N_OBS: usize = 400;
const N_VARS: u64 = 120;

fn store(dir: &Path, name: &str, encoding: Encoding, seed: u64) -> Arc<Store> {
    let rows = common::matrix(N_OBS, N_VARS, Kind::Counts, seed);
    let options = WriterOptions::new(N_VARS, ValueType::F32)
        .block_size(32)
        .encoding(encoding);
    common::write_store(&dir.join(name), &rows, options, None).unwrap();
    Arc::new(Store::open(dir.join(name)).unwrap())
}

fn config(output: OutputConfig) -> LoaderConfig {
    LoaderConfig::default()
        .sampler(
            SamplerConfig::default()
                .block_size(4)
                .batch_size(32)
                .fetch_factor(2),
        )
        .output(output)
        .obs_columns(["number"])
        .memory_bytes(16 << 20)
}

/// Obs in no order, some of them several times.
fn some_obs(n: usize, n_obs: u64, seed: u64) -> Vec<u64> {
    let mut mix = Mix(seed);
    let mut obs: Vec<u64> = (0..n).map(|_| mix.below(n_obs)).collect();
    obs.extend_from_within(..n / 3);
    obs
}

/// Row `row` as columns and values.
fn row(rows: &CsrRows, row: usize) -> (Vec<i32>, Vec<f32>) {
    let range = rows.indptr[row] as usize..rows.indptr[row + 1] as usize;
    let columns = rows.indices[range.clone()].iter().map(|&column| column as i32);
    let cellring::format::ValueBuffer::F32(values) = &rows.values else {
        panic!("counts are f32");
    };
    (columns.collect(), values[range].to_vec())
}

fn check_csr(minibatch: &Minibatch, obs: &[u64], expected: impl Fn(u64) -> (Vec<i32>, Vec<f32>)) {
    assert_eq!(minibatch.obs(), obs);
    for (k, (&obs, range)) in obs.iter().zip(minibatch.indptr().windows(2)).enumerate() {
        let range = range[0] as usize..range[1] as usize;
        let found = (
            minibatch.indices()[range.clone()].to_vec(),
            minibatch.data()[range].to_vec(),
        );
        assert_eq!(found, expected(obs), "row {k}, obs {obs}");
    }
}

#[test]
fn rows_are_those_of_the_store_in_any_order_and_number() {
    let dir = tempfile::tempdir().unwrap();
    for encoding in Encoding::ALL {
        let store = store(dir.path(), encoding.name(), *encoding, 7);
        let all = common::matrix(N_OBS, N_VARS, Kind::Counts, 7);
        let loader = Loader::new(store, config(OutputConfig::default())).unwrap();
        // Smaller and larger than the call before; none; all.
        for n in [1, 90, 3, 0, 2 * N_OBS] {
            let obs = some_obs(n, N_OBS as u64, n as u64);
            let minibatch = loader.rows(&obs).unwrap();
            check_csr(&minibatch, &obs, |obs| row(&all, obs as usize));
            let numbers = minibatch.column("number").unwrap().as_integers().unwrap();
            assert!(
                numbers
                    .iter()
                    .zip(&obs)
                    .all(|(&number, &obs)| number == obs as i64 * 3)
            );
        }
    }
}

#[test]
fn rows_come_in_the_form_of_the_epochs() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), "s", Encoding::Packed, 7);
    let genes = || {
        GeneSelection::by_names(store.var(), &["gene_9", "gene_0", "gene_40"])
            .unwrap()
            .0
    };
    let outputs = [
        OutputConfig::default()
            .index_type(IndexType::I64)
            .value_type(OutputType::Bf16),
        OutputConfig::default()
            .layout(Layout::Dense)
            .genes(genes())
            .normalize(Normalize::LOG1P_10K),
        OutputConfig::default()
            .layout(Layout::TopK(5))
            .value_type(OutputType::Bf16),
    ];
    for output in outputs {
        let loader = Loader::new(store.clone(), config(output)).unwrap();
        for minibatch in loader.epoch(0).unwrap() {
            let minibatch = minibatch.unwrap();
            let rows = minibatch_of(&loader_of(&store, &minibatch), minibatch.obs());
            assert_eq!(form(&rows), form(&minibatch));
        }
    }

    /// A loader of the same form as the minibatch, of its own.
    fn loader_of(store: &Arc<Store>, minibatch: &Minibatch) -> Loader {
        let output = match minibatch.layout() {
            Layout::Csr => OutputConfig::default()
                .index_type(IndexType::I64)
                .value_type(OutputType::Bf16),
            Layout::Dense => {
                let genes = GeneSelection::by_names(store.var(), &["gene_9", "gene_0", "gene_40"])
                    .unwrap()
                    .0;
                OutputConfig::default()
                    .layout(Layout::Dense)
                    .genes(genes)
                    .normalize(Normalize::LOG1P_10K)
            }
            layout => OutputConfig::default()
                .layout(layout)
                .value_type(OutputType::Bf16),
        };
        Loader::new(store.clone(), config(output)).unwrap()
    }

    fn minibatch_of(loader: &Loader, obs: &[u64]) -> Minibatch {
        loader.rows(obs).unwrap()
    }

    /// Whatever it holds, as text: no value here is NaN.
    fn form(minibatch: &Minibatch) -> String {
        format!(
            "{:?} {:?} {:?}",
            minibatch.csr(),
            minibatch.dense(),
            minibatch.top_k()
        )
    }
}

#[test]
fn rows_of_several_stores_and_matrices() {
    let dir = tempfile::tempdir().unwrap();
    let stores = vec![
        store(dir.path(), "a", Encoding::Packed, 1),
        store(dir.path(), "b", Encoding::Raw, 2),
    ];
    let matrices = [1, 2].map(|seed| common::matrix(N_OBS, N_VARS, Kind::Counts, seed));
    let collection = Collection::new(stores).unwrap();
    let loader = Loader::new(&collection, config(OutputConfig::default())).unwrap();
    let obs = some_obs(150, 2 * N_OBS as u64, 3);
    let minibatch = loader.rows(&obs).unwrap();
    check_csr(&minibatch, &obs, |obs| {
        let (store, obs) = collection.locate(obs);
        row(&matrices[store], obs as usize)
    });
    assert!(matches!(minibatch.csr().unwrap().indptr, Indices::I32(_)));
    let missing = MatrixChoice::from("layers/none");
    let refused = Loader::new(
        &collection,
        config(OutputConfig::default()).matrices(vec![missing]),
    );
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::NotFound);
}

/// Some of the parts that are read are still under way when an error ends the call.
#[test]
fn rows_are_read_again_after_an_error_half_way() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = common::matrix(N_OBS, N_VARS, Kind::Counts, 7);
    let ValueBuffer::F32(values) = &mut all.values else {
        unreachable!("counts")
    };
    let wrong = 1;
    values[all.indptr[wrong] as usize] = -5.0;
    let path = dir.path().join("s");
    let options = WriterOptions::new(N_VARS, common::value_type(Kind::Counts));
    common::write_store(&path, &all, options, None).unwrap();
    let store = Arc::new(Store::open(path).unwrap());
    let loader = Loader::new(
        store,
        config(OutputConfig::default().normalize(Normalize::LOG1P_10K)),
    )
    .unwrap();
    let right: Vec<u64> = some_obs(3 * N_OBS, N_OBS as u64, 4);
    let right: Vec<u64> = right.into_iter().filter(|&obs| obs != wrong as u64).collect();
    assert!(right.len() > 1_024, "four parts");
    let expected = loader.rows(&right).unwrap().data().to_vec();
    for place in [0, right.len() / 2, right.len()] {
        let mut obs = right.clone();
        obs.insert(place, wrong as u64);
        assert_eq!(loader.rows(&obs).unwrap_err().kind(), ErrorKind::Values);
        assert_eq!(loader.rows(&right).unwrap().data(), expected);
    }
}

#[test]
fn threads_take_turns() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), "s", Encoding::Packed, 7);
    let all = common::matrix(N_OBS, N_VARS, Kind::Counts, 7);
    let loader = Loader::new(store, config(OutputConfig::default())).unwrap();
    let mut epoch = loader.epoch(0).unwrap();
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let (loader, all) = (&loader, &all);
            scope.spawn(move || {
                for k in 0..8 {
                    let obs = some_obs(20 + 10 * k, N_OBS as u64, seed * 100 + k as u64);
                    check_csr(&loader.rows(&obs).unwrap(), &obs, |obs| row(all, obs as usize));
                }
            });
        }
        // The epoch goes on beside them.
        assert!(epoch.all(|minibatch| minibatch.is_ok()));
    });
}

#[test]
fn rows_that_do_not_exist_or_fit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), "s", Encoding::Packed, 7);
    let loader = Loader::new(store.clone(), config(OutputConfig::default())).unwrap();
    let error = loader.rows(&[3, N_OBS as u64]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(
        error.to_string().contains("obs 400 does not exist among 400 obs"),
        "{error}"
    );
    // Dense rows have their size before any of them is read.
    let output = OutputConfig::default().layout(Layout::Dense);
    let dense = Loader::new(store, config(output).memory_bytes(4 << 20)).unwrap();
    let many: Vec<u64> = (0..100_000).map(|k| k % N_OBS as u64).collect();
    let error = dense.rows(&many).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Memory);
    assert!(error.to_string().starts_with("100000 obs need "), "{error}");
    assert_eq!(dense.rows(&many[..50]).unwrap().n_obs(), 50);
    // The loader works on.
    assert_eq!(loader.rows(&[3]).unwrap().obs(), [3]);
}

/// The loader keeps its files open; what has taken their place meanwhile is named, and not called damaged cells.
#[test]
fn a_store_that_was_replaced_or_cut_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let opened = store(dir.path(), "s", Encoding::Packed, 7);
    let loader = Loader::new(opened.clone(), config(OutputConfig::default())).unwrap();
    let shard = opened.shard_paths().swap_remove(0);
    let whole = std::fs::read(&shard).unwrap();
    std::fs::write(&shard, &whole[..whole.len() / 2]).unwrap();
    for refused in [
        loader.rows(&[3]).unwrap_err(),
        Loader::new(opened.clone(), config(OutputConfig::default())).unwrap_err(),
    ] {
        assert_eq!(
            (refused.kind(), refused.path()),
            (ErrorKind::Damaged, Some(&*shard))
        );
        assert!(refused.to_string().contains("bytes, expected"), "{refused}");
    }
    std::fs::write(&shard, &whole).unwrap();
    assert_eq!(loader.rows(&[3]).unwrap().obs(), [3]);

    // A reader of rows is started anew if it needs more: the store at the path is another one by then.
    std::fs::rename(dir.path().join("s"), dir.path().join("old")).unwrap();
    drop(store(dir.path(), "s", Encoding::Packed, 8));
    let late = Loader::new(opened, config(OutputConfig::default())).unwrap_err();
    assert_eq!(late.path(), Some(&*shard));
    assert!(
        late.to_string().contains("not that of shard 0 of this store"),
        "{late}"
    );
    assert_eq!(loader.rows(&[3]).unwrap().obs(), [3]);
}
