//! The first exceptions of both streams of a group, on x86-64.
#![allow(unsafe_code, reason = "vector instructions")]

use std::arch::x86_64::*;

use super::vector::{EIGHT, Eights, ExceptionsAt};

/// For each number of exceptions, the bytes of the first eight that are there.
static THERE: [u64; 64] = {
    let mut there = [u64::MAX; 64];
    let mut n = 0;
    while n < EIGHT {
        there[n] = (1 << (8 * n)) - 1;
        n += 1;
    }
    there
};

/// Places for exceptions that are none: after the gaps of a group; the first codes, to which they add nothing.
static NONE: [u64; 2] = [0x8786_8584_8382_8180, 0x0706_0504_0302_0100];

/// See [`Vector::eights`](super::vector::Vector::eights). Gaps are the lower half of each vector here, codes the upper.
///
/// # Safety
/// The processor has AVX2, the function is taken into code that is compiled for it, 8 bytes can be read from each
/// place, and `into` can be written.
#[inline(always)]
pub(super) unsafe fn eights(gap: ExceptionsAt, code: ExceptionsAt, into: *mut Eights) -> Option<u32> {
    // SAFETY: the caller promises it.
    unsafe {
        let both = |gap: *const u8, code: *const u8| {
            let lower = _mm_loadl_epi64(gap.cast());
            _mm_castpd_si128(_mm_loadh_pd(_mm_castsi128_pd(lower), code.cast()))
        };
        let there = both(
            (&raw const THERE[gap.n % THERE.len()]).cast(),
            (&raw const THERE[code.n % THERE.len()]).cast(),
        );
        let positions = _mm_and_si128(both(gap.at, code.at), there);
        let highs = _mm_and_si128(both(gap.at.add(gap.n), code.at.add(code.n)), there);
        // A position is below 128, and not below the least, one more than the position before it. Neither that difference
        // plus one nor a high part may be 0.
        let next = _mm_add_epi8(positions, _mm_set1_epi8(1));
        let least = _mm_slli_epi64::<8>(next);
        let right = _mm_min_epu8(_mm_subs_epu8(next, least), highs);
        let wrong = _mm_and_si128(_mm_cmpeq_epi8(right, _mm_setzero_si128()), there);
        if _mm_movemask_epi8(_mm_or_si128(wrong, positions)) != 0 {
            return None;
        }
        let none = _mm_loadu_si128((&raw const NONE).cast());
        let places = _mm_or_si128(positions, _mm_andnot_si128(there, none));
        let gap_width = _mm_cvtsi32_si128(gap.width as i32);
        let code_width = _mm_cvtsi32_si128(code.width as i32);
        let gap_highs = _mm_sll_epi16(_mm_cvtepu8_epi16(highs), gap_width);
        let code_highs = _mm256_cvtepu8_epi32(_mm_unpackhi_epi64(highs, highs));
        let code_highs = _mm256_sll_epi32(code_highs, code_width);
        let steps = _mm_add_epi16(gap_highs, _mm_set1_epi16(1));
        _mm_storeu_si128((&raw mut (*into).places).cast(), places);
        _mm_storeu_si128((&raw mut (*into).highs).cast(), highs);
        _mm_storeu_si128((&raw mut (*into).steps).cast(), steps);
        _mm256_storeu_ps((&raw mut (*into).adds).cast(), _mm256_cvtepi32_ps(code_highs));
        Some(_mm_cvtsi128_si32(_mm_sad_epu8(highs, _mm_setzero_si128())) as u32)
    }
}
