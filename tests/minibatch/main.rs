//! Every form of a minibatch equals a plain twin of it, computed from the source.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may unwrap")]

#[path = "../common/mod.rs"]
mod common;

mod columns;
mod tensors;
mod twin;
mod unfit;

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

fn check_source<T: Element + Value + Default + PartialOrd + Debug>(
    path: &Path,
    rows: &CsrRows,
    values: &[T],
) {
    let source = rows_of(rows, values);
    let genes: Genes = Some(
        (0..N_VARS as u32)
            .rev()
            .step_by(3)
            .map(Some)
            .chain([None])
            .collect(),
    );
    for encoding in [Encoding::Packed, Encoding::Raw] {
        let path = path.join(format!("{}-{}", T::VALUE_TYPE.numpy_name(), encoding.name()));
        let store = write(&path, rows, T::VALUE_TYPE, encoding);
        for layout in [Layout::Csr, Layout::Dense, Layout::TopK(20)] {
            for genes in [&None, &genes] {
                let selected: Vec<Row<T>> = source.iter().map(|row| select(row, genes)).collect();
                let ranked: Vec<Row<T>> = selected.iter().map(|row| top(row, 20)).collect();
                let select = |genes: &Vec<_>| GeneSelection::by_columns(N_VARS, genes).unwrap();
                let output = OutputConfig::default()
                    .layout(layout)
                    .value_type(OutputType::Source)
                    .genes(genes.as_ref().map(select));
                each(&store, config(output, 2), |minibatch| {
                    check(minibatch, IndexType::I32, &selected, &ranked);
                });
            }
        }
    }
}

/// Values that a type barely holds, where the counts of a matrix are.
fn with_values<T>(rows: &CsrRows, of: impl Fn(u64) -> T) -> Vec<T> {
    let mut mix = Mix(5);
    (0..rows.nnz()).map(|_| of(mix.next())).collect()
}

#[test]
fn source_values_are_exact_in_every_type() {
    let dir = tempfile::tempdir().unwrap();
    let mut rows = matrix(N_OBS, N_VARS, Kind::Counts, 33);
    macro_rules! check_type {
        ($($variant:ident: $of:expr),*) => {$(
            let values = with_values(&rows, $of);
            rows.values = ValueBuffer::$variant(values.clone());
            check_source(dir.path(), &rows, &values);
        )*};
    }
    check_type!(
        U32: |bits| (bits as u32).max(1),
        I64: |bits| (bits as i64 >> (bits % 50)) | 1,
        U64: |bits| bits | 1,
        F64: |bits| (bits as f64 + 0.25) / 7.0 - 1e18,
        I8: |bits| bits as i8 | 1,
        Bool: |_| true
    );
    let beyond = rows_of(&rows, &with_values(&rows, |bits| bits as u32));
    assert!(
        beyond
            .iter()
            .flatten()
            .any(|&(_, x)| x > 1 << 24 && x as f32 as u32 != x)
    );
}

#[test]
fn signed_source_values_rank_without_those_below_0() {
    let dir = tempfile::tempdir().unwrap();
    let rows = matrix(N_OBS, N_VARS, Kind::Signed, 34);
    let ValueBuffer::I16(values) = &rows.values else {
        unreachable!()
    };
    assert!(values.iter().any(|&x| x < 0));
    check_source(dir.path(), &rows, values);
}

/// Division and logarithm as numpy computes them in `float32` (`x / (sum / 1e4)`, then `log1p`).
#[test]
fn normalised_values_are_those_of_numpy() {
    let row: [f32; 10] = [1.0, 2.0, 3.0, 10.0, 255.0, 256.0, 1000.0, 70_000.0, 0.5, 7.25];
    const DIVIDED: [u32; 10] = [
        0x3e0f25b0, 0x3e8f25b0, 0x3ed6b888, 0x3fb2ef1c, 0x420e968a, 0x420f25b0, 0x430bcace, 0x4618e5d1,
        0x3d8f25b0, 0x3f81ba27,
    ];
    const LOGARITHMS: [u32; 10] = [
        0x3e05fc7c, 0x3e7c73c3, 0x3eb34fbe, 0x3f5fe5f4, 0x40667c39, 0x4066ba9a, 0x409e5029, 0x41130523,
        0x3d8a5db5, 0x3f332ac3,
    ];
    let rows = CsrRows {
        indptr: vec![0, 10],
        indices: (0..10).collect(),
        values: ValueBuffer::F32(row.to_vec()),
    };
    let dir = tempfile::tempdir().unwrap();
    let store = write(&dir.path().join("s"), &rows, ValueType::F32, Encoding::Packed);
    for (log1p, expected, ulps) in [(false, DIVIDED, 0), (true, LOGARITHMS, 0)] {
        let normalize = Normalize::LOG1P_10K.log1p(log1p);
        let output = OutputConfig::default().normalize(normalize);
        each(&store, config(output, 1), |minibatch| {
            for (found, expected) in minibatch.data().iter().zip(expected) {
                let apart = found.to_bits().abs_diff(expected);
                assert!(apart <= ulps, "{found} and {}", f32::from_bits(expected));
            }
        });
    }
}

#[test]
fn halves_are_rounded_to_nearest_even() {
    // 2^11 + 1 lies between two neighbours in f16, as does 2^8 + 1 in bf16; 65,520 would be the first that f16 has not.
    let row: [f32; 8] = [2049.0, 2051.0, 65_519.0, 65_504.0, 257.0, 259.0, 1.0e-8, 0.1];
    let in_f16 = [0x6800, 0x6802, 0x7BFF, 0x7BFF, 0x5C04, 0x5C0C, 0x0000, 0x2E66];
    let in_bf16 = [0x4500, 0x4500, 0x4780, 0x4780, 0x4380, 0x4382, 0x322C, 0x3DCD];
    let rows = CsrRows {
        indptr: vec![0, 8],
        indices: (0..8).collect(),
        values: ValueBuffer::F32(row.to_vec()),
    };
    let dir = tempfile::tempdir().unwrap();
    let store = write(&dir.path().join("s"), &rows, ValueType::F32, Encoding::Packed);
    let with = |value_type| {
        let output = OutputConfig::default().value_type(value_type);
        config(output, 1)
    };
    each(&store, with(OutputType::F16), |minibatch| {
        let values: &[f16] = minibatch.csr().unwrap().values.get().unwrap();
        assert_eq!(values.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), in_f16);
    });
    each(&store, with(OutputType::Bf16), |minibatch| {
        let values: &[bf16] = minibatch.csr().unwrap().values.get().unwrap();
        assert_eq!(values.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), in_bf16);
    });
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
fn outputs_that_cannot_be_made_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = counts(dir.path(), Encoding::Packed);
    let refused =
        |store: &Arc<Store>, output: OutputConfig| Loader::new(store.clone(), config(output, 1)).unwrap_err();
    let plain = OutputConfig::default;
    let genes = GeneSelection::by_columns(N_VARS + 1, &[Some(1)]).unwrap();
    let of_other_store = plain().genes(genes);
    assert!(matches!(
        refused(&store, of_other_store).cause(),
        Cause::Output(OutputError::OtherStore {
            expected: 301,
            found: 300
        })
    ));
    let few_weights = plain().gene_weights([1.0; 3]);
    assert!(matches!(
        refused(&store, few_weights).cause(),
        Cause::Output(OutputError::Weights {
            expected: 300,
            found: 3
        })
    ));
    for target in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300, 1e-60] {
        let normalize = Normalize::LOG1P_10K.target_sum(Some(target));
        let output = plain().normalize(normalize);
        assert!(matches!(
            refused(&store, output).cause(),
            Cause::Output(OutputError::TargetSum(_))
        ));
    }
    let layout = |layout| plain().layout(layout);
    assert!(matches!(
        refused(&store, layout(Layout::TopK(0))).cause(),
        Cause::Output(OutputError::NoRanks)
    ));
    for k in [1 << 30, usize::MAX] {
        assert!(matches!(
            refused(&store, layout(Layout::TopK(k))).cause(),
            Cause::Output(OutputError::Budget { .. })
        ));
    }
    let rows = matrix(20, N_VARS, Kind::Signed, 36);
    let signed = write(
        &dir.path().join("signed"),
        &rows,
        ValueType::I16,
        Encoding::Packed,
    );
    let computed = plain()
        .value_type(OutputType::Source)
        .normalize(Normalize::LOG1P_10K);
    assert!(matches!(
        refused(&signed, computed).cause(),
        Cause::Output(OutputError::Computed { value_type: "int16" })
    ));
}

#[test]
fn accessors_for_another_form_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = counts(dir.path(), Encoding::Packed);
    let output = OutputConfig::default().layout(Layout::Dense);
    let minibatch = Loader::new(store, config(output, 1))
        .unwrap()
        .epoch(0)
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    // Sent to another thread, and dropped there.
    let panics = std::thread::spawn(move || {
        [
            std::panic::catch_unwind(|| minibatch.indptr().len()).is_err(),
            std::panic::catch_unwind(|| minibatch.indices().len()).is_err(),
            std::panic::catch_unwind(|| minibatch.data().len()).is_err(),
        ]
    });
    assert_eq!(panics.join().unwrap(), [true; 3]);
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
