//! Which minibatches of the global sequence are this rank's, grouped in fetches.

use std::ops::Range;

use super::config::SamplerConfig;

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

/// How ranks share a sequence of minibatches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) n_minibatches: u64,
    pub(crate) fetch_factor: u64,
    pub(crate) world_size: u64,
    pub(crate) drop_last: bool,
}

/// The minibatches of the global sequence that no rank has consumed: some stretches, ascending, then all from a fetch on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    ragged: Vec<Range<u64>>,
    /// At the start of a fetch, or the end of the sequence; no stretch reaches beyond it.
    start: u64,
}

/// How `world_size` ranks divide what is left: a share of the stretches each, then whole fetches in rounds, then a share
/// of the tail, which is what the first two leave.
struct Division {
    head_share: u64,
    n_rounds: u64,
    /// Where the rounds end.
    tail_start: u64,
    /// The tail, and how many minibatches it has.
    tail: Vec<Range<u64>>,
    tail_len: u64,
    tail_share: u64,
}

impl Division {
    fn n_minibatches(&self, shape: &Shape) -> u64 {
        self.head_share + self.n_rounds * shape.fetch_factor + self.tail_share
    }
}

impl Left {
    /// Everything.
    pub(crate) fn all() -> Self {
        let (ragged, start) = (Vec::new(), 0);
        Self { ragged, start }
    }

    fn divide(&self, shape: &Shape) -> Division {
        let Shape {
            n_minibatches,
            fetch_factor,
            world_size,
            drop_last,
        } = *shape;
        let ragged_len = total(&self.ragged);
        let head_share = ragged_len / world_size;
        let n_rounds = (n_minibatches - self.start) / fetch_factor / world_size;
        let tail_start = self.start + n_rounds * world_size * fetch_factor;
        let head = head_share * world_size;
        let mut tail = select(&self.ragged, std::iter::once(head..ragged_len));
        push_range(&mut tail, tail_start..n_minibatches);
        let tail_len = total(&tail);
        Division {
            head_share,
            n_rounds,
            tail_start,
            tail,
            tail_len,
            tail_share: match drop_last {
                true => tail_len / world_size,
                false => tail_len.div_ceil(world_size),
            },
        }
    }

    /// Minibatches of each rank, padding included.
    pub(crate) fn n_minibatches(&self, shape: &Shape) -> u64 {
        self.divide(shape).n_minibatches(shape)
    }

    /// What is left once each rank has consumed `consumed` of its minibatches, at most all of them. Takes time and
    /// memory proportional to the world size. Where everything was consumed the epoch is over, and nothing is left, not
    /// even what `drop_last` dropped.
    pub(crate) fn after(&self, shape: &Shape, consumed: u64) -> Self {
        let Shape {
            n_minibatches,
            fetch_factor,
            world_size,
            ..
        } = *shape;
        if consumed == 0 {
            return self.clone();
        }
        let division = self.divide(shape);
        if consumed == division.n_minibatches(shape) {
            let (ragged, start) = (Vec::new(), n_minibatches);
            return Self { ragged, start };
        }
        let ragged_len = total(&self.ragged);
        let head_share = division.head_share;
        if consumed < head_share {
            let shares = (0..world_size).map(|rank| rank * head_share + consumed..(rank + 1) * head_share);
            let rest = head_share * world_size..ragged_len;
            let (ragged, start) = (select(&self.ragged, shares.chain([rest])), self.start);
            return Self { ragged, start };
        }
        let consumed = consumed - head_share;
        let (round, part) = (consumed / fetch_factor, consumed % fetch_factor);
        if round < division.n_rounds || (round == division.n_rounds && part == 0) {
            let mut ragged = select(&self.ragged, std::iter::once(head_share * world_size..ragged_len));
            let mut start = self.start + round * world_size * fetch_factor;
            if part > 0 {
                for rank in 0..world_size {
                    let fetch = start + rank * fetch_factor;
                    push_range(&mut ragged, fetch + part..fetch + fetch_factor);
                }
                start += world_size * fetch_factor;
            }
            return Self { ragged, start };
        }
        let consumed = consumed - division.n_rounds * fetch_factor;
        let (share, tail_len) = (division.tail_share, division.tail_len);
        let shares = (0..world_size)
            .map(|rank| (rank * share + consumed).min(tail_len)..((rank + 1) * share).min(tail_len))
            .take_while(|slots| slots.start < tail_len);
        let dropped = (share * world_size).min(tail_len)..tail_len;
        Self {
            ragged: select(&division.tail, shares.chain([dropped])),
            start: n_minibatches,
        }
    }
}

/// Appends a range; joins it to the last where it continues that.
fn push_range(ranges: &mut Vec<Range<u64>>, range: Range<u64>) {
    match ranges.last_mut() {
        _ if range.is_empty() => {}
        Some(last) if last.end == range.start => last.end = range.end,
        _ => ranges.push(range),
    }
}

fn total(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

/// The minibatches at these places of the ranges, all ascending.
fn select(ranges: &[Range<u64>], places: impl Iterator<Item = Range<u64>>) -> Vec<Range<u64>> {
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

/// One rank's part of what is left.
#[derive(Clone, Debug)]
pub(crate) struct Partition {
    fetch_factor: u64,
    /// Minibatches between the rank's fetches of two rounds.
    stride: u64,
    /// The rank's share of the stretches, or the rest of a fetch.
    head: Vec<Run>,
    /// The rank's minibatch that starts the first round.
    rounds_start: u64,
    /// Complete rounds: in each, every rank takes one whole fetch.
    n_rounds: u64,
    /// The rank's share of the tail; at most six runs where the epoch was not resumed.
    tail: Vec<Run>,
    /// What no rank gets because the ranks would be uneven.
    dropped: Vec<Range<u64>>,
}

impl Partition {
    /// The part of the config's rank.
    pub(crate) fn new(left: &Left, shape: &Shape, config: &SamplerConfig, epoch: u64) -> Self {
        let Shape {
            n_minibatches,
            fetch_factor,
            world_size,
            drop_last,
        } = *shape;
        let rank = u64::from(config.rank);
        let division = left.divide(shape);
        let mut partition = Self {
            fetch_factor,
            stride: world_size * fetch_factor,
            head: Vec::new(),
            // Without rounds it is not used, and may lie anywhere.
            rounds_start: left.start.saturating_add(rank * fetch_factor),
            n_rounds: division.n_rounds,
            tail: Vec::new(),
            dropped: Vec::new(),
        };
        debug_assert_eq!(
            division.tail_start,
            left.start + division.n_rounds * partition.stride
        );
        let head = rank * division.head_share..(rank + 1) * division.head_share;
        cut(
            select(&left.ragged, std::iter::once(head)),
            fetch_factor,
            false,
            &mut partition.head,
        );

        // Slots `0..share * world_size` of the tail: the first `tail_len` are its minibatches, the rest is padding.
        let (share, tail_len) = (division.tail_share, division.tail_len);
        let (slot, slot_end) = (rank * share, (rank + 1) * share);
        let (real, real_end) = (slot.min(tail_len), slot_end.min(tail_len));
        let mine = select(&division.tail, std::iter::once(real..real_end));
        cut(mine, fetch_factor, false, &mut partition.tail);
        if drop_last {
            partition.dropped = select(&division.tail, std::iter::once(share * world_size..tail_len));
        }

        let n_padding = (share * world_size).saturating_sub(tail_len);
        let rank_padding = (slot_end - slot) - (real_end - real);
        if rank_padding > 0 {
            // There is something left, hence at least one minibatch, and a share of it is at most all of it: the
            // padding of one rank goes round the sequence once at most.
            let turned =
                u128::from(epoch) * u128::from(n_padding) + u128::from(slot.max(tail_len) - tail_len);
            let first = (turned % u128::from(n_minibatches)) as u64;
            let before_wrap = rank_padding.min(n_minibatches - first);
            let padding = [first..first + before_wrap, 0..rank_padding - before_wrap];
            cut(padding, fetch_factor, true, &mut partition.tail);
        }
        partition
    }

    /// Without the first `n` minibatches, which the rank has consumed.
    pub(crate) fn skip(mut self, mut n: u64) -> Self {
        n -= skip_runs(&mut self.head, n);
        let rounds = self.n_rounds.min(n / self.fetch_factor);
        n -= rounds * self.fetch_factor;
        self.n_rounds -= rounds;
        self.rounds_start += rounds * self.stride;
        if n > 0 && self.n_rounds > 0 {
            self.head.push(Run {
                first: self.rounds_start + n,
                len: self.fetch_factor - n,
                padding: false,
            });
            self.n_rounds -= 1;
            self.rounds_start += self.stride;
        } else {
            skip_runs(&mut self.tail, n);
        }
        self
    }

    pub(crate) fn n_minibatches(&self) -> u64 {
        let listed: u64 = self.head.iter().chain(&self.tail).map(|run| run.len).sum();
        self.n_rounds * self.fetch_factor + listed
    }

    pub(crate) fn n_fetches(&self) -> u64 {
        self.n_rounds + (self.head.len() + self.tail.len()) as u64
    }

    /// Minibatches that no rank gets because the ranks would be uneven.
    pub(crate) fn dropped(&self) -> impl Iterator<Item = u64> {
        self.dropped.iter().cloned().flatten()
    }

    /// How many of them.
    pub(crate) fn n_dropped(&self) -> u64 {
        total(&self.dropped)
    }

    /// The minibatches of this rank's fetch number `fetch`; none after the last.
    pub(crate) fn run(&self, fetch: u64) -> Option<Run> {
        let n_head = self.head.len() as u64;
        if fetch < n_head {
            return self.head.get(fetch as usize).copied();
        }
        let fetch = fetch - n_head;
        if fetch < self.n_rounds {
            return Some(Run {
                first: self.rounds_start + fetch * self.stride,
                len: self.fetch_factor,
                padding: false,
            });
        }
        self.tail
            .get(usize::try_from(fetch - self.n_rounds).ok()?)
            .copied()
    }

    /// The fetch that holds this rank's minibatch number `minibatch`, and its number therein; none after the last.
    pub(crate) fn locate(&self, minibatch: u64) -> Option<(u64, usize)> {
        let mut rest = minibatch;
        if let Some(found) = locate_in(&self.head, 0, &mut rest) {
            return Some(found);
        }
        let n_head = self.head.len() as u64;
        let fetch = rest / self.fetch_factor;
        if fetch < self.n_rounds {
            return Some((n_head + fetch, (rest % self.fetch_factor) as usize));
        }
        rest -= self.n_rounds * self.fetch_factor;
        locate_in(&self.tail, n_head + self.n_rounds, &mut rest)
    }
}

/// The run that holds minibatch number `rest` of the runs; takes those before it off `rest`.
fn locate_in(runs: &[Run], first_fetch: u64, rest: &mut u64) -> Option<(u64, usize)> {
    for (fetch, run) in (first_fetch..).zip(runs) {
        if *rest < run.len {
            return Some((fetch, *rest as usize));
        }
        *rest -= run.len;
    }
    None
}

/// Appends ranges of minibatches, cut where a fetch of the global sequence ends.
fn cut(ranges: impl IntoIterator<Item = Range<u64>>, fetch_factor: u64, padding: bool, runs: &mut Vec<Run>) {
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
fn skip_runs(runs: &mut Vec<Run>, n: u64) -> u64 {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(n_minibatches: u64, config: &SamplerConfig, epoch: u64) -> Partition {
        let shape = Shape {
            n_minibatches,
            fetch_factor: config.fetch_factor.into(),
            world_size: config.world_size.into(),
            drop_last: config.drop_last,
        };
        Partition::new(&Left::all(), &shape, config, epoch)
    }

    fn partition(n_minibatches: u64, world_size: u32, rank: u32, drop_last: bool, epoch: u64) -> Partition {
        let config = SamplerConfig {
            fetch_factor: 4,
            world_size,
            rank,
            drop_last,
            ..SamplerConfig::default()
        };
        whole(n_minibatches, &config, epoch)
    }

    fn runs(partition: &Partition) -> Vec<(u64, u64, bool)> {
        (0..partition.n_fetches())
            .map(|fetch| {
                partition
                    .run(fetch)
                    .map(|run| (run.first, run.len, run.padding))
                    .unwrap()
            })
            .collect()
    }

    #[test]
    fn table_of_shapes() {
        // 19 minibatches in fetches of 4, two ranks: rounds 0-3 | 4-7 and 8-11 | 12-15; 16, 17, 18 are left.
        assert_eq!(
            runs(&partition(19, 2, 0, false, 0)),
            [(0, 4, false), (8, 4, false), (16, 2, false)]
        );
        assert_eq!(
            runs(&partition(19, 2, 1, false, 0)),
            [(4, 4, false), (12, 4, false), (18, 1, false), (0, 1, true)]
        );
        assert_eq!(runs(&partition(19, 2, 1, false, 5))[3], (5, 1, true));
        assert_eq!(
            runs(&partition(19, 2, 0, true, 0)),
            [(0, 4, false), (8, 4, false), (16, 1, false)]
        );
        assert_eq!(
            runs(&partition(19, 2, 1, true, 0)),
            [(4, 4, false), (12, 4, false), (17, 1, false)]
        );
        // A share that crosses a fetch: 23 left behind no round of 8 ranks gives 3 each.
        assert_eq!(
            runs(&partition(23, 8, 1, false, 0)),
            [(3, 1, false), (4, 2, false)]
        );
        assert_eq!(
            runs(&partition(23, 8, 7, false, 0)),
            [(21, 2, false), (0, 1, true)]
        );
        // Fewer minibatches than ranks.
        assert_eq!(runs(&partition(2, 5, 1, false, 0)), [(1, 1, false)]);
        assert_eq!(
            [2, 3, 4].map(|rank| runs(&partition(2, 5, rank, false, 0))),
            [[(0, 1, true)], [(1, 1, true)], [(0, 1, true)]]
        );
        assert_eq!(runs(&partition(2, 5, 0, true, 0)), []);
        assert_eq!(runs(&partition(0, 5, 0, false, 0)), []);
    }

    #[test]
    fn padding_repeats_every_minibatch_equally_often() {
        for (n_minibatches, world_size) in [(19, 2), (7, 5), (3, 8), (1, 6), (22, 4)] {
            let mut counts = vec![0u64; n_minibatches as usize];
            for epoch in 0..n_minibatches {
                for rank in 0..world_size {
                    for (first, len, _) in runs(&partition(n_minibatches, world_size, rank, false, epoch))
                        .into_iter()
                        .filter(|run| run.2)
                    {
                        (first..first + len).for_each(|minibatch| counts[minibatch as usize] += 1);
                    }
                }
            }
            assert!(
                counts.iter().all(|count| *count == counts[0] && *count > 0),
                "{counts:?}"
            );
        }
    }

    #[test]
    fn extremes_do_not_overflow() {
        for drop_last in [false, true] {
            let config = SamplerConfig {
                fetch_factor: u32::MAX,
                world_size: u32::MAX,
                rank: u32::MAX - 1,
                drop_last,
                ..SamplerConfig::default()
            };
            let partition = whole(1 << 48, &config, u64::MAX);
            assert_eq!(partition.n_minibatches(), (1 << 16) + u64::from(!drop_last));
            let last = partition.n_minibatches() - 1;
            assert_eq!(
                partition.locate(last).map(|(fetch, _)| fetch),
                Some(partition.n_fetches() - 1)
            );
            assert_eq!(partition.locate(last + 1), None);
            assert_eq!(partition.locate(u64::MAX), None);
        }
    }
}
