//! Sets of obs of one group, alone or with matched controls: what minibatches of whole groups are made of.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::circle::Circle;
use super::classes::MISSING;
use super::error::PlanError;
use super::list::ObsList;
use super::permutation::Permutation;
use super::stream::{Purpose, Stream};
use super::universe::Universe;

/// What [`Strategy::Grouped`](super::Strategy::Grouped) samples by.
#[derive(Clone, Debug)]
pub struct Grouped {
    /// The group of each obs of the data set, such as its perturbation; obs that are [`MISSING`] are left out.
    pub codes: Arc<[u32]>,
    /// Obs of a group in a set; without it a set is a whole group.
    pub n_per_group: Option<u32>,
    /// Sets in a minibatch; without it as many (of the largest) as fit `batch_size`. With it minibatches of whole
    /// groups may exceed `batch_size`.
    pub sets_per_minibatch: Option<u32>,
    /// The controls that follow the obs of a set.
    pub controls: Option<Controls>,
}

/// The controls of sets.
#[derive(Clone, Debug)]
pub struct Controls {
    /// Which group codes are controls. They form no sets of their own.
    pub groups: Vec<u32>,
    /// What a set and its controls have in common, such as the cell line or the plate, as a code for each obs; obs that
    /// are [`MISSING`] are left out. Without it any control matches.
    pub match_codes: Option<Arc<[u32]>>,
    /// Controls that follow each set, at least 1.
    pub n_per_set: u32,
}

/// Groups and controls of a data set: 4 bytes for each obs (8 from 2^32 obs on), less where groups lie together.
#[derive(Debug)]
pub(crate) struct Groups {
    /// Obs, group by group, each in storage order; groups ascend by match code, then by their own.
    members: ObsList,
    /// Where each group starts, and the end.
    starts: Vec<u64>,
    /// The number of the first set of each group, and of all sets.
    sets: Vec<u64>,
    n_per_group: Option<u64>,
    sets_per_minibatch: u64,
    /// The largest set, controls included.
    pub(crate) max_set_obs: u64,
    controls: Option<Pool>,
    drop_last: bool,
}

/// The controls, by match code.
#[derive(Debug)]
struct Pool {
    members: ObsList,
    /// Where the controls of each match code start, and the end.
    starts: Vec<u64>,
    /// Which match code each group has, counted from 0.
    match_of: Vec<u32>,
    /// The number of the first set of each match code.
    first_set: Vec<u64>,
    n_per_set: u64,
}

impl Groups {
    pub(crate) fn new(
        universe: &Universe,
        grouped: &Grouped,
        batch_size: u32,
        drop_last: bool,
    ) -> Result<Self, PlanError> {
        for (name, size) in [
            ("n_per_group", grouped.n_per_group),
            ("sets_per_minibatch", grouped.sets_per_minibatch),
            (
                "n_per_set",
                grouped.controls.as_ref().map(|controls| controls.n_per_set),
            ),
        ] {
            if size == Some(0) {
                return Err(PlanError::ZeroSize { name });
            }
        }
        let codes = &grouped.codes;
        let match_codes = grouped
            .controls
            .as_ref()
            .and_then(|controls| controls.match_codes.as_ref());
        let match_code = |obs: u64| match_codes.map_or(0, |codes| codes[obs as usize]);
        let mut control_codes = grouped
            .controls
            .as_ref()
            .map_or(vec![], |controls| controls.groups.clone());
        control_codes.sort_unstable();
        let is_control = |code: u32| control_codes.binary_search(&code).is_ok();

        let n_obs = codes.len() as u64;
        let sorted = Sorted::new(universe, n_obs, |obs| {
            let (code, matched) = (codes[obs as usize], match_code(obs));
            let left_out = code == MISSING || matched == MISSING || is_control(code);
            (!left_out).then(|| u64::from(matched) << 32 | u64::from(code))
        });
        let n_per_group = grouped.n_per_group.map(u64::from);
        let sizes = sorted.starts.windows(2).map(|pair| pair[1] - pair[0]);
        let mut sets = vec![0];
        for size in sizes.clone() {
            let n_sets = match n_per_group {
                None => 1,
                Some(n) if drop_last => (size / n).max(1),
                Some(n) => size.div_ceil(n),
            };
            sets.push(sets.last().copied().unwrap_or(0) + n_sets);
        }
        let controls = match &grouped.controls {
            None => None,
            Some(controls) => {
                let pool = Sorted::new(universe, n_obs, |obs| {
                    let (code, matched) = (codes[obs as usize], match_code(obs));
                    (code != MISSING && matched != MISSING && is_control(code))
                        .then(|| u64::from(matched) << 32)
                });
                Some(Pool::new(pool, &sorted, &sets, controls.n_per_set)?)
            }
        };

        let n_controls = controls.as_ref().map_or(0, |pool| pool.n_per_set);
        let max_set_obs = n_per_group.unwrap_or_else(|| sizes.max().unwrap_or(0)) + n_controls;
        let fitting = u64::from(batch_size) / max_set_obs.max(1);
        if fitting == 0 && grouped.sets_per_minibatch.is_none() {
            return Err(PlanError::SetTooLarge {
                set_obs: max_set_obs,
                batch_size,
            });
        }
        Ok(Self {
            members: sorted.members,
            starts: sorted.starts,
            sets,
            n_per_group,
            sets_per_minibatch: grouped.sets_per_minibatch.map_or(fitting, u64::from),
            max_set_obs,
            controls,
            drop_last,
        })
    }

    fn n_sets(&self) -> u64 {
        self.sets.last().copied().unwrap_or(0)
    }

    /// Obs of the largest minibatch, if it is full.
    pub(crate) fn max_minibatch_obs(&self) -> u64 {
        self.sets_per_minibatch.saturating_mul(self.max_set_obs)
    }

    pub(crate) fn n_minibatches(&self) -> u64 {
        match self.drop_last {
            true => self.n_sets() / self.sets_per_minibatch,
            false => self.n_sets().div_ceil(self.sets_per_minibatch),
        }
    }

    fn group_of(&self, set: u64) -> usize {
        self.sets.partition_point(|first| *first <= set) - 1
    }

    fn size(&self, group: usize) -> u64 {
        self.starts[group + 1] - self.starts[group]
    }

    /// Different obs in a set, controls left out.
    fn distinct(&self, set: u64) -> u64 {
        let size = self.size(self.group_of(set));
        self.n_per_group.map_or(size, |n| n.min(size))
    }
}

impl Pool {
    fn new(pool: Sorted, groups: &Sorted, sets: &[u64], n_per_set: u32) -> Result<Self, PlanError> {
        let (mut match_of, mut first_set) = (Vec::new(), vec![0; pool.keys.len()]);
        for (group, key) in groups.keys.iter().enumerate() {
            let Ok(matched) = pool.keys.binary_search(&(key >> 32 << 32)) else {
                return Err(PlanError::NoControls {
                    match_code: (key >> 32) as u32,
                    n_obs: groups.starts[group + 1] - groups.starts[group],
                });
            };
            if match_of.last() != Some(&(matched as u32)) {
                first_set[matched] = sets[group];
            }
            match_of.push(matched as u32);
        }
        Ok(Self {
            members: pool.members,
            starts: pool.starts,
            match_of,
            first_set,
            n_per_set: n_per_set.into(),
        })
    }
}

/// Obs sorted by a key, then in storage order.
struct Sorted {
    members: ObsList,
    keys: Vec<u64>,
    starts: Vec<u64>,
}

impl Sorted {
    /// The members of the universe that have a key. Looks at each twice.
    fn new(universe: &Universe, n_obs: u64, key: impl Fn(u64) -> Option<u64>) -> Self {
        let mut counts = HashMap::<u64, u64>::new();
        let mut last = None;
        let mut run = 0;
        // Neighbours are alike more often than not.
        let mut flush = |key: Option<u64>, run: &mut u64| {
            if let Some(key) = key {
                *counts.entry(key).or_insert(0) += *run;
            }
            *run = 0;
        };
        universe.for_each(|obs| {
            let key = key(obs);
            if key != last {
                flush(last, &mut run);
                last = key;
            }
            run += 1;
        });
        flush(last, &mut run);

        let mut keys: Vec<u64> = counts.keys().copied().collect();
        keys.sort_unstable();
        let mut starts = vec![0];
        for key in &keys {
            starts.push(starts.last().copied().unwrap_or(0) + counts[key]);
        }
        // From here on the map tells where the next obs of a key goes.
        counts.extend(keys.iter().copied().zip(starts.iter().copied()));
        let mut members = ObsList::zeroed(n_obs, starts.last().copied().unwrap_or(0));
        universe.for_each(|obs| {
            if let Some(next) = key(obs).and_then(|key| counts.get_mut(&key)) {
                members.set(*next, obs);
                *next += 1;
            }
        });
        Self {
            members: members.compact(),
            keys,
            starts,
        }
    }
}

/// The sets of one epoch.
#[derive(Clone, Debug)]
pub(crate) struct GroupOrder {
    groups: Arc<Groups>,
    /// The order of the sets.
    order: Permutation,
    block_size: u64,
    seed: u64,
    epoch: u64,
}

impl GroupOrder {
    pub(crate) fn new(groups: Arc<Groups>, block_size: u64, seed: u64, epoch: u64) -> Self {
        let order = Permutation::new(groups.n_sets(), Stream::new(seed, epoch, Purpose::SetOrder, 0));
        Self {
            groups,
            order,
            block_size,
            seed,
            epoch,
        }
    }

    pub(crate) fn n_minibatches(&self) -> u64 {
        self.groups.n_minibatches()
    }

    /// The places of the sets of a minibatch.
    fn places(&self, minibatch: u64) -> Range<u64> {
        let each = self.groups.sets_per_minibatch;
        let start = minibatch * each;
        start..self.groups.n_sets().min(start.saturating_add(each))
    }

    /// Appends the obs of a minibatch: its sets one behind the other.
    pub(crate) fn fill(&self, minibatch: u64, obs: &mut Vec<u64>) {
        let mut circles = Circles {
            order: self,
            group: None,
            controls: None,
        };
        for place in self.places(minibatch) {
            let set = self.order.get(place);
            let group = self.groups.group_of(set);
            let (start, size) = (self.groups.starts[group], self.groups.size(group));
            match self.groups.n_per_group {
                None => self.groups.members.extend(start..start + size, obs),
                Some(n) => {
                    let first = (set - self.groups.sets[group]) * n;
                    circles.of_group(group).visit_around(first, n, |range| {
                        self.groups
                            .members
                            .extend(start + range.start..start + range.end, obs);
                    });
                }
            }
            if let Some(pool) = &self.groups.controls {
                let matched = pool.match_of[group] as usize;
                let start = pool.starts[matched];
                let first = (set - pool.first_set[matched]) * pool.n_per_set;
                circles
                    .of_controls(pool, matched)
                    .visit_around(first, pool.n_per_set, |range| {
                        pool.members.extend(start + range.start..start + range.end, obs);
                    });
            }
        }
    }

    /// Obs (controls left out) that are in none but these minibatches of the epoch, or in no set at all.
    pub(crate) fn n_dropped(&self, minibatches: impl Iterator<Item = u64>) -> u64 {
        if !self.groups.drop_last {
            return 0;
        }
        let groups = &self.groups;
        let behind_last = self.places(self.n_minibatches());
        let places = minibatches
            .flat_map(|minibatch| self.places(minibatch))
            .chain(behind_last);
        let of_sets: u64 = places.map(|place| groups.distinct(self.order.get(place))).sum();
        let n_sets = |group: usize| groups.sets[group + 1] - groups.sets[group];
        let rest = |group: usize| match groups.n_per_group {
            Some(n) => groups.size(group).saturating_sub(n_sets(group) * n),
            None => 0,
        };
        of_sets + (0..groups.starts.len() - 1).map(rest).sum::<u64>()
    }

    fn circle(&self, len: u64, order: Purpose, turn: Purpose, index: u64) -> Circle {
        let stream = |purpose| Stream::new(self.seed, self.epoch, purpose, index);
        Circle::new(len, self.block_size, stream(order), stream(turn))
    }
}

/// The circles last used: sets of one group often follow each other where groups are few.
struct Circles<'a> {
    order: &'a GroupOrder,
    group: Option<(usize, Circle)>,
    controls: Option<(usize, Circle)>,
}

impl Circles<'_> {
    fn of_group(&mut self, group: usize) -> &Circle {
        let order = self.order;
        let make = || {
            let len = order.groups.size(group);
            order.circle(len, Purpose::GroupOrder, Purpose::GroupTurn, group as u64)
        };
        cached(&mut self.group, group, make)
    }

    fn of_controls(&mut self, pool: &Pool, matched: usize) -> &Circle {
        let order = self.order;
        let make = || {
            let len = pool.starts[matched + 1] - pool.starts[matched];
            order.circle(len, Purpose::ControlOrder, Purpose::ControlTurn, matched as u64)
        };
        cached(&mut self.controls, matched, make)
    }
}

fn cached(slot: &mut Option<(usize, Circle)>, number: usize, make: impl FnOnce() -> Circle) -> &Circle {
    if slot.as_ref().is_some_and(|(cached, _)| *cached != number) {
        *slot = None;
    }
    &slot.get_or_insert_with(|| (number, make())).1
}
