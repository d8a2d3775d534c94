//! What an encoding is: everything in which one differs from another.

use std::ops::{Range, RangeInclusive};

use super::bytes::Padded;
use super::error::FrameError;
use crate::format::error::FormatError;
use crate::format::index::record::{BlockRecord, ObsPlace};
use crate::format::obs::ByteRange;
use crate::format::var_order::VarOrder;
use crate::format::window::{ShardFile, Window};
use cellring_core::Element;
use cellring_core::ValueType;

/// How the values of an obs are stored. The codec is a type without values; it is chosen once for each obs or block, never for a value.
pub(crate) trait Codec {
    /// The name in the manifest.
    const NAME: &'static str;
    /// Whether values may be stored in a narrower type than the source's, which the manifest gives as `raw_value_type`.
    const HAS_RAW_VALUE_TYPE: bool;
    /// The order of columns that suits the encoding.
    const VAR_ORDER: VarOrder;

    /// Turns the bytes of an obs into columns and values.
    type Decoder: DecodeObs;

    /// The least and the largest number of bytes that an obs of `nnz` values takes in a shard.
    fn obs_bytes(nnz: u32, matrix: &StoredMatrix) -> RangeInclusive<u64>;
}

/// An encoding of blocks.
pub(crate) trait BlockCodec: Codec {
    /// In how many pieces an obs is stored, 1 or 2.
    const N_PARTS: usize;

    /// Makes a block of rows with values of type `T`.
    type Encoder<T: Element>: EncodeBlock<T>;

    /// Width of an entry of the index's third section, the details: 2 or 4 bytes.
    fn detail_bytes(max_obs_nnz: u64) -> u32;

    /// What the entries of the index say of an obs: where it begins and ends, and its detail. Not checked.
    fn place(range: (u32, u32), detail: u32) -> ObsPlace;

    /// The detail of an obs.
    fn detail(place: ObsPlace) -> u32;

    /// Whether an obs can be there, in a block of `payload_bytes`. It does not end before it begins.
    fn fits(place: ObsPlace, payload_bytes: u32, max_obs_bytes: u64) -> bool;

    /// The bytes of an obs in its shard; empty parts come last.
    fn parts(
        index: &impl Entries,
        obs: u64,
        place: ObsPlace,
        block: u64,
        record: BlockRecord,
    ) -> Result<[ByteRange; 2], FormatError>;

    /// Checks the bytes of a block that are not those of an obs, but for its padding, which ends at `padded`. Gives how far the
    /// bytes that follow a part may be read with it.
    fn check_block(
        index: &impl Entries,
        block: u64,
        record: BlockRecord,
        padded: u64,
        file: &ShardFile,
        window: &mut Window,
    ) -> Result<[u64; 2], FormatError>;

    /// Compares the bytes of an obs with its checksum.
    fn check_obs(obs: u64, nnz: u32, crc: u32, parts: [&[u8]; 2]) -> Result<(), FrameError>;
}

/// Turns the bytes of obs into columns and values.
pub(crate) trait DecodeObs: Copy {
    /// The decoder for a matrix.
    fn new(matrix: StoredMatrix) -> Self;

    /// Compares the checksum, then decodes. [`ObsDecoder::decode`](super::ObsDecoder::decode) says the rest.
    fn decode<T: Element>(
        &self,
        obs: u64,
        crc: u32,
        parts: [Padded<'_>; 2],
        indices: &mut [i32],
        data: &mut [T],
    ) -> Result<(), FrameError>;
}

/// Makes one block.
pub(crate) trait EncodeBlock<T: Element>: Sized {
    /// Begins a block.
    fn new(shape: BlockShape) -> Self;

    /// Adds the next row: its columns, which ascend strictly, and their values.
    fn push(&mut self, indices: &[u32], values: &[T]) -> Result<(), TooLong>;

    /// The bytes of the block, and its entries for the index.
    fn finish(self) -> Result<BlockBytes, TooLong>;
}

/// What an encoding asks of the index of a store.
pub(crate) trait Entries {
    /// The matrix.
    fn matrix(&self) -> &StoredMatrix;

    /// The obs of a block.
    fn obs_of_block(&self, block: u64) -> Range<u64>;

    /// Where an obs ends in its block, as the index says it.
    fn stated_end(&self, obs: u64) -> Result<u32, FormatError>;

    /// The same, if the entries of the obs fit a block of `payload_bytes` and the limits of the manifest.
    fn end(&self, obs: u64, payload_bytes: u32) -> Result<u32, FormatError>;

    /// The index is damaged.
    fn damaged(&self, rule: String) -> FormatError;

    /// The index is damaged where it says the end of this obs.
    fn damaged_end(&self, obs: u64, rule: String) -> FormatError;
}

/// A matrix as its values are stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoredMatrix {
    /// Number of columns.
    pub(crate) n_vars: u64,
    /// Element type of the source.
    pub(crate) value_type: ValueType,
    /// The type in which values are stored: the same, or u8, u16 or u32.
    pub(crate) stored: ValueType,
    /// Whether the manifest says that an `f32` rounds none of them.
    pub(crate) f32_exact: bool,
    /// Of a linked store: whether the index has a checksum of each row.
    pub(crate) has_row_checksums: bool,
}

/// A block that is to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockShape {
    pub(crate) first_obs: u64,
    pub(crate) n_obs: usize,
    /// Number of values.
    pub(crate) nnz: usize,
    /// Number of columns.
    pub(crate) n_vars: u64,
    /// The type to store values in.
    pub(crate) stored: ValueType,
}

/// A block that was made.
#[derive(Debug)]
pub(crate) struct BlockBytes {
    /// The bytes of the block, without padding.
    pub(crate) payload: Vec<u8>,
    /// The index's second section for these obs.
    pub(crate) ends: Vec<u32>,
    /// The index's third section for these obs.
    pub(crate) details: Vec<u32>,
    /// The largest number of bytes of one obs.
    pub(crate) max_obs_bytes: u64,
}

/// A block is too large for the format's 32-bit offsets.
#[derive(Debug)]
pub(crate) struct TooLong {
    pub(crate) bytes: u64,
}

impl TooLong {
    /// The length, if the format can express it.
    pub(crate) fn check(bytes: u64) -> Result<u32, Self> {
        u32::try_from(bytes).map_err(|_| Self { bytes })
    }
}
