//! Cells per second of each strategy and of each form of minibatch, beside plain block shuffling of CSR in the same run.
//!
//! They take turns, epoch by epoch, so that what else the machine does hits them alike. The store is the one that
//! `CELLRING_BENCH_STORE` names; without it, one of 62,710 genes is made in a temporary folder. `CELLRING_BENCH_SECONDS`
//! ends each epoch early, `CELLRING_BENCH_ROUNDS` says how many epochs each gets, `CELLRING_BENCH_THREADS` how many
//! threads decode, `CELLRING_BENCH_VARIANTS` takes only those whose names have one of these words, and the plain one.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a benchmark has no items to document; it may unwrap"
)]

#[path = "../tests/common/mod.rs"]
mod common;
mod shared;

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use cellring::format::{CsrRows, ValueBuffer};
use cellring::minibatch::{
    GeneSelection, IndexType, Layout, Minibatch, Normalize, OutputConfig, OutputType, Value,
};
use cellring::plan::{
    Balanced, Controls, Custom, Grouped, SamplerConfig, SamplerData, Strategy, StrategyKind, Subset, Weighted,
};
use cellring::writer::WriterOptions;
use cellring::{Loader, LoaderConfig, Store};
use common::{Kind, Mix, value_type, write_store};
use shared::{is_measured, median, setting};

const N_VARS: u32 = 62_710;
/// Genes of a panel, as models take it.
const N_PANEL: usize = 2_000;

/// Cells with about 1,930 values each, whose gaps grow as genes get rarer; mostly ones.
fn cells(n_obs: usize) -> CsrRows {
    let mut mix = Mix(1);
    let (mut indptr, mut indices, mut values) = (vec![0], Vec::new(), Vec::new());
    for _ in 0..n_obs {
        let mut gene = 0;
        loop {
            let mean_gap = 2.0 + f64::from(gene) / 480.0;
            let uniform = (mix.below(1 << 50) + 1) as f64 / (1u64 << 50) as f64;
            gene += 1 + (-mean_gap * uniform.ln()) as u32;
            if gene >= N_VARS {
                break;
            }
            indices.push(gene);
            let is_one = mix.below(100) < 60;
            values.push(if is_one { 1.0 } else { (2 + mix.below(8)) as f32 });
        }
        indptr.push(indices.len() as u64);
    }
    CsrRows {
        indptr,
        indices,
        values: ValueBuffer::F32(values),
    }
}

/// A gene list: some of the frequent genes, some rare ones, some that are missing; in the store's order or in none.
fn genes(n_vars: u64, n: usize, is_sorted: bool) -> GeneSelection {
    let mut columns: Vec<u32> = (0..n_vars as u32).collect();
    let mut mix = Mix(2);
    for k in (1..columns.len()).rev() {
        columns.swap(k, mix.below(k as u64 + 1) as usize);
    }
    columns.truncate(n);
    if is_sorted {
        columns.sort_unstable();
    }
    let missing = |k: usize| k % 20 == 7;
    let columns: Vec<Option<u32>> = columns
        .into_iter()
        .enumerate()
        .map(|(k, column)| (!missing(k)).then_some(column))
        .collect();
    GeneSelection::by_columns(n_vars, &columns).unwrap()
}

fn forms(store: &Store) -> Vec<(&'static str, OutputConfig)> {
    let n_vars = store.n_vars();
    let all = n_vars as usize;
    let panel = N_PANEL.min(all);
    let plain = OutputConfig::default;
    let layout = |layout| plain().layout(layout);
    let of_type = |value_type| plain().value_type(value_type);
    let selected = |n, is_sorted| Some(genes(n_vars, n, is_sorted));
    let normalize = Some(Normalize::LOG1P_10K);
    let library_size = Some(Normalize::LOG1P_10K.log1p(false));
    vec![
        ("plain", plain()),
        ("plain again", plain()),
        ("csr i64", plain().index_type(IndexType::I64)),
        ("csr f16", of_type(OutputType::F16)),
        ("csr bf16", of_type(OutputType::Bf16)),
        ("csr source", of_type(OutputType::Source)),
        ("csr library size", plain().normalize(library_size)),
        ("csr log1p", plain().normalize(normalize)),
        ("csr bf16 log1p", of_type(OutputType::Bf16).normalize(normalize)),
        ("csr half of the genes", plain().genes(selected(all / 2, true))),
        ("csr all genes reordered", plain().genes(selected(all, false))),
        ("csr panel reordered", plain().genes(selected(panel, false))),
        ("dense f32", layout(Layout::Dense)),
        ("dense bf16", of_type(OutputType::Bf16).layout(Layout::Dense)),
        (
            "dense panel f32",
            layout(Layout::Dense).genes(selected(panel, false)),
        ),
        (
            "dense panel bf16 log1p",
            of_type(OutputType::Bf16)
                .layout(Layout::Dense)
                .genes(selected(panel, false))
                .normalize(normalize),
        ),
        ("top 64", layout(Layout::TopK(64))),
        ("top 2048", layout(Layout::TopK(2048))),
        (
            "top 2048 weighted",
            layout(Layout::TopK(2048))
                .normalize(library_size)
                .gene_weights((0..all).map(|k| 0.5 + (k % 97) as f32 / 50.0).collect::<Vec<_>>()),
        ),
    ]
}

/// Sampling by made-up columns: classes of very different sizes in runs, groups in runs.
fn strategies(n_obs: u64) -> Vec<(&'static str, Strategy, SamplerData)> {
    let data = SamplerData::default;
    let runs = |len: u64| (0..n_obs).map(|obs| (obs / len) as u32).collect::<Vec<_>>();
    let skewed = || (0..n_obs).map(|obs| (obs / 1000 + 1).ilog2());
    let subset = |keep: fn(u64) -> bool| data().subset(Subset::from_fn(n_obs, keep).ok());
    let weighted = |replacement| {
        Weighted::new(
            skewed()
                .map(|class| 1.0 / (1.0 + class as f32))
                .collect::<Vec<_>>(),
        )
        .n_draws(Some(n_obs / 2))
        .replacement(replacement)
    };
    let balanced = Balanced::new(skewed().collect::<Vec<_>>());
    let grouped = Grouped::new(runs(500))
        .n_per_group(Some(16))
        .controls(Controls::new(vec![0], 16));
    let blocks = (0..n_obs / 16).rev().map(|block| 16 * block..16 * block + 16);
    let custom = Custom::from_ranges(blocks).unwrap();
    let plain = StrategyKind::ALL
        .iter()
        .filter(|kind| **kind != StrategyKind::default())
        .filter_map(|kind| Some((kind.name(), kind.without_data()?, data())));
    let others = vec![
        (
            "blocks of a subset in runs",
            Strategy::BlockShuffle,
            subset(|obs| obs % 1000 < 800),
        ),
        (
            "blocks of a scattered subset",
            Strategy::BlockShuffle,
            subset(|obs| obs % 5 != 2),
        ),
        ("weighted", weighted(true).into(), data()),
        ("weighted, no replacement", weighted(false).into(), data()),
        ("balanced", balanced.into(), data()),
        ("grouped with controls", grouped.into(), data()),
        ("custom", custom.into(), data()),
    ];
    plain.chain(others).collect()
}

/// Something of every minibatch, that its content cannot be left out.
fn look(minibatch: &Minibatch) -> usize {
    fn first<T: Value>(values: &[T]) -> usize {
        std::hint::black_box(values.first());
        values.len()
    }
    let values = minibatch
        .csr()
        .map(|view| view.values)
        .or_else(|| minibatch.dense().map(|view| view.values))
        .or_else(|| minibatch.top_k().map(|view| view.values));
    values.map_or(0, |values| match values.get::<f32>() {
        Some(values) => first(values),
        None => std::hint::black_box(values).len(),
    })
}

/// Cells per second of an epoch or its beginning, and nanoseconds of decoding per cell.
fn epoch(loader: &Loader, number: u64, seconds: f64) -> (f64, f64) {
    let since = Instant::now();
    let mut epoch = loader.epoch(number).unwrap();
    let mut n_cells = 0;
    for minibatch in epoch.by_ref() {
        let minibatch = minibatch.unwrap();
        std::hint::black_box(look(&minibatch));
        n_cells += minibatch.n_obs();
        if since.elapsed().as_secs_f64() > seconds {
            break;
        }
    }
    let rate = n_cells as f64 / since.elapsed().as_secs_f64();
    // Those that wait to be taken are decoded too, which is little of an epoch.
    (rate, epoch.stats().decode_ns as f64 / n_cells as f64)
}

fn main() {
    let tiny = !is_measured();
    let rounds = setting("CELLRING_BENCH_ROUNDS").unwrap_or(if tiny { 1 } else { 7 });
    let seconds = setting("CELLRING_BENCH_SECONDS").unwrap_or(f64::INFINITY);
    let decode_threads = setting("CELLRING_BENCH_THREADS").unwrap_or(0);
    let dir = tempfile::tempdir().unwrap();
    let path = match std::env::var_os("CELLRING_BENCH_STORE") {
        Some(path) => path.into(),
        None => {
            let path = dir.path().join("store");
            let options = WriterOptions::new(N_VARS.into(), value_type(Kind::Counts));
            write_store(&path, &cells(if tiny { 256 } else { 16_384 }), options, None).unwrap();
            path
        }
    };
    let store = Arc::new(Store::open(path).unwrap());
    let words: Option<String> = setting("CELLRING_BENCH_VARIANTS");
    let is_wanted = |name: &str| match &words {
        Some(words) => name == "plain" || words.split(',').any(|word| name.contains(word)),
        None => true,
    };
    let forms = forms(&store)
        .into_iter()
        .map(|(name, output)| (name, Strategy::BlockShuffle, SamplerData::default(), output));
    let strategies = strategies(store.n_obs())
        .into_iter()
        .map(|(name, strategy, data)| (name, strategy, data, OutputConfig::default()));
    let variants: Vec<_> = forms
        .chain(strategies)
        .filter(|(name, ..)| is_wanted(name))
        .collect();
    let loader = |strategy: &Strategy, data: &SamplerData, output: &OutputConfig| {
        let config = LoaderConfig::default()
            .sampler(
                SamplerConfig::default()
                    .strategy(strategy.clone())
                    .block_size(16)
                    .batch_size(64)
                    .fetch_factor(if tiny { 2 } else { 64 }),
            )
            .data(data.clone())
            .output(output.clone())
            .memory_bytes(512 << 20)
            .decode_threads(decode_threads);
        Loader::new(store.clone(), config).unwrap()
    };
    let mut rates = vec![(vec![], vec![]); variants.len()];
    for round in 0..rounds {
        for ((_, strategy, data, output), (rates, decode)) in variants.iter().zip(&mut rates) {
            // One loader at a time, whose first epoch fills its memory.
            let loader = loader(strategy, data, output);
            epoch(&loader, 2 * round, seconds);
            let (rate, decode_ns) = epoch(&loader, 2 * round + 1, seconds);
            rates.push(rate);
            decode.push(decode_ns);
        }
    }
    let mut out = std::io::stdout().lock();
    let nnz = store.manifest().nnz / store.n_obs().max(1);
    writeln!(
        out,
        "{} obs of {nnz} values in {} vars; medians of {rounds}",
        store.n_obs(),
        store.n_vars()
    )
    .unwrap();
    writeln!(
        out,
        "  {:28} {:>12} {:>9} {:>16}",
        "variant", "cells/s", "to plain", "decode us/cell"
    )
    .unwrap();
    let plain = median(rates[0].0.clone());
    for ((name, ..), (rates, decode)) in variants.iter().zip(rates) {
        let (rate, decode) = (median(rates), median(decode) / 1e3);
        writeln!(out, "  {name:28} {rate:12.0} {:8.2}x {decode:16.2}", rate / plain).unwrap();
    }
}
