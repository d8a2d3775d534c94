//! Compares a store with everything that the specification says of it.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Store;
use super::padding::check_zero;
use super::verify_linked::verify_linked;
use crate::Error;
use crate::format::checksum::{crc32c, crc32c_append};
use crate::format::constants::{
    BLOCK_RECORD_BYTES, INDEX_HEADER_BYTES, MANIFEST_FILE, MATRICES_DIRECTORY, matrix_directory,
};
use crate::format::encoding::ObsDecoder;
use crate::format::index::{Misplaced, check_order};
use crate::format::linked::Description;
use crate::format::linked_id::identifying;
use crate::format::manifest::LAYERS;
use crate::format::names::is_left_by_append;
use crate::format::pieces::verify_piece;
use crate::format::window::{ShardFile, Window};
use crate::format::{Element, FormatError, Manifest};

/// What was verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Number of obs decoded.
    pub n_obs: u64,
    /// Number of values decoded.
    pub nnz: u64,
    /// Bytes compared with a checksum or a rule.
    pub bytes: u64,
}

/// What decoding has found, summed over all obs.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    nnz: u64,
    max_obs_nnz: u32,
    max_obs_bytes: u64,
    f32_inexact: bool,
}

/// Verifies every byte and every invariant of the specification, on `threads` threads; of other matrices too.
///
/// Of a linked store it reads every value where it is, on this thread, and compares the checksums that come with chunks, and those of the
/// rows; without either, values may have changed without a trace, if the length and the time of the file have not.
///
/// `progress` is called with the number of blocks done, from several threads.
///
/// # Errors
/// The first damage found.
pub fn verify(store: &Store, threads: usize, progress: &(dyn Fn(u64) + Sync)) -> Result<VerifyReport, Error> {
    check_files(store)?;
    store.obs().verify_all()?;
    check_obs_positions(store)?;
    let mut nnz = verify_matrix(store, threads, progress)?;
    let mut blocks = store.n_blocks();
    for matrix in store.matrices() {
        check_matrix_files(matrix)?;
        check_layer(store, matrix)?;
        nnz += verify_matrix(matrix, threads, &|done| progress(blocks + done))?;
        blocks += matrix.n_blocks();
    }
    Ok(VerifyReport {
        n_obs: store.n_obs(),
        nnz,
        bytes: store.total_bytes(),
    })
}

/// Verifies one matrix and the table of its columns. Gives the number of values.
fn verify_matrix(store: &Store, threads: usize, progress: &(dyn Fn(u64) + Sync)) -> Result<u64, Error> {
    let manifest = store.manifest();
    if let Some(link) = store.link() {
        let nnz = verify_linked(store, link, progress)?;
        store.var().verify_all()?;
        check_store_id(store)?;
        check_positions(store)?;
        return Ok(nnz);
    }
    let index = store.index();
    for (piece, &expected) in manifest.index.crc32c.iter().enumerate() {
        verify_piece(index.file(), index.bytes()?, piece, expected)?;
    }
    check_gaps(store)?;
    check_blocks(store)?;
    store.var().verify_all()?;
    check_store_id(store)?;
    let found = decode_all(store, threads.max(1), progress)?;
    let says = (
        manifest.nnz,
        manifest.max_obs_nnz,
        manifest.max_obs_bytes,
        manifest.f32_exact,
    );
    let is = (
        found.nnz,
        found.max_obs_nnz,
        found.max_obs_bytes,
        !found.f32_inexact,
    );
    if says != is {
        let rule = format!(
            "the manifest says (nnz, max_obs_nnz, max_obs_bytes, f32_exact) = {says:?}, the matrix has {is:?}"
        );
        return Err(FormatError::invalid(&store.path().join(MANIFEST_FILE), 0, rule).into());
    }
    check_positions(store)?;
    Ok(found.nnz)
}

/// Nothing else is in the directory, but for what a writer has under way there, whose names begin with a dot, or has left when it
/// was killed.
fn check_files(store: &Store) -> Result<(), Error> {
    let manifest = store.manifest();
    let has_matrices = !manifest.matrices.is_empty();
    check_directory(store.path(), |name| {
        name == MANIFEST_FILE
            || *name == *manifest.obs.file
            || is_of_matrix(manifest, name)
            || (has_matrices && name == MATRICES_DIRECTORY)
            || (!has_matrices && is_left_by_append(name, manifest.shards.len()))
    })?;
    if !has_matrices {
        return Ok(());
    }
    let parent = store.path().join(MATRICES_DIRECTORY);
    let numbers = 0..manifest.matrices.len();
    check_directory(&parent, |name| {
        numbers
            .clone()
            .any(|number| matrix_directory(number).ends_with(&format!("/{name}")))
    })
}

/// Nothing else is in the directory of another matrix.
fn check_matrix_files(matrix: &Store) -> Result<(), Error> {
    check_directory(matrix.path(), |name| is_of_matrix(matrix.manifest(), name))
}

/// Whether a file is that of a matrix: the index, the table of the columns, or a shard.
fn is_of_matrix(manifest: &Manifest, name: &str) -> bool {
    *name == *manifest.index.file
        || *name == *manifest.var.file
        || manifest.shards.iter().any(|shard| *shard.file == *name)
}

/// Names that begin with a dot are ignored everywhere: a filesystem too may leave such, as NFS does of a file that is open.
fn check_directory(directory: &Path, is_known: impl Fn(&str) -> bool) -> Result<(), Error> {
    let entries = std::fs::read_dir(directory).map_err(FormatError::io(directory))?;
    for entry in entries {
        let entry = entry.map_err(FormatError::io(directory))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with('.') && !is_known(&name) {
            return Err(
                FormatError::invalid(&entry.path(), 0, "this file does not belong to the store").into(),
            );
        }
    }
    Ok(())
}

/// The bytes between the sections of the index are zero.
fn check_gaps(store: &Store) -> Result<(), Error> {
    let (layout, index) = (store.manifest().index_layout(), store.index());
    let blocks_end = INDEX_HEADER_BYTES as u64 + layout.n_blocks * BLOCK_RECORD_BYTES as u64;
    let gaps = [
        (blocks_end, layout.ends_at),
        (layout.ends_at + layout.n_obs * 4, layout.details_at),
    ];
    let bytes = index.bytes()?;
    gaps.into_iter()
        .try_for_each(|(from, to)| check_zero(index.file(), &bytes[from as usize..to as usize], from))
}

/// Blocks follow each other, without gaps, in the shards that the manifest gives them to.
fn check_blocks(store: &Store) -> Result<(), Error> {
    let (manifest, index) = (store.manifest(), store.index());
    Ok(check_order(
        &manifest.shards,
        manifest.alignment,
        |block| index.block(block),
        |place, rule| match place {
            Misplaced::Block(block) => {
                let at = INDEX_HEADER_BYTES as u64 + block * BLOCK_RECORD_BYTES as u64;
                FormatError::invalid(index.file(), at, rule)
            }
            Misplaced::End { shard, at } => {
                FormatError::invalid(&store.path().join(&manifest.shards[shard].file), at, rule)
            }
        },
    )?)
}

/// The store id is made of the content, as section 7 says.
fn check_store_id(store: &Store) -> Result<(), Error> {
    let manifest = store.manifest();
    let index = match store.link() {
        Some(link) => link.bytes()?,
        None => store.index().bytes()?,
    };
    let whole = crc32c(&index[INDEX_HEADER_BYTES..]);
    let sections = match store.link() {
        None => whole,
        Some(link) => {
            let layout = link.layout();
            let end = INDEX_HEADER_BYTES + layout.description_bytes as usize;
            let description = Description::from_bytes(&index[INDEX_HEADER_BYTES..end], &manifest.totals());
            let description = description.map_err(|rule| FormatError::invalid(link.file(), 0, rule))?;
            crc32c_append(
                crc32c(&identifying(&description)),
                &index[layout.starts_at as usize..],
            )
        }
    };
    let (obs, var) = (store.obs().crc()?, store.var().crc()?);
    let expected = manifest.id_of_content(sections, obs, var);
    // The first linked stores had an id that was made of where their files were, too.
    let was_so = || store.is_linked() && manifest.id_of_content(whole, obs, var) == manifest.store_id();
    match expected == manifest.store_id() || was_so() {
        true => Ok(()),
        false => {
            let rule = format!(
                "the store id is {}, the content gives {}",
                manifest.store_id,
                crate::format::manifest::id_text(expected)
            );
            Err(FormatError::invalid(&store.path().join(MANIFEST_FILE), 0, rule).into())
        }
    }
}

fn decode_all(store: &Store, threads: usize, progress: &(dyn Fn(u64) + Sync)) -> Result<Found, Error> {
    let files: Vec<ShardFile> = store
        .shard_paths()
        .into_iter()
        .map(ShardFile::open)
        .collect::<Result<_, _>>()?;
    let (next, done, stop) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let outcome: Mutex<Result<Found, Error>> = Mutex::new(Ok(Found::default()));
    let work = || {
        let mut scratch = Scratch::default();
        let mut sum = Found::default();
        while !stop.load(Ordering::Relaxed) {
            let block = next.fetch_add(1, Ordering::Relaxed);
            if block >= store.index().n_blocks() {
                break;
            }
            let found = cellring_core::with_element!(store.manifest().value_type, T => check_block::<T>(store, &files, block, &mut scratch));
            match found {
                Ok(found) => sum = sum.and(found),
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    if let Ok(mut outcome) = outcome.lock() {
                        *outcome = Err(error);
                    }
                    return;
                }
            }
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
        }
        if let Some(found) = outcome
            .lock()
            .as_mut()
            .ok()
            .and_then(|outcome| outcome.as_mut().ok())
        {
            *found = found.and(sum);
        }
    };
    // This thread works too: one that cannot be started is done without.
    std::thread::scope(|scope| {
        for _ in 1..threads {
            if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    outcome
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Found {
    fn and(self, other: Self) -> Self {
        Self {
            nnz: self.nnz.saturating_add(other.nnz),
            max_obs_nnz: self.max_obs_nnz.max(other.max_obs_nnz),
            max_obs_bytes: self.max_obs_bytes.max(other.max_obs_bytes),
            f32_inexact: self.f32_inexact | other.f32_inexact,
        }
    }
}

/// What a thread keeps from block to block. A block may be as long as 4 GiB: of its bytes, those of one window after the other are in
/// memory, or of one obs where that is longer.
#[derive(Default)]
struct Scratch {
    /// What is not of an obs.
    block: Window,
    /// The parts of the obs.
    parts: [Window; 2],
    indices: Vec<i32>,
}

/// Decodes every obs of a block and checks what lies between them.
fn check_block<T: Element>(
    store: &Store,
    files: &[ShardFile],
    block: u64,
    scratch: &mut Scratch,
) -> Result<Found, Error> {
    let (manifest, index) = (store.manifest(), store.index());
    let record = index.block(block)?;
    let file = &files[record.shard as usize];
    let payload_end = record.offset_bytes + u64::from(record.payload_bytes);
    let padded = payload_end.next_multiple_of(u64::from(manifest.alignment));
    scratch.block.forget();
    scratch.parts.iter_mut().for_each(Window::forget);
    let encoding = manifest.encoding;
    let ends = encoding.check_block(index, block, record, padded, file, &mut scratch.block)?;
    let decoder = ObsDecoder::new(manifest);
    let mut found = Found::default();
    let mut values: Vec<T> = Vec::new();
    for obs in index.obs_of_block(block) {
        let location = index.locate(obs)?;
        let [first, second] = &mut scratch.parts;
        let [a, b] = location.parts;
        let parts = [
            first
                .part(file, a.offset_bytes, a.len_bytes as usize, ends[0])?
                .into(),
            second
                .part(file, b.offset_bytes, b.len_bytes as usize, ends[1])?
                .into(),
        ];
        scratch.indices.resize(location.nnz as usize, 0);
        values.resize(location.nnz as usize, T::from_bits(0));
        decoder
            .decode(obs, location.crc, parts, &mut scratch.indices, &mut values)
            .map_err(|error| store.obs_error(obs, &location, error))?;
        found = found.and(Found {
            nnz: u64::from(location.nnz),
            max_obs_nnz: location.nnz,
            max_obs_bytes: location.parts.iter().map(|part| u64::from(part.len_bytes)).sum(),
            f32_inexact: !values.iter().all(|value| value.is_f32_exact()),
        });
    }
    // The last part was read along with the padding.
    let last = &mut scratch.parts[encoding.n_parts() - 1];
    last.check_zero(file, payload_end..padded)?;
    Ok(found)
}

/// A layer has the columns of the store, in the same order.
fn check_layer(store: &Store, matrix: &Store) -> Result<(), Error> {
    if !matrix.name().is_some_and(|name| name.starts_with(LAYERS)) {
        return Ok(());
    }
    let (own, other) = (store.var().names()?, matrix.var().names()?);
    let same_names = own
        .batches()
        .iter()
        .zip(other.batches())
        .all(|(a, b)| a.to_data() == b.to_data());
    if same_names && store.source_positions()? == matrix.source_positions()? {
        return Ok(());
    }
    let file = matrix.path().join(&matrix.manifest().var.file);
    Err(FormatError::table(
        &file,
        "the layer does not have the columns of the store in the same order",
    )
    .into())
}

/// The positions of the obs in the source, where the table gives them, are a permutation.
fn check_obs_positions(store: &Store) -> Result<(), Error> {
    let obs = store.obs();
    let file = store.path().join(&store.manifest().obs.file);
    match obs.has_positions()? {
        true => super::positions_of(obs, &file).map(drop),
        false => Ok(()),
    }
}

/// The var table's source positions are a permutation, and count up where the order is that of the source.
fn check_positions(store: &Store) -> Result<(), Error> {
    let positions = store.source_positions()?;
    let source_order = store.manifest().var_order == crate::format::VarOrder::Source;
    match positions
        .iter()
        .enumerate()
        .find(|&(k, &position)| source_order && position as usize != k)
    {
        None => Ok(()),
        Some((k, position)) => Err(FormatError::table(
            &store.path().join(&store.manifest().var.file),
            format!("column {k} has source position {position} although var_order is source"),
        )
        .into()),
    }
}
