//! The global order of an epoch whose minibatches are cut from one sequence: which obs stands at which position.
//!
//! An arrangement orders numbers `0..n`, fetch by fetch; what they stand for, obs or draws, is another matter. Who
//! consumes them is the business of [`Partition`](super::partition::Partition).

use std::ops::Range;
use std::sync::Arc;

use super::circle::Circle;
use super::draws::Strata;
use super::list::ObsList;
use super::stream::{Purpose, Stream};
use super::universe::Universe;

/// 2^64 divided by the golden ratio: multiples of it, modulo 2^64, spread over the circle as evenly as any can.
const GOLDEN_STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// How numbers `0..n` are arranged.
#[derive(Clone, Debug)]
enum Arrangement {
    /// On from `start`, and round.
    Ascending {
        start: u64,
    },
    Blocks(Circle),
}

/// What they stand for.
#[derive(Clone, Debug)]
pub(crate) enum Drawn {
    Members(Universe),
    Draws(Strata),
    Listed(Arc<ObsList>),
}

impl Drawn {
    fn len(&self) -> u64 {
        match self {
            Self::Members(universe) => universe.len(),
            Self::Draws(strata) => strata.len(),
            Self::Listed(list) => list.len(),
        }
    }

    fn extend(&self, range: Range<u64>, obs: &mut Vec<u64>) {
        match self {
            Self::Members(universe) => universe.extend(range, obs),
            Self::Draws(strata) => strata.extend(range, obs),
            Self::Listed(list) => list.extend(range, obs),
        }
    }
}

/// The order of one epoch.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    drawn: Drawn,
    arrangement: Arrangement,
    /// The seed and the epoch, if each fetch is shuffled whole.
    shuffle: Option<(u64, u64)>,
}

impl Order {
    /// One behind the other. An epoch that drops something starts elsewhere each time.
    pub(crate) fn ascending(drawn: Drawn, drop_last: bool, shuffle: bool, seed: u64, epoch: u64) -> Self {
        let start = if drop_last {
            start_of(drawn.len(), epoch)
        } else {
            0
        };
        Self {
            drawn,
            arrangement: Arrangement::Ascending { start },
            shuffle: shuffle.then_some((seed, epoch)),
        }
    }

    /// Blocks in random order, each fetch shuffled.
    pub(crate) fn blocks(drawn: Drawn, block_size: u64, seed: u64, epoch: u64) -> Self {
        let stream = |purpose| Stream::new(seed, epoch, purpose, 0);
        let (order, turn) = (stream(Purpose::BlockOrder), stream(Purpose::Turn));
        let circle = Circle::new(drawn.len(), block_size, order, turn);
        Self {
            drawn,
            arrangement: Arrangement::Blocks(circle),
            shuffle: Some((seed, epoch)),
        }
    }

    /// Positions in the epoch.
    pub(crate) fn len(&self) -> u64 {
        self.drawn.len()
    }

    /// Appends the obs of fetch number `fetch`, which covers positions `first..end`, in global order.
    pub(crate) fn fill(&self, fetch: u64, first: u64, end: u64, obs: &mut Vec<u64>) {
        let from = obs.len();
        match &self.arrangement {
            Arrangement::Ascending { start } => {
                // Where the circle closes: at most one jump back to the first.
                let behind = self.len() - start;
                let wrap = behind.clamp(first, end);
                if first < wrap {
                    self.drawn.extend(start + first..start + wrap, obs);
                }
                if wrap < end {
                    self.drawn.extend(wrap - behind..end - behind, obs);
                }
            }
            Arrangement::Blocks(circle) => circle.visit(first, end, |range| self.drawn.extend(range, obs)),
        }
        if let Some((seed, epoch)) = self.shuffle {
            Stream::new(seed, epoch, Purpose::FetchShuffle, fetch).shuffle(&mut obs[from..]);
        }
    }
}

/// Where a sequential epoch of `n` that drops something starts.
fn start_of(n: u64, epoch: u64) -> u64 {
    ((u128::from(epoch.wrapping_mul(GOLDEN_STEP)) * u128::from(n)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_spreads_over_the_data_set() {
        assert_eq!(start_of(1000, 0), 0);
        assert_eq!(
            [1, 2, 3, 4].map(|epoch| start_of(1000, epoch)),
            [618, 236, 854, 472]
        );
        assert_eq!(start_of(0, 5), 0);
        assert!(start_of(1 << 48, u64::MAX) < 1 << 48);
    }
}
