//! Stores that are made in parts, on one machine or on several.
//!
//! The obs of a store are cut into stretches of whole blocks after they have been brought into their order, so that all parts
//! agree on where each obs is, whatever the options are. What holds for the whole store, such as the order of the columns, each part
//! finds out by itself from the input alone, in the same way.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use cellring::format::checksum::crc32c;
use cellring::writer::{Part, PartManifest, WriterOptions, part_path};
use cellring_anndata::Canonicalised;

use super::error::ConvertError;
use super::inputs::Inputs;
use super::options::{ConvertOptions, Parts};

/// Length of shards that are put in several directories, unless another one is asked for: with fewer shards than a store
/// has gigabytes the disks would not be equally full.
const STRIPE_SHARD_BYTES: u64 = 1 << 30;

/// Options that contradict each other, or name a part that cannot be.
pub(super) fn check(options: &ConvertOptions) -> Result<(), ConvertError> {
    let refuse = |problem: &str| Err(ConvertError::Parts(problem.to_owned()));
    match options.parts {
        Some(Parts::All(0) | Parts::One { of: 0, .. }) => refuse("a store has at least one part"),
        Some(Parts::One { number, of }) if !(1..=of).contains(&number) => refuse(&format!(
            "there is no part {number} of {of}; the first is part 1 of {of}"
        )),
        Some(_) if !options.other_matrices.is_empty() => {
            refuse("a store with several matrices is not made in parts; convert it in one go")
        }
        _ => Ok(()),
    }
}

/// The directory that a conversion makes.
pub(super) fn directory(output: &Path, options: &ConvertOptions) -> PathBuf {
    match options.parts {
        Some(Parts::One { number, of }) => part_path(output, number, of),
        _ => output.to_path_buf(),
    }
}

pub(super) fn shard_bytes(options: &ConvertOptions) -> u64 {
    let default = match options.stripe.is_empty() {
        true => WriterOptions::new(0, cellring::format::ValueType::F32).shard_bytes,
        false => STRIPE_SHARD_BYTES,
    };
    options.shard_bytes.unwrap_or(default)
}

/// The directories for shards, in the order in which they are used: parts do not all begin with the first.
pub(super) fn stripe(options: &ConvertOptions) -> Vec<PathBuf> {
    let mut stripe = options.stripe.clone();
    if let Some(Parts::One { number, .. }) = options.parts
        && !stripe.is_empty()
    {
        let first = (number as usize - 1) % stripe.len();
        stripe.rotate_left(first);
    }
    stripe
}

fn n_blocks(options: &ConvertOptions, n_obs: u64) -> u64 {
    n_obs.div_ceil(u64::from(options.block_size))
}

/// The obs that are written, of `n_obs`.
pub(super) fn obs(options: &ConvertOptions, n_obs: u64) -> Range<u64> {
    match options.parts {
        Some(Parts::One { number, of }) => {
            let blocks = Part::blocks(number, of, n_blocks(options, n_obs));
            let first_obs = |block: u64| (block * u64::from(options.block_size)).min(n_obs);
            first_obs(blocks.start)..first_obs(blocks.end)
        }
        _ => 0..n_obs,
    }
}

/// The blocks that begin a shard whatever came before, ascending.
pub(super) fn first_blocks(options: &ConvertOptions, n_obs: u64) -> Vec<u64> {
    match options.parts {
        Some(Parts::All(of)) => {
            let n_blocks = n_blocks(options, n_obs);
            let mut first: Vec<u64> = (1..=of)
                .map(|number| Part::blocks(number, of, n_blocks).start)
                .collect();
            first.dedup();
            first
        }
        _ => Vec::new(),
    }
}

/// All that decides what a part contains, and what tells the inputs from others. Two parts with equal settings belong together; what only decides where and how fast
/// they are made is not in it.
pub(super) fn settings(
    options: &ConvertOptions,
    inputs: &Inputs,
    source: serde_json::Value,
) -> serde_json::Value {
    let genes = inputs.genes.as_ref().map(|list| crc32c(list.text().as_bytes()));
    let selected = &inputs.selected_matrices[0];
    let columns = |table: &cellring_anndata::TableSource| -> Vec<String> {
        let fields = table.schema().fields();
        fields.iter().map(|field| field.name().clone()).collect()
    };
    serde_json::json!({
        "source": source,
        "inputs": inputs.content(),
        "n_obs": selected.matrix.n_obs(),
        "n_vars": selected.matrix.n_vars(),
        "nnz": selected.matrix.nnz(),
        "obs_columns": columns(&inputs.obs),
        "var_columns": columns(&selected.var),
        "genes_crc32c": genes,
        "group": options.open.group,
        "genome": options.open.genome,
        "feature_types": options.open.feature_types,
        "join": format!("{:?}", options.join),
        "max_obs": options.max_obs,
        "encoding": options.encoding.name(),
        "var_order": options.var_order.map(|order| order.name()),
        "block_size": options.block_size,
        "shard_bytes": shard_bytes(options),
    })
}

/// A part that is there already and is what would be made.
///
/// # Errors
/// If it is another one, or damaged.
pub(super) fn existing(
    path: &Path,
    options: &ConvertOptions,
    settings: &serde_json::Value,
) -> Result<Option<PartManifest>, ConvertError> {
    if options.force || path.symlink_metadata().is_err() {
        return Ok(None);
    }
    let part = PartManifest::open(path)?;
    if part.settings == *settings {
        Ok(Some(part))
    } else {
        Err(ConvertError::OtherPart {
            path: path.to_path_buf(),
        })
    }
}

/// What the writer is to record of a part.
pub(super) fn part(
    (number, of): (u32, u32),
    options: &ConvertOptions,
    inputs: &Inputs,
    settings: serde_json::Value,
    changed: Canonicalised,
) -> Part {
    let matrix = &inputs.selected_matrices[0].matrix;
    // With a filter neighbours of the obs that it takes are read and counted too, more or fewer of them with other memory.
    let recorded = |changed| match options.obs_filter {
        None => counts(changed),
        Some(_) => BTreeMap::new(),
    };
    Part {
        number,
        of,
        first_obs: obs(options, matrix.n_obs()).start,
        n_obs_of_store: matrix.n_obs(),
        settings,
        counts: recorded(changed),
        counts_of_all: recorded(matrix.changed_before()),
    }
}

/// The members of the manifest's `source` that are sums over rows.
pub(super) fn counts(changed: Canonicalised) -> BTreeMap<String, u64> {
    [
        ("rows_sorted", changed.rows_sorted),
        ("duplicates_summed", changed.duplicates_summed),
        ("explicit_zeros_dropped", changed.explicit_zeros_dropped),
    ]
    .map(|(name, n)| (name.to_owned(), n))
    .into()
}
