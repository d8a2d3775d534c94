//! What a loader finds out about its stores before it starts.

use std::sync::Arc;

use super::collection::Collection;
use super::config::LoaderConfig;
use super::decode::{DecodeContext, DecodeMatrix, DecodeSource};
use super::error::LoaderError;
use super::extents::{Content, Source};
use crate::engine::Engine;
use crate::format::ValueType;
use crate::format::encoding::ObsDecoder;
use crate::linked::Link;
use crate::minibatch::{GeneSelection, OutputConfig, ResolvedOutput};
use crate::{Error, Store};

/// Refuses what a loader would refuse about its minibatches, without opening one.
///
/// # Errors
/// If there is no such matrix, or the output does not suit it.
pub fn check_outputs(collection: &Collection, config: &LoaderConfig) -> Result<(), Error> {
    matrices(collection, config).map(drop)
}

/// The matrices that are read, that of the stores first, and what is made of each.
pub(super) fn matrices(
    collection: &Collection,
    config: &LoaderConfig,
) -> Result<Vec<(Collection, ResolvedOutput)>, Error> {
    let first = resolved(collection, &config.output, config)?;
    let mut matrices = vec![(collection.clone(), first)];
    for choice in &config.matrices {
        let matrix = collection.matrix(&choice.name)?;
        let output = resolved(&matrix, &choice.output, config)?;
        matrices.push((matrix, output));
    }
    Ok(matrices)
}

/// What is made of a matrix.
fn resolved(
    matrix: &Collection,
    output: &OutputConfig,
    config: &LoaderConfig,
) -> Result<ResolvedOutput, Error> {
    let value_type = value_type(matrix.stores(), output, config.allow_rounding)?;
    Ok(output.check(matrix.n_vars() as u64, value_type)?)
}

/// The type of values in the source, which is that of all stores where it is asked for.
fn value_type(
    stores: &[Arc<Store>],
    output: &OutputConfig,
    allow_rounding: bool,
) -> Result<ValueType, Error> {
    let first = stores[0].manifest().value_type;
    for store in stores {
        let manifest = store.manifest();
        let is_exact = output.is_exact();
        if is_exact && manifest.value_type != first {
            return Err(LoaderError::ValueTypes {
                store: store.path().to_path_buf(),
                found: manifest.value_type.numpy_name(),
                first: stores[0].path().to_path_buf(),
                expected: first.numpy_name(),
            }
            .into());
        }
        if !manifest.f32_exact && !allow_rounding && !is_exact {
            return Err(LoaderError::Rounding {
                store: store.path().to_path_buf(),
                value_type: manifest.value_type.numpy_name(),
            }
            .into());
        }
    }
    Ok(first)
}

/// How a matrix of each store is decoded, the first of whose shards has this number among the files of the engine.
pub(super) fn sources(
    collection: &Collection,
    genes: Option<&GeneSelection>,
    mut first_file: u32,
    allow_rounding: bool,
) -> Vec<DecodeSource> {
    let mut sources = Vec::with_capacity(collection.stores().len());
    for (number, (store, genes)) in collection
        .stores()
        .iter()
        .zip(collection.selections(genes))
        .enumerate()
    {
        sources.push(DecodeSource {
            store: store.clone(),
            first_obs: collection.range(number).start,
            first_file,
            // Of what a linked store leads to it is not known whether an f32 rounds a value: each that is read is looked at.
            decoder: match store.is_linked() && allow_rounding {
                true => ObsDecoder::rounding(store.manifest()),
                false => ObsDecoder::new(store.manifest()),
            },
            genes,
        });
        first_file += store.shard_paths().len() as u32;
    }
    sources
}

/// Whether the files that an engine has just opened are those of the stores.
pub(super) fn check_shards(matrices: &[DecodeMatrix], engine: &Engine) -> Result<(), Error> {
    let opened = engine.opened();
    let mut sources = matrices.iter().flat_map(|matrix| &matrix.sources);
    sources.try_for_each(|source| {
        let own = &opened[source.first_file as usize..];
        source.store.check_shards(own)
    })
}

/// Where the values of a store are.
fn content(store: &Store) -> Content<'_> {
    match store.link() {
        Some(link) => Content::Linked(link),
        None => Content::Blocks(store.index()),
    }
}

impl DecodeContext {
    /// The links of the linked stores, of all matrices in turn.
    pub(super) fn links(&self) -> Vec<&Link> {
        let sources = self.matrices.iter().flat_map(|matrix| &matrix.sources);
        sources.filter_map(|source| source.store.link()).collect()
    }

    /// How the reads of each matrix and store are planned.
    pub(super) fn read_sources(&self) -> Vec<Vec<Source<'_>>> {
        fn planned(source: &DecodeSource) -> Source<'_> {
            Source {
                content: content(&source.store),
                n_obs: source.store.n_obs(),
                first_obs: source.first_obs,
                first_file: source.first_file,
            }
        }
        let matrices = self.matrices.iter();
        matrices
            .map(|matrix| matrix.sources.iter().map(planned).collect())
            .collect()
    }
}
