//! The checksum at the end of a frame.

use crate::format::checksum::obs_crc;
use crate::format::constants::FRAME_CRC_BYTES;
use crate::format::encoding::error::FrameError;

/// Compares the checksum at the end of the frame and gives the bytes before it.
pub(super) fn check_crc(frame: &[u8], obs: u64, nnz: u32) -> Result<&[u8], FrameError> {
    let Some((body, crc)) = frame.split_last_chunk::<FRAME_CRC_BYTES>() else {
        return Err(FrameError::Short {
            bytes: frame.len(),
            part: "checksum",
        });
    };
    let (expected, found) = (u32::from_le_bytes(*crc), obs_crc(obs, nnz, &[body]));
    if expected == found {
        Ok(body)
    } else {
        Err(FrameError::Checksum { expected, found })
    }
}
