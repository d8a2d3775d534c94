//! Lists of ranges of minibatches, ascending.

use std::ops::Range;

/// Appends a range; joins it to the last where it continues that.
pub(super) fn push_range(ranges: &mut Vec<Range<u64>>, range: Range<u64>) {
    match ranges.last_mut() {
        _ if range.is_empty() => {}
        Some(last) if last.end == range.start => last.end = range.end,
        _ => ranges.push(range),
    }
}

pub(super) fn total(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

/// The minibatches at these places of the ranges, all ascending.
pub(super) fn select(ranges: &[Range<u64>], places: impl Iterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    let mut selected = Vec::new();
    let (mut ranges, mut before) = (ranges.iter().peekable(), 0);
    for mut wanted in places {
        while wanted.start < wanted.end {
            let Some(range) = ranges.peek() else { break };
            let end = before + (range.end - range.start);
            if wanted.start >= end {
                (_, before) = (ranges.next(), end);
                continue;
            }
            let stop = wanted.end.min(end);
            let first = range.start + (wanted.start - before);
            push_range(&mut selected, first..first + (stop - wanted.start));
            wanted.start = stop;
        }
    }
    selected
}
