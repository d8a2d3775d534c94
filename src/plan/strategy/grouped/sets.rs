//! The sets of one epoch, and the minibatches that they make up.

use std::ops::Range;
use std::sync::Arc;

use super::groups::{ControlPool, Groups};
use crate::plan::order::Minibatches;
use crate::plan::permutation::Permutation;
use crate::plan::shuffled_blocks::ShuffledBlocks;
use crate::plan::stream::{Purpose, RandomStream};

/// The sets of one epoch.
#[derive(Debug)]
pub(super) struct Sets {
    groups: Arc<Groups>,
    /// The order of the sets.
    order: Permutation,
    block_size: u64,
    seed: u64,
    epoch: u64,
}

impl Sets {
    pub(super) fn new(groups: Arc<Groups>, block_size: u64, seed: u64, epoch: u64) -> Self {
        let order = Permutation::new(
            groups.n_sets(),
            RandomStream::new(seed, epoch, Purpose::SetOrder, 0),
        );
        Self {
            groups,
            order,
            block_size,
            seed,
            epoch,
        }
    }

    /// The places of the sets of a minibatch.
    fn places(&self, minibatch: u64) -> Range<u64> {
        let each = self.groups.sets_per_minibatch;
        let start = minibatch * each;
        start..self.groups.n_sets().min(start.saturating_add(each))
    }

    fn shuffled(&self, len: u64, order: Purpose, turn: Purpose, index: u64) -> ShuffledBlocks {
        let stream = |purpose| RandomStream::new(self.seed, self.epoch, purpose, index);
        ShuffledBlocks::new(len, self.block_size, stream(order), stream(turn))
    }
}

impl Minibatches for Sets {
    fn n_minibatches(&self) -> u64 {
        self.groups.n_minibatches()
    }

    /// Appends the obs of a minibatch: its sets one after the other.
    fn fill(&self, minibatch: u64, obs: &mut Vec<u64>) {
        let mut shuffled = ShuffledGroups {
            sets: self,
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
                    shuffled.of_group(group).visit_around(first, n, |range| {
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
                shuffled
                    .of_controls(pool, matched)
                    .visit_around(first, pool.n_per_set, |range| {
                        pool.members.extend(start + range.start..start + range.end, obs);
                    });
            }
        }
    }

    /// Controls are not counted.
    fn n_dropped(&self, dropped: &mut dyn Iterator<Item = u64>) -> u64 {
        if !self.groups.drop_last {
            return 0;
        }
        let groups = &self.groups;
        let behind_last = self.places(self.n_minibatches());
        let places = dropped
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
}

/// The blocks last used: sets of one group often follow each other where groups are few.
struct ShuffledGroups<'a> {
    sets: &'a Sets,
    group: Option<(usize, ShuffledBlocks)>,
    controls: Option<(usize, ShuffledBlocks)>,
}

impl ShuffledGroups<'_> {
    fn of_group(&mut self, group: usize) -> &ShuffledBlocks {
        let sets = self.sets;
        let make = || {
            let len = sets.groups.size(group);
            sets.shuffled(len, Purpose::GroupOrder, Purpose::GroupTurn, group as u64)
        };
        cached(&mut self.group, group, make)
    }

    fn of_controls(&mut self, pool: &ControlPool, matched: usize) -> &ShuffledBlocks {
        let sets = self.sets;
        let make = || {
            let len = pool.starts[matched + 1] - pool.starts[matched];
            sets.shuffled(len, Purpose::ControlOrder, Purpose::ControlTurn, matched as u64)
        };
        cached(&mut self.controls, matched, make)
    }
}

fn cached(
    slot: &mut Option<(usize, ShuffledBlocks)>,
    number: usize,
    make: impl FnOnce() -> ShuffledBlocks,
) -> &ShuffledBlocks {
    if slot.as_ref().is_some_and(|(cached, _)| *cached != number) {
        *slot = None;
    }
    &slot.get_or_insert_with(|| (number, make())).1
}
