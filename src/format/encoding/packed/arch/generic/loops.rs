//! The fast loops over the entries of a group.
#![allow(unsafe_code, reason = "vectors are loaded and stored through pointers")]

use std::mem::MaybeUninit;
use std::ptr;

use super::super::vector::{EIGHT, Vector};
use super::ahead::{Ahead, byte};
use crate::format::constants::{DESCRIPTOR_BYTES, GROUP_LEN};
use crate::format::encoding::packed::values::{FastCodes, TABLE_LEN};

/// Writes the columns of the `m` gaps of a group, and those of whatever follows in the last block. `before` is the column
/// before, in all lanes; gives the last column of the last block likewise.
///
/// # Safety
/// The processor has the instruction set of `V`, the gaps are ready, and `to` has room for whole blocks.
#[inline(always)]
pub(super) unsafe fn columns<V: Vector>(
    readable: &[u8],
    group: &Ahead,
    m: usize,
    mut before: V,
    sums: V::Sums,
    to: *mut i32,
) -> V {
    let width = group.gap_width as usize;
    let steps = group.steps.as_ptr().cast::<u16>();
    // SAFETY: the caller promises all of it. Each block begins within the packed entries, and as much may be read after
    // those as a vector reads from there.
    unsafe {
        let from = readable.as_ptr().add(group.at as usize + DESCRIPTOR_BYTES);
        let unpacker = V::word_unpacker(width);
        for block in 0..m.div_ceil(V::WORDS) {
            let packed = V::unpack_words(from.add(block * (V::WORDS / 8) * width), width, unpacker);
            let steps = V::load(steps.add(block * V::WORDS).cast());
            let sum = packed.add_words(steps).sum_words(sums);
            let [lower, upper] = sum.widen();
            let to = to.add(block * V::WORDS);
            lower.add_integers(before).store(to.cast());
            upper.add_integers(before).store(to.add(V::INTEGERS).cast());
            // From the sums, not from the columns: then a block waits for one addition of the block before.
            before = before.add_integers(upper.last(sums));
        }
    }
    before
}

/// Writes the values of the `m` codes of a group, and those of whatever follows in the last block; false if the dictionary
/// does not have one of them.
///
/// # Safety
/// The processor has the instruction set of `V`, the codes are ready, and `to` has room for whole blocks.
#[inline(always)]
pub(super) unsafe fn values<V: Vector>(
    readable: &[u8],
    group: &Ahead,
    m: usize,
    fast_codes: FastCodes,
    table: &[f32; TABLE_LEN],
    to: *mut f32,
) -> bool {
    let width = group.code_width as usize;
    let blocks = m.div_ceil(V::INTEGERS);
    let step = V::INTEGERS / 8 * width;
    // SAFETY: as for columns.
    unsafe {
        let from = readable.as_ptr().add(group.codes_at as usize);
        if u32::from(group.code_width) <= V::MAX_TABLE_WIDTH {
            let table = V::table(V::load(table.as_ptr().cast()), width);
            for block in 0..blocks {
                let values = V::look_up(from.add(block * step), table);
                values.store(to.add(block * V::INTEGERS).cast());
            }
        } else {
            let unpacker = V::integer_unpacker(width);
            let one = V::splat(1);
            for block in 0..blocks {
                let codes = V::unpack_integers(from.add(block * step), width, unpacker);
                let values = codes.add_integers(one).to_floats();
                values.store(to.add(block * V::INTEGERS).cast());
            }
        }
        match fast_codes {
            FastCodes::Dictionary { len } => put_from_dictionary(readable, group, table, len, to),
            _ => {
                add_to_counts(readable, group, to);
                true
            }
        }
    }
}

/// As [`columns`] for the last group, of which only a part is there: it is decoded elsewhere, and copied. `before` is the
/// column before.
///
/// # Safety
/// The processor has the instruction set of `V`, and the gaps are ready.
#[inline(always)]
pub(in super::super) unsafe fn last_columns<V: Vector>(
    readable: &[u8],
    group: &Ahead,
    before: u32,
    indices: &mut [i32],
) {
    let mut room = MaybeUninit::<[i32; GROUP_LEN]>::uninit();
    let (m, to) = (indices.len(), room.as_mut_ptr().cast());
    // SAFETY: the caller promises the rest; whole blocks are written, so `m` at least.
    unsafe {
        columns(readable, group, m, V::splat(before), V::sums(), to);
        ptr::copy_nonoverlapping(to, indices.as_mut_ptr(), m);
    }
}

/// As [`values`] for the last group.
///
/// # Safety
/// The processor has the instruction set of `V`, and the codes are ready.
#[inline(always)]
pub(in super::super) unsafe fn last_values<V: Vector>(
    readable: &[u8],
    group: &Ahead,
    fast_codes: FastCodes,
    table: &[f32; TABLE_LEN],
    data: &mut [f32],
) -> bool {
    let mut room = MaybeUninit::<[f32; GROUP_LEN]>::uninit();
    let (m, to) = (data.len(), room.as_mut_ptr().cast());
    // SAFETY: as for columns.
    unsafe {
        let is_right = values::<V>(readable, group, m, fast_codes, table, to);
        ptr::copy_nonoverlapping(to, data.as_mut_ptr(), m);
        is_right
    }
}

/// Adds the high parts of the exceptions to counts: these are below 2^24, so every sum is exact.
///
/// # Safety
/// The codes are ready, and `to` has the values without exceptions, eight at least.
#[inline(always)]
unsafe fn add_to_counts(readable: &[u8], group: &Ahead, to: *mut f32) {
    // SAFETY: the caller promises it.
    unsafe {
        let eights = group.eights.assume_init_ref();
        for k in 0..EIGHT {
            *to.add(byte(&eights.places[1], k)) += eights.adds[k];
        }
        for (position, high) in after_eight(readable, group) {
            *to.add(usize::from(position)) += (i32::from(high) << group.code_width) as f32;
        }
    }
}

/// Looks the codes of exceptions up in the dictionary; false if it is too short for one.
///
/// # Safety
/// The codes are ready, and `to` has room for a group.
#[inline(always)]
unsafe fn put_from_dictionary(
    readable: &[u8],
    group: &Ahead,
    table: &[f32; TABLE_LEN],
    len: usize,
    to: *mut f32,
) -> bool {
    let width = group.code_width as usize;
    let from = group.codes_at as usize;
    let mut largest = 0;
    let mut put = |position: usize, high: u8| {
        let bit = position * width;
        // An entry of at most 4 bits is within 2 bytes.
        let two = u16::from_le_bytes([readable[from + bit / 8], readable[from + bit / 8 + 1]]);
        let low = usize::from(two >> (bit % 8)) & ((1 << width) - 1);
        let code = low | usize::from(high) << width;
        largest = code.max(largest);
        // SAFETY: the caller promises the room.
        unsafe { *to.add(position) = table[code % TABLE_LEN] };
    };
    // From the last one on, so that those that are none come first: at their places there may be others.
    // SAFETY: they are ready.
    let eights = unsafe { group.eights.assume_init_ref() };
    for k in (0..EIGHT).rev() {
        put(byte(&eights.places[1], k), eights.highs[1][k]);
    }
    for (position, high) in after_eight(readable, group) {
        put(usize::from(position), high);
    }
    largest < len
}

/// Exceptions of codes after the first eight: their positions and high parts.
#[inline(always)]
fn after_eight<'a>(readable: &'a [u8], group: &Ahead) -> impl Iterator<Item = (u8, u8)> + 'a {
    let n = group.code_exceptions as usize;
    let exceptions = match n > EIGHT {
        true => &readable[group.code_exceptions_at as usize..][..2 * n],
        false => &[],
    };
    (EIGHT..n).map(move |k| (exceptions[k], exceptions[n + k]))
}
