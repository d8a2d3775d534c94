//! Compares stores of different sizes: `scale [--seconds S] [--rounds N] [--warm] STORE...`
//!
//! In each round, store after store: its files are put out of the page cache (unless `--warm`), it is opened, its first fetch
//! is planned, a loader is made, the first minibatch is taken, and then minibatches for so many seconds. Medians over
//! the rounds are printed, with the least and the greatest value.

use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cellring::plan::Plan;
use cellring::{Loader, LoaderConfig, Store};
use cellring_tools::page_cache::evict;

/// What is measured, in the order of the columns.
const COLUMNS: [&str; 6] = [
    "open ms",
    "plan ms",
    "loader ms",
    "first ms",
    "cells/s",
    "plan us/fetch",
];

struct Options {
    time: Duration,
    rounds: usize,
    warm: bool,
    block_size: u64,
    stores: Vec<PathBuf>,
}

fn options() -> Result<Options, Box<dyn Error>> {
    let mut options = Options {
        time: Duration::from_secs(2),
        rounds: 5,
        warm: false,
        block_size: 16,
        stores: vec![],
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--seconds" => options.time = Duration::try_from_secs_f64(value()?.parse()?)?,
            "--rounds" => options.rounds = value()?.parse()?,
            "--block-size" => options.block_size = value()?.parse()?,
            "--warm" => options.warm = true,
            _ => options.stores.push(word.into()),
        }
    }
    Ok(options)
}

fn measure(path: &Path, options: &Options) -> Result<[f64; 6], Box<dyn Error>> {
    let ms = |since: Instant| since.elapsed().as_secs_f64() * 1e3;
    if !options.warm {
        for entry in std::fs::read_dir(path)? {
            evict(&entry?.path())?;
        }
    }
    let since = Instant::now();
    let store = Arc::new(Store::open(path)?);
    let open = ms(since);

    let mut config = LoaderConfig::default();
    config.sampler.block_size = options.block_size;
    let since = Instant::now();
    std::hint::black_box(Plan::new(store.n_obs(), &config.sampler, 0)?.fetch(0));
    let plan = ms(since);

    let fetch_obs = config.sampler.fetch_obs();
    let since = Instant::now();
    let loader = Loader::new(store, config)?;
    let made = ms(since);
    let since = Instant::now();
    let mut epoch = loader.epoch(0)?;
    let mut cells = epoch.next().transpose()?.map_or(0, |minibatch| minibatch.n_obs());
    let first = ms(since);

    let mut plan_ns = 0;
    let mut number = 0;
    while since.elapsed() < options.time {
        match epoch.next().transpose()? {
            Some(minibatch) => cells += minibatch.n_obs(),
            None => {
                plan_ns += epoch.stats().plan_ns;
                number += 1;
                drop(epoch);
                epoch = loader.epoch(number)?;
            }
        }
    }
    let speed = cells as f64 / since.elapsed().as_secs_f64();
    plan_ns += epoch.stats().plan_ns;
    let fetches = (cells as u64).div_ceil(fetch_obs);
    Ok([
        open,
        plan,
        made,
        first,
        speed,
        plan_ns as f64 * 1e-3 / fetches as f64,
    ])
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = options()?;
    let mut rounds = vec![vec![]; options.stores.len()];
    for _ in 0..options.rounds {
        for (store, rounds) in options.stores.iter().zip(&mut rounds) {
            rounds.push(measure(store, &options)?);
        }
    }
    let mut out = io::stdout().lock();
    for (store, rounds) in options.stores.iter().zip(&mut rounds) {
        writeln!(out, "{}", store.display())?;
        for (column, name) in COLUMNS.iter().enumerate() {
            rounds.sort_by(|a, b| a[column].total_cmp(&b[column]));
            let at = |k: usize| rounds[k][column];
            let (least, median, most) = (at(0), at(rounds.len() / 2), at(rounds.len() - 1));
            writeln!(out, "  {name:14} {median:12.2}   {least:.2} to {most:.2}")?;
        }
    }
    Ok(())
}
