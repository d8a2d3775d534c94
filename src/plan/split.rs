//! Subsets for training, validation and test.

use super::classes::MISSING;
use super::error::PlanError;
use super::permutation::Permutation;
use super::stream::{Purpose, RandomStream};
use super::subset::{Builder, Subset};
use crate::Error;

impl Subset {
    /// Divides the subset at random, obs by obs, into as many parts as there are fractions.
    ///
    /// Each obs comes into one part, or into none where the fractions sum to less than 1. Part `i` ends at the member
    /// number `round(len * (fractions[0] + .. + fractions[i]))` of a random order, so sizes are exact up to rounding.
    /// The same subset, fractions and seed give the same parts, always. A part is scattered over the store: where
    /// cells of a kind lie together, or to read a part in longer runs, split by group.
    ///
    /// # Errors
    /// If a fraction is negative or not a number, or they sum to more than 1.
    pub fn split(&self, fractions: &[f64], seed: u64) -> Result<Vec<Self>, Error> {
        let ends = part_ends(self.len(), fractions)?;
        let order = Permutation::new(self.len(), RandomStream::new(seed, 0, Purpose::Split, 0));
        let mut parts: Vec<_> = ends.iter().map(|_| Builder::new(self.n_obs())).collect();
        for (place, obs) in (0..).zip(self.iter()) {
            let part = part_of(&ends, order.get(place));
            if let Some(part) = parts.get_mut(part) {
                part.push(obs..obs + 1);
            }
        }
        Ok(parts.into_iter().map(Builder::finish).collect())
    }

    /// Divides the subset at random into as many parts as there are fractions, whole groups at a time.
    ///
    /// `codes` tells the group of each obs of the data set: a donor or a plate, say, or `obs / 1024` for stretches of
    /// the store. The groups are taken in random order; a group comes into the part in which the middle of its obs
    /// falls when part `i` ends as in [`split`](Self::split). So a part is off its size by at most half a group at
    /// either end. Obs with the code [`MISSING`] come into no part.
    ///
    /// # Errors
    /// If `codes` has another length than the data set, or the fractions are none, as in [`split`](Self::split).
    pub fn split_by_group(&self, codes: &[u32], fractions: &[f64], seed: u64) -> Result<Vec<Self>, Error> {
        if codes.len() as u64 != self.n_obs() {
            return Err(PlanError::WrongLength {
                what: "the codes of the groups",
                found: codes.len() as u64,
                n_obs: self.n_obs(),
            }
            .into());
        }
        // Codes need not be dense: groups in ascending order of their codes, and how many members each has.
        let mut groups: Vec<u32> = Vec::new();
        for obs in self.iter() {
            let code = codes[obs as usize];
            if code != MISSING && groups.last() != Some(&code) {
                groups.push(code);
                if groups.len() == groups.capacity() {
                    groups.sort_unstable();
                    groups.dedup();
                }
            }
        }
        groups.sort_unstable();
        groups.dedup();
        let group_of = |obs: u64| groups.binary_search(&codes[obs as usize]).ok();
        let mut sizes = vec![0; groups.len()];
        self.iter()
            .filter_map(group_of)
            .for_each(|group| sizes[group] += 1);

        let ends = part_ends(sizes.iter().sum(), fractions)?;
        let order = Permutation::new(groups.len() as u64, RandomStream::new(seed, 0, Purpose::Split, 1));
        let (mut parts_of, mut before) = (vec![0; groups.len()], 0);
        for group in (0..groups.len() as u64).map(|place| order.get(place) as usize) {
            parts_of[group] = part_of(&ends, before + sizes[group] / 2);
            before += sizes[group];
        }
        let mut parts: Vec<_> = ends.iter().map(|_| Builder::new(self.n_obs())).collect();
        for obs in self.iter() {
            let part = group_of(obs).and_then(|group| parts.get_mut(parts_of[group]));
            if let Some(part) = part {
                part.push(obs..obs + 1);
            }
        }
        Ok(parts.into_iter().map(Builder::finish).collect())
    }
}

/// Where each part ends.
fn part_ends(len: u64, fractions: &[f64]) -> Result<Vec<u64>, Error> {
    let mut sum = 0.0;
    let mut ends = Vec::with_capacity(fractions.len());
    for fraction in fractions {
        sum += fraction;
        // Ten tenths are a little off one.
        if !(*fraction >= 0.0 && sum <= 1.0 + 1e-9) {
            return Err(PlanError::BadFractions {
                found: format!("{fractions:?}"),
            }
            .into());
        }
        ends.push(((len as f64 * sum).round() as u64).min(len));
    }
    if let Some(last) = ends.last_mut().filter(|_| sum > 1.0 - 1e-9) {
        *last = len;
    }
    Ok(ends)
}

/// The first part that ends after `place`.
fn part_of(ends: &[u64], place: u64) -> usize {
    ends.iter().position(|end| place < *end).unwrap_or(ends.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::testing::assert_uniform;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_are_disjoint_complete_and_of_the_size_asked_for(
            n in 1u64..6000, keep in 1u64..4, weights in prop::collection::vec(0u32..9, 1..5), seed: u64,
        ) {
            let all = Subset::from_fn(n, |obs| obs % keep == 0).unwrap();
            let total = weights.iter().sum::<u32>().max(1);
            let fractions: Vec<f64> = weights.iter().map(|w| f64::from(*w) / f64::from(total)).collect();
            let parts = all.split(&fractions, seed).unwrap();
            prop_assert_eq!(&parts, &all.split(&fractions, seed).unwrap());
            for (part, fraction) in parts.iter().zip(&fractions) {
                prop_assert!((part.len() as f64 - all.len() as f64 * fraction).abs() <= 1.0 + 1e-6);
            }
            let mut together: Vec<u64> = parts.iter().flat_map(|part| part.iter().collect::<Vec<_>>()).collect();
            together.sort_unstable();
            let complete = weights.iter().any(|w| *w > 0);
            prop_assert!(!complete || together.into_iter().eq(all.iter()));

            // Groups of unequal sizes, in pieces; one code is missing.
            let codes: Vec<u32> = (0..n).map(|obs| if obs % 50 == 7 { MISSING } else { (obs * obs % 37) as u32 }).collect();
            let parts = all.split_by_group(&codes, &fractions, seed).unwrap();
            let members = all.iter().filter(|obs| codes[*obs as usize] != MISSING).collect::<Vec<_>>();
            let mut part_of_group = std::collections::BTreeMap::new();
            let mut n_seen = 0;
            for (number, part) in parts.iter().enumerate() {
                for obs in part.iter() {
                    let code = codes[obs as usize];
                    prop_assert!(code != MISSING && all.contains(obs));
                    prop_assert_eq!(*part_of_group.entry(code).or_insert(number), number);
                    n_seen += 1;
                }
            }
            prop_assert!(!complete || n_seen == members.len());
            let largest = (0..37).map(|code| members.iter().filter(|o| codes[**o as usize] == code).count()).max();
            for (part, fraction) in parts.iter().zip(&fractions) {
                let off = (part.len() as f64 - members.len() as f64 * fraction).abs();
                prop_assert!(off <= largest.unwrap_or(0) as f64 + 2.0);
            }
        }
    }

    /// Chi-square, a false alarm once in 30,000: every obs, and every group of equal size, is as likely in each part.
    #[test]
    fn membership_is_uniform() {
        for n in [10u64, 5000] {
            let all = Subset::all(n).unwrap();
            let codes: Vec<u32> = (0..n).map(|obs| (obs / (n / 10)) as u32).collect();
            let (mut by_obs, mut by_group) = (vec![0; n as usize], vec![0; 10]);
            for seed in 0..400_000 / n {
                all.split(&[0.3], seed).unwrap()[0]
                    .iter()
                    .for_each(|obs| by_obs[obs as usize] += 1);
                let groups = all.split_by_group(&codes, &[0.3], seed).unwrap();
                groups[0]
                    .iter()
                    .step_by(n as usize / 10)
                    .for_each(|obs| by_group[codes[obs as usize] as usize] += 1);
            }
            assert_uniform(&by_obs, &format!("obs of {n} in a part"));
            assert_uniform(&by_group, &format!("groups of {n} obs in a part"));
        }
    }

    #[test]
    fn bad_requests_are_told() {
        let all = Subset::all(10).unwrap();
        for fractions in [&[-0.1][..], &[f64::NAN], &[0.6, 0.6], &[f64::INFINITY]] {
            let error = all.split(fractions, 0).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("the fractions of a split are {fractions:?}")),
                "{error}"
            );
        }
        assert_eq!(
            all.split(&[0.1; 10], 1)
                .unwrap()
                .iter()
                .map(Subset::len)
                .sum::<u64>(),
            10
        );
        let error = all.split_by_group(&[0; 9], &[1.0], 0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the codes of the groups has 9 entries for a data set of 10 obs: give one for each obs"
        );
    }
}
