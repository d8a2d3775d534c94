//! Sorts the values of a row by rank.

/// A value and its column as one number.
pub(crate) trait Key: Copy + Ord + Default {
    /// Digits of 8 bits. The lowest [`COLUMN_DIGITS`] are those of the column.
    const DIGITS: usize;

    /// The digit of this number, from the lowest on.
    fn digit(self, number: usize) -> usize;

    /// Bits in which two keys differ.
    fn differing(self, other: Self) -> Self;

    /// All bits of both.
    fn or(self, other: Self) -> Self;
}

/// A value that rows are ranked by.
pub(crate) trait Ranked: Copy + Default + PartialOrd {
    /// Value and column in one number: the larger the value and then the smaller the column, the smaller the number.
    type Key: Key;

    /// The key of a value above 0.
    fn key(self, column: i32) -> Self::Key;

    /// The column and the value of a key.
    fn of_key(key: Self::Key) -> (i32, Self);
}

/// Digits of a column, below those of the value.
const COLUMN_DIGITS: usize = 4;
/// Shorter rows are sorted by comparing.
const LEAST_FOR_DIGITS: usize = 256;

macro_rules! key {
    ($type:ty) => {
        impl Key for $type {
            const DIGITS: usize = size_of::<$type>();
            #[inline(always)]
            fn digit(self, number: usize) -> usize {
                (self >> (8 * number)) as usize & 0xFF
            }
            #[inline(always)]
            fn differing(self, other: Self) -> Self {
                self ^ other
            }
            #[inline(always)]
            fn or(self, other: Self) -> Self {
                self | other
            }
        }
    };
}

key!(u64);
key!(u128);

/// Sorts the `k` smallest keys and drops the others. `spare` is memory; `is_ascending` says that the columns ascend.
pub(super) fn rank<K: Key>(keys: &mut Vec<K>, spare: &mut Vec<K>, k: usize, is_ascending: bool) {
    if keys.len() > k {
        // Leaves the columns in no order.
        let is_small = k < LEAST_FOR_DIGITS || k < keys.len() / 2;
        if is_small {
            keys.select_nth_unstable(k);
            keys.truncate(k);
            return keys.sort_unstable();
        }
    }
    if keys.len() < LEAST_FOR_DIGITS {
        keys.sort_unstable();
    } else {
        sort_by_digits(keys, spare, if is_ascending { COLUMN_DIGITS } else { 0 });
    }
    keys.truncate(k);
}

/// Sorts by one digit after the other, from `first` on. Each pass keeps the order of equal digits, so that lower digits
/// that are in order already need no pass; and digits that are the same in all keys need none either: counts as floats
/// differ in few of theirs.
fn sort_by_digits<K: Key>(keys: &mut Vec<K>, spare: &mut Vec<K>, first: usize) {
    let differing = keys
        .iter()
        .fold(K::default(), |all, &key| all.or(key.differing(keys[0])));
    spare.clear();
    spare.resize(keys.len(), K::default());
    for digit in (first..K::DIGITS).filter(|&digit| differing.digit(digit) != 0) {
        let mut places = [0u32; 256];
        keys.iter().for_each(|key| places[key.digit(digit)] += 1);
        let mut sum = 0;
        for place in &mut places {
            (*place, sum) = (sum, sum + *place);
        }
        for &key in keys.iter() {
            let place = &mut places[key.digit(digit)];
            spare[*place as usize] = key;
            *place += 1;
        }
        std::mem::swap(keys, spare);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_those_of_a_sort() {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state >> 20
        };
        for n in [0, 1, 5, 255, 256, 300, 2000] {
            for k in [1, 64, 255, 256, 300, 1000, 5000] {
                for (is_ascending, most) in [(true, 3), (true, u32::MAX), (false, 3), (false, u32::MAX)] {
                    let value = |bits: u64| u128::from(bits as u32 % most) << 32;
                    let keys: Vec<u128> = (0..n)
                        .map(|column| {
                            value(next())
                                | if is_ascending {
                                    column
                                } else {
                                    (column * 7919) % 100_003
                                }
                        })
                        .collect();
                    let mut expected = keys.clone();
                    expected.sort_unstable();
                    expected.truncate(k);
                    let mut narrow: Vec<u64> = keys.iter().map(|&key| key as u64).collect();
                    rank(&mut narrow, &mut vec![], k, is_ascending);
                    assert!(
                        narrow
                            .iter()
                            .map(|&key| u128::from(key))
                            .eq(expected.iter().copied())
                    );
                    // Values of 64 bits.
                    let wide = |key: u128| key << 64 >> 32 | key & 0xFFFF_FFFF;
                    let mut keys: Vec<u128> = keys.into_iter().map(wide).collect();
                    let mut expected = keys.clone();
                    expected.sort_unstable();
                    expected.truncate(k);
                    rank(&mut keys, &mut vec![9], k, is_ascending);
                    assert_eq!(keys, expected, "{n} keys, {k} wanted");
                }
            }
        }
    }
}
