//! Brings the columns of a row into ascending order.

/// Memory for ordering rows.
#[derive(Debug, Default)]
pub(crate) struct ColumnSorter {
    /// A bit for each column of the output.
    present: Vec<u64>,
    /// For each word of `present` how many columns lie before it.
    before: Vec<u32>,
    keys: Vec<u64>,
}

impl ColumnSorter {
    /// Calls `put(k, place)` for each `columns[k]` with its place in ascending order. All columns differ and are below
    /// `n_columns`.
    pub(crate) fn ascending(&mut self, columns: &[i32], n_columns: usize, mut put: impl FnMut(usize, usize)) {
        let n_words = n_columns.div_ceil(64);
        // Looking at all words takes as long as comparing about this many columns.
        if columns.len() * 16 < n_words {
            self.keys.clear();
            let keys = columns
                .iter()
                .enumerate()
                .map(|(k, &column)| (column as u64) << 32 | k as u64);
            self.keys.extend(keys);
            self.keys.sort_unstable();
            let sorted = self.keys.iter().enumerate();
            return sorted.for_each(|(place, &key)| put(key as u32 as usize, place));
        }
        // Each place is counted on its own, rather than found by comparisons that nothing could predict.
        self.present.clear();
        self.present.resize(n_words, 0);
        self.before.clear();
        self.before.resize(n_words, 0);
        let (present, before) = (self.present.as_mut_slice(), self.before.as_mut_slice());
        for &column in columns {
            let word = column as usize / 64;
            present[word] |= 1 << (column % 64);
            before[word] += 1;
        }
        let mut sum = 0;
        for count in before.iter_mut() {
            (*count, sum) = (sum, sum + *count);
        }
        for (k, &column) in columns.iter().enumerate() {
            let word = column as usize / 64;
            let lower = present[word] & ((1 << (column % 64)) - 1);
            put(k, (before[word] + lower.count_ones()) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_ordering_agree_with_a_sort() {
        let mut order = ColumnSorter::default();
        for (n, n_columns) in [
            (0, 1),
            (0, 0),
            (1, 1),
            (5, 5),
            (64, 64),
            (65, 129),
            (3, 60_000),
            (900, 1009),
        ] {
            // A walk through a group: every column once, in no order.
            let columns: Vec<i32> = (0..n as i32).map(|k| (k * 37 + 11) % n_columns).collect();
            let mut expected = columns.clone();
            expected.sort_unstable();
            expected.dedup();
            assert_eq!(expected.len(), n, "the columns differ");
            let mut found = vec![-1; n];
            order.ascending(&columns, n_columns as usize, |k, place| found[place] = columns[k]);
            assert_eq!(found, expected, "{n} of {n_columns}");
        }
    }
}
