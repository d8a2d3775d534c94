//! Random samplers: a strategy, a config and data that fit each other.

use std::ops::Range;
use std::sync::Arc;

use cellring::plan::{
    Balanced, Controls, Custom, Grouped, MISSING, Sampler, SamplerConfig, SamplerData, Strategy,
    StrategyKind, Subset, Weighted,
};
use proptest::prelude::*;

/// Control groups, match codes, controls per set.
pub(crate) type PlainControls = (Vec<u32>, Option<Arc<[u32]>>, u32);

/// Everything a sampler is made of, in plain form.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) n_obs: u64,
    pub(crate) strategy: StrategyKind,
    /// But for the strategy.
    pub(crate) config: SamplerConfig,
    pub(crate) subset: Option<Vec<u64>>,
    pub(crate) weights: Arc<[f32]>,
    pub(crate) replacement: bool,
    pub(crate) n_draws: Option<u64>,
    pub(crate) codes: Arc<[u32]>,
    pub(crate) global: bool,
    pub(crate) n_per_group: Option<u32>,
    pub(crate) sets_per_minibatch: Option<u32>,
    pub(crate) controls: Option<PlainControls>,
    pub(crate) order: Vec<Range<u64>>,
    pub(crate) shuffle: bool,
}

impl Case {
    pub(crate) fn data(&self) -> SamplerData {
        let subset = self
            .subset
            .as_ref()
            .map(|ids| Subset::from_ids(self.n_obs, ids.iter().copied()).unwrap());
        SamplerData::default().subset(subset.filter(|_| self.strategy != StrategyKind::Custom))
    }

    fn strategy(&self) -> Strategy {
        match self.strategy {
            StrategyKind::Weighted => Strategy::Weighted(
                Weighted::new(self.weights.clone())
                    .n_draws(self.n_draws)
                    .replacement(self.replacement),
            ),
            StrategyKind::Balanced => Strategy::Balanced(
                Balanced::new(self.codes.clone())
                    .n_draws(self.n_draws)
                    .global(self.global),
            ),
            StrategyKind::Grouped => {
                let controls = self.controls.clone().map(|(groups, match_codes, n_per_set)| {
                    let controls = Controls::new(groups, n_per_set);
                    match match_codes {
                        Some(codes) => controls.match_codes(codes),
                        None => controls,
                    }
                });
                Strategy::Grouped(
                    Grouped::new(self.codes.clone())
                        .n_per_group(self.n_per_group)
                        .sets_per_minibatch(self.sets_per_minibatch)
                        .controls(controls),
                )
            }
            StrategyKind::Custom => {
                let custom = Custom::from_ranges(self.order.iter().cloned()).unwrap();
                Strategy::Custom(if self.shuffle { custom.shuffled() } else { custom })
            }
            plain => plain.without_data().unwrap(),
        }
    }

    /// The sampler; none if there is nothing to draw from, too little, or no controls for some.
    pub(crate) fn sampler(&self) -> Option<Sampler> {
        let config = self.config.clone().strategy(self.strategy());
        Sampler::new(self.n_obs, config, self.data()).ok()
    }

    pub(crate) fn members(&self) -> Vec<u64> {
        self.subset.clone().unwrap_or_else(|| (0..self.n_obs).collect())
    }
}

/// A number that depends on all arguments, as far as tests need it.
fn mixed(seed: u64, x: u64) -> u64 {
    (seed ^ x.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xd134_2543_de82_ef95) >> 33
}

prop_compose! {
    fn configs()(
        block_size in prop_oneof![Just(1u64), 2u64..=9, 1u64..=400],
        batch_size in 1u32..=20,
        fetch_factor in 1u32..=12,
        seed: u64,
        drop_last: bool,
        world_size in 1u32..=7,
    ) -> SamplerConfig {
        SamplerConfig::default().block_size(block_size).batch_size(batch_size).fetch_factor(fetch_factor).seed(seed).drop_last(drop_last).rank(0).world_size(world_size)
    }
}

prop_compose! {
    pub(crate) fn cases()(
        n_obs in prop_oneof![1 => 1u64..40, 6 => 40u64..500],
        strategy in prop::sample::select(StrategyKind::ALL),
        config in configs(),
        salt: u64,
        (run, n_codes, n_matches) in (1u64..40, 1u64..12, 1u64..4),
        (keep, replacement, global, shuffle) in any::<(u8, bool, bool, bool)>(),
        n_draws in prop::option::of(0u64..700),
        (n_per_group, fitting) in (prop::option::of(1u32..8), 1u32..4),
        controls in prop::option::of((any::<bool>(), 1u32..6)),
        order in prop::collection::vec((0u64..500, 1u64..9), 0..80),
    ) -> Case {
        let kept = |obs: u64| mixed(salt, obs / run) % 4 <= u64::from(keep % 4);
        let subset = (keep >= 100).then(|| (0..n_obs).filter(|obs| kept(*obs)).collect());
        let weights = (0..n_obs).map(|obs| match mixed(salt ^ 1, obs) % 8 {
            0 => 0.0,
            1 => 1e-3,
            k => (mixed(salt ^ 2, obs) % 1000) as f32 * k as f32 / 100.0,
        });
        let codes = (0..n_obs).map(|obs| match mixed(salt ^ 3, obs / run) % (n_codes + 1) {
            0 if obs % 3 == 0 => MISSING,
            code => code as u32 * 7,
        });
        let matches = (0..n_obs).map(|obs| match mixed(salt ^ 4, obs) % (20 * n_matches) {
            0 => MISSING,
            code => (code % n_matches) as u32 + 3,
        });
        let controls = controls.map(|(by_code, n)| (vec![7, 21], by_code.then(|| matches.collect()), n));
        // Without replacement most requests should be met.
        let n_draws = n_draws.map(|n| if replacement || strategy != StrategyKind::Weighted { n } else { n % (n_obs / 4 + 2) });
        // A set of a known size can be made to fit; a whole group may be of any size.
        let set = n_per_group.unwrap_or(1) + controls.as_ref().map_or(0, |controls| controls.2);
        let batch_size = match strategy {
            StrategyKind::Grouped => config.batch_size + fitting * set,
            _ => config.batch_size,
        };
        Case {
            n_obs,
            strategy,
            config: config.batch_size(batch_size),
            subset,
            weights: weights.collect(),
            replacement,
            n_draws,
            codes: codes.collect(),
            global,
            n_per_group,
            sets_per_minibatch: n_per_group.is_none().then_some(fitting),
            controls,
            order: order.into_iter().map(|(start, len)| start % n_obs..n_obs.min(start % n_obs + len)).collect(),
            shuffle,
        }
    }
}
