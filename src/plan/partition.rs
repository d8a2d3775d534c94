//! Which minibatches of the global sequence are this rank's, grouped in fetches.

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

/// One rank's part of `n_minibatches` minibatches.
#[derive(Clone, Debug)]
pub(crate) struct Partition {
    fetch_factor: u64,
    rank: u64,
    world_size: u64,
    /// Complete rounds: in each, every rank takes one whole fetch.
    n_rounds: u64,
    /// The rank's share of what is left behind the last complete round; at most six runs.
    tail: Vec<Run>,
}

impl Partition {
    pub(crate) fn new(n_minibatches: u64, config: &SamplerConfig, epoch: u64) -> Self {
        let fetch_factor = u64::from(config.fetch_factor);
        let (rank, world_size) = (u64::from(config.rank), u64::from(config.world_size));
        let n_rounds = n_minibatches / fetch_factor / world_size;
        let tail_start = n_rounds * world_size * fetch_factor;
        let left = n_minibatches - tail_start;
        let share = if config.drop_last {
            left / world_size
        } else {
            left.div_ceil(world_size)
        };

        let mut partition = Self {
            fetch_factor,
            rank,
            world_size,
            n_rounds,
            tail: Vec::new(),
        };
        // Slots `0..share * world_size` of the tail: the first `left` are its minibatches, the rest is padding.
        let (slot, slot_end) = (rank * share, (rank + 1) * share);
        let (real, real_end) = (slot.min(left), slot_end.min(left));
        partition.push_tail(tail_start + real, real_end - real, false);

        let n_padding = (share * world_size).saturating_sub(left);
        let rank_padding = (slot_end - slot) - (real_end - real);
        if rank_padding > 0 {
            // There is something left, hence at least one minibatch, and a share of it is at most all of it: the
            // padding of one rank goes round the sequence once at most.
            let turned = u128::from(epoch) * u128::from(n_padding) + u128::from(slot.max(left) - left);
            let first = (turned % u128::from(n_minibatches)) as u64;
            let before_wrap = rank_padding.min(n_minibatches - first);
            partition.push_tail(first, before_wrap, true);
            partition.push_tail(0, rank_padding - before_wrap, true);
        }
        partition
    }

    /// Appends `len` minibatches from `first` on, cut where a fetch of the global sequence ends.
    fn push_tail(&mut self, mut first: u64, mut len: u64, padding: bool) {
        while len > 0 {
            let taken = len.min(self.fetch_factor - first % self.fetch_factor);
            self.tail.push(Run {
                first,
                len: taken,
                padding,
            });
            first += taken;
            len -= taken;
        }
    }

    pub(crate) fn n_minibatches(&self) -> u64 {
        self.n_rounds * self.fetch_factor + self.tail.iter().map(|run| run.len).sum::<u64>()
    }

    pub(crate) fn n_fetches(&self) -> u64 {
        self.n_rounds + self.tail.len() as u64
    }

    /// The minibatches of this rank's fetch number `fetch`; none behind the last.
    pub(crate) fn run(&self, fetch: u64) -> Option<Run> {
        if fetch < self.n_rounds {
            let first = (fetch * self.world_size + self.rank) * self.fetch_factor;
            return Some(Run {
                first,
                len: self.fetch_factor,
                padding: false,
            });
        }
        self.tail
            .get(usize::try_from(fetch - self.n_rounds).ok()?)
            .copied()
    }

    /// The fetch that holds this rank's minibatch number `minibatch`, and its number therein; none behind the last.
    pub(crate) fn locate(&self, minibatch: u64) -> Option<(u64, usize)> {
        let fetch = minibatch / self.fetch_factor;
        if fetch < self.n_rounds {
            return Some((fetch, (minibatch % self.fetch_factor) as usize));
        }
        let mut rest = minibatch - self.n_rounds * self.fetch_factor;
        for (fetch, run) in (self.n_rounds..).zip(&self.tail) {
            if rest < run.len {
                return Some((fetch, rest as usize));
            }
            rest -= run.len;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(n_minibatches: u64, world_size: u32, rank: u32, drop_last: bool, epoch: u64) -> Partition {
        let config = SamplerConfig {
            fetch_factor: 4,
            world_size,
            rank,
            drop_last,
            ..SamplerConfig::default()
        };
        Partition::new(n_minibatches, &config, epoch)
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
            let partition = Partition::new(1 << 48, &config, u64::MAX);
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
