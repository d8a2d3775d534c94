//! Windows of one-dimensional datasets, decoded in parallel.

mod fetch;
mod stored;

use std::ops::Range;
use std::sync::{Arc, Mutex};

use cellring_filters::{Filter, Pipeline, Unknown};

use super::deliver::{AsIs, Converted};
use super::limits::{MAX_CHUNK_BYTES, MAX_ELEMENT_BYTES, MAX_EXPANSION, too_large_chunks};
use super::translate::Translation;
use super::{Chunk, Class, Description, ElementType, Member, Placement, SourceFile};
use crate::error::{ReadError, Result};

const _: () = assert!(
    cfg!(target_endian = "little"),
    "elements are taken as they lie in the file"
);

/// Records that are in memory at a time while one member of them is read, and about the bytes that they may have.
const MEMBER_PIECE_RECORDS: usize = 1 << 14;
const MEMBER_PIECE_BYTES: usize = 16 << 20;

/// A one-dimensional dataset that can be read in windows.
#[derive(Debug)]
pub(crate) struct Array {
    file: Arc<SourceFile>,
    path: String,
    len: u64,
    element: ElementType,
    /// Bytes of a stored element: a whole record where `element` is a member of it.
    width_bytes: usize,
    /// Byte of the record at which the member begins.
    member_at: usize,
    placement: Placement,
    filters: Vec<Filter>,
    pipeline: Pipeline,
    fill: Vec<u8>,
    said_by: Vec<Range<u64>>,
    /// The decoded chunk in which the last window ended, when decoding it again would cost a good part of the next one.
    tail: Mutex<Option<(usize, Vec<u8>)>>,
}

impl Array {
    /// Opens a dataset that must have one dimension.
    pub(crate) fn open(file: &Arc<SourceFile>, path: &str) -> Result<Self> {
        let description = file.describe(path)?;
        Self::open_as(file, path, description, None)
    }

    /// Opens a dataset without dimensions, as one with a single element.
    pub(crate) fn open_scalar(file: &Arc<SourceFile>, path: &str) -> Result<Self> {
        let mut description = file.describe(path)?;
        if description.shape.is_empty() {
            description.shape.push(1);
        }
        Self::open_as(file, path, description, None)
    }

    /// Opens one member of a dataset of records.
    pub(crate) fn open_member(file: &Arc<SourceFile>, path: &str, member: &Member) -> Result<Self> {
        let description = file.describe(path)?;
        Self::open_as(file, path, description, Some(member))
    }

    fn open_as(
        file: &Arc<SourceFile>,
        path: &str,
        description: Description,
        member: Option<&Member>,
    ) -> Result<Self> {
        let damaged = |detail: String| file.damaged(path, detail);
        let &[len] = description.shape.as_slice() else {
            return Err(damaged(format!(
                "it has {} dimensions, expected 1",
                description.shape.len()
            )));
        };
        let element = description.element;
        let element_bytes = element.stored_bytes() as u64;
        let total_bytes = len.checked_mul(element_bytes);
        if element_bytes == 0 || total_bytes.is_none_or(|total| total / MAX_EXPANSION > file.len_bytes()) {
            return Err(damaged(format!(
                "it claims {len} elements of {element_bytes} bytes in a file of {} bytes",
                file.len_bytes()
            )));
        }
        if element_bytes > MAX_ELEMENT_BYTES {
            return Err(damaged(format!(
                "its elements have {element_bytes} bytes, expected at most {MAX_ELEMENT_BYTES}"
            )));
        }
        if let Some(member) = member
            && member
                .offset_bytes
                .checked_add(member.element.stored_bytes())
                .is_none_or(|end| end > element.stored_bytes())
        {
            return Err(damaged(format!(
                "its member {} lies beyond its record",
                member.name
            )));
        }
        let pipeline = pipeline_of(file, path, &description.filters, element.stored_bytes())?;
        match &description.placement {
            Placement::Inline(bytes) if (bytes.len() as u64) < len * element_bytes => {
                return Err(damaged(format!(
                    "it has {} bytes, expected {}",
                    bytes.len(),
                    len * element_bytes
                )));
            }
            Placement::Contiguous {
                offset_bytes: Some(offset),
            } if offset
                .checked_add(len * element_bytes)
                .is_none_or(|end| end > file.len_bytes()) =>
            {
                return Err(damaged(format!(
                    "{} bytes at offset {offset} lie beyond the file's {}",
                    len * element_bytes,
                    file.len_bytes()
                )));
            }
            Placement::Chunked {
                chunk_elements,
                chunks,
            } => {
                let chunk_bytes = chunk_elements.saturating_mul(element_bytes);
                if chunk_bytes > MAX_CHUNK_BYTES {
                    return Err(too_large_chunks(file.path(), path, chunk_bytes, "65536"));
                }
                check_chunks(chunks, *chunk_elements).map_err(damaged)?;
            }
            Placement::Tiled { .. } | Placement::Unlocated => {
                return Err(damaged("its chunks do not have one dimension".to_owned()));
            }
            _ => {}
        }
        let fill = description
            .fill
            .filter(|fill| fill.len() == element.stored_bytes())
            .unwrap_or_else(|| vec![0; element.stored_bytes()]);
        Ok(Self {
            file: Arc::clone(file),
            path: member.map_or_else(|| path.to_owned(), |member| format!("{path}/{}", member.name)),
            len,
            width_bytes: element.stored_bytes(),
            member_at: member.map_or(0, |member| member.offset_bytes),
            element: member.map_or(element, |member| member.element.clone()),
            placement: description.placement,
            filters: description.filters,
            pipeline,
            fill,
            said_by: description.said_by,
            tail: Mutex::new(None),
        })
    }

    /// The same as booleans, if it holds integers, which then may only be 0 and 1.
    pub(crate) fn into_truths(mut self) -> Option<Self> {
        let is_plain = self.element.translation.is_none();
        let Class::Int { .. } = self.element.class else {
            return None;
        };
        let (no, mut yes) = (vec![0; self.element.size_bytes], vec![0; self.element.size_bytes]);
        let lowest = if self.element.big_endian {
            yes.last_mut()
        } else {
            yes.first_mut()
        };
        *lowest? = 1;
        self.element = ElementType::translated(Class::Bool, Translation::flags(&no, &yes));
        is_plain.then_some(self)
    }

    /// Number of elements.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn element(&self) -> &ElementType {
        &self.element
    }

    /// Bytes of what is decoded together; 0 where nothing is decoded.
    pub(crate) fn chunk_bytes(&self) -> u64 {
        match &self.placement {
            Placement::Chunked { .. } if self.pipeline.is_plain(0) => 0,
            Placement::Chunked { chunk_elements, .. } => {
                chunk_elements.saturating_mul(self.width_bytes as u64)
            }
            Placement::Foreign(foreign) => foreign.chunk_bytes(),
            _ => 0,
        }
    }

    /// Memory that is held from one window to the next, besides a chunk.
    pub(crate) fn held_bytes(&self) -> u64 {
        match &self.placement {
            Placement::Foreign(foreign) => foreign.held_bytes(),
            _ => 0,
        }
    }

    /// HDF5 path of the dataset.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn file(&self) -> &Arc<SourceFile> {
        &self.file
    }

    /// Reads elements `range` as they lie in the file; `place` has one item per element, of the element's width.
    pub(crate) fn read<T: bytemuck::Pod + Send>(&self, range: Range<u64>, place: &mut [T]) -> Result<()> {
        assert_eq!(size_of::<T>(), self.element.size_bytes, "item and element width");
        if self.element.translation.is_some() {
            return self.read_bytes(range, bytemuck::cast_slice_mut(place));
        }
        self.deliver(range, place, 1, &AsIs)
    }

    /// Reads the bytes of elements `range` into `place`, which has room for exactly those.
    pub(crate) fn read_bytes(&self, range: Range<u64>, place: &mut [u8]) -> Result<()> {
        let element_bytes = self.element.size_bytes;
        let stored_bytes = self.element.stored_bytes();
        let translation = self.element.translation.as_ref();
        if stored_bytes == self.width_bytes && translation.is_none() {
            return self.deliver(range, place, element_bytes, &AsIs);
        }
        let mut at = range.start;
        let mut records = Vec::new();
        let mut members = Vec::new();
        let n_records = (MEMBER_PIECE_BYTES / self.width_bytes).clamp(1, MEMBER_PIECE_RECORDS);
        for place in place.chunks_mut(n_records * element_bytes.max(1)) {
            let n = place.len() / element_bytes;
            records.resize(n * self.width_bytes, 0);
            self.deliver(at..at + n as u64, &mut records, self.width_bytes, &AsIs)?;
            let gather = |members: &mut [u8]| {
                let pairs = members
                    .chunks_exact_mut(stored_bytes)
                    .zip(records.chunks_exact(self.width_bytes));
                for (member, record) in pairs {
                    member.copy_from_slice(&record[self.member_at..self.member_at + stored_bytes]);
                }
            };
            match translation {
                None => gather(place),
                Some(translation) => {
                    members.resize(n * stored_bytes, 0);
                    gather(&mut members);
                    translation.apply(&members, place).map_err(|(position, detail)| {
                        let element = at + position as u64;
                        self.file
                            .damaged(&self.path, format!("element {element}: {detail}"))
                    })?;
                }
            }
            at += n as u64;
        }
        Ok(())
    }

    /// The strings of elements `range`, where they are kept as such and not as references.
    pub(crate) fn read_text(&self, range: Range<u64>) -> Result<Option<Vec<String>>> {
        match &self.placement {
            Placement::Foreign(foreign) if self.element.class == Class::VarText => {
                let first = range.start;
                let read = foreign.read_text(range, self.file.most_text_bytes());
                read.map(Some).map_err(|fault| {
                    let place = foreign.place_of(first);
                    let fault = fault.about(&format!("from element {first} ({place}) on"));
                    self.file.fault(&self.path, fault)
                })
            }
            _ => Ok(None),
        }
    }

    /// Reads elements `range`, converting runs of them.
    pub(crate) fn read_converted<T: Send>(
        &self,
        range: Range<u64>,
        place: &mut [T],
        convert: impl Fn(&[u8], &mut [T]) + Sync,
    ) -> Result<()> {
        if self.element.size_bytes != self.width_bytes || self.element.translation.is_some() {
            let mut bytes = vec![0; place.len() * self.element.size_bytes];
            self.read_bytes(range, &mut bytes)?;
            convert(&bytes, place);
            return Ok(());
        }
        self.deliver(range, place, 1, &Converted(convert))
    }
}

/// The filters of a dataset, or an error that names the one that is not known.
pub(super) fn pipeline_of(
    file: &SourceFile,
    path: &str,
    filters: &[Filter],
    element_bytes: usize,
) -> Result<Pipeline> {
    Pipeline::new(filters, element_bytes).map_err(|Unknown { id, name }| ReadError::UnsupportedFilter {
        file: file.path().to_owned(),
        object: path.to_owned(),
        id,
        name,
    })
}

/// Chunks lie on the grid, each at most once.
fn check_chunks(chunks: &[Chunk], chunk_elements: u64) -> std::result::Result<(), String> {
    for (position, chunk) in chunks.iter().enumerate() {
        if chunk.first % chunk_elements != 0 {
            return Err(format!(
                "a chunk begins at element {}, not a multiple of {chunk_elements}",
                chunk.first
            ));
        }
        if position > 0 && chunks[position - 1].first == chunk.first {
            return Err(format!("two chunks begin at element {}", chunk.first));
        }
    }
    Ok(())
}
