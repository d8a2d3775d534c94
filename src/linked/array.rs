//! One of the two arrays of an input.

use cellring_core::ValueType;
use cellring_filters::Pipeline;

use crate::format::linked::{ArrayLayout, ArrayRole, LinkedArray};

/// No sound chunk is stored in more bytes than it decodes to and these: compressors add a few per thousand to what does not shrink.
const CHUNK_OVERHEAD_BYTES: u64 = 1 << 16;

/// One of the two arrays.
#[derive(Debug)]
pub(crate) struct Array {
    linked: LinkedArray,
    pipeline: Pipeline,
    n_elements: u64,
}

impl Array {
    /// One of the arrays of a matrix of so many rows, columns and stored values.
    ///
    /// # Errors
    /// The rule that is broken.
    pub(super) fn new(
        linked: LinkedArray,
        role: ArrayRole,
        n_obs: u64,
        n_vars: u64,
        n_elements: u64,
    ) -> Result<Self, String> {
        let pipeline = Pipeline::new(&linked.filters, linked.value_type.size_bytes())
            .map_err(|unknown| unknown.to_string())?;
        let n_chunks = match linked.layout {
            ArrayLayout::Chunks { elements } => Some(n_elements.div_ceil(elements)),
            ArrayLayout::Tiles { rows, columns } => {
                n_obs.div_ceil(rows).checked_mul(n_vars.div_ceil(columns))
            }
            ArrayLayout::Implied => Some(0),
            ArrayLayout::Runs => Some(linked.n_extents).filter(|&n| n > 0 || n_elements == 0),
        };
        if n_chunks != Some(linked.n_extents) {
            return Err(format!(
                "{} has {} extents, which do not make up {n_elements} values of {n_obs} x {n_vars}",
                role.name(),
                linked.n_extents
            ));
        }
        Ok(Self {
            linked,
            pipeline,
            n_elements,
        })
    }

    /// Number of elements.
    pub(super) fn n_elements(&self) -> u64 {
        self.n_elements
    }

    /// What the index says of it.
    pub(crate) fn linked(&self) -> &LinkedArray {
        &self.linked
    }

    pub(super) fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    pub(super) fn value_type(&self) -> ValueType {
        self.linked.value_type
    }

    /// Bytes of an element in the file.
    pub(super) fn width(&self) -> usize {
        self.linked.value_type.size_bytes()
    }

    /// Elements of a chunk, if there are chunks.
    pub(crate) fn chunk_elements(&self) -> Option<u64> {
        self.linked.layout.chunk_elements()
    }

    /// Bytes of a decoded chunk; 0 where there are none.
    pub(crate) fn chunk_bytes(&self) -> u64 {
        self.chunk_elements()
            .map_or(0, |elements| elements * self.width() as u64)
    }

    /// Bytes that are needed besides while only the beginning of a chunk is decoded.
    pub(super) fn streaming_bytes(&self) -> u64 {
        match self.chunk_bytes() {
            bytes if self.pipeline.streams(bytes as usize) => bytes,
            _ => 0,
        }
    }

    /// The most bytes that a chunk may take in the file.
    pub(super) fn most_stored_bytes(&self) -> u64 {
        most_stored_bytes(self.chunk_bytes())
    }
}

/// The most bytes that a chunk of so many bytes may take in the file; 0 if there are no chunks.
pub(crate) fn most_stored_bytes(chunk_bytes: u64) -> u64 {
    match chunk_bytes {
        0 => 0,
        bytes => bytes.saturating_add(bytes / 64 + CHUNK_OVERHEAD_BYTES),
    }
}
