//! Weights of obs as whole numbers, laid end to end on an axis on which draws fall.

use crate::Error;
use std::collections::HashMap;
use std::sync::Arc;

use super::classes::{MISSING, count_classes};
use super::error::PlanError;
use super::universe::Universe;

/// Members between two partial sums of the axis.
const STEP: u64 = 16;

/// All weights sum to less than 2^62 and a bit, so that the sum of them and twice it fits 64 bits.
const SUM_BITS: i64 = 62;

/// A weight, a positive whole number, for each member of a universe.
#[derive(Clone, Debug)]
pub(crate) enum Weights {
    /// `max(1, floor(weight * scale))`.
    PerObs { weights: Arc<[f32]>, scale: f64 },
    /// The weight of the obs' class. Every member has one.
    PerClass {
        codes: Arc<[u32]>,
        weights: ClassWeights,
    },
}

impl Weights {
    /// The members whose weight is positive, and their weights.
    pub(crate) fn per_obs(universe: Universe, weights: &Arc<[f32]>) -> Result<(Universe, Self), Error> {
        let n_obs = weights.len() as u64;
        if let Some(obs) = weights.iter().position(|w| !(w.is_finite() && *w >= 0.0)) {
            return Err(PlanError::BadWeight {
                obs: obs as u64,
                found: weights[obs].to_string(),
            }
            .into());
        }
        let before = universe.len();
        let universe = universe.filter(n_obs, |obs| weights[obs as usize] > 0.0)?;
        if universe.len() == 0 {
            let what = "a weight above 0";
            return Err(PlanError::NothingToDraw { n_obs: before, what }.into());
        }
        let mut sum = 0.0;
        universe.for_each(|obs| sum += f64::from(weights[obs as usize]));
        // The sum is a normal number: at least 2^-149, at most 2^128 for each obs.
        let exponent = (sum.to_bits() >> 52) as i64 - 1023;
        let scale = f64::from_bits(((SUM_BITS - 1 - exponent + 1023) as u64) << 52);
        let weights = weights.clone();
        Ok((universe, Self::PerObs { weights, scale }))
    }

    /// The members that have a class, weighted such that each class weighs the same: in the universe or, if `global`,
    /// in the whole data set.
    pub(crate) fn per_class(
        universe: Universe,
        codes: &Arc<[u32]>,
        global: bool,
    ) -> Result<(Universe, Self), Error> {
        let n_obs = codes.len() as u64;
        let before = universe.len();
        let universe = universe.filter(n_obs, |obs| codes[obs as usize] != MISSING)?;
        if universe.len() == 0 {
            let what = "a class";
            return Err(PlanError::NothingToDraw { n_obs: before, what }.into());
        }
        let counts = match global {
            true => count_classes(&Universe::All(n_obs), codes),
            false => count_classes(&universe, codes),
        };
        let each = (1 << SUM_BITS) / counts.len() as u64;
        let weights = counts
            .into_iter()
            .map(|(code, count)| (code, (each / count).max(1)))
            .collect();
        let (codes, weights) = (codes.clone(), ClassWeights::new(weights));
        Ok((universe, Self::PerClass { codes, weights }))
    }

    #[inline]
    pub(crate) fn get(&self, obs: u64) -> u64 {
        match self {
            Self::PerObs { weights, scale } => ((f64::from(weights[obs as usize]) * scale) as u64).max(1),
            Self::PerClass { codes, weights } => weights.get(codes[obs as usize]),
        }
    }
}

/// The weight of each class by its code.
#[derive(Clone, Debug)]
pub(crate) enum ClassWeights {
    /// The place is the code.
    Dense(Vec<u64>),
    Sparse(HashMap<u32, u64>),
}

impl ClassWeights {
    fn new(weights: HashMap<u32, u64>) -> Self {
        let len = weights.keys().max().map_or(0, |code| *code as usize + 1);
        if len > (1 << 20) + 16 * weights.len() {
            return Self::Sparse(weights);
        }
        let mut dense = vec![1; len];
        weights
            .into_iter()
            .for_each(|(code, weight)| dense[code as usize] = weight);
        Self::Dense(dense)
    }

    #[inline]
    fn get(&self, code: u32) -> u64 {
        let weight = match self {
            Self::Dense(weights) => weights.get(code as usize),
            Self::Sparse(weights) => weights.get(&code),
        };
        weight.copied().unwrap_or(1)
    }
}

/// The members of a universe, each as long as its weight, end to end.
#[derive(Debug)]
pub(crate) struct Axis {
    universe: Universe,
    weights: Weights,
    /// The weight before each [`STEP`]th member, and all of it last.
    sums: Vec<u64>,
}

impl Axis {
    /// Looks at every member once.
    pub(crate) fn new(universe: Universe, weights: Weights) -> Self {
        let mut sums = Vec::with_capacity((universe.len() / STEP) as usize + 2);
        let (mut sum, mut place) = (0, 0);
        universe.for_each(|obs| {
            if place % STEP == 0 {
                sums.push(sum);
            }
            sum += weights.get(obs);
            place += 1;
        });
        sums.push(sum);
        Self {
            universe,
            weights,
            sums,
        }
    }

    /// Members.
    pub(crate) fn len(&self) -> u64 {
        self.universe.len()
    }

    /// The weight of all members.
    pub(crate) fn total(&self) -> u64 {
        self.sums.last().copied().unwrap_or(0)
    }

    pub(crate) fn cursor(&self) -> Cursor<'_> {
        Cursor {
            axis: self,
            step: u64::MAX,
            members: Vec::with_capacity(STEP as usize),
            ends: Vec::with_capacity(STEP as usize),
        }
    }
}

/// Looks up places on an axis; neighbouring ones at little cost.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    axis: &'a Axis,
    /// Which members are at hand.
    step: u64,
    members: Vec<u64>,
    /// Where on the axis each of them ends.
    ends: Vec<u64>,
}

impl Cursor<'_> {
    fn load(&mut self, step: u64) {
        if self.step == step {
            return;
        }
        self.step = step;
        self.members.clear();
        self.ends.clear();
        let end = self.axis.len().min((step + 1) * STEP);
        self.axis.universe.extend(step * STEP..end, &mut self.members);
        let mut sum = self.axis.sums[step as usize];
        for obs in &self.members {
            sum += self.axis.weights.get(*obs);
            self.ends.push(sum);
        }
    }

    /// The weight before member number `place`.
    pub(crate) fn before(&mut self, place: u64) -> u64 {
        if place >= self.axis.len() {
            return self.axis.total();
        }
        let within = (place % STEP) as usize;
        if within == 0 {
            return self.axis.sums[(place / STEP) as usize];
        }
        self.load(place / STEP);
        self.ends[within - 1]
    }

    /// The member that covers `weight`, which lies below the total: its number and its obs.
    pub(crate) fn at(&mut self, weight: u64) -> (u64, u64) {
        let inside = self.step != u64::MAX
            && self.axis.sums[self.step as usize] <= weight
            && weight < self.axis.sums[self.step as usize + 1];
        if !inside {
            let step = self.axis.sums.partition_point(|sum| *sum <= weight) - 1;
            self.load(step as u64);
        }
        let within = self.ends.partition_point(|end| *end <= weight);
        (self.step * STEP + within as u64, self.members[within])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::subset::Subset;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_place_of_the_axis_is_found(
            weights in prop::collection::vec(prop_oneof![Just(0.0f32), 1e-30f32..1e30, 0.5f32..2.0], 1..400), part: u64,
        ) {
            let weights: Arc<[f32]> = weights.into();
            let n = weights.len() as u64;
            let some = Subset::from_fn(n, |obs| obs % 3 != 1).unwrap();
            for universe in [Universe::All(n), Universe::Subset(some)] {
                let Ok((universe, whole)) = Weights::per_obs(universe, &weights) else { continue };
                let axis = Axis::new(universe.clone(), whole.clone());
                let mut members = Vec::new();
                universe.for_each(|obs| members.push(obs));
                prop_assert!(members.iter().all(|obs| weights[*obs as usize] > 0.0));
                prop_assert!(axis.total() >= 1 << 61 && axis.total() <= (1 << 62) + n);
                let (mut cursor, mut sum) = (axis.cursor(), 0);
                for (place, obs) in (0..).zip(&members) {
                    prop_assert_eq!(cursor.before(place), sum);
                    let end = sum + whole.get(*obs);
                    for at in [sum, sum + part % whole.get(*obs), end - 1] {
                        prop_assert_eq!(cursor.at(at), (place, *obs));
                    }
                    sum = end;
                }
                prop_assert_eq!((axis.total(), cursor.before(axis.len())), (sum, sum));
                // From anywhere to anywhere.
                prop_assert_eq!(cursor.at(0).0, 0);
                prop_assert_eq!(cursor.at(sum - 1).0 + 1, axis.len());
            }
        }
    }

    #[test]
    fn whole_numbers_keep_the_proportions() {
        let weights: Arc<[f32]> = vec![1.0, 1e-9, 0.25, 0.0, f32::MIN_POSITIVE].into();
        let (universe, whole) = Weights::per_obs(Universe::All(5), &weights).unwrap();
        assert_eq!(universe.len(), 4);
        let shares = [0, 1, 2, 4].map(|obs| whole.get(obs) as f64 / whole.get(0) as f64);
        for (share, expected) in shares.into_iter().zip([1.0, 1e-9, 0.25, 0.0]) {
            assert!((share - expected).abs() < 1e-16, "{shares:?}");
        }
        assert_eq!(whole.get(4), 1, "never lost altogether");
        for extreme in [f32::MAX, f32::from_bits(1)] {
            let weights: Arc<[f32]> = vec![extreme; 3].into();
            let (_, whole) = Weights::per_obs(Universe::All(3), &weights).unwrap();
            assert_eq!(
                (3 * whole.get(0)).div_ceil(1 << 61),
                2,
                "{extreme}: {}",
                whole.get(0)
            );
        }
    }

    #[test]
    fn classes_weigh_the_same_in_the_subset_or_in_all() {
        let codes: Arc<[u32]> = (0..100)
            .map(|obs| {
                if obs < 80 {
                    5
                } else if obs < 99 {
                    9
                } else {
                    MISSING
                }
            })
            .collect();
        let some = Universe::Subset(Subset::from_ranges(100, std::iter::once(70..100)).unwrap());
        let share = |global| {
            let (universe, weights) = Weights::per_class(some.clone(), &codes, global).unwrap();
            let (mut sum, mut five) = (0, 0);
            universe.for_each(|obs| {
                sum += weights.get(obs);
                five += if codes[obs as usize] == 5 {
                    weights.get(obs)
                } else {
                    0
                };
            });
            assert_eq!(universe.len(), 29);
            five as f64 / sum as f64
        };
        assert!((share(false) - 0.5).abs() < 1e-12);
        assert!((share(true) - 0.125 / 1.125).abs() < 1e-12);
    }

    #[test]
    fn bad_weights_are_named() {
        let refuse = |weights: Vec<f32>| {
            let n = weights.len() as u64;
            Weights::per_obs(Universe::All(n), &weights.into())
                .unwrap_err()
                .to_string()
        };
        for bad in [-1.0, f32::NAN, f32::INFINITY] {
            let told = format!("the weight of obs 1 is {bad}: weights must be finite and not negative");
            assert_eq!(refuse(vec![0.0, bad]), told);
        }
        assert_eq!(
            refuse(vec![0.0; 3]),
            "none of the 3 obs to draw from has a weight above 0: nothing can be drawn"
        );
        let codes = vec![MISSING; 2].into();
        let error = Weights::per_class(Universe::All(2), &codes, false).unwrap_err();
        assert_eq!(
            error.to_string(),
            "none of the 2 obs to draw from has a class: nothing can be drawn"
        );
    }
}
