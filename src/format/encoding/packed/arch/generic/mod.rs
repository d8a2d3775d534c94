//! The decoder for any instruction set with vectors.
//!
//! A group is two streams of narrow entries, and about three exceptions in each. Both streams go from the frame to the
//! minibatch in registers:
//!
//! 1. **Ahead** ([`prepare`]): groups are split some at a time, and the exceptions of both streams checked and brought into
//!    a form that the loops below use without a branch. Each step of that waits for the one before, so the processor does it
//!    for all of these groups at once.
//! 2. **Columns** ([`loops::columns`]): a block of gaps is unpacked into words of 16 bits, what the exceptions add is added,
//!    and prefix sums are taken in the same words. Then they are widened, and the column before the block is added.
//! 3. **Values** ([`loops::values`]): narrow codes are shifted to the bottom of a lane and index a table of values; wider
//!    ones are unpacked and converted. Exceptions are put in afterwards, one by one: they are few.
//!
//! What does not fit that (wide entries, sums beyond 16 bits, other types of values, and everything that is wrong with a
//! frame) is left to the general loops, stream by stream. They work in 32 bits, and find the fault to report.
#![allow(unsafe_code, reason = "vectors are loaded and stored through pointers")]

mod ahead;
mod general;
pub(super) mod loops;

use std::mem::MaybeUninit;
use std::{ptr, slice};

pub(super) use ahead::{Ahead, Groups, prepare};
pub(super) use general::{codes, gaps};

use super::vector::Vector;
use crate::format::constants::GROUP_LEN;
use crate::format::encoding::error::FrameError;
use crate::format::encoding::packed::frame::{AHEAD, Frame};
use crate::format::encoding::packed::group::Group;
use crate::format::encoding::packed::values::{Dictionary, FastCodes, Matrix, TABLE_LEN, Values};
use cellring_core::Element;

/// Functions of this module that are compiled once per instruction set, and not taken into [`decode`], which is compiled
/// for every type of values.
///
/// # Safety
/// Every function may only be called if the processor has the instruction set.
pub(super) trait Compiled: Vector {
    /// See [`prepare`].
    unsafe fn prepare(
        frame: &Frame,
        at: usize,
        left: usize,
        fast_codes: FastCodes,
        groups: &mut Groups,
    ) -> Result<usize, FrameError>;

    /// See [`gaps`].
    unsafe fn gaps(frame: &Frame, at: usize, next: u32, indices: &mut [i32]) -> Result<u64, FrameError>;

    /// See [`codes`].
    unsafe fn codes(frame: &Frame, at: usize, m: usize, out: &mut Group) -> Result<(), FrameError>;

    /// See [`loops::last_columns`].
    unsafe fn last_columns(readable: &[u8], group: &Ahead, before: u32, indices: &mut [i32]);

    /// See [`loops::last_values`].
    unsafe fn last_values(
        readable: &[u8],
        group: &Ahead,
        fast_codes: FastCodes,
        table: &[f32; TABLE_LEN],
        data: &mut [f32],
    ) -> bool;
}

/// Makes `decode` for a [`Vector`] and the features that it needs, and implements [`Compiled`].
macro_rules! compile {
    ($Vector:ty, $features:literal) => {
        /// As [`plain::decode`](super::plain::decode).
        #[target_feature(enable = $features)]
        pub(in crate::format::encoding::packed) fn decode<T: Element>(
            frame: &Frame,
            matrix: Matrix,
            indices: &mut [i32],
            data: &mut [T],
        ) -> Result<(), FrameError> {
            // SAFETY: whoever calls this function has found the instruction set.
            unsafe { generic::decode::<$Vector, T>(frame, matrix, indices, data) }
        }

        impl Compiled for $Vector {
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn prepare(
                frame: &Frame,
                at: usize,
                left: usize,
                fast_codes: FastCodes,
                groups: &mut Groups,
            ) -> Result<usize, FrameError> {
                // SAFETY: as above.
                unsafe { generic::prepare::<$Vector>(frame, at, left, fast_codes, groups) }
            }

            #[cold]
            #[inline(never)]
            #[target_feature(enable = $features)]
            unsafe fn gaps(
                frame: &Frame,
                at: usize,
                next: u32,
                indices: &mut [i32],
            ) -> Result<u64, FrameError> {
                // SAFETY: as above.
                unsafe { generic::gaps::<$Vector>(frame, at, next, indices) }
            }

            #[inline(never)]
            #[target_feature(enable = $features)]
            unsafe fn codes(frame: &Frame, at: usize, m: usize, out: &mut Group) -> Result<(), FrameError> {
                // SAFETY: as above.
                unsafe { generic::codes::<$Vector>(frame, at, m, out) }
            }

            #[inline(never)]
            #[target_feature(enable = $features)]
            unsafe fn last_columns(readable: &[u8], group: &Ahead, before: u32, indices: &mut [i32]) {
                // SAFETY: as above.
                unsafe { loops::last_columns::<$Vector>(readable, group, before, indices) }
            }

            #[inline(never)]
            #[target_feature(enable = $features)]
            unsafe fn last_values(
                readable: &[u8],
                group: &Ahead,
                fast_codes: FastCodes,
                table: &[f32; TABLE_LEN],
                data: &mut [f32],
            ) -> bool {
                // SAFETY: as above.
                unsafe { loops::last_values::<$Vector>(readable, group, fast_codes, table, data) }
            }
        }
    };
}
pub(super) use compile;

/// The values of counts by their codes.
static COUNTS: [f32; TABLE_LEN] = {
    let mut counts = [0.0; TABLE_LEN];
    let mut code = 0;
    while code < TABLE_LEN {
        counts[code] = (code + 1) as f32;
        code += 1;
    }
    counts
};

/// As [`plain::decode`](super::plain::decode).
///
/// # Safety
/// The processor has the instruction set of `V`.
#[inline(always)]
pub(super) unsafe fn decode<V: Compiled, T: Element>(
    frame: &Frame,
    matrix: Matrix,
    indices: &mut [i32],
    data: &mut [T],
) -> Result<(), FrameError> {
    assert_eq!(indices.len(), data.len(), "one value per index");
    let dictionary = Dictionary::<T>::from_frame(frame, matrix);
    let values = Values::new(frame, matrix, &dictionary);
    let fast_codes = values.fast_codes();
    let table = match (fast_codes, values.table()) {
        // SAFETY: codes are only fast if `T` is `f32`.
        (FastCodes::Dictionary { .. }, Some(table)) => unsafe { &*ptr::from_ref(table).cast() },
        _ => &COUNTS,
    };
    let mut groups: Groups = [const { MaybeUninit::uninit() }; AHEAD];
    let (mut at, mut left) = (frame.groups_at, indices.len());
    let (mut indices_to, mut data_to) = (indices.as_mut_ptr(), data.as_mut_ptr());
    // SAFETY: the caller promises the instruction set, here and in all that follows.
    let (sums, mut before) = unsafe { (V::sums(), V::splat(u32::MAX)) };
    while left > 0 {
        // SAFETY: as above.
        at = unsafe { V::prepare(frame, at, left, fast_codes, &mut groups)? };
        for group in &groups {
            if left == 0 {
                break;
            }
            let m = left.min(GROUP_LEN);
            let is_whole = m == GROUP_LEN;
            // SAFETY: as many groups are prepared as there are, up to `AHEAD`. `left` places are left in both outputs. What is
            // ready is what the loops ask for, and codes are only if `T` is `f32`.
            unsafe {
                let group = group.assume_init_ref();
                let group_at = group.at as usize;
                let indices = slice::from_raw_parts_mut(indices_to, m);
                let next = match (group.gap_is_ready, is_whole) {
                    (true, true) => {
                        before = loops::columns(frame.readable, group, GROUP_LEN, before, sums, indices_to);
                        u64::from(before.first()) + 1
                    }
                    (true, false) => {
                        V::last_columns(frame.readable, group, before.first(), indices);
                        u64::from(indices[m - 1] as u32) + 1
                    }
                    (false, _) => {
                        let next = V::gaps(frame, group_at, before.first().wrapping_add(1), indices)?;
                        before = V::splat((next as u32).wrapping_sub(1));
                        next
                    }
                };
                matrix.check_column(next)?;
                let is_done = match (group.code_is_ready, is_whole) {
                    (true, true) => {
                        let to = data_to.cast();
                        loops::values::<V>(frame.readable, group, GROUP_LEN, fast_codes, table, to)
                    }
                    (true, false) => {
                        let data = slice::from_raw_parts_mut(data_to.cast(), m);
                        V::last_values(frame.readable, group, fast_codes, table, data)
                    }
                    (false, _) => false,
                };
                if !is_done {
                    let codes = |out: &mut Group| V::codes(frame, group_at, m, out);
                    let data = slice::from_raw_parts_mut(data_to, m);
                    values.decode(frame.code_stream(group_at), codes, data)?;
                }
                indices_to = indices_to.add(m);
                data_to = data_to.add(m);
                left -= m;
            }
        }
    }
    values.finish(frame.body, at, data)
}
