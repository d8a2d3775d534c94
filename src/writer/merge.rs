//! Puts the parts of a store together, without copying their blocks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;

use super::complete::{Content, Totals, Written, complete, new_shards, write_headers, write_manifest};
use super::foreign::foreign_in;
use super::part::{PartManifest, is_part_of};
use super::publish::{Staging, parent_of, recover, remove_merged, remove_rest_of_merged};
use super::spool::IndexSpool;
use super::{WriteError, WriterOptions, write_table};
use crate::format::checksum::{HashingWriter, crc32c};
use crate::format::constants::{
    BLOCK_RECORD_BYTES, CHECKSUM_PIECE_BYTES, INDEX_FILE, MANIFEST_FILE, MAX_MANIFEST_BYTES, OBS_FILE,
    VAR_FILE,
};
use crate::format::file::{FileName, Links, open, read_whole};
use crate::format::index::{BlockRecord, check_order};
use crate::format::manifest::{FileEntry, ShardEntry};
use crate::format::shard::encode_header;
use crate::format::table::Table;
use crate::format::{FormatError, Manifest};
use crate::store::{Store, verify as verify_store};

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

/// A part and where it is.
struct Found {
    path: PathBuf,
    manifest: PartManifest,
}

/// Makes a store of its parts, which come in any order, and removes them.
///
/// The parts' shards become the store's own by hard links. What they make is verified, every obs of it, before it gets its name, and
/// until then the parts stay whole: after a failure, or where the process is killed, the same call does what is left. `progress` is
/// called, from several threads, with the number of blocks that are verified and that of all.
///
/// # Errors
/// [`WriteError`] where a part is missing, damaged or of another conversion than the others, where a part is not on the same
/// filesystem as the store is to be, where the parts do not make a sound store, or it cannot be written. The parts are still there
/// then.
pub fn merge(
    parts: &[PathBuf],
    target: &Path,
    replace: bool,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Merged, WriteError> {
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
                    });
                }
                found.push(Found {
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
    check(&found, target)?;
    let manifest = join(&found, target, replace, progress)?;
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
fn merged_before(parts: &[Found], target: &Path, was_removing: bool) -> Option<Manifest> {
    let path = target.join(MANIFEST_FILE);
    let bytes = read_whole(&path, Links::Refused, MAX_MANIFEST_BYTES).ok()?;
    let manifest = Manifest::from_bytes(&bytes, &path).ok()?;
    let file_of = |path: PathBuf| std::fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    let shards: Vec<_> = manifest
        .shards
        .iter()
        .filter_map(|shard| file_of(target.join(&shard.file)))
        .collect();
    let is_shared = |part: &Found| {
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
fn remove_parts(parts: &[Found]) -> Result<(), WriteError> {
    let is_empty = |part: &&Found| part.manifest.shards.is_empty();
    let (empty, others): (Vec<_>, Vec<_>) = parts.iter().partition(is_empty);
    empty
        .iter()
        .chain(&others)
        .try_for_each(|part| remove_merged(&part.path))
}

/// All parts are there, once each, and belong together.
fn check(parts: &[Found], target: &Path) -> Result<(), WriteError> {
    let refuse = |path: &Path, problem: String| {
        Err(WriteError::Part {
            path: path.to_path_buf(),
            problem,
        })
    };
    let Some(first) = parts.first() else {
        return refuse(target, "there are no parts to make this store from".into());
    };
    let of = first.manifest.parts;
    for part in parts {
        let (a, b) = (&first.manifest, &part.manifest);
        let about = |part: &PartManifest| {
            (
                (part.parts, part.n_obs_of_store, part.n_vars, part.encoding),
                (
                    part.value_type,
                    part.raw_value_type,
                    part.block_size,
                    part.alignment,
                ),
                (
                    part.var_order,
                    part.settings.clone(),
                    part.var.clone(),
                    part.counts_of_all.clone(),
                ),
            )
        };
        if about(a) != about(b) {
            let other = first.path.display();
            return refuse(
                &part.path,
                format!(
                    "it was made from another input or with other settings than {other}; convert it again"
                ),
            );
        }
    }
    let numbers: BTreeSet<u32> = parts.iter().map(|part| part.manifest.part).collect();
    let n_missing = of as usize - numbers.len();
    if n_missing > 0 {
        // Not all of them are looked at: a part may say that there are billions.
        let missing = (1..=of).filter(|number| !numbers.contains(number));
        let shown: Vec<String> = missing.take(5).map(|number| number.to_string()).collect();
        let more = if n_missing > 5 { ", ..." } else { "" };
        return refuse(
            target,
            format!(
                "{n_missing} of {of} parts are missing ({}{more}); convert them first",
                shown.join(", ")
            ),
        );
    }
    if let Some(twice) = parts
        .windows(2)
        .find(|pair| pair[0].manifest.part == pair[1].manifest.part)
    {
        let other = twice[0].path.display();
        return refuse(
            &twice[1].path,
            format!("it is the same part as {other}; name each part once"),
        );
    }
    let mut next = 0;
    for part in parts {
        if part.manifest.first_obs != next {
            return refuse(
                &part.path,
                format!("it begins with obs {}, expected {next}", part.manifest.first_obs),
            );
        }
        next += part.manifest.n_obs;
    }
    if next != first.manifest.n_obs_of_store {
        return refuse(
            target,
            "the parts do not hold the obs of the store together; convert them again".into(),
        );
    }
    Ok(())
}

fn join(
    parts: &[Found],
    target: &Path,
    replace: bool,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Manifest, WriteError> {
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
    let var = copy(
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

/// The parts make a store that `verify` finds whole.
fn check_store(
    staging: &Path,
    parts: &[Found],
    target: &Path,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<(), WriteError> {
    let threads = available_parallelism().map_or(1, |n| n.get());
    let found = Store::open_unfinished(staging).and_then(|store| {
        let n_blocks = store.index().n_blocks();
        verify_store(&store, threads, &|done| progress(done, n_blocks))
    });
    let Err(error) = found else {
        return Ok(());
    };
    // What is in the way of verifying, such as a limit of the system, says nothing of the parts.
    if let FormatError::Io { file, error } = error {
        return Err(WriteError::Io { file, error });
    }
    // The directory will be gone: what is wrong is told of the part that it comes from.
    let shards = parts.iter().flat_map(|part| {
        let own = part.manifest.shards.iter();
        own.map(|shard| part.path.join(&shard.file))
    });
    let mut text = error.to_string();
    for (number, shard) in shards.enumerate() {
        let shown = staging.join(FileName::shard(number as u32)).display().to_string();
        text = text.replace(&format!("{shown}:"), &format!("{}:", shard.display()));
    }
    let text = text.replace(&staging.display().to_string(), "the merged store");
    Err(WriteError::Part {
        path: target.to_path_buf(),
        problem: format!("the parts do not make a sound store ({text}); convert them again with --force"),
    })
}

/// No shard is that of another store too, under whose name its header would be changed.
fn check_headers(staging: &Path, manifest: &Manifest, target: &Path) -> Result<(), WriteError> {
    for (number, path) in new_shards(staging, manifest) {
        let mut found = vec![0; manifest.alignment as usize];
        let file = open(&path, Links::Refused).map_err(WriteError::io(&path))?;
        file.read_exact_at(&mut found, 0).map_err(WriteError::io(&path))?;
        let is_own = found == encode_header(number, manifest.store_id(), manifest.alignment);
        let is_free = found.iter().all(|&byte| byte == 0);
        // One name is that of the part, one was given to it here.
        let n_names = file.metadata().map_err(WriteError::io(&path))?.nlink();
        if n_names > 2 && !is_own && !is_free {
            let problem = format!(
                "shard {number} of the parts is also a shard of another store (by a hard link), which would be damaged; copy the parts, \
                 or convert them again with --force"
            );
            return Err(WriteError::Part {
                path: target.to_path_buf(),
                problem,
            });
        }
    }
    Ok(())
}

fn too_many(part: &Found) -> WriteError {
    WriteError::Part {
        path: part.path.clone(),
        problem: "with it there are more values or shards than a store can hold; convert with larger shards"
            .into(),
    }
}

fn other_filesystem(error: WriteError, part: &Path, target: &Path) -> WriteError {
    match &error {
        WriteError::Io { error: why, .. } if why.kind() == std::io::ErrorKind::CrossesDevices => {
            WriteError::Part {
                path: part.to_path_buf(),
                problem: format!(
                    "it is on another filesystem than {}, and blocks are not copied; put the store where its parts are",
                    target.display()
                ),
            }
        }
        _ => error,
    }
}

/// What the manifest says of the source: that of any part, with the sums over all.
fn source(parts: &[Found]) -> Result<serde_json::Value, WriteError> {
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

/// Appends the index of a part whose first shard gets this number, after checking each of its entries.
fn append_index(index: &mut IndexSpool, part: &Found, first_shard: u32) -> Result<(), WriteError> {
    let manifest = &part.manifest;
    let path = part.path.join(&manifest.index.file);
    verify(&path, &manifest.index)?;
    let refuse = |rule: String| WriteError::Format(FormatError::invalid(&path, 0, rule));
    let (n_obs, n_blocks) = (manifest.n_obs, manifest.n_blocks());
    let open_at = |at: u64| -> Result<BufReader<File>, WriteError> {
        let mut file = open(&path, Links::Refused).map_err(WriteError::io(&path))?;
        file.seek(SeekFrom::Start(at)).map_err(WriteError::io(&path))?;
        Ok(BufReader::with_capacity(1 << 18, file))
    };
    let next_record = |from: &mut BufReader<File>| -> Result<BlockRecord, WriteError> {
        let mut bytes = [0; BLOCK_RECORD_BYTES];
        from.read_exact(&mut bytes).map_err(WriteError::io(&path))?;
        Ok(BlockRecord::from_bytes(bytes))
    };
    let mut records = open_at(0)?;
    let record = |_| {
        let record = next_record(&mut records)?;
        // Where it is none of the part's shards, it is refused at once.
        let shard = record.shard.saturating_add(first_shard);
        index.append_record(BlockRecord { shard, ..record });
        Ok(record)
    };
    check_order(&manifest.shards, manifest.alignment, record, |_, rule| {
        refuse(rule)
    })?;
    let ends_at = n_blocks * BLOCK_RECORD_BYTES as u64;
    let (mut records, mut ends, mut details) =
        (open_at(0)?, open_at(ends_at)?, open_at(ends_at + 4 * n_obs)?);
    let limits = manifest.entry_limits();
    let mut left = n_obs;
    while left > 0 {
        let record = next_record(&mut records)?;
        let now = left.min(u64::from(manifest.block_size)) as usize;
        let ends = read_entries(&mut ends, now).map_err(WriteError::io(&path))?;
        let details = read_entries(&mut details, now).map_err(WriteError::io(&path))?;
        let mut start = 0;
        for (k, (&end, &detail)) in ends.iter().zip(&details).enumerate() {
            if limits.place((start, end), detail, record.payload_bytes).is_none() {
                let obs = manifest.first_obs + n_obs - left + k as u64;
                return Err(refuse(format!(
                    "the entry of obs {obs} of the store fits neither its block nor the limits of an obs"
                )));
            }
            start = end;
        }
        index.append_obs(&ends, &details)?;
        left -= now as u64;
    }
    Ok(())
}

fn read_entries(from: &mut impl Read, n: usize) -> std::io::Result<Vec<u32>> {
    let mut bytes = vec![0; 4 * n];
    from.read_exact(&mut bytes)?;
    let entry = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    Ok(bytes.chunks_exact(4).map(entry).collect())
}

/// Compares a file with its checksums.
fn verify(path: &Path, entry: &FileEntry) -> Result<(), WriteError> {
    let mut file = open(path, Links::Refused).map_err(WriteError::io(path))?;
    let mut left = entry.bytes;
    for (piece, &expected) in entry.crc32c.iter().enumerate() {
        let mut bytes = vec![0; left.min(CHECKSUM_PIECE_BYTES as u64) as usize];
        file.read_exact(&mut bytes).map_err(WriteError::io(path))?;
        left -= bytes.len() as u64;
        let found = crc32c(&bytes);
        if found != expected {
            let start = (piece * CHECKSUM_PIECE_BYTES) as u64;
            return Err(WriteError::Format(FormatError::Checksum {
                file: path.to_path_buf(),
                start,
                end: start + bytes.len() as u64,
                expected,
                found,
            }));
        }
    }
    Ok(())
}

/// Copies a table after comparing it with its checksums.
fn copy(from: &Path, to: &Path, entry: &FileEntry, n_rows: u64) -> Result<Written, WriteError> {
    verify(from, entry)?;
    let write = || -> std::io::Result<u32> {
        let mut out = HashingWriter::new(BufWriter::new(File::create_new(to)?));
        std::io::copy(&mut open(from, Links::Refused)?.take(entry.bytes), &mut out)?;
        let (mut file, hasher) = out.into_parts();
        file.flush()?;
        Ok(hasher.whole())
    };
    Ok(Written {
        entry: entry.clone(),
        crc: write().map_err(WriteError::io(to))?,
        n_rows,
    })
}

/// Joins the obs tables: each has some of the store's batches.
fn join_obs(parts: &[Found], path: &Path) -> Result<Written, WriteError> {
    let mut tables = Vec::with_capacity(parts.len());
    for part in parts {
        let file = part.path.join(&part.manifest.obs.file);
        tables.push(Table::open(file, &part.manifest.obs, part.manifest.obs_rows)?);
    }
    let schema = tables[0].schema()?;
    for (table, part) in tables.iter().zip(parts) {
        if table.schema()? != schema {
            return Err(other_obs(part));
        }
    }
    let mut first: Option<RecordBatch> = None;
    let batches = tables.iter().zip(parts).flat_map(|(table, part)| {
        let n = table.n_batches().unwrap_or(0);
        (0..n).map(move |i| (table.batch(i).map_err(WriteError::from), part))
    });
    let batches = batches.map(|(batch, part)| {
        let batch = batch?;
        let first = first.get_or_insert_with(|| batch.slice(0, 0));
        if same_categories(first, &batch) {
            Ok(batch)
        } else {
            Err(other_obs(part))
        }
    });
    write_table(path, schema, batches)
}

fn other_obs(part: &Found) -> WriteError {
    WriteError::Part {
        path: part.path.clone(),
        problem: "its obs has other columns or categories than the other parts; convert it again".into(),
    }
}

/// Whether all categorical columns have the same categories, in the same order.
fn same_categories(a: &RecordBatch, b: &RecordBatch) -> bool {
    a.columns()
        .iter()
        .zip(b.columns())
        .all(|(a, b)| match a.data_type() {
            DataType::Dictionary(..) => {
                let (a, b) = (a.as_any_dictionary().values(), b.as_any_dictionary().values());
                std::sync::Arc::ptr_eq(a, b) || a.to_data() == b.to_data()
            }
            _ => true,
        })
}
