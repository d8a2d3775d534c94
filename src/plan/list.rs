//! Obs in any order, held in as little memory as their order allows.

use std::ops::Range;

/// A list of obs in a given order: as runs of consecutive obs, or one by one, whichever is smaller.
#[derive(Clone, Debug)]
pub(crate) enum ObsList {
    Runs(Runs),
    Narrow(Vec<u32>),
    Wide(Vec<u64>),
}

/// Runs of consecutive obs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs {
    /// The first obs of each run.
    starts: Vec<u64>,
    /// How many obs the list holds up to the end of each run.
    ends: Vec<u64>,
}

impl Runs {
    /// Appends a run; joins it to the last one where it continues that.
    pub(crate) fn push(&mut self, run: Range<u64>) {
        if run.is_empty() {
            return;
        }
        let (len, joined) = (
            run.end - run.start,
            self.last().is_some_and(|last| last.end == run.start),
        );
        let end = self.len() + len;
        match self.ends.last_mut() {
            Some(last) if joined => *last = end,
            _ => {
                self.starts.push(run.start);
                self.ends.push(end);
            }
        }
    }

    fn last(&self) -> Option<Range<u64>> {
        self.n_runs().checked_sub(1).map(|last| self.run(last))
    }

    pub(crate) fn len(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    pub(crate) fn n_runs(&self) -> usize {
        self.starts.len()
    }

    /// Run number `run`.
    pub(crate) fn run(&self, run: usize) -> Range<u64> {
        let before = if run == 0 { 0 } else { self.ends[run - 1] };
        self.starts[run]..self.starts[run] + (self.ends[run] - before)
    }

    /// The run that is the last to start at or before `obs`, where the runs ascend.
    pub(crate) fn run_before(&self, obs: u64) -> Option<Range<u64>> {
        let run = self.starts.partition_point(|start| *start <= obs);
        run.checked_sub(1).map(|run| self.run(run))
    }

    fn extend(&self, mut places: Range<u64>, obs: &mut Vec<u64>) {
        let mut run = self.ends.partition_point(|end| *end <= places.start);
        while places.start < places.end {
            let before = if run == 0 { 0 } else { self.ends[run - 1] };
            let end = places.end.min(self.ends[run]);
            let first = self.starts[run] + (places.start - before);
            obs.extend(first..first + (end - places.start));
            (places.start, run) = (end, run + 1);
        }
    }
}

impl From<Runs> for ObsList {
    fn from(runs: Runs) -> Self {
        let narrow = (0..runs.n_runs()).all(|run| runs.run(run).end <= 1 << 32);
        let each = if narrow { 4 } else { 8 };
        if 16 * (runs.n_runs() as u64) <= each * runs.len() || runs.n_runs() == 0 {
            return Self::Runs(runs);
        }
        let all = (0..runs.n_runs()).flat_map(|run| runs.run(run));
        match narrow {
            true => Self::Narrow(all.map(|obs| obs as u32).collect()),
            false => Self::Wide(all.collect()),
        }
    }
}

impl ObsList {
    /// From obs one by one.
    pub(crate) fn from_obs(list: Vec<u64>) -> Self {
        let narrow = list.iter().all(|obs| *obs < 1 << 32);
        let list = match narrow {
            true => Self::Narrow(list.into_iter().map(|obs| obs as u32).collect()),
            false => Self::Wide(list),
        };
        list.compact()
    }

    /// As runs, if that is smaller.
    pub(crate) fn compact(self) -> Self {
        let limit = self.memory_bytes() / 16;
        let mut runs = Runs::default();
        let fits = self.iter().all(|obs| {
            runs.push(obs..obs + 1);
            runs.n_runs() <= limit
        });
        if fits { Self::Runs(runs) } else { self }
    }

    /// A list of `len` times obs 0, to be filled with obs below `n_obs`.
    pub(crate) fn zeroed(n_obs: u64, len: u64) -> Self {
        match n_obs <= 1 << 32 {
            true => Self::Narrow(vec![0; len as usize]),
            false => Self::Wide(vec![0; len as usize]),
        }
    }

    /// Changes an entry of a list that holds obs one by one.
    pub(crate) fn set(&mut self, place: u64, obs: u64) {
        match self {
            Self::Narrow(list) => list[place as usize] = obs as u32,
            Self::Wide(list) => list[place as usize] = obs,
            Self::Runs(_) => assert!(self.len() == 0, "runs cannot be changed obs by obs"),
        }
    }

    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Runs(runs) => runs.len(),
            Self::Narrow(list) => list.len() as u64,
            Self::Wide(list) => list.len() as u64,
        }
    }

    /// Appends the obs at these places of the list.
    pub(crate) fn extend(&self, places: Range<u64>, obs: &mut Vec<u64>) {
        let range = places.start as usize..places.end as usize;
        match self {
            Self::Runs(runs) => runs.extend(places, obs),
            Self::Narrow(list) => obs.extend(list[range].iter().map(|obs| u64::from(*obs))),
            Self::Wide(list) => obs.extend_from_slice(&list[range]),
        }
    }

    /// All obs of the list.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u64> {
        let (mut place, mut buffer, mut at) = (0, Vec::new(), 0);
        std::iter::from_fn(move || {
            if at == buffer.len() {
                buffer.clear();
                let end = self.len().min(place + 256);
                self.extend(place..end, &mut buffer);
                (place, at) = (end, 0);
            }
            at += 1;
            buffer.get(at - 1).copied()
        })
    }

    /// The obs with the highest number.
    pub(crate) fn last_obs(&self) -> Option<u64> {
        match self {
            Self::Runs(runs) => (0..runs.n_runs()).map(|run| runs.run(run).end - 1).max(),
            Self::Narrow(list) => list.iter().max().map(|obs| u64::from(*obs)),
            Self::Wide(list) => list.iter().max().copied(),
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        match self {
            Self::Runs(runs) => 16 * runs.n_runs(),
            Self::Narrow(list) => 4 * list.len(),
            Self::Wide(list) => 8 * list.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_form_holds_what_it_was_given(
            ranges in prop::collection::vec((0u64..1 << 33, 0u64..20), 0..40), part in any::<(u64, u64)>(),
        ) {
            let ranges: Vec<_> = ranges.into_iter().map(|(start, len)| start..start + len).collect();
            let plain: Vec<u64> = ranges.iter().cloned().flatten().collect();
            let mut runs = Runs::default();
            ranges.into_iter().for_each(|range| runs.push(range));
            let n_runs = runs.n_runs();
            for list in [ObsList::from(runs.clone()), ObsList::Runs(runs), ObsList::from_obs(plain.clone())] {
                prop_assert_eq!(list.len(), plain.len() as u64);
                prop_assert!(list.iter().eq(plain.iter().copied()));
                let (a, b) = (part.0 % (list.len() + 1), part.1 % (list.len() + 1));
                let mut some = vec![9];
                list.extend(a.min(b)..a.max(b), &mut some);
                prop_assert_eq!(&some[1..], &plain[a.min(b) as usize..a.max(b) as usize]);
                prop_assert!(list.memory_bytes() <= 16 * n_runs.max(1));
            }
        }
    }

    #[test]
    fn the_smallest_form_is_taken() {
        let of = |list: Vec<u64>| ObsList::from_obs(list);
        assert!(matches!(of((5..90).collect()), ObsList::Runs(_)));
        assert!(matches!(
            of((0..90).map(|obs| obs * 7 % 90).collect()),
            ObsList::Narrow(_)
        ));
        assert!(matches!(
            of((0..90).map(|obs| obs << 32).collect()),
            ObsList::Wide(_)
        ));
        let mut runs = Runs::default();
        (0..9).for_each(|obs| runs.push(2 * obs..2 * obs + 1));
        assert!(matches!(ObsList::from(runs), ObsList::Narrow(_)));
    }
}
