//! `ln(1 + x)` in `f32`, the same on every machine: `f32::ln_1p` is that of the system's library, and differs from one release of it to
//! the next.

use std::f64::consts::LN_2;

// The coefficients of the series of ln((1 + s) / (1 - s)) in s, shifted to be best for significands between 1 / sqrt(2) and sqrt(2), as in
// FreeBSD's `e_log.c` (Sun Microsystems, 1993).
const L1: f64 = 0.666_666_666_666_673_5;
const L2: f64 = 0.399_999_999_994_094_2;
const L3: f64 = 0.285_714_287_436_623_9;
const L4: f64 = 0.222_221_984_321_497_84;
const L5: f64 = 0.181_835_721_616_180_5;
const L6: f64 = 0.153_138_376_992_093_73;
const L7: f64 = 0.147_981_986_051_165_86;

/// The bits of the number below which a significand is counted to the power of two above it: 1 / sqrt(2), cut off.
const LEAST_BITS: u64 = 0x3FE6_A09E_0000_0000;
const SIGNIFICAND_BITS: u32 = 52;

/// Below this the first two terms of the series are as exact as `f64` is; farther down `1 + x` is not.
const SMALL: f64 = 1.0 / (1u64 << 27) as f64;

/// `ln(1 + x)` for `x` from 0 up, rounded to `f32` from a result in `f64` that is within two units in its last place: the nearest number,
/// but for five numbers whose logarithms are half-way between two as far as `f64` tells. Infinity and what is not a number stay as they are.
#[inline(always)]
pub(super) fn ln_1p(x: f32) -> f32 {
    let wide = f64::from(x);
    // 1 + x = 2^k * significand, which is between 1 / sqrt(2) and sqrt(2).
    let bits = (1.0 + wide).to_bits();
    let above = bits.wrapping_sub(LEAST_BITS);
    let k = above >> SIGNIFICAND_BITS;
    let f = f64::from_bits(bits.wrapping_sub(k << SIGNIFICAND_BITS)) - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let w = z * z;
    let even = w * (L2 + w * (L4 + w * L6));
    let odd = z * (L1 + w * (L3 + w * (L5 + w * L7)));
    let half_square = 0.5 * f * f;
    let large = f64::from(k as u32) * LN_2 + (f - (half_square - s * (half_square + even + odd)));
    let small = wide - 0.5 * wide * wide;
    let result = if wide < SMALL { small } else { large };
    if x < f32::INFINITY { result as f32 } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of all numbers that `f32` has from 0 up some thousand for each exponent, counts, and those about the places where the way of
    /// computing changes.
    fn numbers() -> impl Iterator<Item = f32> {
        let all = (0..f32::INFINITY.to_bits()).step_by(4_099);
        let about = |x: f32| x.to_bits() - 4096..x.to_bits() + 4096;
        let changes = [SMALL as f32, 0.414_213_56, 1.828_427_1]
            .into_iter()
            .flat_map(about);
        let counts = (0..100_000).map(|count| (count as f32).to_bits());
        let bits = all.chain(changes).chain(counts);
        bits.chain([f32::MAX.to_bits(), 1, 0x007F_FFFF, 0x0080_0000])
            .map(f32::from_bits)
    }

    #[test]
    fn logarithms_are_the_nearest_numbers_as_far_as_f64_tells() {
        for x in numbers() {
            let found = ln_1p(x);
            let expected = f64::from(x).ln_1p();
            // Of numbers that lie half-way between two, as far as `f64` tells, either may be taken.
            let unit = f64::from(f32::from_bits(found.to_bits() + 1)) - f64::from(found);
            let error = (f64::from(found) - expected).abs();
            assert!(error <= unit * 0.500_001, "{x}: {found}, not {expected}");
        }
    }

    #[test]
    fn logarithms_are_the_same_everywhere() {
        let mut sum = 0u64;
        for x in numbers() {
            sum = sum.rotate_left(7) ^ u64::from(ln_1p(x).to_bits()).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
        // That of numpy, rounded from `float64`.
        assert_eq!(sum, 0x54C4_9717_4638_2D5A);
        let written: [(f32, u32); 3] = [(1.0, 0x3F31_7218), (2.0, 0x3F8C_9F54), (1e4, 0x4113_5DF7)];
        for (x, bits) in written {
            assert_eq!(ln_1p(x).to_bits(), bits, "{x}");
        }
    }

    /// All numbers that are not rounded to the nearest one: found by trying every number, and by more digits where `f64` cannot tell.
    #[test]
    fn numbers_half_way_stay_what_they_are() {
        let written: [(u32, u32); 5] = [
            (0x3540_0003, 0x353F_FFFE),
            (0x3710_001B, 0x370F_FFF2),
            (0x3EFD_81AD, 0x3ECD_EEE2),
            (0x65D8_90D3, 0x4254_D1F8),
            (0x6F31_A8EC, 0x4284_5A88),
        ];
        for (x, bits) in written {
            assert_eq!(ln_1p(f32::from_bits(x)).to_bits(), bits, "{x:08x}");
        }
    }

    #[test]
    fn the_ends_are_kept() {
        assert_eq!(ln_1p(0.0).to_bits(), 0);
        assert_eq!(ln_1p(-0.0).to_bits(), (-0.0f32).to_bits());
        assert_eq!(ln_1p(f32::INFINITY), f32::INFINITY);
        assert!(ln_1p(f32::NAN).is_nan());
    }
}
