//! The general loops: for streams that do not fit the fast ones, and for those that are wrong.
#![allow(unsafe_code, reason = "vectors are loaded and stored through pointers")]

use super::super::plain;
use super::super::vector::{MAX_INTEGER_WIDTH, OVER_READ, Vector};
use crate::format::constants::GROUP_LEN;
use crate::format::encoding::error::FrameError;
use crate::format::encoding::packed::frame::Frame;
use crate::format::encoding::packed::group::Group;
use crate::format::encoding::packed::patch::entries;

/// The columns of the group at `at`; `next` is the column after the last one before it. Gives the one after its last.
///
/// # Safety
/// The processor has the instruction set of `V`.
#[inline(always)]
pub(in super::super) unsafe fn gaps<V: Vector>(
    frame: &Frame,
    at: usize,
    next: u32,
    indices: &mut [i32],
) -> Result<u64, FrameError> {
    let (gap, _, _) = frame.split_group(at, indices.len())?;
    // SAFETY: the caller promises the instruction set, here and below.
    let unpack = |bytes: &[u8], width, m, out: &mut Group| unsafe { unpack::<V>(bytes, width, m, out) };
    let mut gaps = [0; GROUP_LEN];
    entries(frame, &gap, unpack, &mut gaps)?;
    // SAFETY: as above.
    Ok(unsafe { sum_gaps::<V>(&gaps, next, indices) })
}

/// Unpacks the codes of the group of `m` at `at` into `out`, exceptions included.
///
/// # Safety
/// The processor has the instruction set of `V`.
#[inline(always)]
pub(in super::super) unsafe fn codes<V: Vector>(
    frame: &Frame,
    at: usize,
    m: usize,
    out: &mut Group,
) -> Result<(), FrameError> {
    let (_, code, _) = frame.split_group(at, m)?;
    // SAFETY: the caller promises the instruction set.
    let unpack = |bytes: &[u8], width, m, out: &mut Group| unsafe { unpack::<V>(bytes, width, m, out) };
    entries(frame, &code, unpack, out)
}

/// As [`plain::unpack`](super::super::plain::unpack).
///
/// # Safety
/// The processor has the instruction set of `V`.
#[inline(always)]
unsafe fn unpack<V: Vector>(bytes: &[u8], width: u32, m: usize, out: &mut Group) {
    let blocks = m.div_ceil(V::INTEGERS);
    let step = V::INTEGERS / 8 * width as usize;
    if width as usize > MAX_INTEGER_WIDTH || bytes.len() < blocks * step + OVER_READ {
        return plain::unpack(bytes, width, m, out);
    }
    assert!(blocks * V::INTEGERS <= GROUP_LEN);
    // SAFETY: the caller promises the instruction set; bytes and places are as many, see above.
    unsafe {
        let unpacker = V::integer_unpacker(width as usize);
        for block in 0..blocks {
            let entries = V::unpack_integers(bytes.as_ptr().add(block * step), width as usize, unpacker);
            entries.store(out.as_mut_ptr().add(block * V::INTEGERS).cast());
        }
    }
}

/// As [`plain::sum_gaps`](super::super::plain::sum_gaps).
///
/// # Safety
/// The processor has the instruction set of `V`.
#[inline(always)]
unsafe fn sum_gaps<V: Vector>(gaps: &Group, next: u32, indices: &mut [i32]) -> u64 {
    if let Ok(whole) = <&mut [i32; GROUP_LEN]>::try_from(&mut *indices) {
        // SAFETY: the caller promises the instruction set; both have the length of a group.
        unsafe {
            let (one, sums) = (V::splat(1), V::sums());
            let mut column = V::splat(next.wrapping_sub(1));
            let mut seen = V::splat(0);
            for at in (0..GROUP_LEN).step_by(V::INTEGERS) {
                let gaps = V::load(gaps.as_ptr().add(at).cast());
                seen = seen.or(gaps);
                let sum = gaps.add_integers(one).sum_integers();
                sum.add_integers(column).store(whole.as_mut_ptr().add(at).cast());
                column = column.add_integers(sum.last(sums));
            }
            if !seen.any(!(SAFE_GAP - 1)) {
                return u64::from(column.first()) + 1;
            }
        }
    }
    plain::sum_gaps(gaps, next, indices)
}

/// The sum of the gaps of a group cannot overflow 32 bits while each is below this and the columns before below 2^31.
const SAFE_GAP: u32 = 1 << 24;
const _: () = assert!((GROUP_LEN as u64) * (SAFE_GAP as u64) + (1 << 31) <= 1 << 32);
