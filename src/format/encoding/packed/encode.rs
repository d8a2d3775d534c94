//! Makes frames.

use std::collections::HashMap;

use super::group::{Descriptor, Mode, Stream};
use super::pack::pack;
use crate::format::checksum::obs_crc;
use crate::format::constants::{GROUP_LEN, MAX_DICTIONARY, MAX_EXCEPTIONS, MAX_WIDTH};
use cellring_core::{Element, put};

/// Encodes frames; keeps its scratch memory from one frame to the next.
#[derive(Debug, Default)]
pub struct FrameEncoder {
    gaps: Vec<u32>,
    codes: Vec<u32>,
    frequency: HashMap<u64, u32>,
}

impl FrameEncoder {
    /// Appends the frame of an obs to `out`. An obs without values has an empty frame.
    ///
    /// `indices` ascend strictly and stay below 2^31; `values` are as many. The caller has dropped zeros.
    ///
    /// # Panics
    /// If `indices` do not ascend strictly or the lengths differ: canonical rows are the caller's duty.
    pub fn encode<T: Element>(&mut self, obs: u64, indices: &[u32], values: &[T], out: &mut Vec<u8>) {
        assert_eq!(indices.len(), values.len(), "one value per index");
        if indices.is_empty() {
            return;
        }
        let start = out.len();
        self.set_gaps(indices);
        if self.set_counts(values) {
            out.push(Mode::Counts as u8);
            self.put_groups(out);
        } else {
            self.put_uncountable(values, out);
        }
        let crc = obs_crc(obs, indices.len() as u32, &[&out[start..]]);
        out.extend_from_slice(&crc.to_le_bytes());
    }

    fn set_gaps(&mut self, indices: &[u32]) {
        let (Some(&first), Some(&last)) = (indices.first(), indices.last()) else {
            return;
        };
        // Checked as a whole, so that the loops have no exits and use the width of the machine.
        let ascends = indices
            .iter()
            .zip(&indices[1..])
            .fold(true, |is, (a, b)| is & (a < b));
        assert!(
            ascends && last < 1 << MAX_WIDTH,
            "columns {first} to {last}: not ascending, or beyond 2^31"
        );
        self.gaps.clear();
        self.gaps.push(first);
        self.gaps
            .extend(indices.iter().zip(&indices[1..]).map(|(a, b)| b - a - 1));
    }

    /// Fills the codes with `value - 1`; false where a value is not a count, or too large for a code.
    fn set_counts<T: Element>(&mut self, values: &[T]) -> bool {
        self.codes.clear();
        let mut largest = 0;
        // In pieces, so that rows of other values are given up early, and without exits inside a piece.
        for piece in values.chunks(GROUP_LEN) {
            let codes = piece.iter().map(|value| {
                // What is not a count becomes the largest code, and shows as too large.
                let code = value.as_count().unwrap_or(0).wrapping_sub(1);
                largest = largest.max(code);
                code
            });
            self.codes.extend(codes);
            if largest >= 1 << MAX_WIDTH {
                return false;
            }
        }
        true
    }

    /// Writes values that are not counts: through a dictionary where that is smaller, else as they are.
    fn put_uncountable<T: Element>(&mut self, values: &[T], out: &mut Vec<u8>) {
        let start = out.len();
        let plain_bytes = values.len() * T::VALUE_TYPE.size_bytes();
        if self.set_dictionary(values, out) {
            self.put_groups(out);
            let with_dictionary = out.len() - start;
            let mut gaps_only = Vec::with_capacity(with_dictionary);
            self.codes.fill(0);
            self.put_groups(&mut gaps_only);
            if with_dictionary <= 1 + gaps_only.len() + plain_bytes {
                return;
            }
            out.truncate(start);
        } else {
            self.codes.clear();
            self.codes.resize(values.len(), 0);
        }
        out.push(Mode::Plain as u8);
        self.put_groups(out);
        values.iter().for_each(|&value| put(value, out));
    }

    /// Writes mode and dictionary and sets the codes; false, with nothing written, where there are too many values.
    ///
    /// The most frequent value comes first, so that codes are small; equal frequencies go by the values' bits, so that
    /// equal rows give equal bytes.
    fn set_dictionary<T: Element>(&mut self, values: &[T], out: &mut Vec<u8>) -> bool {
        self.frequency.clear();
        for value in values {
            *self.frequency.entry(value.bits()).or_insert(0) += 1;
        }
        // A dictionary of mostly unique values costs more than it saves.
        if self.frequency.len() > MAX_DICTIONARY || self.frequency.len() * 4 > values.len() * 3 {
            return false;
        }
        let mut dictionary: Vec<(u64, u32)> = self.frequency.drain().collect();
        dictionary.sort_unstable_by_key(|&(bits, n)| (std::cmp::Reverse(n), bits));
        out.push(Mode::Dictionary as u8);
        out.extend_from_slice(&((dictionary.len() - 1) as u16).to_le_bytes());
        for (code, &(bits, _)) in dictionary.iter().enumerate() {
            put(T::from_bits(bits), out);
            self.frequency.insert(bits, code as u32);
        }
        self.codes.clear();
        self.codes
            .extend(values.iter().map(|value| self.frequency[&value.bits()]));
        true
    }

    fn put_groups(&self, out: &mut Vec<u8>) {
        for (gaps, codes) in self.gaps.chunks(GROUP_LEN).zip(self.codes.chunks(GROUP_LEN)) {
            let descriptor = Descriptor {
                gap: choose(gaps),
                code: choose(codes),
            };
            out.extend_from_slice(&descriptor.to_bytes());
            pack(gaps, descriptor.gap.width, out);
            pack(codes, descriptor.code.width, out);
            put_exceptions(gaps, descriptor.gap, out);
            put_exceptions(codes, descriptor.code, out);
        }
    }
}

/// The width that costs the fewest bytes, exceptions included; of equal ones the one with the fewest exceptions.
fn choose(values: &[u32]) -> Stream {
    let lengths = Lengths::new(values);
    let longest = lengths.longest;
    let mut best = Stream {
        width: longest,
        wide: false,
        exceptions: 0,
    };
    let mut least = best.packed_bytes(values.len());
    for width in (0..longest).rev() {
        let exceptions = lengths.above(width);
        if exceptions > MAX_EXCEPTIONS {
            break;
        }
        let stream = Stream {
            width,
            wide: longest - width > 8,
            exceptions,
        };
        let bytes = stream.packed_bytes(values.len()) + stream.exception_bytes();
        if bytes < least {
            (best, least) = (stream, bytes);
        }
    }
    best
}

/// The lengths in bits of a group's entries.
struct Lengths {
    /// One for each entry; the places of a shorter group hold 0.
    each: [u8; GROUP_LEN],
    longest: u32,
}

impl Lengths {
    fn new(values: &[u32]) -> Self {
        let longest = bit_length(values.iter().fold(0, |all, value| all | value));
        let mut each = [0; GROUP_LEN];
        if longest <= 22 {
            // The exponent of 2 v + 1, which a f32 holds exactly, is the length of v: the same steps for every value, so
            // that several go at a time.
            for (length, &value) in each.iter_mut().zip(values) {
                *length = (((2 * value + 1) as i32 as f32).to_bits() >> 23).wrapping_sub(127) as u8;
            }
        } else {
            for (length, &value) in each.iter_mut().zip(values) {
                *length = bit_length(value) as u8;
            }
        }
        Self { each, longest }
    }

    /// How many are longer than `width`.
    fn above(&self, width: u32) -> usize {
        // At most 128, so that a byte holds it.
        let n: u8 = self
            .each
            .iter()
            .map(|&length| u8::from(length > width as u8))
            .sum();
        usize::from(n)
    }
}

fn bit_length(value: u32) -> u32 {
    u32::BITS - value.leading_zeros()
}

fn put_exceptions(values: &[u32], stream: Stream, out: &mut Vec<u8>) {
    if stream.exceptions == 0 {
        return;
    }
    // Without a branch: which entries are exceptions is as good as random.
    let mut positions = [0u8; GROUP_LEN];
    let mut n = 0;
    for (position, &value) in values.iter().enumerate() {
        positions[n] = position as u8;
        n += usize::from(value >> stream.width != 0);
    }
    let positions = &positions[..n];
    out.extend_from_slice(positions);
    let high = |&position: &u8| values[usize::from(position)] >> stream.width;
    if stream.wide {
        positions
            .iter()
            .for_each(|position| out.extend_from_slice(&high(position).to_le_bytes()));
    } else {
        out.extend(positions.iter().map(|position| high(position) as u8));
    }
}
