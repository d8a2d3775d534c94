//! A subset of the obs of a data set.

#[cfg(test)]
mod tests;

use crate::Error;
use std::ops::Range;
use std::sync::Arc;

use super::bits::Bits;
use super::error::PlanError;
use super::hash::Fingerprint;
use super::limits::MAX_OBS;
use super::list::{ObsList, Runs};

/// Some of the obs of a data set, without repeats, in storage order.
///
/// It is held as runs of consecutive obs (16 bytes each), one by one (4 or 8 bytes each) or as a bitmap (0.14 bytes for
/// each obs of the data set), whichever is the smallest; copies share the memory. The k-th member is found by halving
/// over runs or over a directory of the bitmap, so that a plan over a subset is about as fast as one over everything.
///
/// ```
/// use cellring::plan::Subset;
///
/// let ids = Subset::from_ids(100, [7, 3, 50, 3])?;
/// assert_eq!(ids.iter().collect::<Vec<_>>(), [3, 7, 50]);
/// let ranges = Subset::from_ranges(100, [40..60, 0..5])?;
/// assert_eq!(ranges.intersect(&ids)?.iter().collect::<Vec<_>>(), [3, 50]);
/// let filter = Subset::from_fn(100, |obs| obs % 10 != 0)?; // by an obs column, say
/// assert_eq!(filter.len(), 90);
///
/// let parts = filter.split(&[0.8, 0.1, 0.1], 42)?; // train, validation, test
/// assert_eq!(parts.iter().map(Subset::len).collect::<Vec<_>>(), [72, 9, 9]);
/// # Ok::<(), cellring::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Subset {
    n_obs: u64,
    members: Members,
}

/// The members of a subset, in the form that takes the least memory.
#[derive(Clone, Debug)]
enum Members {
    List(Arc<ObsList>),
    Bits(Arc<Bits>),
}

impl Subset {
    /// All obs.
    ///
    /// # Errors
    /// If the data set is too large to be planned.
    pub fn all(n_obs: u64) -> Result<Self, Error> {
        Self::from_ranges(n_obs, std::iter::once(0..n_obs))
    }

    /// The obs with these numbers, in any order; repeats count once.
    ///
    /// # Errors
    /// If one of them does not exist, or the data set is too large to be planned.
    pub fn from_ids(n_obs: u64, ids: impl IntoIterator<Item = u64>) -> Result<Self, Error> {
        check_size(n_obs)?;
        let mut ids: Vec<u64> = ids.into_iter().collect();
        if !ids.is_sorted() {
            ids.sort_unstable();
        }
        if let Some(&obs) = ids.last().filter(|last| **last >= n_obs) {
            let what = "the subset";
            return Err(PlanError::ObsOutOfRange { what, obs, n_obs }.into());
        }
        let mut builder = Builder::new(n_obs);
        ids.dedup();
        ids.into_iter().for_each(|obs| builder.push(obs..obs + 1));
        Ok(builder.finish())
    }

    /// The obs in these ranges, which may come in any order and overlap.
    ///
    /// # Errors
    /// If one of them reaches beyond the end, or the data set is too large to be planned.
    pub fn from_ranges(n_obs: u64, ranges: impl IntoIterator<Item = Range<u64>>) -> Result<Self, Error> {
        check_size(n_obs)?;
        let mut ranges: Vec<_> = ranges.into_iter().filter(|range| !range.is_empty()).collect();
        ranges.sort_unstable_by_key(|range| range.start);
        let (mut builder, mut end) = (Builder::new(n_obs), 0);
        for range in ranges {
            if range.end > n_obs {
                let (what, obs) = ("the subset", range.end - 1);
                return Err(PlanError::ObsOutOfRange { what, obs, n_obs }.into());
            }
            builder.push(range.start.max(end)..range.end);
            end = end.max(range.end);
        }
        Ok(builder.finish())
    }

    /// The obs whose entry is true.
    ///
    /// # Errors
    /// If the data set is too large to be planned.
    pub fn from_mask(mask: &[bool]) -> Result<Self, Error> {
        Self::from_fn(mask.len() as u64, |obs| mask[obs as usize])
    }

    /// The obs that `is_member` tells, which is asked for each once, in storage order.
    ///
    /// # Errors
    /// If the data set is too large to be planned.
    pub fn from_fn(n_obs: u64, mut is_member: impl FnMut(u64) -> bool) -> Result<Self, Error> {
        check_size(n_obs)?;
        let mut builder = Builder::new(n_obs);
        (0..n_obs)
            .filter(|obs| is_member(*obs))
            .for_each(|obs| builder.push(obs..obs + 1));
        Ok(builder.finish())
    }

    pub(crate) fn from_bits(n_obs: u64, words: Vec<u64>) -> Self {
        let bits = Bits::new(words);
        let mut builder = Builder::new(n_obs);
        runs_of_bits(&bits, n_obs).for_each(|run| builder.push(run));
        builder.finish()
    }

    /// Obs in the subset.
    pub fn len(&self) -> u64 {
        match &self.members {
            Members::List(list) => list.len(),
            Members::Bits(bits) => bits.len(),
        }
    }

    /// Whether there is no obs in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Obs in the data set.
    pub fn n_obs(&self) -> u64 {
        self.n_obs
    }

    /// Whether the obs is in the subset.
    pub fn contains(&self, obs: u64) -> bool {
        match &self.members {
            Members::Bits(bits) => bits.contains(obs),
            Members::List(list) => match list.as_ref() {
                ObsList::Runs(runs) => runs.run_before(obs).is_some_and(|run| obs < run.end),
                ObsList::Narrow(list) => u32::try_from(obs).is_ok_and(|obs| list.binary_search(&obs).is_ok()),
                ObsList::Wide(list) => list.binary_search(&obs).is_ok(),
            },
        }
    }

    /// Appends members number `places`, of which there must be that many.
    pub(crate) fn extend(&self, places: Range<u64>, obs: &mut Vec<u64>) {
        match &self.members {
            Members::List(list) => list.extend(places, obs),
            Members::Bits(bits) => bits.extend(places, obs),
        }
    }

    /// The members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.runs().flatten()
    }

    /// The longest runs of consecutive members, ascending.
    pub fn runs(&self) -> impl Iterator<Item = Range<u64>> {
        let runs: Box<dyn Iterator<Item = Range<u64>>> = match &self.members {
            Members::Bits(bits) => Box::new(runs_of_bits(bits, self.n_obs)),
            Members::List(list) => match list.as_ref() {
                ObsList::Runs(runs) => Box::new((0..runs.n_runs()).map(|run| runs.run(run))),
                list => {
                    let mut obs = list.iter().peekable();
                    Box::new(std::iter::from_fn(move || {
                        let start = obs.next()?;
                        let mut end = start + 1;
                        while obs.next_if_eq(&end).is_some() {
                            end += 1;
                        }
                        Some(start..end)
                    }))
                }
            },
        };
        runs
    }

    /// The obs that are not in it.
    #[must_use]
    pub fn complement(&self) -> Self {
        let (mut builder, mut end) = (Builder::new(self.n_obs), 0);
        for run in self.runs() {
            builder.push(end..run.start);
            end = run.end;
        }
        builder.push(end..self.n_obs);
        builder.finish()
    }

    /// The obs that are in both.
    ///
    /// # Errors
    /// If the two are not of data sets of the same size.
    pub fn intersect(&self, other: &Self) -> Result<Self, Error> {
        if self.n_obs != other.n_obs {
            let (expected, found) = (self.n_obs, other.n_obs);
            return Err(PlanError::OtherDataSet { expected, found }.into());
        }
        let mut builder = Builder::new(self.n_obs);
        let (mut ours, mut theirs) = (self.runs().peekable(), other.runs().peekable());
        while let (Some(a), Some(b)) = (ours.peek(), theirs.peek()) {
            let both = a.start.max(b.start)..a.end.min(b.end);
            let ours_first = a.end <= b.end;
            if !both.is_empty() {
                builder.push(both);
            }
            match ours_first {
                true => drop(ours.next()),
                false => drop(theirs.next()),
            }
        }
        Ok(builder.finish())
    }

    /// The members that `is_member` tells, which is asked for each once, in storage order.
    #[must_use]
    pub fn filter(&self, mut is_member: impl FnMut(u64) -> bool) -> Self {
        let mut builder = Builder::new(self.n_obs);
        self.iter()
            .filter(|obs| is_member(*obs))
            .for_each(|obs| builder.push(obs..obs + 1));
        builder.finish()
    }

    /// Bytes of memory it takes, shared by all copies.
    pub fn memory_bytes(&self) -> usize {
        match &self.members {
            Members::List(list) => list.memory_bytes(),
            Members::Bits(bits) => bits.memory_bytes(),
        }
    }

    pub(crate) fn add_to(&self, print: &mut Fingerprint) {
        print.add(self.n_obs);
        print.add_all(self.len(), self.runs().flat_map(|run| [run.start, run.end]));
    }
}

impl PartialEq for Subset {
    fn eq(&self, other: &Self) -> bool {
        self.n_obs == other.n_obs && self.len() == other.len() && self.runs().eq(other.runs())
    }
}

impl Eq for Subset {}

fn check_size(n_obs: u64) -> Result<(), Error> {
    match n_obs > MAX_OBS {
        true => Err(PlanError::TooManyObs { n_obs }.into()),
        false => Ok(()),
    }
}

fn runs_of_bits(bits: &Bits, n_obs: u64) -> impl Iterator<Item = Range<u64>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = bits.next(at, n_obs, true);
        at = bits.next(start, n_obs, false);
        (start < n_obs).then_some(start..at)
    })
}

/// Makes a subset of ascending ranges. It never takes more than about twice the memory of a bitmap.
pub(crate) struct Builder {
    n_obs: u64,
    runs: Runs,
    /// Once runs would take more than these: everything so far.
    words: Option<Vec<u64>>,
}

impl Builder {
    pub(crate) fn new(n_obs: u64) -> Self {
        Self {
            n_obs,
            runs: Runs::default(),
            words: None,
        }
    }

    /// Adds a range after all before.
    pub(crate) fn push(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        if let Some(words) = &mut self.words {
            Bits::set(words, range);
            return;
        }
        self.runs.push(range);
        if 16 * self.runs.n_runs() as u64 > (self.n_obs / 8).max(256) {
            let mut words = Bits::empty_words(self.n_obs);
            let runs = std::mem::take(&mut self.runs);
            (0..runs.n_runs()).for_each(|run| Bits::set(&mut words, runs.run(run)));
            self.words = Some(words);
        }
    }

    pub(crate) fn finish(self) -> Subset {
        let n_obs = self.n_obs;
        let members = match self.words {
            None => Members::List(Arc::new(self.runs.into())),
            Some(words) => {
                let bits = Bits::new(words);
                let each = if n_obs <= 1 << 32 { 4 } else { 8 };
                match each * bits.len() < bits.memory_bytes() as u64 {
                    true => {
                        let obs = runs_of_bits(&bits, n_obs).flatten().collect();
                        Members::List(Arc::new(ObsList::from_obs(obs)))
                    }
                    false => Members::Bits(Arc::new(bits)),
                }
            }
        };
        Subset { n_obs, members }
    }
}
