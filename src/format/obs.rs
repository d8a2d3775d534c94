//! One obs: where its bytes lie, and how they become columns and values. Everything that reads obs goes through here.

use super::element::Element;
use super::error::FormatError;
use super::index::Index;
use super::manifest::{Encoding, Manifest};
use super::packed::{FrameDecoder, FrameError, Padded};
use super::raw::{self, RawValues};

/// A range of bytes of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// First byte, from the start of the shard.
    pub offset_bytes: u64,
    /// Length.
    pub len_bytes: u32,
}

/// Where the bytes of one obs lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// Number of the shard.
    pub shard: u32,
    /// Packed: the frame, and nothing. Raw: the indices and the values.
    pub parts: [Part; 2],
    /// Number of values.
    pub nnz: u32,
    /// Raw: the checksum. Packed: 0 (the frame holds it).
    pub crc: u32,
}

impl Index {
    /// Where an obs is. Every range is checked to lie within its shard.
    ///
    /// # Errors
    /// [`FormatError::Invalid`] where the index is damaged.
    ///
    /// # Panics
    /// Where there is no such obs.
    pub fn locate(&self, obs: u64) -> Result<Location, FormatError> {
        let block = obs / u64::from(self.block_size());
        let record = self.block(block)?;
        let place = self.place(obs, record.payload_bytes)?;
        let (start, end) = place.range;
        let part = |at: u64, len: u64| Part {
            offset_bytes: record.offset_bytes + at,
            len_bytes: len as u32,
        };
        let parts = match self.encoding() {
            Encoding::Packed => [part(u64::from(start), u64::from(end - start)), Part::default()],
            Encoding::Raw => {
                let layout = self.raw_layout(block, record.payload_bytes)?;
                if end as usize > layout.nnz {
                    return Err(FormatError::invalid(
                        self.file(),
                        0,
                        format!("the entry of obs {obs} ends at value {end} of {}", layout.nnz),
                    ));
                }
                let section = |at: usize, width: usize| {
                    part(
                        at as u64 + u64::from(start) * width as u64,
                        u64::from(end - start) * width as u64,
                    )
                };
                [
                    section(layout.indices_at, layout.index_bytes),
                    section(layout.data_at, layout.value_bytes),
                ]
            }
        };
        Ok(Location {
            shard: record.shard,
            parts,
            nnz: place.nnz,
            crc: place.crc,
        })
    }
}

/// Turns the bytes of obs into columns and values.
#[derive(Clone, Copy, Debug)]
pub struct ObsDecoder {
    encoding: Encoding,
    n_vars: u32,
    values: RawValues,
    frames: FrameDecoder,
}

impl ObsDecoder {
    /// The decoder for a store.
    pub fn new(manifest: &Manifest) -> Self {
        let (n_vars, stored) = (manifest.n_vars as u32, manifest.stored_value_type());
        Self {
            encoding: manifest.encoding,
            n_vars,
            values: RawValues {
                value_type: manifest.value_type,
                stored,
                f32_exact: manifest.f32_exact,
            },
            frames: FrameDecoder::new(n_vars, stored).with_f32_exact(manifest.f32_exact),
        }
    }

    /// Decodes an obs; `parts` are the bytes that its [`Location`] names, the outputs have its `nnz` as length.
    ///
    /// The checksum is compared first. After an error the outputs hold unspecified values.
    ///
    /// # Errors
    /// [`FrameError`] where the bytes are not those that were written for this obs.
    ///
    /// # Panics
    /// Where the outputs differ in length, or `T` is neither `f32` nor the store's type.
    #[inline]
    pub fn decode<T: Element>(
        &self,
        obs: u64,
        crc: u32,
        parts: [Padded<'_>; 2],
        indices: &mut [i32],
        data: &mut [T],
    ) -> Result<(), FrameError> {
        match self.encoding {
            Encoding::Packed if indices.is_empty() => match parts[0].bytes().len() {
                0 => Ok(()),
                bytes => Err(FrameError::LeftOver { bytes }),
            },
            Encoding::Packed => self.frames.decode(parts[0], obs, indices, data),
            Encoding::Raw => raw::decode_obs(
                parts[0].bytes(),
                parts[1].bytes(),
                obs,
                crc,
                self.n_vars,
                self.values,
                indices,
                data,
            ),
        }
    }
}
