//! What must hold for every shape.

use std::collections::{BTreeMap, BTreeSet};

use cellring::__internal::Cause;
use cellring::plan::{MAX_OBS, PlanError, PlannedFetch, SamplerConfig, Strategy};
use proptest::prelude::*;

use crate::{all_ranks, minibatches, plan, sequence, twin};

fn strategies() -> impl proptest::strategy::Strategy<Value = Strategy> {
    prop_oneof![1 => Just(Strategy::Sequential), 3 => Just(Strategy::BlockShuffle)]
}

prop_compose! {
    fn configs()(
        strategy in strategies(),
        block_size in prop_oneof![1u64..=9, 1u64..=400],
        batch_size in 1u32..=20,
        fetch_factor in 1u32..=12,
        seed: u64,
        drop_last: bool,
        world_size in 1u32..=9,
    ) -> SamplerConfig {
        SamplerConfig::default().strategy(strategy).block_size(block_size).batch_size(batch_size).fetch_factor(fetch_factor).seed(seed).drop_last(drop_last).rank(0).world_size(world_size)
    }
}

fn epochs() -> impl proptest::strategy::Strategy<Value = u64> {
    prop_oneof![0u64..5, any::<u64>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn plan_equals_its_plain_twin(n_obs in 0u64..700, config in configs(), epoch in epochs()) {
        prop_assert_eq!(all_ranks(n_obs, &config, epoch), twin::ranks(n_obs, &config, epoch));
    }

    #[test]
    fn without_drop_last_an_epoch_is_a_permutation(n_obs in 0u64..700, config in configs(), epoch in epochs()) {
        let config = config.drop_last(false);
        let mut seen = sequence(n_obs, &config, epoch);
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..n_obs).collect::<Vec<_>>());
        prop_assert_eq!(plan(n_obs, &config, epoch).n_dropped_obs(), 0);
    }

    #[test]
    fn ranks_are_equal_disjoint_and_complete(n_obs in 0u64..700, config in configs(), epoch in epochs()) {
        let alone = minibatches(n_obs, &config.clone().world_size(1), epoch);
        let ranks = all_ranks(n_obs, &config, epoch);
        prop_assert!(ranks.iter().all(|rank| rank.len() == ranks[0].len()));
        prop_assert_eq!(all_ranks(n_obs, &config, epoch.wrapping_add(1))[0].len(), ranks[0].len());

        let mut owned = BTreeMap::new();
        for minibatch in ranks.iter().flatten() {
            // The content is that of a lone rank, padding or not.
            prop_assert_eq!(&minibatch.obs, &alone[minibatch.global as usize].obs);
            if !minibatch.padding {
                prop_assert!(owned.insert(minibatch.global, ()).is_none(), "two ranks have {}", minibatch.global);
            }
        }
        let n_missing = alone.len() - owned.len();
        if config.drop_last {
            prop_assert!(n_missing < config.world_size as usize);
            prop_assert!(owned.keys().copied().eq(0..owned.len() as u64), "not the last ones are dropped");
            prop_assert!(ranks.iter().flatten().all(|minibatch| !minibatch.padding));
            prop_assert!(alone.iter().all(|minibatch| minibatch.obs.len() == config.batch_size as usize));
            let seen: usize = ranks.iter().flatten().map(|minibatch| minibatch.obs.len()).sum();
            prop_assert_eq!(plan(n_obs, &config, epoch).n_dropped_obs(), n_obs - seen as u64);
        } else {
            prop_assert_eq!(n_missing, 0);
            let n_padding = ranks.iter().flatten().filter(|minibatch| minibatch.padding).count();
            prop_assert!(n_padding < config.world_size as usize);
        }
    }

    #[test]
    fn blocks_stay_whole_except_at_fetch_boundaries(n_obs in 1u64..700, config in configs(), epoch in epochs()) {
        let config = config.strategy(Strategy::BlockShuffle).drop_last(false).world_size(1);
        let plan = plan(n_obs, &config, epoch);
        let mut fetches_of = BTreeMap::<u64, BTreeSet<u64>>::new();
        for number in 0..plan.n_fetches() {
            for obs in plan.fetch(number).obs {
                fetches_of.entry(obs / config.block_size).or_default().insert(number);
            }
        }
        // On the circle of fetches a block lies in neighbours only, and no boundary cuts two.
        let n_fetches = plan.n_fetches();
        let mut cut_at = BTreeSet::new();
        for (block, fetches) in fetches_of {
            let cuts: Vec<u64> = match fetches.len() as u64 {
                n if n == n_fetches => continue, // a block that goes all the way round
                n => {
                    let cuts = fetches.iter().copied().filter(|f| fetches.contains(&((f + 1) % n_fetches)));
                    let cuts: Vec<u64> = cuts.collect();
                    prop_assert_eq!(cuts.len() as u64, n - 1, "block {} in fetches {:?}", block, fetches);
                    cuts
                }
            };
            for boundary in cuts {
                prop_assert!(cut_at.insert(boundary), "two blocks cut at the end of fetch {}", boundary);
            }
        }
    }

    #[test]
    fn order_depends_on_seed_and_epoch_alone(
        n_obs in 100u64..700, config in configs(), epoch in epochs(), other in 1u64..,
    ) {
        let block_size = config.block_size.min(5);
        let config = config.strategy(Strategy::BlockShuffle).block_size(block_size);
        let order = sequence(n_obs, &config, epoch);
        prop_assert_eq!(&sequence(n_obs, &config, epoch), &order);
        prop_assert_ne!(&sequence(n_obs, &config, epoch.wrapping_add(other)), &order);
        let reseeded = config.clone().seed(config.seed.wrapping_add(other));
        prop_assert_ne!(&sequence(n_obs, &reseeded, epoch), &order);
        // drop_last cuts the same order short.
        let drops = !config.drop_last;
        let dropping = config.drop_last(drops);
        let cut = sequence(n_obs, &dropping, epoch);
        let common = cut.len().min(order.len());
        prop_assert_eq!(&cut[..common], &order[..common]);
    }

    #[test]
    fn no_obs_stays_unseen(n_obs in 1u64..300, config in configs(), start in 0u64..1 << 60) {
        let config = config.drop_last(true);
        let n_dropped = plan(n_obs, &config, start).n_dropped_obs();
        prop_assume!(n_dropped < n_obs);
        let n_epochs = match config.strategy {
            Strategy::Sequential => 2 * n_obs / (n_obs - n_dropped) + 3,
            // Chance drops an obs in at most every other epoch: 2^-60 for 60 of them.
            _ => 60,
        };
        let mut unseen: BTreeSet<u64> = (0..n_obs).collect();
        for epoch in start..start + n_epochs {
            for minibatch in all_ranks(n_obs, &config, epoch).iter().flatten() {
                minibatch.obs.iter().for_each(|obs| { unseen.remove(obs); });
            }
            if unseen.is_empty() {
                break;
            }
        }
        prop_assert!(unseen.is_empty(), "{:?} not seen in {} epochs", unseen, n_epochs);
    }

    #[test]
    fn sequential_never_drops_an_obs_twice_running(n_obs in 1u64..700, config in configs(), epoch in epochs()) {
        let config = config.strategy(Strategy::Sequential).drop_last(true);
        let n_dropped = plan(n_obs, &config, epoch).n_dropped_obs();
        prop_assume!(n_dropped < n_obs * 38 / 100);
        let seen = |epoch| -> BTreeSet<u64> {
            all_ranks(n_obs, &config, epoch).into_iter().flatten().flat_map(|minibatch| minibatch.obs).collect()
        };
        let (one, next) = (seen(epoch), seen(epoch.wrapping_add(1)));
        prop_assert_eq!(one.len() as u64, n_obs - n_dropped);
        prop_assert_eq!(one.union(&next).count() as u64, n_obs);
    }

    #[test]
    fn any_shape_up_to_the_limits_plans(
        n_obs in prop_oneof![0..=MAX_OBS, Just(MAX_OBS), 0u64..3],
        block_size in prop_oneof![1u64..20, 1u64.., Just(u64::MAX)],
        batch_size in 1u32..100,
        fetch_factor in 1u32..50,
        (seed, epoch, part) in any::<(u64, u64, u64)>(),
        world_size in prop_oneof![1u32..9, 1u32..],
        drop_last: bool,
        strategy in strategies(),
    ) {
        let rank = (part % u64::from(world_size)) as u32;
        let config = SamplerConfig::default().strategy(strategy).block_size(block_size).batch_size(batch_size).fetch_factor(fetch_factor).seed(seed).drop_last(drop_last).rank(rank).world_size(world_size);
        let plan = plan(n_obs, &config, epoch);
        let n_fetches = plan.n_fetches();
        if n_fetches > 0 {
            for number in [0, part % n_fetches, n_fetches - 1] {
                let fetch = plan.fetch(number);
                prop_assert!(fetch.obs.iter().all(|obs| *obs < n_obs));
                let distinct: BTreeSet<_> = fetch.obs.iter().collect();
                prop_assert_eq!(distinct.len(), fetch.obs.len());
                prop_assert!(fetch.minibatches.last().unwrap().global < plan.n_global_minibatches());
            }
            let (last, _) = plan.locate(plan.n_minibatches() - 1).unwrap();
            prop_assert_eq!(last, n_fetches - 1);
        }
        prop_assert_eq!(plan.locate(plan.n_minibatches()), None);
        prop_assert!(plan.n_dropped_obs() <= n_obs);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Above 4,096 blocks their order comes from the Feistel network.
    #[test]
    fn plan_equals_its_plain_twin_with_many_blocks(
        n_obs in 4_097u64..20_000, block_size in 1u64..3, seed: u64, epoch in epochs(), world_size in 1u32..4,
    ) {
        let config = SamplerConfig::default().block_size(block_size).seed(seed).world_size(world_size).fetch_factor(32);
        prop_assert_eq!(all_ranks(n_obs, &config, epoch), twin::ranks(n_obs, &config, epoch));
    }
}

#[test]
fn sequential_is_storage_order() {
    let config = SamplerConfig::default()
        .strategy(Strategy::Sequential)
        .batch_size(3)
        .fetch_factor(2);
    for epoch in [0, 1, 9] {
        assert_eq!(sequence(10, &config, epoch), (0..10).collect::<Vec<_>>());
    }
    let dropping = config.drop_last(true);
    assert_eq!(sequence(10, &dropping, 0), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(sequence(10, &dropping, 1), [6, 7, 8, 9, 0, 1, 2, 3, 4]);
    assert_eq!(sequence(10, &dropping, 2), [2, 3, 4, 5, 6, 7, 8, 9, 0]);
}

#[test]
fn nothing_to_plan_is_no_error() {
    for drop_last in [false, true] {
        let config = SamplerConfig::default()
            .drop_last(drop_last)
            .world_size(3)
            .rank(2);
        assert_eq!(
            (
                plan(0, &config, 0).n_minibatches(),
                plan(0, &config, 0).n_fetches()
            ),
            (0, 0)
        );
    }
    let config = SamplerConfig::default().drop_last(true);
    assert_eq!(
        (
            plan(63, &config, 0).n_minibatches(),
            plan(63, &config, 0).n_dropped_obs()
        ),
        (0, 63)
    );
}

#[test]
#[should_panic(expected = "fetch 4 of a rank that has 4")]
fn a_fetch_behind_the_last_is_a_bug() {
    plan(65_536, &SamplerConfig::default(), 0).fetch_into(4, &mut PlannedFetch::default());
}

#[test]
fn bad_configs_are_refused() {
    let config = SamplerConfig::default().batch_size(0);
    let error = cellring::plan::Plan::new(10, &config, 0).unwrap_err();
    assert!(matches!(
        error.cause(),
        Cause::Plan(PlanError::ZeroSize { name: "batch_size" })
    ));
}
