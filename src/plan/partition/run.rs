//! Runs of minibatches: each is in one fetch.

use std::ops::Range;

/// Consecutive minibatches of one fetch of the global sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Number of the first minibatch in the global sequence.
    pub(crate) first: u64,
    /// How many; at least 1.
    pub(crate) len: u64,
    /// Whether they repeat minibatches that a rank has already.
    pub(crate) padding: bool,
}

/// The run that holds minibatch number `rest` of the runs; takes those before it off `rest`.
pub(super) fn locate_in(runs: &[Run], first_fetch: u64, rest: &mut u64) -> Option<(u64, usize)> {
    for (fetch, run) in (first_fetch..).zip(runs) {
        if *rest < run.len {
            return Some((fetch, *rest as usize));
        }
        *rest -= run.len;
    }
    None
}

/// Appends ranges of minibatches, cut where a fetch of the global sequence ends.
pub(super) fn cut(
    ranges: impl IntoIterator<Item = Range<u64>>,
    fetch_factor: u64,
    padding: bool,
    runs: &mut Vec<Run>,
) {
    for mut range in ranges {
        while range.start < range.end {
            let len = (range.end - range.start).min(fetch_factor - range.start % fetch_factor);
            let first = range.start;
            runs.push(Run { first, len, padding });
            range.start += len;
        }
    }
}

/// Takes up to `n` minibatches off the front; how many it took.
pub(super) fn skip_runs(runs: &mut Vec<Run>, n: u64) -> u64 {
    let (mut taken, mut whole) = (0, 0);
    for run in runs.iter_mut() {
        let some = run.len.min(n - taken);
        taken += some;
        if some < run.len {
            run.first += some;
            run.len -= some;
            break;
        }
        whole += 1;
    }
    runs.drain(..whole);
    taken
}
