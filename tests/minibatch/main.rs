//! Every form of a minibatch equals a plain twin of it, computed from the source.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may unwrap")]

#[path = "../common/mod.rs"]
mod common;

mod columns;
mod refused;
mod tensors;
mod twin;
mod unfit;
mod values;

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use cellring::__internal::Cause;
use cellring::format::{CsrRows, Element, Encoding, ValueBuffer, ValueType};
use cellring::minibatch::{
    GeneSelection, IndexType, Layout, LibraryGenes, Normalize, OutputConfig, OutputError, OutputType, Value,
    bf16, f16,
};
use cellring::plan::SamplerConfig;
use cellring::writer::WriterOptions;
use cellring::{Collection, ErrorKind, Loader, LoaderConfig, Minibatch, Store};
use common::{Kind, Mix, matrix, value_type, write_store};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use twin::{Genes, Row, compute, dense, rows_of, select, top};

const N_OBS: usize = 230;
const N_VARS: u64 = 300;

fn write(path: &Path, rows: &CsrRows, value_type: ValueType, encoding: Encoding) -> Arc<Store> {
    let mut options = WriterOptions::new(N_VARS, value_type);
    (options.encoding, options.block_size, options.raw_value_type) = (encoding, 16, value_type);
    write_store(path, rows, options, None).unwrap();
    Arc::new(Store::open(path).unwrap())
}

fn config(output: OutputConfig, decode_threads: usize) -> LoaderConfig {
    LoaderConfig::default()
        .sampler(
            SamplerConfig::default()
                .block_size(4)
                .batch_size(32)
                .fetch_factor(2),
        )
        .memory_bytes(16 << 20)
        .decode_threads(decode_threads)
        .output(output)
}

/// Calls `check` with each minibatch of two epochs, so that memory is used again; sees that all obs came.
fn each(store: &Arc<Store>, config: LoaderConfig, mut check: impl FnMut(&Minibatch)) {
    let loader = Loader::new(store.clone(), config).unwrap();
    for epoch in 0..2 {
        let mut seen = vec![false; store.n_obs() as usize];
        for minibatch in loader.epoch(epoch).unwrap() {
            let minibatch = minibatch.unwrap();
            minibatch.obs().iter().for_each(|&obs| seen[obs as usize] = true);
            check(&minibatch);
        }
        assert!(seen.iter().all(|&seen| seen));
    }
}

/// Compares a minibatch with rows that are converted already; `ranked` is their order where that is asked for.
fn check<T: Value>(minibatch: &Minibatch, index_type: IndexType, rows: &[Row<T>], ranked: &[Row<T>]) {
    let n_obs = minibatch.n_obs();
    let row_of = |k: usize| minibatch.obs()[k] as usize;
    let has_type = |is_i32: bool| assert_eq!(is_i32, index_type == IndexType::I32);
    match minibatch.layout() {
        Layout::Csr => {
            let csr = minibatch.csr().unwrap();
            assert!(minibatch.dense().is_none() && minibatch.top_k().is_none());
            assert_eq!(csr.shape, [n_obs, minibatch.n_vars()]);
            has_type(csr.indices.as_i32().is_some());
            has_type(csr.indptr.as_i32().is_some() && csr.indptr.as_i64().is_none());
            let values: &[T] = csr.values.get().expect("the type that was asked for");
            assert_eq!((csr.indptr.len(), csr.indptr.at(0)), (n_obs + 1, 0));
            for k in 0..n_obs {
                let range = csr.indptr.at(k) as usize..csr.indptr.at(k + 1) as usize;
                let found: Row<T> = range
                    .map(|at| (csr.indices.at(at) as usize, values[at]))
                    .collect();
                assert_eq!(found, rows[row_of(k)], "row {k}");
            }
            let nnz = csr.indptr.at(n_obs) as usize;
            assert_eq!(
                (csr.indices.len(), values.len(), minibatch.nnz()),
                (nnz, nnz, nnz)
            );
        }
        Layout::Dense => {
            let view = minibatch.dense().unwrap();
            assert!(minibatch.csr().is_none() && minibatch.top_k().is_none());
            assert_eq!(view.shape, [n_obs, minibatch.n_vars()]);
            assert_eq!(view.strides, [minibatch.n_vars(), 1]);
            let values: &[T] = view.values.get().expect("the type that was asked for");
            assert_eq!(values.len(), n_obs * minibatch.n_vars());
            assert!(values.is_empty() || values.as_ptr().addr().is_multiple_of(64));
            for k in 0..n_obs {
                let found: &[T] = view.row(k).get().unwrap();
                assert_eq!(found, dense(&rows[row_of(k)], minibatch.n_vars()), "row {k}");
            }
            let nnz = minibatch.obs().iter().map(|&obs| rows[obs as usize].len());
            assert_eq!(minibatch.nnz(), nnz.sum::<usize>());
        }
        Layout::TopK(k) => {
            let view = minibatch.top_k().unwrap();
            assert!(minibatch.csr().is_none() && minibatch.dense().is_none());
            assert_eq!((view.shape, view.lens.len()), ([n_obs, k], n_obs));
            has_type(view.indices.as_i32().is_some());
            let values: &[T] = view.values.get().expect("the type that was asked for");
            assert_eq!((view.indices.len(), values.len()), (n_obs * k, n_obs * k));
            for row in 0..n_obs {
                let len = view.lens[row] as usize;
                let at = |rank: usize| (view.indices.at(row * k + rank), values[row * k + rank]);
                let found: Row<T> = (0..len).map(at).map(|(c, value)| (c as usize, value)).collect();
                assert_eq!(found, ranked[row_of(row)], "row {row}");
                assert!((len..k).all(|rank| at(rank) == (-1, T::default())));
            }
        }
        other => panic!("{other:?} has no twin"),
    }
}

/// Compares epochs with the twin of this output; values are `f32` in the store.
fn check_floats(
    store: &Arc<Store>,
    source: &[Row<f32>],
    output: &OutputConfig,
    genes: &Genes,
    threads: usize,
) {
    fn cast<T>(rows: &[Row<f32>], to: impl Fn(f32) -> T) -> Vec<Row<T>> {
        let cast_row = |row: &Row<f32>| row.iter().map(|&(column, value)| (column, to(value))).collect();
        rows.iter().map(cast_row).collect()
    }
    let k = match output.layout {
        Layout::TopK(k) => k,
        _ => 0,
    };
    let rows: Vec<Row<f32>> = source
        .iter()
        .map(|row| compute(row, genes, output.normalize, output.gene_weights.as_deref()))
        .collect();
    let ranked: Vec<Row<f32>> = rows.iter().map(|row| top(row, k)).collect();
    let index_type = output.index_type;
    let config = config(output.clone(), threads);
    match output.value_type {
        OutputType::F16 => {
            let mut values = rows.iter().flatten().map(|&(_, value)| value);
            if values.any(|value| value.is_finite() && f16::from_f32(value).is_infinite()) {
                let loader = Loader::new(store.clone(), config).unwrap();
                let error = loader.epoch(0).unwrap().find_map(Result::err).unwrap();
                assert_eq!(error.kind(), ErrorKind::Values, "{error}");
                return;
            }
            let (rows, ranked) = (cast(&rows, f16::from_f32), cast(&ranked, f16::from_f32));
            each(store, config, |minibatch| {
                check(minibatch, index_type, &rows, &ranked)
            });
        }
        OutputType::Bf16 => {
            let (rows, ranked) = (cast(&rows, bf16::from_f32), cast(&ranked, bf16::from_f32));
            each(store, config, |minibatch| {
                check(minibatch, index_type, &rows, &ranked)
            });
        }
        _ => each(store, config, |minibatch| {
            check(minibatch, index_type, &rows, &ranked)
        }),
    }
}

fn counts(dir: &Path, encoding: Encoding) -> (Arc<Store>, Vec<Row<f32>>) {
    let rows = matrix(N_OBS, N_VARS, Kind::Counts, 31);
    let store = write(&dir.join(encoding.name()), &rows, ValueType::F32, encoding);
    let ValueBuffer::F32(values) = &rows.values else {
        unreachable!()
    };
    (store, rows_of(&rows, values))
}

/// Some genes of the store, in some order, between some that it does not have.
fn genes() -> impl Strategy<Value = Genes> {
    let columns = (
        Just((0..N_VARS as u32).collect::<Vec<_>>()).prop_shuffle(),
        0..=N_VARS as usize,
    );
    let chosen = columns.prop_map(|(columns, n)| columns[..n].to_vec());
    let is_sorted = any::<bool>();
    let with_gaps =
        (chosen, is_sorted, 0u64..5, any::<u64>()).prop_map(|(mut columns, is_sorted, gaps, seed)| {
            if is_sorted {
                columns.sort_unstable();
            }
            let mut mix = Mix(seed);
            let mut genes = vec![];
            for column in columns {
                (0..mix.below(gaps + 1)).for_each(|_| genes.push(None));
                genes.push(Some(column));
            }
            Some(genes)
        });
    prop_oneof![1 => Just(None), 4 => with_gaps]
}

fn output() -> impl Strategy<Value = OutputConfig> {
    let layout = prop_oneof![
        Just(Layout::Csr),
        Just(Layout::Dense),
        prop_oneof![Just(1usize), 2..80usize, Just(500)].prop_map(Layout::TopK),
    ];
    let index_type = prop_oneof![Just(IndexType::I32), Just(IndexType::I64)];
    let value_type = prop_oneof![
        Just(OutputType::F32),
        Just(OutputType::F16),
        Just(OutputType::Bf16),
        Just(OutputType::Source),
    ];
    let over = prop_oneof![Just(LibraryGenes::All), Just(LibraryGenes::Selected)];
    let target = prop_oneof![Just(None), Just(Some(1e4)), (0.5..1e6).prop_map(Some)];
    let normalize = (target, any::<bool>(), over).prop_map(|(target_sum, log1p, over)| {
        Normalize::default()
            .target_sum(target_sum)
            .log1p(log1p)
            .over(over)
    });
    (layout, index_type, value_type, proptest::option::of(normalize)).prop_map(
        |(layout, index_type, value_type, normalize)| {
            OutputConfig::default()
                .layout(layout)
                .index_type(index_type)
                .value_type(value_type)
                .normalize(normalize)
        },
    )
}

#[test]
fn every_combination_equals_its_twin() {
    let dir = tempfile::tempdir().unwrap();
    let stores = [Encoding::Packed, Encoding::Raw].map(|encoding| counts(dir.path(), encoding));
    let mut runner = TestRunner::new(Config {
        cases: 160,
        failure_persistence: None,
        ..Config::default()
    });
    let inputs = (output(), genes(), any::<bool>(), 1..4usize, 0..2usize);
    runner
        .run(&inputs, |(mut output, genes, is_weighted, threads, which)| {
            let n_out = genes.as_ref().map_or(N_VARS as usize, Vec::len);
            output.genes = genes
                .as_ref()
                .map(|genes| GeneSelection::by_columns(N_VARS, genes).unwrap());
            // Some weights 0, some alike.
            let weights = || (0..n_out).map(|k| (k % 7) as f32 * 0.3).collect();
            output.gene_weights = is_weighted.then(weights);
            let (store, source) = &stores[which];
            check_floats(store, source, &output, &genes, threads);
            Ok(())
        })
        .unwrap();
}

#[test]
fn stores_with_other_var_orders_give_the_same_genes() {
    let dir = tempfile::tempdir().unwrap();
    let rows = matrix(N_OBS, N_VARS, Kind::Counts, 35);
    let plain = write(&dir.path().join("plain"), &rows, ValueType::F32, Encoding::Packed);
    // A permutation that is not its own inverse.
    let order: Vec<u32> = (0..N_VARS as u32).map(|k| (k * 7 + 3) % N_VARS as u32).collect();
    let mut options = WriterOptions::new(N_VARS, value_type(Kind::Counts));
    options.var_order = cellring::format::VarOrder::Detection;
    write_store(&dir.path().join("other"), &rows, options, Some(&order)).unwrap();
    let other = Arc::new(Store::open(dir.path().join("other")).unwrap());
    let names: Vec<String> = ["gene_40", "none", "gene_7", "gene_299", "gene_0", "GENE_1"]
        .map(String::from)
        .to_vec();
    let collect = |store: &Arc<Store>| {
        let (genes, report) = GeneSelection::by_names(store.var(), &names).unwrap();
        assert_eq!(report.missing, ["none", "GENE_1"]);
        assert!(report.ambiguous.is_empty());
        assert_eq!((genes.n_genes(), genes.n_vars() as u64), (6, N_VARS));
        let output = OutputConfig::default()
            .genes(genes)
            .normalize(Normalize::LOG1P_10K);
        let mut found = vec![];
        each(store, config(output, 1), |m| {
            found.push((
                m.obs().to_vec(),
                m.indptr().to_vec(),
                m.indices().to_vec(),
                m.data().to_vec(),
            ));
        });
        found
    };
    let found = collect(&plain);
    assert!(found.iter().map(|(.., data)| data.len()).sum::<usize>() > 100);
    assert!(found == collect(&other));

    let twice = GeneSelection::by_names(plain.var(), &["gene_1", "gene_2", "gene_1"]);
    let error = twice.unwrap_err().to_string();
    assert!(error.contains("\"gene_1\"") && error.contains("twice"), "{error}");
    assert!(GeneSelection::by_names_in(plain.var(), "symbol", &names).is_err());
}

#[test]
fn stats_count_what_was_read() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = counts(dir.path(), Encoding::Packed);
    let loader = Loader::new(store, config(OutputConfig::default(), 1)).unwrap();
    for number in 0..2 {
        let mut epoch = loader.epoch(number).unwrap();
        let n_minibatches = epoch.by_ref().map(Result::unwrap).count() as u64;
        let stats = epoch.stats();
        assert_eq!(stats.minibatches, n_minibatches);
        assert!(
            stats.reads >= 1 && stats.read_bytes >= 512 * stats.reads,
            "{stats:?}"
        );
        assert!(stats.decode_ns > 0 && stats.plan_ns > 0);
        drop(epoch);
        if number == 1 {
            assert!(
                stats.reads < loader.engine_stats().reads,
                "those of this epoch alone"
            );
        }
    }
}
