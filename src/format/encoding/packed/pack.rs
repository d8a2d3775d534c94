//! Bit packing for the encoder: as `arch::plain::pack`, its twin, but eight entries at a time.

use super::arch::plain;
use crate::format::constants::GROUP_LEN;

/// Appends the low `width` bits (0 to 31) of each value; bits above are dropped, unused bits at the end are zero.
pub(super) fn pack(values: &[u32], width: u32, out: &mut Vec<u8>) {
    // Eight entries fill as many bytes as they have bits; with the width known, they are put together without a loop.
    match width {
        0 => {}
        1 => pack_eights::<1>(values, out),
        2 => pack_eights::<2>(values, out),
        3 => pack_eights::<3>(values, out),
        4 => pack_eights::<4>(values, out),
        5 => pack_eights::<5>(values, out),
        6 => pack_eights::<6>(values, out),
        7 => pack_eights::<7>(values, out),
        8 => pack_eights::<8>(values, out),
        _ => plain::pack(values, width, out),
    }
}

/// [`pack`] for a width of `W`, at most 8.
fn pack_eights<const W: usize>(values: &[u32], out: &mut Vec<u8>) {
    let n_bytes = (values.len() * W).div_ceil(8);
    let mut bytes = [0u8; GROUP_LEN / 8 * W_MAX + 8];
    let mask = (1u64 << W) - 1;
    let (eights, rest) = values.as_chunks::<8>();
    let word = |eight: &[u32]| {
        let shifted = eight
            .iter()
            .enumerate()
            .map(|(k, &value)| (u64::from(value) & mask) << (k * W));
        shifted.fold(0, |word, entry| word | entry)
    };
    let mut at = 0;
    for eight in eights {
        // Whole words, of which the next one overwrites what is too much.
        bytes[at..at + 8].copy_from_slice(&word(eight).to_le_bytes());
        at += W;
    }
    if !rest.is_empty() {
        bytes[at..at + 8].copy_from_slice(&word(rest).to_le_bytes());
    }
    out.extend_from_slice(&bytes[..n_bytes]);
}

/// The largest width for which eight entries fit a word.
const W_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_packs_as_its_plain_twin() {
        let mut state = 7u64;
        let values: Vec<u32> = (0..GROUP_LEN)
            .map(|_| {
                state = state
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                (state >> 32) as u32
            })
            .collect();
        for width in 0..32 {
            for m in [1, 2, 7, 8, 9, 63, 127, 128] {
                let (mut fast, mut plain) = (vec![0xAA], vec![0xAA]);
                pack(&values[..m], width, &mut fast);
                plain::pack(&values[..m], width, &mut plain);
                assert_eq!(fast, plain, "{m} entries of {width} bits");
                assert_eq!(fast.len(), 1 + (m * width as usize).div_ceil(8));
            }
        }
    }
}
