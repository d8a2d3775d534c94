//! Makes the store of its parts.

use std::collections::BTreeMap;
use std::path::Path;

use super::files::copy_table;
use super::found::{FoundPart, too_many};
use super::index::append_index;
use super::obs::join_obs;
use super::proof::{check_headers, check_store};
use crate::Error;
use crate::error::Cause;
use crate::format::Manifest;
use crate::format::constants::{INDEX_FILE, OBS_FILE, VAR_FILE};
use crate::format::file::FileName;
use crate::format::manifest::ShardEntry;
use crate::writer::complete::{Content, Totals, complete, write_headers, write_manifest};
use crate::writer::error::WriteError;
use crate::writer::options::WriterOptions;
use crate::writer::publish::Staging;
use crate::writer::spool::IndexSpool;

pub(super) fn join(
    parts: &[FoundPart],
    target: &Path,
    replace: bool,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Manifest, Error> {
    let first = &parts[0].manifest;
    let options = WriterOptions {
        encoding: first.encoding,
        raw_value_type: first.raw_value_type,
        var_order: first.var_order,
        block_size: first.block_size,
        alignment: first.alignment,
        source: source(parts)?,
        ..WriterOptions::new(first.n_vars, first.value_type)
    };
    let mut staging = Staging::create(target, replace, &[], None)?;
    let mut index = IndexSpool::create(staging.path())?;
    let mut totals = Totals::default();
    let mut shards = Vec::new();
    for part in parts {
        let first_shard = shards.len() as u32;
        for entry in &part.manifest.shards {
            let number = u32::try_from(shards.len()).map_err(|_| too_many(part))?;
            staging
                .adopt(&part.path, &entry.file, number, first.alignment)
                .map_err(|error| other_filesystem(error, &part.path, target))?;
            shards.push(ShardEntry {
                file: FileName::shard(number),
                ..entry.clone()
            });
        }
        append_index(&mut index, part, first_shard)?;
        totals.add(part.manifest.totals());
    }
    let obs = join_obs(parts, &staging.path().join(OBS_FILE))?;
    let var = copy_table(
        &parts[0].path.join(&first.var.file),
        &staging.path().join(VAR_FILE),
        &first.var,
        first.n_vars,
    )?;
    let content = Content {
        options: &options,
        totals,
        shards,
        obs,
        var,
    };
    let manifest = complete(staging.path(), content, index, INDEX_FILE)?;
    write_manifest(staging.path(), &manifest)?;
    // Nothing that the parts name is changed before it is known to be what they say.
    check_store(staging.path(), parts, target, progress)?;
    check_headers(staging.path(), &manifest, target)?;
    write_headers(staging.path(), &manifest)?;
    staging.publish()?;
    Ok(manifest)
}

fn other_filesystem(error: Error, part: &Path, target: &Path) -> Error {
    match error.cause() {
        Cause::Write(WriteError::Io { error: why, .. }) if why.kind() == std::io::ErrorKind::CrossesDevices => {
            WriteError::Part {
                path: part.to_path_buf(),
                problem: format!(
                    "it is on another filesystem than {}, and blocks are not copied; put the store where its parts are",
                    target.display()
                ),
            }
            .into()
        }
        _ => error,
    }
}

/// What the manifest says of the source: that of any part, with the sums over all.
fn source(parts: &[FoundPart]) -> Result<serde_json::Value, Error> {
    let first = &parts[0].manifest;
    let mut sums: BTreeMap<&str, u64> = first
        .counts_of_all
        .iter()
        .map(|(name, n)| (name.as_str(), *n))
        .collect();
    for part in parts {
        for (name, n) in &part.manifest.counts {
            let sum = sums.entry(name).or_default();
            *sum = sum.checked_add(*n).ok_or_else(|| too_many(part))?;
        }
    }
    let mut source = first.source.clone();
    if let Some(members) = source.as_object_mut() {
        for (name, n) in sums {
            members.insert(name.to_owned(), n.into());
        }
    }
    Ok(source)
}
