//! A set of numbers as a bitmap in which the k-th member is found in a few steps.

use std::ops::Range;

/// Words between two entries of the directory.
const STEP: usize = 8;

/// One bit for each obs, and how many are set before every 512th: 0.14 bytes for each obs.
#[derive(Clone, Debug)]
pub(crate) struct Bits {
    words: Vec<u64>,
    /// Members before word `STEP * i`, and all of them last.
    before: Vec<u64>,
}

impl Bits {
    /// From words whose lowest bit is the first obs of 64.
    pub(crate) fn new(words: Vec<u64>) -> Self {
        let mut before = Vec::with_capacity(words.len() / STEP + 2);
        let mut count = 0;
        for step in words.chunks(STEP) {
            before.push(count);
            count += step.iter().map(|word| u64::from(word.count_ones())).sum::<u64>();
        }
        before.push(count);
        Self { words, before }
    }

    /// Words for `n` obs, none set.
    pub(crate) fn empty_words(n: u64) -> Vec<u64> {
        vec![0; n.div_ceil(64) as usize]
    }

    /// Sets the bits of a range.
    pub(crate) fn set(words: &mut [u64], range: Range<u64>) {
        let (mut start, end) = (range.start, range.end);
        while start < end {
            let stop = end.min((start / 64 + 1) * 64);
            let ones = u64::MAX >> (64 - (stop - start));
            words[(start / 64) as usize] |= ones << (start % 64);
            start = stop;
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.before.last().copied().unwrap_or(0)
    }

    pub(crate) fn contains(&self, obs: u64) -> bool {
        self.words
            .get((obs / 64) as usize)
            .is_some_and(|word| word >> (obs % 64) & 1 == 1)
    }

    /// Appends members number `places`.
    pub(crate) fn extend(&self, places: Range<u64>, obs: &mut Vec<u64>) {
        if places.is_empty() {
            return;
        }
        // The last step with no more members before it; steps without members are passed over.
        let step = self.before.partition_point(|before| *before <= places.start) - 1;
        let mut skip = places.start - self.before[step];
        let mut left = places.end - places.start;
        for (number, word) in self.words.iter().enumerate().skip(step * STEP) {
            let (mut word, count) = (*word, u64::from(word.count_ones()));
            if skip >= count {
                skip -= count;
                continue;
            }
            word = without_lowest(word, skip as u32);
            skip = 0;
            while word != 0 && left > 0 {
                obs.push(number as u64 * 64 + u64::from(word.trailing_zeros()));
                word &= word - 1;
                left -= 1;
            }
            if left == 0 {
                return;
            }
        }
    }

    /// The first obs from `from` on that is a member (or, if `member` is false, that is none), below `end`.
    pub(crate) fn next(&self, from: u64, end: u64, member: bool) -> u64 {
        let flip = if member { 0 } else { u64::MAX };
        let mut at = from;
        while at < end {
            let rest = (self.words[(at / 64) as usize] ^ flip) >> (at % 64);
            if rest != 0 {
                return end.min(at + u64::from(rest.trailing_zeros()));
            }
            at = (at / 64 + 1) * 64;
        }
        end
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        8 * (self.words.len() + self.before.len())
    }
}

/// The word without its `n` lowest ones.
fn without_lowest(word: u64, mut n: u32) -> u64 {
    if n >= word.count_ones() {
        return 0;
    }
    // Where the first one to keep stands, by halving.
    let mut base = 0;
    for width in [32, 16, 8, 4, 2, 1] {
        let count = (word >> base & ((1 << width) - 1)).count_ones();
        if n >= count {
            n -= count;
            base += width;
        }
    }
    word >> base << base
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn members_are_found_by_number(
            ranges in prop::collection::vec((0u64..3000, 0u64..300), 0..20), part in any::<(u64, u64)>(),
        ) {
            let mut words = Bits::empty_words(3300);
            let mut plain = vec![false; 3300];
            for (start, len) in ranges {
                Bits::set(&mut words, start..start + len);
                plain[start as usize..(start + len) as usize].fill(true);
            }
            let bits = Bits::new(words);
            let members: Vec<u64> = (0..3300).filter(|obs| plain[*obs as usize]).collect();
            prop_assert_eq!(bits.len(), members.len() as u64);
            prop_assert!((0..4000).all(|obs| bits.contains(obs) == (obs < 3300 && plain[obs as usize])));
            let (a, b) = (part.0 % (bits.len() + 1), part.1 % (bits.len() + 1));
            let mut some = Vec::new();
            bits.extend(a.min(b)..a.max(b), &mut some);
            prop_assert_eq!(&some, &members[a.min(b) as usize..a.max(b) as usize]);
            let from = part.0 % 3300;
            for member in [true, false] {
                let next = (from..3300).find(|obs| plain[*obs as usize] == member).unwrap_or(3300);
                prop_assert_eq!(bits.next(from, 3300, member), next);
            }
        }

        #[test]
        fn lowest_ones_are_dropped(word: u64, n in 0u32..64) {
            let mut plain = word;
            (0..n).for_each(|_| plain &= plain.wrapping_sub(1));
            prop_assert_eq!(without_lowest(word, n), plain);
        }
    }
}
