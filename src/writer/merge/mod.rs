//! Puts the parts of a store together, without copying their blocks.

mod complete_set;
mod files;
mod found;
mod index;
mod join;
mod obs;
mod proof;

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::WriteError;
use super::foreign::foreign_in;
use super::part::{PartManifest, is_part_of};
use super::paths::parent_of;
use super::publish::{recover, remove_merged, remove_rest_of_merged};
use crate::Error;
use crate::format::Manifest;
use crate::format::constants::{MANIFEST_FILE, MAX_MANIFEST_BYTES};
use crate::format::file::{Links, read_whole};
use found::FoundPart;

/// What [`merge`] did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Merged {
    /// The store's manifest.
    pub manifest: Manifest,
    /// Number of parts that it was made of.
    pub parts: u32,
    /// Whether the store was already there, made of these parts by an earlier run, and only they were left to be removed.
    pub was_done: bool,
}

/// Makes a store of its parts, which come in any order, and removes them.
///
/// The parts' shards become the store's own by hard links. What they make is verified, every obs of it, before it gets its name, and
/// until then the parts stay whole: after a failure, or where the process is killed, the same call does what is left. `progress` is
/// called, from several threads, with the number of blocks that are verified and that of all.
///
/// # Errors
/// If a part is missing, damaged or of another conversion than the others, where a part is not on the same
/// filesystem as the store is to be, where the parts do not make a sound store, or it cannot be written. The parts are still there
/// then.
pub fn merge(
    parts: &[PathBuf],
    target: &Path,
    replace: bool,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Merged, Error> {
    recover(target);
    let mut found = Vec::with_capacity(parts.len());
    let mut absent = None;
    for path in parts {
        match PartManifest::open(path) {
            Ok(manifest) => {
                // It will be removed with all that is in it.
                if let Some(foreign) = foreign_in(path) {
                    return Err(WriteError::Part {
                        path: path.clone(),
                        problem: format!(
                            "{foreign:?} is in it and does not belong to it, so it would be lost; move it away"
                        ),
                    }.into());
                }
                found.push(FoundPart {
                    path: path.clone(),
                    manifest,
                });
            }
            // An earlier run may have removed it.
            Err(error) if !path.exists() => absent = absent.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    // Parts are only removed when their store is complete.
    let n_removed = remove_rest(parts, target);
    if let Some(manifest) = merged_before(&found, target, n_removed > 0) {
        let of = found.first().map_or(n_removed, |part| part.manifest.parts);
        remove_parts(&found)?;
        return Ok(Merged {
            manifest,
            parts: of,
            was_done: true,
        });
    }
    if let Some(error) = absent {
        return Err(error);
    }
    found.sort_by_key(|part| part.manifest.part);
    complete_set::check(&found, target)?;
    let manifest = join::join(&found, target, replace, progress)?;
    remove_parts(&found)?;
    Ok(Merged {
        manifest,
        parts: found.len() as u32,
        was_done: false,
    })
}

/// Removes what an earlier run left of the parts that it was about to remove, and gives the number of these.
fn remove_rest(parts: &[PathBuf], target: &Path) -> u32 {
    let name_of = |path: &Path| parent_of(path).join(path.file_name().unwrap_or_default());
    let named: Vec<PathBuf> = parts.iter().map(|part| name_of(part)).collect();
    let directories: BTreeSet<&Path> = parts
        .iter()
        .map(PathBuf::as_path)
        .chain([target])
        .map(parent_of)
        .collect();
    let is_part = |path: &Path| named.iter().any(|part| part == path) || is_part_of(path, target);
    let removed = directories
        .into_iter()
        .flat_map(|directory| remove_rest_of_merged(directory, is_part));
    removed.count() as u32
}

/// The manifest of the store at `target`, where its shards are those of all these parts. Without any, where `was_removing` tells that
/// an earlier run got as far as that.
fn merged_before(parts: &[FoundPart], target: &Path, was_removing: bool) -> Option<Manifest> {
    let path = target.join(MANIFEST_FILE);
    let bytes = read_whole(&path, Links::Refused, MAX_MANIFEST_BYTES).ok()?;
    let manifest = Manifest::from_bytes(&bytes, &path).ok()?;
    let file_of = |path: PathBuf| std::fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    let shards: Vec<_> = manifest
        .shards
        .iter()
        .filter_map(|shard| file_of(target.join(&shard.file)))
        .collect();
    let is_shared = |part: &FoundPart| {
        let mut own = part
            .manifest
            .shards
            .iter()
            .map(|shard| file_of(part.path.join(&shard.file)));
        own.all(|file| file.is_some_and(|file| shards.contains(&file)))
    };
    let any = parts.iter().any(|part| !part.manifest.shards.is_empty()) || (parts.is_empty() && was_removing);
    (any && parts.iter().all(is_shared)).then_some(manifest)
}

/// Removes parts whose store is complete, those without shards first: the others tell that it is.
fn remove_parts(parts: &[FoundPart]) -> Result<(), Error> {
    let is_empty = |part: &&FoundPart| part.manifest.shards.is_empty();
    let (empty, others): (Vec<_>, Vec<_>) = parts.iter().partition(is_empty);
    empty
        .iter()
        .chain(&others)
        .try_for_each(|part| remove_merged(&part.path))
}
