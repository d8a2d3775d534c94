use super::*;

fn whole(n_minibatches: u64, config: &SamplerConfig, epoch: u64) -> Partition {
    let sharding = Sharding {
        n_minibatches,
        fetch_factor: config.fetch_factor.into(),
        world_size: config.world_size.into(),
        drop_last: config.drop_last,
    };
    Partition::new(&Remaining::all(), &sharding, config, epoch)
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

fn ranges(partition: &Partition) -> Vec<(u64, u64, bool)> {
    (0..partition.n_fetches())
        .map(|fetch| {
            partition
                .range(fetch)
                .map(|range| (range.first, range.len, range.padding))
                .unwrap()
        })
        .collect()
}

#[test]
fn table_of_shapes() {
    // 19 minibatches in fetches of 4, two ranks: rounds 0-3 | 4-7 and 8-11 | 12-15; 16, 17, 18 are left.
    assert_eq!(
        ranges(&partition(19, 2, 0, false, 0)),
        [(0, 4, false), (8, 4, false), (16, 2, false)]
    );
    assert_eq!(
        ranges(&partition(19, 2, 1, false, 0)),
        [(4, 4, false), (12, 4, false), (18, 1, false), (0, 1, true)]
    );
    assert_eq!(ranges(&partition(19, 2, 1, false, 5))[3], (5, 1, true));
    assert_eq!(
        ranges(&partition(19, 2, 0, true, 0)),
        [(0, 4, false), (8, 4, false), (16, 1, false)]
    );
    assert_eq!(
        ranges(&partition(19, 2, 1, true, 0)),
        [(4, 4, false), (12, 4, false), (17, 1, false)]
    );
    // A share that crosses a fetch: 23 left after no round of 8 ranks gives 3 each.
    assert_eq!(
        ranges(&partition(23, 8, 1, false, 0)),
        [(3, 1, false), (4, 2, false)]
    );
    assert_eq!(
        ranges(&partition(23, 8, 7, false, 0)),
        [(21, 2, false), (0, 1, true)]
    );
    // Fewer minibatches than ranks.
    assert_eq!(ranges(&partition(2, 5, 1, false, 0)), [(1, 1, false)]);
    assert_eq!(
        [2, 3, 4].map(|rank| ranges(&partition(2, 5, rank, false, 0))),
        [[(0, 1, true)], [(1, 1, true)], [(0, 1, true)]]
    );
    assert_eq!(ranges(&partition(2, 5, 0, true, 0)), []);
    assert_eq!(ranges(&partition(0, 5, 0, false, 0)), []);
}

#[test]
fn padding_repeats_every_minibatch_equally_often() {
    for (n_minibatches, world_size) in [(19, 2), (7, 5), (3, 8), (1, 6), (22, 4)] {
        let mut counts = vec![0u64; n_minibatches as usize];
        for epoch in 0..n_minibatches {
            for rank in 0..world_size {
                for (first, len, _) in ranges(&partition(n_minibatches, world_size, rank, false, epoch))
                    .into_iter()
                    .filter(|range| range.2)
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
