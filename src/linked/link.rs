//! An open linked store: its index, and the files that it leads to.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};

use cellring_core::ValueType;

use super::array::Array;
use super::error::LinkedError;
use super::input::Input;
use super::sources::{FileId, SourceFile, open_all};

use crate::Error;
use crate::format::constants::INDEX_HEADER_BYTES;
use crate::format::encoding::raw::index_bytes;
use crate::format::lazy::Lazy;
use crate::format::linked::{
    ArrayRole, CHECKSUM_BYTES, Description, EXTENT_BYTES, GROUP_OBS, LinkedLayout, count_bytes,
};
use crate::format::pieces::verify_piece;
use crate::format::{FormatError, Manifest};

/// The most bytes that one obs or one chunk may take in a file: they are read into one slot.
const MAX_READ_BYTES: u64 = 1 << 29;

/// The index of an open linked store, and the files that it leads to.
#[derive(Debug)]
pub(crate) struct Link {
    store: PathBuf,
    file: PathBuf,
    content: Lazy,
    layout: LinkedLayout,
    /// At least one.
    inputs: Vec<Input>,
    /// The first obs of each.
    first_obs: Vec<u64>,
    sources: Vec<SourceFile>,
    n_vars: u64,
    value_type: ValueType,
    max_obs_nnz: u32,
    /// See [`Self::part_width`].
    part_width: AtomicU8,
}

/// Which values are those of an obs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ObsSpan {
    /// Number of the input that it is of.
    pub(crate) input: u32,
    /// The first of them, among those of the input.
    pub(crate) first: u64,
    /// How many.
    pub(crate) nnz: u32,
}

impl Link {
    /// Opens the index of the store at `store`, and the files that it leads to, all of them below `root`.
    ///
    /// # Errors
    /// If the index is damaged, or a file is not there or not what it was.
    pub(crate) fn open(store: &Path, manifest: &Manifest, root: &Path) -> Result<Self, Error> {
        let file = store.join(&manifest.index.file);
        let content = Lazy::open(&file, manifest.index.bytes)?;
        let invalid = |at: u64, rule: String| FormatError::invalid(&file, at, rule);
        let foreign = || invalid(0, "the index's header is not that of this store".to_owned());
        if content.len() < INDEX_HEADER_BYTES {
            return Err(foreign().into());
        }
        let header = content.bytes(0..INDEX_HEADER_BYTES)?;
        LinkedLayout::check_version(header, &file)?;
        let description_bytes = LinkedLayout::stated_description_bytes(header).ok_or_else(foreign)?;
        let description_end = INDEX_HEADER_BYTES + description_bytes as usize;
        if description_end > content.len() {
            return Err(invalid(0, "the description ends after the file".to_owned()).into());
        }
        let description = content.bytes(INDEX_HEADER_BYTES..description_end)?;
        let description = Description::from_bytes(description, &manifest.totals())
            .map_err(|rule| invalid(INDEX_HEADER_BYTES as u64, rule))?;
        let layout = description.n_extents().and_then(|n_extents| {
            let width = count_bytes(manifest.max_obs_nnz);
            LinkedLayout::new(
                manifest.n_obs,
                manifest.nnz,
                width,
                description_bytes,
                n_extents,
                manifest.has_row_checksums(),
            )
        });
        let layout = layout
            .filter(|layout| layout.file_bytes == content.len() as u64)
            .ok_or_else(|| {
                invalid(
                    0,
                    "the index's length is not what its description requires".to_owned(),
                )
            })?;
        if *header != layout.header(manifest.store_id()) {
            return Err(foreign().into());
        }
        let inputs =
            Input::of(&description, manifest).map_err(|rule| invalid(INDEX_HEADER_BYTES as u64, rule))?;
        let sources = open_all(store, root, &description.files)?;
        // Rows need not have checksums: those of the index keep a damaged one from giving the values of another obs.
        let bytes = content.bytes(0..content.len())?;
        for (piece, &expected) in manifest.index.crc32c.iter().enumerate() {
            verify_piece(&file, bytes, piece, expected)?;
        }
        let link = Self {
            store: store.to_path_buf(),
            content,
            layout,
            first_obs: inputs.iter().map(Input::first_obs).collect(),
            inputs,
            sources,
            n_vars: manifest.n_vars,
            value_type: manifest.value_type,
            max_obs_nnz: manifest.max_obs_nnz,
            part_width: AtomicU8::new(0),
            file,
        };
        if link.longest_read() > MAX_READ_BYTES {
            let rule = format!(
                "an obs or a chunk may have {} bytes, expected at most {MAX_READ_BYTES}",
                link.longest_read()
            );
            return Err(link.invalid(0, rule).into());
        }
        Ok(link)
    }

    /// Where the store is.
    pub(crate) fn store(&self) -> &Path {
        &self.store
    }

    /// The index's file.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// The bytes of the index.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn bytes(&self) -> Result<&[u8], FormatError> {
        self.content.bytes(0..self.content.len())
    }

    pub(crate) fn layout(&self) -> &LinkedLayout {
        &self.layout
    }

    /// The files of the source.
    pub(crate) fn sources(&self) -> &[SourceFile] {
        &self.sources
    }

    pub(super) fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// One of the inputs whose obs it has, one after the other.
    pub(crate) fn input(&self, number: u32) -> &Input {
        &self.inputs[number as usize]
    }

    /// The number of the input that an obs is of.
    pub(super) fn input_of(&self, obs: u64) -> u32 {
        match self.first_obs.as_slice() {
            [_] => 0,
            // Of those that begin there the last one: the others have no obs.
            several => several.partition_point(|&first| first <= obs) as u32 - 1,
        }
    }

    /// An input, for messages: its file, or the directory that its first document is in; the store if it has none.
    pub(super) fn file_of(&self, input: &Input) -> PathBuf {
        let source = self.sources.get(input.file() as usize);
        let path = source.map_or(self.store.as_path(), |source| source.path());
        let is_document = path.file_name().is_some_and(|name| {
            cellring_core::ZARR_DOCUMENTS
                .iter()
                .any(|document| name == *document)
        });
        let input = path.parent().filter(|_| is_document);
        input.unwrap_or(path).to_path_buf()
    }

    /// Whether rows of any input are put in order when they are read, as their columns or values become others.
    pub(crate) fn reorders(&self) -> bool {
        let is_other = |input: &Input| {
            input.is_dense() || input.map().is_some() || input.value_type() != self.value_type
        };
        self.inputs.iter().any(is_other)
    }

    pub(crate) fn value_type(&self) -> ValueType {
        self.value_type
    }

    /// Width of a column as canonical rows have it: 2 or 4 bytes.
    pub(crate) fn column_bytes(&self) -> usize {
        index_bytes(self.n_vars)
    }

    /// The most bytes that are read at once for one row or chunk.
    pub(crate) fn longest_read(&self) -> u64 {
        let longest = |input: &Input| input.longest_read(self.max_obs_nnz);
        self.inputs.iter().map(longest).max().unwrap_or(0)
    }

    fn arrays(&self) -> impl Iterator<Item = &Array> {
        self.inputs.iter().flat_map(Input::arrays)
    }

    /// Values of the longest of the chunks that values are compressed in; `None` if there are none.
    pub(crate) fn chunk_values(&self) -> Option<u64> {
        let values = |input: &Input| input.array(ArrayRole::Values).chunk_elements();
        self.inputs.iter().filter_map(values).max()
    }

    /// Bytes that a thread needs for the chunk that it decodes: as it is stored, and decoded, and once more where only its beginning is.
    pub(crate) fn decoding_bytes(&self) -> u64 {
        let chunk = |array: &Array| array.chunk_bytes() + array.most_stored_bytes();
        let most = |bytes: &dyn Fn(&Array) -> u64| self.arrays().map(bytes).max().unwrap_or(0);
        // What beginnings of chunks are decoded by stays while chunks of the other array are.
        most(&chunk) + most(&Array::streaming_bytes)
    }

    /// Bytes of the longest decoded chunk; 0 where none is encoded.
    pub(crate) fn chunk_bytes(&self) -> u64 {
        self.arrays().map(Array::chunk_bytes).max().unwrap_or(0)
    }

    /// Whether the files are what they were.
    ///
    /// # Errors
    /// If not: what was read of them since the last time may not be what was linked.
    pub(crate) fn check(&self) -> Result<(), LinkedError> {
        self.sources.iter().try_for_each(SourceFile::check)
    }

    /// Whether files that were opened by the names of these, in their order, are those that are open here.
    ///
    /// # Errors
    /// If not.
    pub(crate) fn check_opened(&self, opened: &[FileId]) -> Result<(), LinkedError> {
        let mut pairs = self.sources.iter().zip(opened);
        pairs.try_for_each(|(source, &opened)| source.check_opened(opened))
    }

    /// The most bytes that a value of a part of a split row, seen so far, was kept in: others become as wide when they are joined.
    pub(crate) fn part_width(&self) -> u8 {
        self.part_width.load(Ordering::Relaxed)
    }

    pub(super) fn note_part_width(&self, width: u8) {
        if self.part_width() < width {
            self.part_width.fetch_max(width, Ordering::Relaxed);
        }
    }

    /// Which values are those of an obs, as they are stored: also those of equal columns, and zeros.
    ///
    /// # Errors
    /// If the index is damaged, or cannot be read.
    ///
    /// # Panics
    /// If there is no such obs.
    pub(crate) fn values(&self, obs: u64) -> Result<ObsSpan, FormatError> {
        let LinkedLayout {
            n_obs,
            starts_at,
            counts_at,
            count_bytes,
            ..
        } = self.layout;
        assert!(obs < n_obs, "obs {obs} of {n_obs}");
        let group = obs / GROUP_OBS;
        let start = u64::from_le_bytes(self.content.array((starts_at + group * 8) as usize)?);
        let count_at = |obs: u64| (counts_at + obs * u64::from(count_bytes)) as usize;
        let counts = self
            .content
            .bytes(count_at(group * GROUP_OBS)..count_at(obs + 1))?;
        let (before, own): (u64, u32) = match count_bytes {
            2 => sums(counts.as_chunks::<2>().0, |&bytes| {
                u16::from_le_bytes(bytes).into()
            }),
            _ => sums(counts.as_chunks::<4>().0, |&bytes| u32::from_le_bytes(bytes)),
        };
        let number = self.input_of(obs);
        let input = self.input(number);
        let first = start
            .checked_add(before)
            .and_then(|first| first.checked_sub(input.first_value));
        let end = first.and_then(|first| first.checked_add(u64::from(own)));
        match (first, end) {
            (Some(first), Some(end))
                if end <= input.n_values()
                    && own <= self.max_obs_nnz
                    && input.is_whole_row(obs, first, own) =>
            {
                Ok(ObsSpan {
                    input: number,
                    first,
                    nnz: own,
                })
            }
            _ => Err(self.invalid(
                count_at(obs) as u64,
                format!("the entry of obs {obs} does not fit the number of values, or the limits of an obs"),
            )),
        }
    }

    /// The checksum of a row; `None` if the index has none.
    ///
    /// # Errors
    /// If the index cannot be read.
    ///
    /// # Panics
    /// If there is no such obs.
    pub(crate) fn checksum(&self, obs: u64) -> Result<Option<u32>, FormatError> {
        assert!(obs < self.layout.n_obs, "obs {obs} of {}", self.layout.n_obs);
        let Some(at) = self.layout.checksums_at else {
            return Ok(None);
        };
        let bytes = self.content.array((at + obs * CHECKSUM_BYTES) as usize)?;
        Ok(Some(u32::from_le_bytes(bytes)))
    }

    /// A row is not the one that was linked.
    #[cold]
    pub(crate) fn other_row(&self, obs: u64) -> LinkedError {
        let input = self.input(self.input_of(obs));
        LinkedError::Row {
            file: self.file_of(input),
            store: self.store.clone(),
            obs,
        }
    }

    /// A record of extents.
    pub(super) fn extent_bytes(
        &self,
        role: ArrayRole,
        number: u64,
    ) -> Result<[u8; EXTENT_BYTES], FormatError> {
        let k = role as usize;
        assert!(
            number < self.layout.n_extents[k],
            "extent {number} of {}",
            self.layout.n_extents[k]
        );
        self.content
            .array((self.layout.extents_at[k] + number * EXTENT_BYTES as u64) as usize)
    }

    /// The bytes of some values in a file, checked to lie within it.
    pub(super) fn within(
        &self,
        role: ArrayRole,
        extent: u64,
        file: u32,
        bytes: Option<Range<u64>>,
    ) -> Result<Range<u64>, FormatError> {
        let length = self.sources.get(file as usize).map(SourceFile::bytes);
        let bytes = bytes.filter(|bytes| length.is_some_and(|length| bytes.end <= length));
        bytes.ok_or_else(|| {
            let at = self.layout.extents_at[role as usize] + extent * EXTENT_BYTES as u64;
            self.invalid(
                at,
                format!("extent {extent} of {} does not lie within a file", role.name()),
            )
        })
    }

    pub(super) fn invalid(&self, at: u64, rule: String) -> FormatError {
        FormatError::invalid(&self.file, at, rule)
    }
}

/// The sum of all counts but the last, and that.
fn sums<T>(counts: &[T], count: impl Fn(&T) -> u32) -> (u64, u32) {
    match counts.split_last() {
        Some((own, before)) => (before.iter().map(|each| u64::from(count(each))).sum(), count(own)),
        None => (0, 0),
    }
}
