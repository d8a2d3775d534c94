//! Brings the columns of a row into ascending order.

use super::lanes::Lanes;

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
    /// Puts a row, its columns and their values, into the order of its columns, in memory of the same length. All columns differ and are below
    /// `n_columns`.
    pub(super) fn order<T: Copy>(
        &mut self,
        lanes: Lanes,
        n_columns: usize,
        (columns, values): (&[i32], &[T]),
        (to_columns, to_values): (&mut [i32], &mut [T]),
    ) {
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
            for (place, &key) in self.keys.iter().enumerate() {
                (to_columns[place], to_values[place]) = ((key >> 32) as i32, values[key as u32 as usize]);
            }
            return;
        }
        self.present.clear();
        self.present.resize(n_words, 0);
        self.before.resize(n_words, 0);
        lanes.order(
            &mut self.present,
            &mut self.before,
            (columns, values),
            (to_columns, to_values),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_ordering_agree_with_a_sort() {
        for lanes in Lanes::available() {
            let mut sorter = ColumnSorter::default();
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
                let values: Vec<f64> = columns.iter().map(|&column| f64::from(column) + 0.5).collect();
                let mut expected = columns.clone();
                expected.sort_unstable();
                expected.dedup();
                assert_eq!(expected.len(), n, "the columns differ");
                let (mut found, mut found_values) = (vec![-1; n], vec![-1.0; n]);
                let from = (&columns[..], &values[..]);
                sorter.order(lanes, n_columns as usize, from, (&mut found, &mut found_values));
                assert_eq!(found, expected, "{n} of {n_columns}, {lanes:?}");
                assert!(
                    found
                        .iter()
                        .zip(found_values)
                        .all(|(&column, value)| value == f64::from(column) + 0.5)
                );
            }
        }
    }
}
