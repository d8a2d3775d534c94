//! What makes an encoding of it.

use std::ops::RangeInclusive;

use super::checksum::check_crc;
use super::decode::FrameDecoder;
use super::encode::FrameEncoder;
use crate::format::constants::{
    DESCRIPTOR_BYTES, FRAME_CRC_BYTES, GROUP_LEN, MAX_DICTIONARY, MAX_EXCEPTIONS, MAX_WIDTH,
};
use crate::format::encoding::bytes::Padded;
use crate::format::encoding::codec::{
    BlockBytes, BlockCodec, BlockShape, Codec, DecodeObs, EncodeBlock, Entries, StoredMatrix, TooLong,
};
use crate::format::encoding::error::FrameError;
use crate::format::error::FormatError;
use crate::format::index::record::{BlockRecord, ObsPlace};
use crate::format::obs::ByteRange;
use crate::format::var_order::VarOrder;
use crate::format::window::{ShardFile, Window};
use cellring_core::Element;
use cellring_core::ValueType;

/// The packed encoding.
pub(crate) enum PackedCodec {}

impl Codec for PackedCodec {
    const NAME: &'static str = "packed";
    const HAS_RAW_VALUE_TYPE: bool = false;
    /// Gaps between frequent columns are small.
    const VAR_ORDER: VarOrder = VarOrder::Detection;

    type Decoder = FrameDecoder;

    fn obs_bytes(nnz: u32, matrix: &StoredMatrix) -> RangeInclusive<u64> {
        match nnz {
            0 => 0..=0,
            _ => least_bytes(nnz)..=most_bytes(nnz, matrix.stored),
        }
    }
}

impl BlockCodec for PackedCodec {
    /// The frame.
    const N_PARTS: usize = 1;

    type Encoder<T: Element> = PackedEncoder;

    /// A number of values.
    fn detail_bytes(max_obs_nnz: u64) -> u32 {
        if max_obs_nnz <= u64::from(u16::MAX) { 2 } else { 4 }
    }

    /// Entries count bytes, and the detail is the number of values. The frame holds the checksum.
    #[inline]
    fn place(range: (u32, u32), detail: u32) -> ObsPlace {
        ObsPlace {
            range,
            nnz: detail,
            crc: 0,
        }
    }

    fn detail(place: ObsPlace) -> u32 {
        place.nnz
    }

    #[inline]
    fn fits(place: ObsPlace, payload_bytes: u32, max_obs_bytes: u64) -> bool {
        let ObsPlace {
            range: (start, end),
            nnz,
            ..
        } = place;
        let len = u64::from(end - start);
        end <= payload_bytes && len >= least_bytes(nnz) && (nnz > 0 || len == 0) && len <= max_obs_bytes
    }

    #[inline]
    fn parts(
        _index: &impl Entries,
        _obs: u64,
        place: ObsPlace,
        _block: u64,
        record: BlockRecord,
    ) -> Result<[ByteRange; 2], FormatError> {
        let (start, end) = place.range;
        let frame = ByteRange {
            offset_bytes: record.offset_bytes + u64::from(start),
            len_bytes: end - start,
        };
        Ok([frame, ByteRange::default()])
    }

    /// The frames fill the payload.
    fn check_block(
        index: &impl Entries,
        block: u64,
        record: BlockRecord,
        padded: u64,
        file: &ShardFile,
        _window: &mut Window,
    ) -> Result<[u64; 2], FormatError> {
        let last = index.obs_of_block(block).end - 1;
        let end = index.end(last, record.payload_bytes)?;
        if end == record.payload_bytes {
            return Ok([padded; 2]);
        }
        let rule = format!(
            "the frames of block {block} end at byte {end} of {}",
            record.payload_bytes
        );
        Err(FormatError::invalid(
            file.path(),
            record.offset_bytes + u64::from(end),
            rule,
        ))
    }

    fn check_obs(obs: u64, nnz: u32, _crc: u32, [frame, _]: [&[u8]; 2]) -> Result<(), FrameError> {
        match (nnz, frame) {
            (0, []) => Ok(()),
            _ => check_crc(frame, obs, nnz).map(drop),
        }
    }
}

impl DecodeObs for FrameDecoder {
    fn new(matrix: StoredMatrix) -> Self {
        Self::new(matrix.n_vars as u32, matrix.stored).with_f32_exact(matrix.f32_exact)
    }

    #[inline]
    fn decode<T: Element>(
        &self,
        obs: u64,
        _crc: u32,
        [frame, _]: [Padded<'_>; 2],
        indices: &mut [i32],
        data: &mut [T],
    ) -> Result<(), FrameError> {
        if !indices.is_empty() {
            return self.decode(frame, obs, indices, data);
        }
        match frame.bytes().len() {
            0 => Ok(()),
            bytes => Err(FrameError::LeftOver { bytes }),
        }
    }
}

/// Appends the frames of a block.
#[derive(Debug)]
pub(crate) struct PackedEncoder {
    frames: FrameEncoder,
    next_obs: u64,
    block: BlockBytes,
}

impl<T: Element> EncodeBlock<T> for PackedEncoder {
    fn new(shape: BlockShape) -> Self {
        // Rarely exceeded, and then the vector grows.
        let expected_bytes = shape.nnz * 3 / 2 + shape.n_obs * 8;
        Self {
            frames: FrameEncoder::default(),
            next_obs: shape.first_obs,
            block: BlockBytes {
                payload: Vec::with_capacity(expected_bytes),
                ends: Vec::with_capacity(shape.n_obs),
                details: Vec::with_capacity(shape.n_obs),
                max_obs_bytes: 0,
            },
        }
    }

    fn push(&mut self, indices: &[u32], values: &[T]) -> Result<(), TooLong> {
        let block = &mut self.block;
        let start = block.payload.len();
        self.frames
            .encode(self.next_obs, indices, values, &mut block.payload);
        self.next_obs += 1;
        block.max_obs_bytes = block.max_obs_bytes.max((block.payload.len() - start) as u64);
        block.ends.push(TooLong::check(block.payload.len() as u64)?);
        block.details.push(indices.len() as u32);
        Ok(())
    }

    fn finish(self) -> Result<BlockBytes, TooLong> {
        Ok(self.block)
    }
}

/// The smallest number of bytes of a frame of `nnz` values: a mode, a descriptor for each group, and the checksum.
#[inline]
fn least_bytes(nnz: u32) -> u64 {
    match u64::from(nnz) {
        0 => 0,
        nnz => 1 + nnz.div_ceil(GROUP_LEN as u64) * DESCRIPTOR_BYTES as u64 + FRAME_CRC_BYTES as u64,
    }
}

/// The largest number of bytes of a frame of `nnz` values: those of a dictionary, of groups that have all exceptions, and of plain values.
fn most_bytes(nnz: u32, value_type: ValueType) -> u64 {
    let width = value_type.size_bytes() as u64;
    let packed = (GROUP_LEN * MAX_WIDTH as usize).div_ceil(8);
    let group = DESCRIPTOR_BYTES + 2 * (packed + MAX_EXCEPTIONS * 5);
    let groups = u64::from(nnz).div_ceil(GROUP_LEN as u64) * group as u64;
    let head = (1 + 2 + FRAME_CRC_BYTES + MAX_DICTIONARY * width as usize) as u64;
    head + groups + u64::from(nnz) * width
}
