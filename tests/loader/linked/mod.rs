//! Linked stores: the same minibatches as from a store that holds the values, whatever the file is like; and errors, never wrong data,
//! where it is not what it was.

mod budget;
mod changes;
mod checksums;
mod dense;
mod forms;
mod hostile;
mod joined;
mod source;

use std::path::PathBuf;
use std::sync::Arc;

use cellring::format::ValueType;
use cellring::minibatch::OutputType;
use cellring::plan::SamplerConfig;
use cellring::{Loader, LoaderConfig, Minibatch, OutputConfig, Store};
use tempfile::TempDir;

use self::source::{Form, GZIP, Source, stores};

fn sampler(block_size: u64, batch_size: u32, fetch_factor: u32) -> SamplerConfig {
    SamplerConfig::default()
        .block_size(block_size)
        .batch_size(batch_size)
        .fetch_factor(fetch_factor)
        .seed(5)
}

fn config(sampler: SamplerConfig) -> LoaderConfig {
    LoaderConfig::default()
        .sampler(sampler)
        .memory_bytes(32 << 20)
        .decode_threads(2)
        .output(OutputConfig::default().value_type(OutputType::Source))
}

/// Everything that a minibatch holds.
fn content(minibatch: &Minibatch) -> (Vec<u64>, String) {
    (
        minibatch.obs().to_vec(),
        format!("{:?}", minibatch.csr().unwrap()),
    )
}

fn epoch(store: &Arc<Store>, config: &LoaderConfig, epoch: u64) -> Vec<(Vec<u64>, String)> {
    let loader = Loader::new(store.clone(), config.clone()).unwrap();
    let minibatches = loader.epoch(epoch).unwrap();
    minibatches
        .map(|minibatch| content(&minibatch.unwrap()))
        .collect()
}

/// A store whose fetches need most of the memory, of a file that is read in many batches.
fn large(directory: &TempDir) -> (PathBuf, Arc<Store>, Arc<Store>) {
    let source = Source::random(3000, 2000, ValueType::F32, ValueType::I32, false, 6);
    stores(
        directory.path(),
        "large",
        &source,
        Form {
            chunk: Some(5000),
            ..GZIP
        },
        3,
    )
}
