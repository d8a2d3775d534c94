//! Plain loops: entry `k` takes bits `k * width ..` of a little-endian bit string.

use crate::format::encoding::packed::group::{Group, Packed};

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

/// Reads `m` entries of `width` bits (0 to 31) from the start of `bytes` into `out[..m]`.
///
/// # Panics
/// If `m` is above the group's length. Bytes beyond the end count as zero.
#[inline(always)]
pub(in crate::format::encoding::packed) fn unpack(bytes: &[u8], width: u32, m: usize, out: &mut Group) {
    let mask = (1u64 << width) - 1;
    let width = width as usize;
    for (k, value) in out[..m].iter_mut().enumerate() {
        let bit = k * width;
        let at = bit >> 3;
        let word = match bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
            Some(eight) => u64::from_le_bytes(*eight),
            None => bytes[at.min(bytes.len())..]
                .iter()
                .rev()
                .fold(0, |word, &byte| word << 8 | u64::from(byte)),
        };
        *value = ((word >> (bit & 7)) & mask) as u32;
    }
}

/// Turns the first `indices.len()` gaps into columns. `next` is the column after the last one before this group; gives
/// the one after the last of this group, which may be beyond 32 bits.
#[inline(always)]
pub(in crate::format::encoding::packed) fn sum_gaps(gaps: &Group, next: u32, indices: &mut [i32]) -> u64 {
    // 128 gaps of 31 bits cannot overflow 64.
    let mut next = u64::from(next);
    for (index, &gap) in indices.iter_mut().zip(gaps) {
        let column = next + u64::from(gap);
        *index = column as i32;
        next = column + 1;
    }
    next
}

/// As [`sum_gaps`], for the few groups that faster loops leave to it.
#[cold]
#[inline(never)]
pub(in crate::format::encoding::packed) fn sum_gaps_cold(
    gaps: &Group,
    next: u32,
    indices: &mut [i32],
) -> u64 {
    sum_gaps(gaps, next, indices)
}

/// There are no fast loops here, so nothing is ever ready for them.
pub(in crate::format::encoding::packed) type Highs = ();

/// See the [module](super).
#[inline(always)]
pub(in crate::format::encoding::packed) fn no_highs() -> Highs {}

/// See the [module](super).
#[inline(always)]
pub(in crate::format::encoding::packed) fn ready<const STREAM: u8>(
    _: &[u8],
    _: &[u8],
    _: Packed,
    _: &mut Highs,
) -> bool {
    false
}

/// See the [module](super).
pub(in crate::format::encoding::packed) fn columns(
    _: &[u8],
    _: &Packed,
    _: &Highs,
    _: u32,
    _: &mut [i32],
) -> u64 {
    unreachable!("no stream is ready for fast loops")
}

/// See the [module](super).
pub(in crate::format::encoding::packed) fn counts(
    _: &[u8],
    _: &Packed,
    _: &Highs,
    _: u32,
    _: &mut [f32],
) -> bool {
    unreachable!("no stream is ready for fast loops")
}
