//! Classes of obs: codes of columns, and weights that balance them.

use crate::Error;
use std::collections::HashMap;

use super::error::PlanError;
use super::universe::Universe;

/// The code of an obs that belongs to no class, as where its value is missing.
pub const MISSING: u32 = u32::MAX;

/// One code for each obs from several columns of codes: obs have equal codes if they are equal in all columns.
///
/// Codes count from 0 in ascending order of the columns' codes, the first column first. An obs that is [`MISSING`] in
/// one of them is missing. Takes time and memory proportional to the obs (12 bytes each at most while it runs).
///
/// # Errors
/// If the columns differ in length or there are too many combinations.
pub fn combine_codes(columns: &[&[u32]]) -> Result<Vec<u32>, Error> {
    let Some((first, others)) = columns.split_first() else {
        return Ok(Vec::new());
    };
    let mut combined = first.to_vec();
    // One column is made dense, too.
    compress(&mut combined, first, |code, _| u64::from(code))?;
    for column in others {
        if column.len() != combined.len() {
            return Err(PlanError::WrongLength {
                what: "a column of codes",
                found: column.len() as u64,
                n_obs: combined.len() as u64,
            }
            .into());
        }
        compress(&mut combined, column, |a, b| u64::from(a) << 32 | u64::from(b))?;
    }
    Ok(combined)
}

/// Replaces each code by the rank of its key among all keys.
fn compress(codes: &mut [u32], column: &[u32], key: impl Fn(u32, u32) -> u64) -> Result<(), Error> {
    let keys = |codes: &[u32]| -> Vec<Option<u64>> {
        codes
            .iter()
            .zip(column)
            .map(|(&a, &b)| (a != MISSING && b != MISSING).then(|| key(a, b)))
            .collect()
    };
    let keys = keys(codes);
    let ranks = rank_keys(keys.iter().copied())?;
    let mut last = (None, MISSING);
    for (code, key) in codes.iter_mut().zip(keys) {
        if key != last.0 {
            last = (key, key.map_or(MISSING, |key| ranks[&key]));
        }
        *code = last.1;
    }
    Ok(())
}

/// The rank of each key among the distinct ones.
pub(crate) fn rank_keys(keys: impl Iterator<Item = Option<u64>>) -> Result<HashMap<u64, u32>, Error> {
    let mut ranks = HashMap::new();
    let mut last = None;
    for key in keys {
        // Neighbours are alike more often than not.
        if key != last {
            last = key;
            key.map(|key| ranks.insert(key, 0));
        }
    }
    let mut sorted: Vec<u64> = ranks.keys().copied().collect();
    sorted.sort_unstable();
    if sorted.len() >= MISSING as usize {
        return Err(PlanError::TooManyClasses.into());
    }
    ranks.extend(sorted.into_iter().zip(0..));
    Ok(ranks)
}

/// How many members each class has, by code; codes above all others are not listed.
///
/// Codes should be dense: the list is as long as the largest is high.
pub(crate) fn count_classes(universe: &Universe, codes: &[u32]) -> HashMap<u32, u64> {
    let mut counts = HashMap::new();
    let mut last = (MISSING, 0u64);
    universe.for_each(|obs| {
        let code = codes[obs as usize];
        if code == last.0 {
            last.1 += 1;
        } else {
            *counts.entry(last.0).or_insert(0) += last.1;
            last = (code, 1);
        }
    });
    *counts.entry(last.0).or_insert(0) += last.1;
    counts.remove(&MISSING);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn codes_combine_as_tuples_do(rows in prop::collection::vec(any::<[Option<u8>; 3]>(), 0..200)) {
            let columns: Vec<Vec<u32>> = (0..3)
                .map(|c| rows.iter().map(|row| row[c].map_or(MISSING, |v| u32::from(v % 5) * 1_000_000)).collect())
                .collect();
            let columns: Vec<&[u32]> = columns.iter().map(Vec::as_slice).collect();
            for n in 1..=3 {
                let whole = |row: &[Option<u8>; 3]| row[..n].iter().map(|v| v.map(|v| v % 5)).collect::<Option<Vec<_>>>();
                let kinds: BTreeSet<_> = rows.iter().filter_map(whole).collect();
                let expected: Vec<u32> = rows
                    .iter()
                    .map(|row| whole(row).map_or(MISSING, |row| kinds.iter().position(|k| *k == row).unwrap() as u32))
                    .collect();
                prop_assert_eq!(combine_codes(&columns[..n]).unwrap(), expected);
            }
        }
    }

    #[test]
    fn columns_of_different_data_sets_are_refused() {
        assert!(combine_codes(&[]).unwrap().is_empty());
        let error = combine_codes(&[&[0, 1], &[0]]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a column of codes has 1 entries for a data set of 2 obs: give one for each obs"
        );
    }

    #[test]
    fn classes_are_counted() {
        let codes = [3, 3, MISSING, 0, 3, 0, 7];
        let mut counts: Vec<_> = count_classes(&Universe::All(7), &codes).into_iter().collect();
        counts.sort_unstable();
        assert_eq!(counts, [(0, 2), (3, 3), (7, 1)]);
    }
}
