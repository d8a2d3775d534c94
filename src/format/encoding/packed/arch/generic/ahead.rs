//! Groups before they are decoded: split, and their exceptions in a form that needs no branch.
#![allow(unsafe_code, reason = "vectors are loaded and stored through pointers")]

use std::mem::MaybeUninit;
use std::ptr;

use super::super::vector::{EIGHT, Eights, ExceptionsAt, OVER_READ, Vector};
use crate::format::constants::{DESCRIPTOR_BYTES, GROUP_LEN};
use crate::format::encoding::error::FrameError;
use crate::format::encoding::packed::frame::{AHEAD, Frame};
use crate::format::encoding::packed::group::Descriptor;
use crate::format::encoding::packed::values::FastCodes;

/// Some groups ahead. Not initialised: for small frames that would take as long as a group.
pub(in super::super) type Groups = [MaybeUninit<Ahead>; AHEAD];

/// A group before it is decoded.
#[repr(C)]
pub(in super::super) struct Ahead {
    /// Only if the gaps are ready: for each gap one, plus what an exception adds to it. With its packed part that is the step
    /// to its column. Then places for exceptions that are none.
    pub(super) steps: MaybeUninit<[u16; 256]>,
    /// Only if something is ready.
    pub(super) eights: MaybeUninit<Eights>,
    /// Start of the group in the frame, in bytes; its packed gaps follow the descriptor.
    pub(super) at: u32,
    /// Start of its packed codes.
    pub(super) codes_at: u32,
    pub(super) code_exceptions_at: u32,
    pub(super) gap_width: u8,
    pub(super) code_exceptions: u8,
    pub(super) code_width: u8,
    /// Whether the fast loops can have the gaps.
    pub(super) gap_is_ready: bool,
    /// Whether the fast loops can have the codes.
    pub(super) code_is_ready: bool,
}

/// The widest codes for which everything is exact: with a high part of one byte they have 24 bits.
const MAX_CODE_WIDTH: u32 = 16;

/// Prepares the next groups, of `left` entries in all, from `at` on, as many as there is room for; gives where they end.
///
/// # Safety
/// The processor has the instruction set of `V`.
#[inline(always)]
pub(in super::super) unsafe fn prepare<V: Vector>(
    frame: &Frame,
    mut at: usize,
    mut left: usize,
    fast_codes: FastCodes,
    groups: &mut Groups,
) -> Result<usize, FrameError> {
    // Up to here a group may end for whole vectors to be loaded from wherever it has a byte.
    let room_ends_at = frame
        .readable
        .len()
        .saturating_sub(OVER_READ)
        .min(frame.body.len());
    let start = frame.readable.as_ptr();
    for group in groups {
        if left == 0 {
            break;
        }
        let m = left.min(GROUP_LEN);
        left -= m;
        let group = group.as_mut_ptr();
        // SAFETY: the group is lent, here and below; these fields are written whatever follows.
        unsafe {
            (*group).at = at as u32;
            (*group).codes_at = 0;
            (*group).code_exceptions_at = 0;
            (*group).gap_width = 0;
            (*group).code_width = 0;
            (*group).code_exceptions = 0;
            (*group).gap_is_ready = false;
            (*group).code_is_ready = false;
        }
        if at >= room_ends_at {
            at = check_split(frame, at, m)?;
            continue;
        }
        // SAFETY: more than four bytes are there.
        let bits = unsafe { start.add(at).cast::<u32>().read_unaligned() };
        let Descriptor { gap, code } = Descriptor::from_bits(bits);
        let gaps_at = at + DESCRIPTOR_BYTES;
        let codes_at = gaps_at + gap.packed_bytes(m);
        let gap_exceptions_at = codes_at + code.packed_bytes(m);
        let code_exceptions_at = gap_exceptions_at + 2 * gap.exceptions;
        let end = code_exceptions_at + 2 * code.exceptions;
        let is_left_out = gap.wide | code.wide | (end > room_ends_at);
        if is_left_out | (m < GROUP_LEN) {
            at = check_split(frame, at, m)?;
            if is_left_out {
                continue;
            }
        }
        at = end;
        // SAFETY: as above; the caller promises the instruction set; the exceptions are in the frame, and there is room
        // after them.
        unsafe {
            (*group).codes_at = codes_at as u32;
            (*group).code_exceptions_at = code_exceptions_at as u32;
            (*group).gap_width = gap.width as u8;
            (*group).code_width = code.width as u8;
            (*group).code_exceptions = code.exceptions as u8;
            let gap = ExceptionsAt {
                at: start.add(gap_exceptions_at),
                n: gap.exceptions,
                width: gap.width,
            };
            let code = ExceptionsAt {
                at: start.add(code_exceptions_at),
                n: code.exceptions,
                width: code.width,
            };
            let eights = (&raw mut (*group).eights).cast::<Eights>();
            let steps = (&raw mut (*group).steps).cast::<u16>();
            let Some(sum) = V::eights(gap, code, eights) else {
                continue;
            };
            if m < GROUP_LEN && (is_beyond(gap, m) || is_beyond(code, m)) {
                continue;
            }
            let ones = V::splat(0x0001_0001);
            for block in 0..GROUP_LEN / V::WORDS {
                ones.store(steps.add(block * V::WORDS).cast());
            }
            for k in 0..EIGHT {
                let step = ptr::read_volatile(&raw const (*eights).steps[k]);
                *steps.add(byte(&(*eights).places[0], k)) = step;
            }
            let mut sum = sum;
            if gap.n.max(code.n) > EIGHT {
                match set_rest(gap, code, steps) {
                    Some(rest) => sum += rest,
                    None => continue,
                }
            }
            // No sum within a block goes beyond a word.
            (*group).gap_is_ready =
                gap.width <= V::MAX_WORD_WIDTH && (sum + V::WORDS as u32) << gap.width < 1 << 16;
            (*group).code_is_ready = match fast_codes {
                FastCodes::Never => false,
                FastCodes::Dictionary { len } => code.width <= V::MAX_TABLE_WIDTH && len >> code.width != 0,
                FastCodes::Counts { safe } => {
                    let most = safe >> code.width;
                    code.width <= MAX_CODE_WIDTH
                        && (most > u32::from(u8::MAX) || highs_are_below(most as u8, code, &*eights))
                }
            };
        }
    }
    Ok(at)
}

/// Where the group of `m` at `at` ends, if it is one.
#[cold]
#[inline(never)]
fn check_split(frame: &Frame, at: usize, m: usize) -> Result<usize, FrameError> {
    frame.split_group(at, m).map(|(_, _, end)| end)
}

/// Whether a position is beyond the last of `m` entries. Positions ascend, so the last one tells.
///
/// # Safety
/// The exceptions can be read.
#[inline(always)]
unsafe fn is_beyond(exceptions: ExceptionsAt, m: usize) -> bool {
    // SAFETY: the caller promises it.
    exceptions.n > 0 && usize::from(unsafe { *exceptions.at.add(exceptions.n - 1) }) >= m
}

/// Checks the exceptions after the first eight.
///
/// # Safety
/// The exceptions can be read.
#[inline(always)]
unsafe fn rest_is_right(exceptions: ExceptionsAt) -> bool {
    let mut right = true;
    for k in EIGHT..exceptions.n {
        // SAFETY: the caller promises it.
        let (before, position, high) = unsafe {
            let at = exceptions.at.add(k);
            (*at.sub(1), *at, *at.add(exceptions.n))
        };
        right &= (position > before) & (usize::from(position) < GROUP_LEN) & (high != 0);
    }
    right
}

/// Checks the exceptions after the first eight, sets the steps of those gaps, and gives the sum of their high parts; `None`
/// if one is wrong. Few groups have any.
///
/// # Safety
/// The exceptions can be read, and 256 steps written.
#[inline(never)]
unsafe fn set_rest(gap: ExceptionsAt, code: ExceptionsAt, steps: *mut u16) -> Option<u32> {
    let mut sum = 0;
    for k in EIGHT..gap.n {
        // SAFETY: the caller promises it; a byte is below 256.
        unsafe {
            let high = u32::from(*gap.at.add(gap.n + k));
            *steps.add(usize::from(*gap.at.add(k))) = (1 + (high << gap.width)) as u16;
            sum += high;
        }
    }
    // SAFETY: the caller promises it.
    let right = unsafe { rest_is_right(gap) && rest_is_right(code) };
    right.then_some(sum)
}

/// Whether all high parts are below `end`, a power of two or 0: then codes are safe, whatever their packed parts. Only
/// narrow types of values ask.
///
/// # Safety
/// The exceptions can be read, and the first of them are `eights`.
#[inline(always)]
unsafe fn highs_are_below(end: u8, code: ExceptionsAt, eights: &Eights) -> bool {
    // The bits of all together tell.
    let above = u64::from(!end.wrapping_sub(1)) * 0x0101_0101_0101_0101;
    let mut highs = u64::from_le_bytes(eights.highs[1]);
    for k in EIGHT..code.n {
        // SAFETY: the caller promises it.
        highs |= u64::from(unsafe { *code.at.add(code.n + k) });
    }
    end != 0 && highs & above == 0
}

/// Reads one of eight bytes by itself. Otherwise the compiler gathers them in a vector and takes them out again.
#[inline(always)]
pub(super) fn byte(eight: &[u8; EIGHT], k: usize) -> usize {
    // SAFETY: a reference can be read.
    usize::from(unsafe { ptr::read_volatile(&eight[k]) })
}
