//! Plain bit packing: entry `k` takes bits `k * width ..` of a little-endian bit string.
//!
//! This is the twin that faster kernels are compared with.

use super::Group;

/// Appends the low `width` bits of each value; bits above are dropped, unused bits at the end are zero.
pub(super) fn pack(values: &[u32], width: u32, out: &mut Vec<u8>) {
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
/// Where `bytes` is shorter than `ceil(m * width / 8)` or `m` is above the group's length.
#[inline]
pub(super) fn unpack(bytes: &[u8], width: u32, m: usize, out: &mut Group) {
    let mask = (1u64 << width) - 1;
    let width = width as usize;
    for (k, value) in out[..m].iter_mut().enumerate() {
        let bit = k * width;
        let at = bit >> 3;
        let word = match bytes.get(at..at + 8) {
            Some(eight) => u64::from_le_bytes([
                eight[0], eight[1], eight[2], eight[3], eight[4], eight[5], eight[6], eight[7],
            ]),
            None => bytes[at.min(bytes.len())..]
                .iter()
                .rev()
                .fold(0, |word, &byte| word << 8 | u64::from(byte)),
        };
        *value = (word >> (bit & 7) & mask) as u32;
    }
}
