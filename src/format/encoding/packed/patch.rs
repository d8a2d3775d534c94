//! Exceptions: the parts of entries that do not fit the width of their group.

use super::frame::Frame;
use super::group::{Group, Packed, Stream};
use crate::format::constants::GROUP_LEN;
use crate::format::encoding::error::FrameError;

/// Unpacks the entries of a stream into `out`, exceptions included; `unpack` is the one of the kernel.
#[inline(always)]
pub(super) fn entries(
    frame: &Frame,
    packed: &Packed,
    unpack: impl Fn(&[u8], u32, usize, &mut Group),
    out: &mut Group,
) -> Result<(), FrameError> {
    let (stream, m) = (packed.stream, packed.m as usize);
    unpack(&frame.readable[packed.at as usize..], stream.width, m, out);
    patch(out, m, stream, packed.exceptions(frame.body))
}

/// Adds the high parts of the exceptions to the first `m` entries. `bytes` has exactly the length that the stream says.
///
/// What is checked is gathered and looked at once: a branch per exception would cost more than the exception.
#[inline(always)]
fn patch(entries: &mut Group, m: usize, stream: Stream, bytes: &[u8]) -> Result<(), FrameError> {
    if stream.exceptions == 0 {
        // A wide bit without exceptions has no meaning, and a frame has one form only.
        return if stream.wide {
            Err(FrameError::Exception)
        } else {
            Ok(())
        };
    }
    let (positions, highs) = bytes.split_at(stream.exceptions);
    let mut bad = false;
    let mut after = 0;
    let mut put = |position: u8, high: u32| {
        let position = usize::from(position);
        // 31 bits in all: what does not fit would be lost in the shift.
        bad |= (position < after) | (high == 0) | ((u64::from(high) << stream.width) >> 31 != 0);
        after = position + 1;
        entries[position % GROUP_LEN] |= high << stream.width;
    };
    if stream.wide {
        let highs = highs
            .chunks_exact(4)
            .map(|high| u32::from_le_bytes([high[0], high[1], high[2], high[3]]));
        positions
            .iter()
            .zip(highs)
            .for_each(|(&position, high)| put(position, high));
    } else {
        positions
            .iter()
            .zip(highs)
            .for_each(|(&position, &high)| put(position, u32::from(high)));
    }
    // Positions ascend, so the last one tells for all.
    if bad || after > m {
        Err(FrameError::Exception)
    } else {
        Ok(())
    }
}
