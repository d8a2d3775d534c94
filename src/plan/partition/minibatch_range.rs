//! Ranges of minibatches: each is in one fetch.

use std::ops::Range;

/// Consecutive minibatches of one fetch of the global sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MinibatchRange {
    /// Number of the first minibatch in the global sequence.
    pub(crate) first: u64,
    /// How many; at least 1.
    pub(crate) len: u64,
    /// Whether they repeat minibatches that a rank has already.
    pub(crate) padding: bool,
}

/// The range that holds minibatch number `rest` of all ranges; takes those before it off `rest`.
pub(super) fn locate_in(ranges: &[MinibatchRange], first_fetch: u64, rest: &mut u64) -> Option<(u64, usize)> {
    for (fetch, range) in (first_fetch..).zip(ranges) {
        if *rest < range.len {
            return Some((fetch, *rest as usize));
        }
        *rest -= range.len;
    }
    None
}

/// Appends ranges of minibatches, cut where a fetch of the global sequence ends.
pub(super) fn cut(
    ranges: impl IntoIterator<Item = Range<u64>>,
    fetch_factor: u64,
    padding: bool,
    out: &mut Vec<MinibatchRange>,
) {
    for mut range in ranges {
        while range.start < range.end {
            let len = (range.end - range.start).min(fetch_factor - range.start % fetch_factor);
            let first = range.start;
            out.push(MinibatchRange { first, len, padding });
            range.start += len;
        }
    }
}

/// Takes up to `n` minibatches off the front; how many it took.
pub(super) fn skip_in(ranges: &mut Vec<MinibatchRange>, n: u64) -> u64 {
    let (mut taken, mut whole) = (0, 0);
    for range in ranges.iter_mut() {
        let some = range.len.min(n - taken);
        taken += some;
        if some < range.len {
            range.first += some;
            range.len -= some;
            break;
        }
        whole += 1;
    }
    ranges.drain(..whole);
    taken
}
