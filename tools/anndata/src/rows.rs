//! Some of the rows of a table and its matrices.

use std::sync::Arc;

/// Words between two counts of the directory.
const STEP: usize = 8;

/// Some of the rows, ascending: a bit for each row, and a directory of an eighth of that.
#[derive(Clone, Debug)]
pub struct RowSet {
    words: Arc<[u64]>,
    /// Members before each [`STEP`] words.
    before: Arc<[u64]>,
    n_rows: u64,
    len: u64,
}

/// Takes rows in their order.
#[derive(Debug, Default)]
pub struct RowSetBuilder {
    words: Vec<u64>,
    n_rows: u64,
    len: u64,
}

impl RowSetBuilder {
    /// Adds the next row, as a member or not.
    pub fn push(&mut self, is_member: bool) {
        if self.n_rows.is_multiple_of(64) {
            self.words.push(0);
        }
        if let Some(word) = self.words.last_mut().filter(|_| is_member) {
            *word |= 1 << (self.n_rows % 64);
            self.len += 1;
        }
        self.n_rows += 1;
    }

    /// Members so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no member so far.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The set of a table of `n_rows` rows; those that were not pushed are no members.
    pub fn finish(mut self, n_rows: u64) -> RowSet {
        self.words.resize(n_rows.div_ceil(64) as usize, 0);
        let mut members = 0;
        let mut before = Vec::with_capacity(self.words.len() / STEP + 1);
        for words in self.words.chunks(STEP) {
            before.push(members);
            members += words.iter().map(|word| u64::from(word.count_ones())).sum::<u64>();
        }
        RowSet {
            words: self.words.into(),
            before: before.into(),
            n_rows,
            len: self.len,
        }
    }
}

impl RowSet {
    /// Number of members.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Rows of the table.
    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// Whether the row is a member.
    pub fn contains(&self, row: u64) -> bool {
        let word = self.words.get((row / 64) as usize);
        word.is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    /// Member number `place`, from 0.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn nth(&self, place: u64) -> u64 {
        assert!(place < self.len, "member {place} of {}", self.len);
        let step = self.before.partition_point(|&before| before <= place) - 1;
        let mut left = place - self.before[step];
        let mut word = step * STEP;
        loop {
            let n = u64::from(self.words[word].count_ones());
            if left < n {
                break;
            }
            left -= n;
            word += 1;
        }
        let mut bits = self.words[word];
        for _ in 0..left {
            bits &= bits - 1;
        }
        word as u64 * 64 + u64::from(bits.trailing_zeros())
    }

    /// Members from number `place` on.
    pub fn iter_from(&self, place: u64) -> impl Iterator<Item = u64> + '_ {
        let mut next = (place < self.len).then(|| self.nth(place));
        std::iter::from_fn(move || {
            let found = next?;
            next = self.at_or_after(found + 1);
            Some(found)
        })
    }

    /// The first member that is not before `row`.
    fn at_or_after(&self, row: u64) -> Option<u64> {
        let first = (row / 64) as usize;
        let bits = *self.words.get(first)? & (u64::MAX << (row % 64));
        if bits != 0 {
            return Some(first as u64 * 64 + u64::from(bits.trailing_zeros()));
        }
        let further = self.words[first + 1..].iter().position(|&word| word != 0)?;
        let word = first + 1 + further;
        Some(word as u64 * 64 + u64::from(self.words[word].trailing_zeros()))
    }

    /// Bytes it takes in memory.
    pub fn memory_bytes(&self) -> u64 {
        8 * (self.words.len() + self.before.len()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_by_number_and_by_row() {
        for (n_rows, seed) in [(0u64, 1u64), (1, 1), (64, 2), (700, 3), (5_000, 4), (5_001, 5)] {
            for share in [1, 3, 50, 700] {
                let is_member = |row: u64| {
                    (row ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 & 0xffff < 0xffff / share
                };
                let plain: Vec<u64> = (0..n_rows).filter(|&row| is_member(row)).collect();
                let mut builder = RowSetBuilder::default();
                // Rows after the last member need not be told.
                let told = plain.last().map_or(0, |last| last + 1);
                (0..told).for_each(|row| builder.push(is_member(row)));
                assert_eq!(builder.len(), plain.len() as u64);
                let set = builder.finish(n_rows);
                assert_eq!((set.len(), set.n_rows()), (plain.len() as u64, n_rows));
                assert!((0..n_rows + 70).all(|row| set.contains(row) == (row < n_rows && is_member(row))));
                assert!((0..set.len()).all(|place| set.nth(place) == plain[place as usize]));
                for place in [0, set.len() / 2, set.len()] {
                    assert!(set.iter_from(place).eq(plain[place as usize..].iter().copied()));
                }
            }
        }
    }
}
