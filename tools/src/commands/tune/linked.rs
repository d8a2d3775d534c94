//! What is chosen from for a linked store: how fast a choice is depends on the chunks of the file, and is measured.

use std::sync::Arc;
use std::time::Duration;

use cellring::plan::{Sampler, SamplerConfig, SamplerData};
use cellring::{ErrorKind, Store};

use super::candidate::{Candidate, FETCHES_AT_A_TIME};
use super::speeds::{alignment, evict_all};
use crate::bench::ceiling::extents;
use crate::bench::drive::{Driven, drive};
use crate::chunks::amplification;
use crate::diversity::Labels;
use crate::failure::Failure;
use crate::options::ReadArgs;

/// What is measured, and how.
pub(super) struct Question<'a> {
    pub(super) store: &'a Arc<Store>,
    pub(super) labels: &'a Labels,
    pub(super) data: &'a SamplerData,
    pub(super) read: &'a ReadArgs,
    pub(super) time: Duration,
    /// In bits.
    pub(super) target: f64,
}

/// The choices; those that mix well and fit the memory with what a run of each gave.
pub(super) fn candidates(
    question: &Question<'_>,
    shapes: Vec<SamplerConfig>,
) -> Result<Vec<Candidate>, Failure> {
    let store = question.store;
    let alignment = alignment(store, &question.read.engine()?)?;
    // Rows wait as narrow as they can be.
    let column_bytes = if store.n_vars() <= 1 << 16 { 2 } else { 4 };
    let value_bytes = column_bytes + store.manifest().value_type.size_bytes() as u64;
    let mut candidates: Vec<Candidate> = Vec::new();
    // Of the smallest fetch that did not fit.
    let mut too_large = None;
    for sampler in shapes {
        let plan = Sampler::new(store.n_obs(), sampler.clone(), question.data.clone())?.plan(0)?;
        let fetch = extents(store, &plan, 0, alignment)?;
        let cells = plan.fetch(0).obs.len().max(1) as f64;
        let entropy_bits = question
            .labels
            .entropy(&sampler, question.data, 0)?
            .unwrap_or(0.0);
        let buffer_bytes = FETCHES_AT_A_TIME * (fetch.nnz * value_bytes) as usize;
        let (read_bytes, reads) = (fetch.read_bytes(), fetch.reads.len().max(1) as u64);
        let mut candidate = Candidate {
            block_size: sampler.block_size,
            fetch_factor: sampler.fetch_factor,
            entropy_bits,
            expected_cells_per_second: 0.0,
            bound_by: "",
            mean_read_bytes: read_bytes / reads,
            read_bytes_per_cell: read_bytes as f64 / cells,
            decoded_per_value: store.chunk_values().map(|_| amplification(&fetch)),
            buffer_bytes,
            // A quarter of the budget is for decoded minibatches.
            fits_memory: buffer_bytes <= question.read.memory_bytes() / 4 * 3,
            meets_target: entropy_bits >= question.target,
        };
        if candidate.fits_memory && candidate.meets_target {
            match run(question, sampler)? {
                Ok(Some(run)) => {
                    candidate.expected_cells_per_second =
                        run.cells as f64 / run.seconds.max(f64::MIN_POSITIVE);
                    let waits = run.split.read_wait_ns > run.split.decode_ns;
                    candidate.bound_by = if waits { "device" } else { "cores" };
                }
                Ok(None) => candidate.fits_memory = false,
                Err(error) => {
                    candidate.fits_memory = false;
                    too_large.get_or_insert(error);
                }
            }
        }
        candidates.push(candidate);
    }
    let fits = |candidate: &Candidate| candidate.fits_memory && candidate.meets_target;
    match too_large {
        // It says what would.
        Some(error) if !candidates.iter().any(fits) => Err(error.into()),
        _ => Ok(candidates),
    }
}

/// A short run, or why it does not fit the memory; `None` if epochs have no minibatch.
fn run(
    question: &Question<'_>,
    sampler: SamplerConfig,
) -> Result<Result<Option<Driven>, cellring::Error>, Failure> {
    evict_all(&question.store.shard_paths())?;
    let config = question.read.loader(sampler)?.data(question.data.clone());
    match drive(question.store, config, 0, question.time) {
        Err(Failure::Failed(error)) => match error.downcast::<cellring::Error>() {
            Ok(error) if error.kind() == ErrorKind::Memory => Ok(Err(*error)),
            Ok(error) => Err(Failure::Failed(error)),
            Err(error) => Err(Failure::Failed(error)),
        },
        run => run.map(Ok),
    }
}
