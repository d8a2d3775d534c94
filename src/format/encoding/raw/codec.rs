//! What makes an encoding of it.

use std::ops::RangeInclusive;

use super::decode::{RawDecoder, check_obs};
use super::encode::RawEncoder;
use super::layout::{index_bytes, layout_of};
use super::verify::check_block;
use crate::format::encoding::codec::{BlockCodec, Codec, Entries, StoredMatrix};
use crate::format::encoding::error::FrameError;
use crate::format::error::FormatError;
use crate::format::index::record::{BlockRecord, ObsPlace};
use crate::format::obs::ByteRange;
use crate::format::var_order::VarOrder;
use crate::format::window::{ShardFile, Window};
use cellring_core::Element;

/// The raw encoding.
pub(crate) enum RawCodec {}

impl Codec for RawCodec {
    const NAME: &'static str = "raw";
    const HAS_RAW_VALUE_TYPE: bool = true;
    const VAR_ORDER: VarOrder = VarOrder::Source;

    type Decoder = RawDecoder;

    fn obs_bytes(nnz: u32, matrix: &StoredMatrix) -> RangeInclusive<u64> {
        let bytes = u64::from(nnz) * (index_bytes(matrix.n_vars) + matrix.stored.size_bytes()) as u64;
        bytes..=bytes
    }
}

impl BlockCodec for RawCodec {
    /// The indices, and the values.
    const N_PARTS: usize = 2;

    type Encoder<T: Element> = RawEncoder<T>;

    /// A CRC.
    fn detail_bytes(_max_obs_nnz: u64) -> u32 {
        4
    }

    /// Entries count values, and the detail is the CRC.
    #[inline]
    fn place((start, end): (u32, u32), detail: u32) -> ObsPlace {
        ObsPlace {
            range: (start, end),
            nnz: end.wrapping_sub(start),
            crc: detail,
        }
    }

    fn detail(place: ObsPlace) -> u32 {
        place.crc
    }

    /// The number of values gives that of the bytes. The place of the last value within the payload is checked where the layout of the
    /// block is known.
    #[inline]
    fn fits(place: ObsPlace, payload_bytes: u32, _max_obs_bytes: u64) -> bool {
        u64::from(place.range.1) * 2 <= u64::from(payload_bytes)
    }

    #[inline]
    fn parts(
        index: &impl Entries,
        obs: u64,
        place: ObsPlace,
        block: u64,
        record: BlockRecord,
    ) -> Result<[ByteRange; 2], FormatError> {
        let (start, end) = place.range;
        let layout = layout_of(index, block, record.payload_bytes)?;
        if end as usize > layout.nnz {
            return Err(index.damaged(format!(
                "the entry of obs {obs} ends at value {end} of {}",
                layout.nnz
            )));
        }
        let section = |at: usize, width: usize| ByteRange {
            offset_bytes: record.offset_bytes + at as u64 + u64::from(start) * width as u64,
            len_bytes: (u64::from(end - start) * width as u64) as u32,
        };
        Ok([
            section(layout.indices_at, layout.index_bytes),
            section(layout.data_at, layout.value_bytes),
        ])
    }

    fn check_block(
        index: &impl Entries,
        block: u64,
        record: BlockRecord,
        padded: u64,
        file: &ShardFile,
        window: &mut Window,
    ) -> Result<[u64; 2], FormatError> {
        check_block(index, block, record, padded, file, window)
    }

    fn check_obs(obs: u64, nnz: u32, crc: u32, parts: [&[u8]; 2]) -> Result<(), FrameError> {
        check_obs(obs, nnz, crc, parts)
    }
}
