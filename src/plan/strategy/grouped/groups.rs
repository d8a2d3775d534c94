//! Groups and their controls: what is the same in every epoch.

use super::data::Grouped;
use crate::Error;
use crate::plan::classes::MISSING;
use crate::plan::error::PlanError;
use crate::plan::list::ObsList;
use crate::plan::sorted::Sorted;
use crate::plan::universe::Universe;

/// Groups and controls of a data set: 4 bytes for each obs (8 from 2^32 obs on), less where groups lie together.
#[derive(Debug)]
pub(super) struct Groups {
    /// Obs, group by group, each in storage order; groups ascend by match code, then by their own.
    pub(super) members: ObsList,
    /// Where each group starts, and the end.
    pub(super) starts: Vec<u64>,
    /// The number of the first set of each group, and of all sets.
    pub(super) sets: Vec<u64>,
    pub(super) n_per_group: Option<u64>,
    pub(super) sets_per_minibatch: u64,
    /// The largest set, controls included.
    max_set_obs: u64,
    pub(super) controls: Option<ControlPool>,
    pub(super) drop_last: bool,
}

/// The controls, by match code.
#[derive(Debug)]
pub(super) struct ControlPool {
    pub(super) members: ObsList,
    /// Where the controls of each match code start, and the end.
    pub(super) starts: Vec<u64>,
    /// Which match code each group has, counted from 0.
    pub(super) match_of: Vec<u32>,
    /// The number of the first set of each match code.
    pub(super) first_set: Vec<u64>,
    pub(super) n_per_set: u64,
}

impl Groups {
    pub(super) fn new(
        universe: &Universe,
        grouped: &Grouped,
        batch_size: u32,
        drop_last: bool,
    ) -> Result<Self, Error> {
        let codes = &grouped.codes;
        let match_codes = grouped.match_codes();
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
                Some(ControlPool::new(pool, &sorted, &sets, controls.n_per_set)?)
            }
        };

        let n_controls = controls.as_ref().map_or(0, |pool| pool.n_per_set);
        let max_set_obs = n_per_group.unwrap_or_else(|| sizes.max().unwrap_or(0)) + n_controls;
        let fitting = u64::from(batch_size) / max_set_obs.max(1);
        if fitting == 0 && grouped.sets_per_minibatch.is_none() {
            return Err(PlanError::SetTooLarge {
                set_obs: max_set_obs,
                n_controls,
                batch_size,
            }
            .into());
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

    pub(super) fn n_sets(&self) -> u64 {
        self.sets.last().copied().unwrap_or(0)
    }

    /// Obs of the largest minibatch, if it is full.
    pub(super) fn max_minibatch_obs(&self) -> u64 {
        self.sets_per_minibatch.saturating_mul(self.max_set_obs)
    }

    pub(super) fn n_minibatches(&self) -> u64 {
        match self.drop_last {
            true => self.n_sets() / self.sets_per_minibatch,
            false => self.n_sets().div_ceil(self.sets_per_minibatch),
        }
    }

    pub(super) fn group_of(&self, set: u64) -> usize {
        self.sets.partition_point(|first| *first <= set) - 1
    }

    pub(super) fn size(&self, group: usize) -> u64 {
        self.starts[group + 1] - self.starts[group]
    }

    /// Different obs in a set, controls left out.
    pub(super) fn distinct(&self, set: u64) -> u64 {
        let size = self.size(self.group_of(set));
        self.n_per_group.map_or(size, |n| n.min(size))
    }
}

impl ControlPool {
    fn new(pool: Sorted, groups: &Sorted, sets: &[u64], n_per_set: u32) -> Result<Self, Error> {
        let (mut match_of, mut first_set) = (Vec::new(), vec![0; pool.keys.len()]);
        for (group, key) in groups.keys.iter().enumerate() {
            let Ok(matched) = pool.keys.binary_search(&(key >> 32 << 32)) else {
                let (start, mut example) = (groups.starts[group], Vec::new());
                groups.members.extend(start..start + 1, &mut example);
                return Err(PlanError::NoControls {
                    match_code: (key >> 32) as u32,
                    n_obs: groups.starts[group + 1] - groups.starts[group],
                    example: example[0],
                }
                .into());
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
