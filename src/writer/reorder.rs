//! Brings rows into the store's column order: the hot spot of a conversion that orders columns by detection.

use cellring_core::Element;

/// Up to this many columns a value array of their length stays in a core's cache.
const MAX_SCATTER_VARS: u64 = 1 << 20;

/// Walking the bitmap costs a word per 64 columns, sorting some ten steps per value: below one value in so many words
/// a row is sorted.
const WORDS_PER_VALUE: usize = 16;

/// Gives the columns of rows other numbers and sorts by them: one row at a time, within memory that it keeps.
#[derive(Debug)]
pub struct RowSorter<T> {
    /// One place per column, and a bit for each that the row at hand has filled; empty where rows are only sorted.
    places: Vec<T>,
    filled: Vec<u64>,
    /// Numbers of the words of `filled` that are not zero.
    words: Vec<u32>,
    keys: Vec<u64>,
    indices: Vec<u32>,
    values: Vec<T>,
}

impl<T: Element> RowSorter<T> {
    /// A sorter for rows of `n_vars` columns with `nnz` values in all.
    pub fn new(n_vars: u64, nnz: usize) -> Self {
        // Making the arrays must be worth it, and the arrays of all threads must stay small.
        let scatters = n_vars <= MAX_SCATTER_VARS && nnz as u64 * 4 >= n_vars;
        let n_places = if scatters { n_vars as usize } else { 0 };
        Self {
            places: vec![T::from_bits(0); n_places],
            filled: vec![0; n_places.div_ceil(64)],
            words: vec![0; n_places.div_ceil(64)],
            keys: Vec::new(),
            indices: Vec::new(),
            values: Vec::new(),
        }
    }

    /// The row with its columns replaced by `map`, ascending.
    ///
    /// # Panics
    /// If a column is not in `map`, or `map` gives a column beyond `n_vars`.
    pub fn reorder(&mut self, map: &[u32], indices: &[u32], values: &[T]) -> (&[u32], &[T]) {
        if indices.len() * WORDS_PER_VALUE < self.filled.len() || self.places.is_empty() {
            self.sort(map, indices, values);
        } else {
            self.scatter(map, indices, values);
        }
        (&self.indices, &self.values)
    }

    /// Puts each value in its column's place, then walks the places that are filled.
    fn scatter(&mut self, map: &[u32], indices: &[u32], values: &[T]) {
        for (&index, &value) in indices.iter().zip(values) {
            let column = map[index as usize] as usize;
            self.places[column] = value;
            self.filled[column / 64] |= 1 << (column % 64);
        }
        // Without a branch: which words are empty is as good as random.
        let mut n_words = 0;
        for (number, &bits) in self.filled.iter().enumerate() {
            self.words[n_words] = number as u32;
            n_words += usize::from(bits != 0);
        }
        // Room for four beyond the last: most words have few bits, and writing up to four without asking how many there
        // are is cheaper than a branch that is as good as random.
        self.indices.resize(indices.len() + 4, 0);
        let mut n = 0;
        for &word in &self.words[..n_words] {
            let mut left = std::mem::take(&mut self.filled[word as usize]);
            let mut end = n;
            for place in &mut self.indices[n..n + 4] {
                *place = word * 64 + (left | 1 << 63).trailing_zeros();
                end += usize::from(left != 0);
                left &= left.wrapping_sub(1);
            }
            n = end;
            while left != 0 {
                self.indices[n] = word * 64 + left.trailing_zeros();
                n += 1;
                left &= left - 1;
            }
        }
        assert_eq!(n, indices.len(), "a column occurs twice in a row");
        self.indices.truncate(n);
        self.values.clear();
        self.values
            .extend(self.indices.iter().map(|&column| self.places[column as usize]));
    }

    /// For rows with few values, and for very many columns.
    fn sort(&mut self, map: &[u32], indices: &[u32], values: &[T]) {
        self.keys.clear();
        // The store's column above, the place in the source row below: one sort orders both.
        self.keys.extend(
            indices
                .iter()
                .enumerate()
                .map(|(k, &i)| u64::from(map[i as usize]) << 32 | k as u64),
        );
        self.keys.sort_unstable();
        self.indices.clear();
        self.indices
            .extend(self.keys.iter().map(|key| (key >> 32) as u32));
        self.values.clear();
        self.values
            .extend(self.keys.iter().map(|&key| values[key as u32 as usize]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scattering and sorting give the same rows, dense or sparse, whatever was in the places before.
    #[test]
    fn scattering_equals_sorting() {
        let n_vars = 1000u32;
        let map: Vec<u32> = (0..n_vars).map(|i| (i * 7 + 3) % n_vars).collect();
        let mut state = 1u64;
        let mut random = move || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            state >> 40
        };
        let (mut scatter, mut sort) = (RowSorter::new(1000, 1000), RowSorter::new(1000, 0));
        assert!(!scatter.places.is_empty() && sort.places.is_empty());
        for every in [1, 2, 3, 10, 100, 999, 1, 50] {
            let indices: Vec<u32> = (0..n_vars).filter(|_| random() % every == 0).collect();
            let values: Vec<f32> = indices.iter().map(|_| random() as f32).collect();
            scatter.scatter(&map, &indices, &values);
            let sorted = sort.reorder(&map, &indices, &values);
            assert_eq!((scatter.indices.as_slice(), scatter.values.as_slice()), sorted);
            assert!(sorted.0.is_sorted() && sorted.0.len() == indices.len());
            let chosen = scatter.reorder(&map, &indices, &values);
            assert_eq!(chosen, sorted);
        }
    }
}
