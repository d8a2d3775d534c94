//! Orders that users write: the promises of the other strategies, and errors instead of panics.

use std::error::Error;
use std::ops::Range;

use cellring::__internal::Cause;
use cellring::plan::{
    Custom, PlanError, Sampler, SamplerConfig, SamplerData, Strategy, StrategyKind, Subset, UserOrder,
};
use proptest::prelude::*;

use crate::twin::{cut, deal, sequential};
use crate::{alone, collect, sampler_ranks};

const N_OBS: u64 = 500;

/// Stretches, from another one on and fewer of them in each epoch.
#[derive(Clone, Debug)]
struct Stretches {
    ranges: Vec<Range<u64>>,
    shuffle: bool,
}

impl Stretches {
    fn of_epoch(&self, epoch: u64) -> Vec<Range<u64>> {
        let mut ranges = self.ranges.clone();
        let len = ranges.len();
        ranges.rotate_left((epoch % (len as u64 + 1)) as usize);
        ranges.truncate(len - len * (epoch % 3) as usize / 4);
        ranges
    }
}

impl UserOrder for Stretches {
    fn name(&self) -> &str {
        "stretches"
    }

    fn fingerprint(&self) -> u64 {
        let words = self.ranges.iter().flat_map(|range| [range.start, range.end]);
        words.fold(self.shuffle.into(), |print: u64, word| {
            (print ^ word).wrapping_mul(0x0100_0000_01b3)
        })
    }

    fn order(&self, _: u64, epoch: u64) -> Result<Custom, Box<dyn Error + Send + Sync>> {
        let list = Custom::from_ranges(self.of_epoch(epoch))?;
        Ok(if self.shuffle { list.shuffled() } else { list })
    }
}

prop_compose! {
    fn orders()(ranges in prop::collection::vec((0..N_OBS, 1u64..30), 0..40), shuffle: bool) -> Stretches {
        let ranges = ranges.into_iter().map(|(start, len)| start..N_OBS.min(start + len)).collect();
        Stretches { ranges, shuffle }
    }
}

prop_compose! {
    fn configs()(
        batch_size in 1u32..=20, fetch_factor in 1u32..=12, seed: u64, drop_last: bool, world_size in 1u32..=7,
    ) -> SamplerConfig {
        SamplerConfig::default().batch_size(batch_size).fetch_factor(fetch_factor).seed(seed).drop_last(drop_last).world_size(world_size)
    }
}

fn sampler(order: &Stretches, config: &SamplerConfig) -> Sampler {
    let strategy = Strategy::user(order.clone());
    let config = config.clone().strategy(strategy);
    Sampler::new(N_OBS, config, SamplerData::default()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_rank_gets_its_part_of_the_list(order in orders(), config in configs(), epoch in 0u64..1000) {
        let sampler = sampler(&order, &config);
        let list: Vec<u64> = order.of_epoch(epoch).into_iter().flatten().collect();
        // The list begins with its first obs whatever is dropped.
        let whole = config.clone().drop_last(false);
        let global = cut(&sequential(&list, &whole, epoch, order.shuffle), &config);
        let ranks = sampler_ranks(&sampler, epoch);
        prop_assert!(ranks.iter().all(|rank| rank.len() == ranks[0].len()));
        prop_assert_eq!(ranks, deal(&global, &config, epoch));
        let dropped = list.len() - global.concat().len();
        prop_assert_eq!(sampler.with_rank(0, 1).unwrap().plan(epoch).unwrap().n_dropped_obs(), dropped as u64);
    }

    #[test]
    fn the_very_next_minibatch_follows(order in orders(), config in configs(), epoch in 0u64..1000, part: u64) {
        let first = sampler(&order, &config);
        let plan = first.plan(epoch).unwrap();
        let n = part % (plan.n_minibatches() + 1);
        let saved = serde_json::to_string(&plan.state_after(n)).unwrap();
        let state = serde_json::from_str(&saved).unwrap();
        // Another sampler, as in another process.
        let rest = sampler(&order, &config).resume(&state).unwrap();
        prop_assert_eq!((rest.epoch(), rest.n_before()), (epoch, n));
        prop_assert_eq!(&collect(&rest)[..], &collect(&plan)[n as usize..]);
    }
}

#[test]
fn another_order_is_refused_by_name() {
    let order = Stretches {
        ranges: vec![0..100, 200..300],
        shuffle: false,
    };
    let config = SamplerConfig::default();
    let state = sampler(&order, &config).plan(0).unwrap().state_after(1);
    let other = Stretches {
        ranges: vec![200..300, 0..100],
        shuffle: false,
    };
    let error = sampler(&other, &config).resume(&state).unwrap_err().to_string();
    assert!(error.contains("(order was different)"), "{error}");
    let plain = Sampler::new(N_OBS, config, SamplerData::default()).unwrap();
    let error = plain.resume(&state).unwrap_err().to_string();
    let told = "strategy was user, is now block-shuffle; user order was stretches, is now not given";
    assert!(error.contains(told), "{error}");
}

/// Fails in ways of its own: by the epoch.
#[derive(Debug)]
struct Faulty;

impl UserOrder for Faulty {
    fn name(&self) -> &str {
        "faulty"
    }

    fn fingerprint(&self) -> u64 {
        1
    }

    fn order(&self, _: u64, epoch: u64) -> Result<Custom, Box<dyn Error + Send + Sync>> {
        match epoch {
            1 => Ok(Custom::from_ids([3, N_OBS, 2])?),
            2 => Ok(Custom::from_ranges((0..3).map(|_| 0..1 << 48))?),
            3 => Err("the list of difficulties is gone".into()),
            4 => Ok(Custom::from_ranges((0..200_000).map(|_| 0..N_OBS))?),
            5 => Ok(Custom::from_ids([])?),
            _ => Ok(Custom::from_ids([3, 1, 2])?),
        }
    }
}

#[test]
fn bad_orders_are_errors_of_their_epoch() {
    let config = SamplerConfig::default()
        .strategy(Strategy::user(Faulty))
        .batch_size(1 << 14)
        .fetch_factor(1 << 14);
    assert_eq!(config.strategy.kind(), StrategyKind::User);
    let sampler = Sampler::new(N_OBS, config.clone(), SamplerData::default()).unwrap();
    assert_eq!(alone(&sampler, 0), [[3, 1, 2]]);
    assert_eq!(sampler.plan(5).unwrap().n_minibatches(), 0);
    let refuse = |epoch| {
        let error = sampler.plan(epoch).unwrap_err();
        let mut state = sampler.plan(0).unwrap().state_after(0);
        state.epoch = epoch;
        assert_eq!(sampler.resume(&state).unwrap_err().to_string(), error.to_string());
        error.to_string()
    };
    assert_eq!(
        [1, 2, 3, 4].map(refuse),
        [
            "the order \"faulty\" failed for epoch 1: the custom order names obs 500 of a data set of 500 obs, which count \
             from 0",
            "the order \"faulty\" failed for epoch 2: an epoch of 562949953421312 draws is more than the 281474976710656 \
             that can be planned: ask for fewer",
            "the order \"faulty\" failed for epoch 3: the list of difficulties is gone",
            "a fetch of 16384 minibatches of 16384 obs exceeds 67108864 obs: lower fetch_factor or batch_size",
        ]
    );
    let data = SamplerData::default().subset(Subset::all(N_OBS).unwrap());
    let error = Sampler::new(N_OBS, config, data).unwrap_err();
    assert!(matches!(
        error.cause(),
        Cause::Plan(PlanError::UnusedSubset { strategy: "user" })
    ));
}
