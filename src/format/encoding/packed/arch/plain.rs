//! Plain loops: entry `k` takes bits `k * width ..` of a little-endian bit string.

use crate::format::constants::{GROUP_LEN, MAX_WIDTH};
use crate::format::encoding::error::FrameError;
use crate::format::encoding::packed::frame::{AHEAD, Frame, group_lengths};
use crate::format::encoding::packed::group::{Group, Packed};
use crate::format::encoding::packed::patch::entries;
use crate::format::encoding::packed::values::{Dictionary, Matrix, Values};
use cellring_core::Element;

/// Appends the low `width` bits of each value; bits above are dropped, unused bits at the end are zero.
pub(in crate::format::encoding::packed) fn pack(values: &[u32], width: u32, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
    let mask = (1u64 << width) - 1;
    let (mut pending, mut filled) = (0u64, 0u32);
    for &value in values {
        pending |= (u64::from(value) & mask) << filled;
        filled += width;
        while filled >= 8 {
            out.push(pending as u8);
            pending >>= 8;
            filled -= 8;
        }
    }
    if filled > 0 {
        out.push(pending as u8);
    }
}

/// Reads `m` entries of `width` bits (0 to 31) from the start of `bytes` into `out[..m]`; places after those, up to the
/// next multiple of 8, hold unspecified entries.
///
/// # Panics
/// If `m` is above the group's length. Bytes beyond the end count as zero.
#[inline(always)]
pub(in crate::format::encoding::packed) fn unpack(bytes: &[u8], width: u32, m: usize, out: &mut Group) {
    let out = &mut out[..m.next_multiple_of(EIGHT)];
    if bytes.len() < out.len() / EIGHT * width as usize + OVER_READ {
        return unpack_near_the_end(bytes, width, out);
    }
    unpack_eights(bytes, width, out);
}

/// Entries that are unpacked at a time: they take as many bytes as one entry has bits.
const EIGHT: usize = 8;

/// Bytes that a load may reach beyond the packed entries.
const OVER_READ: usize = 8;

/// Unpacks from a copy with room after it: where a frame ends, loads must not go beyond it.
#[cold]
#[inline(never)]
fn unpack_near_the_end(bytes: &[u8], width: u32, out: &mut [u32]) {
    let mut padded = [0; GROUP_LEN * MAX_WIDTH as usize / 8 + OVER_READ];
    let there = bytes.len().min(padded.len());
    padded[..there].copy_from_slice(&bytes[..there]);
    unpack_eights(&padded, width, out);
}

/// Calls [`unpack_width`] with the width as a constant: then every shift is one, too.
#[inline(always)]
fn unpack_eights(bytes: &[u8], width: u32, out: &mut [u32]) {
    macro_rules! with_constant_width {
        ($($width:literal)*) => {
            match width {
                $($width => unpack_width::<$width>(bytes, out),)*
                _ => unreachable!("a width has 5 bits"),
            }
        };
    }
    with_constant_width!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31)
}

/// Unpacks entries of `W` bits, a multiple of 8 of them.
fn unpack_width<const W: usize>(bytes: &[u8], out: &mut [u32]) {
    let (eights, _) = out.as_chunks_mut::<EIGHT>();
    for (eight, out) in eights.iter_mut().enumerate() {
        // One check of bounds; the compiler knows all other offsets.
        let bytes = &bytes[eight * W..][..W + OVER_READ];
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(word)
        };
        for (k, entry) in out.iter_mut().enumerate() {
            // As many neighbours from one word as it holds.
            let per_word = match W {
                0..=8 => 8,
                9..=14 => 4,
                15..=28 => 2,
                _ => 1,
            };
            let first_bit = k / per_word * per_word * W;
            let shift = first_bit % 8 + k % per_word * W;
            *entry = (word(first_bit / 8) >> shift) as u32 & ((1u32 << W) - 1);
        }
    }
}

/// Turns the first `indices.len()` gaps into columns. `next` is the column after the last one before this group; gives
/// the one after the last of this group, which may be beyond 32 bits.
#[inline(always)]
pub(in crate::format::encoding::packed) fn sum_gaps(gaps: &Group, next: u32, indices: &mut [i32]) -> u64 {
    // 128 gaps of 31 bits cannot overflow 64. The sum waits for one addition per gap, and no more.
    let mut next = u64::from(next);
    for (index, &gap) in indices.iter_mut().zip(gaps) {
        let step = u64::from(gap) + 1;
        *index = (next + u64::from(gap)) as i32;
        next += step;
    }
    next
}

/// Decodes the groups of a frame, and what follows them.
pub(in crate::format::encoding::packed) fn decode<T: Element>(
    frame: &Frame,
    matrix: Matrix,
    indices: &mut [i32],
    data: &mut [T],
) -> Result<(), FrameError> {
    let dictionary = Dictionary::<T>::from_frame(frame, matrix);
    let values = Values::new(frame, matrix, &dictionary);
    let mut gaps = [0; GROUP_LEN];
    let mut parts = [(Packed::default(), Packed::default()); AHEAD];
    let (mut at, mut next) = (frame.groups_at, 0);
    let pieces = indices
        .chunks_mut(AHEAD * GROUP_LEN)
        .zip(data.chunks_mut(AHEAD * GROUP_LEN));
    for (indices, data) in pieces {
        for (part, m) in parts.iter_mut().zip(group_lengths(indices.len())) {
            let (gap, code, end) = frame.split_group(at, m)?;
            (*part, at) = ((gap, code), end);
        }
        let groups = indices.chunks_mut(GROUP_LEN).zip(data.chunks_mut(GROUP_LEN));
        for ((indices, data), (gap, code)) in groups.zip(&parts) {
            entries(frame, gap, unpack, &mut gaps)?;
            let behind = sum_gaps(&gaps, next, indices);
            next = matrix.check_column(behind)?;
            values.decode(code.stream, |codes| entries(frame, code, unpack, codes), data)?;
        }
    }
    values.finish(frame.body, at, data)
}
