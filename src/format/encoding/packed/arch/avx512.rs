//! Loops for AVX-512 with VBMI and VBMI2: 16 entries at a time.
#![allow(unsafe_code, reason = "vector loads and stores go through pointers")]

use std::arch::x86_64::*;

use super::limits::{MAX_SIMD_WIDTH, SAFE_GAP};
use super::plain;
use crate::format::constants::GROUP_LEN;
use crate::format::encoding::packed::group::{Group, Packed};

pub(in crate::format::encoding::packed) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vbmi")
        && is_x86_feature_detected!("avx512vbmi2")
        && is_x86_feature_detected!("popcnt")
        && is_x86_feature_detected!("bmi2")
}

/// Bytes that a load may reach beyond the packed entries.
const OVER_READ: usize = 64;

/// For each width: where the 4 bytes that hold each of 16 entries lie in a load, and by how much to shift them.
struct Tables {
    permute: [[u8; 64]; MAX_SIMD_WIDTH + 1],
    shift: [[u32; 16]; MAX_SIMD_WIDTH + 1],
}

static TABLES: Tables = tables();

const fn tables() -> Tables {
    let mut tables = Tables {
        permute: [[0; 64]; MAX_SIMD_WIDTH + 1],
        shift: [[0; 16]; MAX_SIMD_WIDTH + 1],
    };
    let mut width = 0;
    while width <= MAX_SIMD_WIDTH {
        let mut entry = 0;
        while entry < 16 {
            let bit = entry * width;
            tables.shift[width][entry] = (bit % 8) as u32;
            let mut byte = 0;
            while byte < 4 {
                tables.permute[width][entry * 4 + byte] = (bit / 8 + byte) as u8;
                byte += 1;
            }
            entry += 1;
        }
        width += 1;
    }
    tables
}

/// For step `s` of the prefix sum: lane `i` takes lane `i - 2^s`, where there is one.
const STEPS: [([u32; 16], u16); 4] = steps();

const fn steps() -> [([u32; 16], u16); 4] {
    let mut steps = [([0; 16], 0); 4];
    let mut s = 0;
    while s < 4 {
        let by = 1 << s;
        let mut lane = by;
        while lane < 16 {
            steps[s].0[lane] = (lane - by) as u32;
            steps[s].1 |= 1 << lane;
            lane += 1;
        }
        s += 1;
    }
    steps
}

/// As [`plain::unpack`]; writes up to the next multiple of 16 entries.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
pub(in crate::format::encoding::packed) fn unpack(bytes: &[u8], width: u32, m: usize, out: &mut Group) {
    let width = width as usize;
    if width > MAX_SIMD_WIDTH {
        return plain::unpack(bytes, width as u32, m, out);
    }
    let rounded = m.next_multiple_of(16);
    assert!(rounded <= GROUP_LEN);
    let needed = rounded * width / 8 + OVER_READ;
    if bytes.len() < needed {
        return unpack_near_the_end(bytes, width, m, out);
    }
    let tables = &TABLES;
    let mask = _mm512_set1_epi32(((1u32 << width) - 1) as i32);
    // SAFETY: both tables have entries for every width up to MAX_SIMD_WIDTH, of 64 bytes each.
    let (permute, shift) = unsafe {
        (
            _mm512_loadu_si512(tables.permute[width].as_ptr().cast::<__m512i>()),
            _mm512_loadu_si512(tables.shift[width].as_ptr().cast::<__m512i>()),
        )
    };
    let mut k = 0;
    while k < rounded {
        let at = k / 8 * width;
        // SAFETY: 16 entries take `2 * width` bytes, so `at + 64` is at most `rounded * width / 8 + 64`, which is
        // `needed`, and `bytes` has as many; `k + 16 <= rounded <= GROUP_LEN`, the length of `out`.
        unsafe {
            let loaded = _mm512_loadu_si512(bytes.as_ptr().add(at).cast::<__m512i>());
            let words = _mm512_permutexvar_epi8(permute, loaded);
            let entries = _mm512_and_si512(_mm512_srlv_epi32(words, shift), mask);
            _mm512_storeu_si512(out.as_mut_ptr().add(k).cast::<__m512i>(), entries);
        }
        k += 16;
    }
}

/// Unpacks from a copy with room after it: where a frame ends, loads must not go beyond it.
#[cold]
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
fn unpack_near_the_end(bytes: &[u8], width: usize, m: usize, out: &mut Group) {
    let mut padded = [0; GROUP_LEN * MAX_SIMD_WIDTH / 8 + OVER_READ];
    padded[..bytes.len()].copy_from_slice(bytes);
    unpack(&padded, width as u32, m, out);
}

/// As [`plain::sum_gaps`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
pub(in crate::format::encoding::packed) fn sum_gaps(gaps: &Group, next: u32, indices: &mut [i32]) -> u64 {
    let Ok(whole) = <&mut [i32; GROUP_LEN]>::try_from(&mut *indices) else {
        return plain::sum_gaps_cold(gaps, next, indices);
    };
    let one = _mm512_set1_epi32(1);
    let zero = _mm512_setzero_si512();
    let last_lane = _mm512_set1_epi32(15);
    let mut before = _mm512_set1_epi32(next.wrapping_sub(1) as i32);
    let mut seen = zero;
    for k in (0..GROUP_LEN).step_by(16) {
        // SAFETY: `k + 16 <= GROUP_LEN`, the length of `gaps`.
        let gap = unsafe { _mm512_loadu_si512(gaps.as_ptr().add(k).cast::<__m512i>()) };
        seen = _mm512_or_si512(seen, gap);
        let mut sum = _mm512_add_epi32(gap, one);
        for (lanes, present) in &STEPS {
            // SAFETY: 16 lanes of 4 bytes.
            let lanes = unsafe { _mm512_loadu_si512(lanes.as_ptr().cast::<__m512i>()) };
            sum = _mm512_add_epi32(sum, _mm512_mask_permutexvar_epi32(zero, *present, lanes, sum));
        }
        let columns = _mm512_add_epi32(sum, before);
        // SAFETY: `k + 16 <= GROUP_LEN`, the length of `whole`.
        unsafe { _mm512_storeu_si512(whole.as_mut_ptr().add(k).cast::<__m512i>(), columns) };
        before = _mm512_permutexvar_epi32(last_lane, columns);
    }
    if _mm512_test_epi32_mask(seen, _mm512_set1_epi32(!(SAFE_GAP - 1) as i32)) != 0 {
        return plain::sum_gaps_cold(gaps, next, indices);
    }
    u64::from(_mm512_cvtsi512_si32(before) as u32) + 1
}

/// Entries of at most this many packed bits and a high part of one byte are below [`SAFE_GAP`], and exact as `f32`.
const FAST_WIDTH: u32 = 16;
const _: () = assert!(1u64 << (FAST_WIDTH + 8) <= SAFE_GAP as u64);

/// Blocks of 16 entries in a group.
const BLOCKS: usize = GROUP_LEN / 16;

/// The high part of each entry of a group, one byte each; 0 where there is no exception.
pub(in crate::format::encoding::packed) type Highs = [__m512i; 2];

/// No high parts.
#[inline(always)]
pub(in crate::format::encoding::packed) fn no_highs() -> Highs {
    // SAFETY: a vector of integers may have any bits.
    unsafe { std::mem::zeroed() }
}

/// See the [module](super): declines streams with wide entries or exceptions, those whose exceptions are wrong, and those
/// that would be loaded beyond what may be read.
///
/// `STREAM` only makes a copy for each of two callers, which the compiler then takes in.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
pub(in crate::format::encoding::packed) fn ready<const STREAM: u8>(
    readable: &[u8],
    body: &[u8],
    packed: Packed,
    highs: &mut Highs,
) -> bool {
    let (stream, m) = (packed.stream, packed.m as usize);
    let end = packed.at as usize + m.div_ceil(16) * 2 * stream.width as usize + OVER_READ;
    if stream.wide | (stream.width > FAST_WIDTH) | (readable.len() < end) {
        return false;
    }
    spread_highs::<STREAM>(packed.exceptions(body), stream.exceptions, m, highs)
}

/// The entries of a stream that is [`ready`], 16 at a time.
struct Entries<'a> {
    from: *const u8,
    width: usize,
    permute: __m512i,
    shift: __m512i,
    mask: __m512i,
    high_shift: __m128i,
    highs: &'a Highs,
}

impl<'a> Entries<'a> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
    fn new(readable: &[u8], packed: &Packed, highs: &'a Highs) -> Self {
        let (width, m) = (packed.stream.width as usize, packed.m as usize);
        let readable = &readable[packed.at as usize..];
        let needed = m.div_ceil(16) * 2 * width + OVER_READ;
        assert!(width <= MAX_SIMD_WIDTH && m <= GROUP_LEN && readable.len() >= needed);
        // SAFETY: both tables have entries for every width up to MAX_SIMD_WIDTH, of 64 bytes each.
        let (permute, shift) = unsafe {
            (
                _mm512_loadu_si512(TABLES.permute[width].as_ptr().cast::<__m512i>()),
                _mm512_loadu_si512(TABLES.shift[width].as_ptr().cast::<__m512i>()),
            )
        };
        Self {
            from: readable.as_ptr(),
            width,
            permute,
            shift,
            mask: _mm512_set1_epi32(((1u32 << width) - 1) as i32),
            high_shift: _mm_cvtsi32_si128(width as i32),
            highs,
        }
    }

    /// Entries `16 * block ..`. Beyond the last of the group they are whatever is there.
    ///
    /// # Safety
    /// `block` is below `m.div_ceil(16)` of the group that this was made of.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
    unsafe fn block(&self, block: usize) -> __m512i {
        // SAFETY: 16 entries take `2 * width` bytes, so with the caller's promise the load ends at most at `needed`; the
        // high parts are as many as a group has entries.
        let (loaded, high) = unsafe {
            let high = self.highs.as_ptr().cast::<__m128i>().add(block);
            let at = self.from.add(block * 2 * self.width);
            (_mm512_loadu_si512(at.cast::<__m512i>()), _mm_loadu_si128(high))
        };
        let words = _mm512_permutexvar_epi8(self.permute, loaded);
        let low = _mm512_and_si512(_mm512_srlv_epi32(words, self.shift), self.mask);
        let high = _mm512_sll_epi32(_mm512_cvtepu8_epi32(high), self.high_shift);
        _mm512_or_si512(low, high)
    }
}

/// Brings the one-byte high parts of `n` exceptions to the places of their entries, 0 elsewhere; false where positions
/// do not ascend or are not below `m`, or where a high part is 0.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
fn spread_highs<const STREAM: u8>(exceptions: &[u8], n: usize, m: usize, into: &mut Highs) -> bool {
    assert!(n < 64 && exceptions.len() == 2 * n && (1..=GROUP_LEN).contains(&m));
    let (positions_at, highs_at) = (exceptions.as_ptr(), exceptions[n..].as_ptr());
    let present = (1u64 << n) - 1;
    let but_last = present >> 1;
    // Beyond the last exception positions are 255, which is no bit of either half.
    let none = _mm512_set1_epi8(-1);
    // SAFETY: masked loads touch the bytes of the mask only: `n` from each, of the second all but the first.
    let (positions, following, highs) = unsafe {
        (
            _mm512_mask_loadu_epi8(none, present, positions_at.cast()),
            _mm512_maskz_loadu_epi8(but_last, positions_at.wrapping_add(1).cast()),
            _mm512_maskz_loadu_epi8(present, highs_at.cast()),
        )
    };
    let disorder = _mm512_mask_cmpge_epu8_mask(but_last, positions, following);
    let no_high = _mm512_mask_cmpeq_epi8_mask(present, highs, _mm512_setzero_si512());

    // The positions as bits of two 64-bit words: 8 positions at a time, a shift by 64 or more gives 0.
    let one = _mm512_set1_epi64(1);
    let half = _mm512_set1_epi64(64);
    let bits_of = |eight: __m128i| {
        let by = _mm512_cvtepu8_epi64(eight);
        (
            _mm512_sllv_epi64(one, by),
            _mm512_sllv_epi64(one, _mm512_sub_epi64(by, half)),
        )
    };
    let first = _mm512_castsi512_si128(positions);
    let (low, high) = bits_of(first);
    let (next_low, next_high) = bits_of(_mm_unpackhi_epi64(first, first));
    let (mut low, mut high) = (_mm512_or_si512(low, next_low), _mm512_or_si512(high, next_high));
    let mut k = 16;
    while k < n {
        // SAFETY: as above, `present` shifted by the bytes that are passed over.
        let eight = unsafe {
            let rest = (present >> k) as u16 & 0xFF;
            _mm_mask_loadu_epi8(_mm_set1_epi8(-1), rest, positions_at.wrapping_add(k).cast())
        };
        let (more_low, more_high) = bits_of(eight);
        low = _mm512_or_si512(low, more_low);
        high = _mm512_or_si512(high, more_high);
        k += 8;
    }
    // Lanes alternate between the two words, and are then folded.
    let both = _mm512_or_si512(_mm512_unpacklo_epi64(low, high), _mm512_unpackhi_epi64(low, high));
    let both = _mm256_or_si256(_mm512_castsi512_si256(both), _mm512_extracti64x4_epi64::<1>(both));
    let both = _mm_or_si128(_mm256_castsi256_si128(both), _mm256_extracti128_si256::<1>(both));
    let low = _mm_cvtsi128_si64(both) as u64;
    let high = _mm_extract_epi64::<1>(both) as u64;

    let n_low = low.count_ones();
    let lost = (n_low + high.count_ones()) ^ n as u32;
    let beyond = (u128::from(high) << 64 | u128::from(low)) >> (m - 1) >> 1;
    if (disorder | no_high | u64::from(lost) | beyond as u64 | (beyond >> 64) as u64) != 0 {
        return false;
    }
    // SAFETY: as above; `n_low` of the `n` high parts are passed over.
    let upper =
        unsafe { _mm512_maskz_loadu_epi8(present >> n_low, highs_at.wrapping_add(n_low as usize).cast()) };
    let lower = _mm512_maskz_expand_epi8(low, highs);
    let upper = _mm512_maskz_expand_epi8(high, upper);
    *into = [lower, upper];
    true
}

/// Lanes of a block of 16 entries of which `left` are there.
#[inline(always)]
fn lanes(left: usize) -> u16 {
    ((1u32 << left.min(16)) - 1) as u16
}

/// See the [module](super).
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
pub(in crate::format::encoding::packed) fn columns(
    readable: &[u8],
    gaps: &Packed,
    highs: &Highs,
    next: u32,
    indices: &mut [i32],
) -> u64 {
    let entries = Entries::new(readable, gaps, highs);
    assert_eq!(indices.len(), gaps.m as usize, "one column per gap");
    let zero = _mm512_setzero_si512();
    let one = _mm512_set1_epi32(1);
    let last_lane = _mm512_set1_epi32(15);
    // The column before the block, in all lanes.
    let mut before = _mm512_set1_epi32(next.wrapping_sub(1) as i32);
    let sums_of = |gap: __m512i, lanes: u16| {
        let sum = _mm512_maskz_add_epi32(lanes, gap, one);
        let sum = _mm512_add_epi32(sum, _mm512_alignr_epi32::<15>(sum, zero));
        let sum = _mm512_add_epi32(sum, _mm512_alignr_epi32::<14>(sum, zero));
        let sum = _mm512_add_epi32(sum, _mm512_alignr_epi32::<12>(sum, zero));
        _mm512_add_epi32(sum, _mm512_alignr_epi32::<8>(sum, zero))
    };
    if let Ok(whole) = <&mut [i32; GROUP_LEN]>::try_from(&mut *indices) {
        for block in 0..BLOCKS {
            // SAFETY: the group has all blocks, and so has `whole`.
            unsafe {
                let sums = sums_of(entries.block(block), u16::MAX);
                let at = whole.as_mut_ptr().add(16 * block);
                _mm512_storeu_si512(at.cast::<__m512i>(), _mm512_add_epi32(sums, before));
                // Not from the columns: so blocks wait for one addition of the block before, and no more.
                before = _mm512_add_epi32(before, _mm512_permutexvar_epi32(last_lane, sums));
            }
        }
    } else {
        for block in 0..BLOCKS {
            if 16 * block >= gaps.m as usize {
                break;
            }
            let there = lanes(gaps.m as usize - 16 * block);
            // SAFETY: the group has that many blocks; `indices` has `m` places, and stores touch those only.
            unsafe {
                let sums = sums_of(entries.block(block), there);
                let at = indices.as_mut_ptr().add(16 * block);
                _mm512_mask_storeu_epi32(at, there, _mm512_add_epi32(sums, before));
                before = _mm512_add_epi32(before, _mm512_permutexvar_epi32(last_lane, sums));
            }
        }
    }
    u64::from(_mm512_cvtsi512_si32(before) as u32) + 1
}

/// See the [module](super).
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
pub(in crate::format::encoding::packed) fn counts(
    readable: &[u8],
    codes: &Packed,
    highs: &Highs,
    safe: u32,
    data: &mut [f32],
) -> bool {
    let entries = Entries::new(readable, codes, highs);
    assert_eq!(data.len(), codes.m as usize, "one value per code");
    let one = _mm512_set1_epi32(1);
    let mut seen = _mm512_setzero_si512();
    if let Ok(whole) = <&mut [f32; GROUP_LEN]>::try_from(&mut *data) {
        for block in 0..BLOCKS {
            // SAFETY: the group has all blocks, and so has `whole`.
            unsafe {
                let code = entries.block(block);
                seen = _mm512_or_si512(seen, code);
                let values = _mm512_cvtepi32_ps(_mm512_add_epi32(code, one));
                _mm512_storeu_ps(whole.as_mut_ptr().add(16 * block), values);
            }
        }
    } else {
        for block in 0..BLOCKS {
            if 16 * block >= codes.m as usize {
                break;
            }
            let there = lanes(codes.m as usize - 16 * block);
            // SAFETY: the group has that many blocks; `data` has `m` places, and stores touch those only.
            unsafe {
                let code = entries.block(block);
                seen = _mm512_mask_or_epi32(seen, there, seen, code);
                let values = _mm512_cvtepi32_ps(_mm512_add_epi32(code, one));
                _mm512_mask_storeu_ps(data.as_mut_ptr().add(16 * block), there, values);
            }
        }
    }
    _mm512_test_epi32_mask(seen, _mm512_set1_epi32(!(safe - 1) as i32)) == 0
}
