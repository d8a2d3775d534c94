//! Obs sorted by a code.

use std::collections::HashMap;

use super::list::ObsList;
use super::universe::Universe;

/// Obs sorted by a key, then in storage order: 4 bytes for each (8 from 2^32 obs on), less where equal ones lie together.
#[derive(Debug)]
pub(crate) struct Sorted {
    pub(crate) members: ObsList,
    /// The keys, ascending.
    pub(crate) keys: Vec<u64>,
    /// Where the obs of each key start, and the end.
    pub(crate) starts: Vec<u64>,
}

impl Sorted {
    /// The members of the universe that have a key. Looks at each twice.
    pub(crate) fn new(universe: &Universe, n_obs: u64, key: impl Fn(u64) -> Option<u64>) -> Self {
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
