//! Going on within an epoch: in another process, under another world size.

use std::collections::BTreeSet;

use cellring::__internal::Cause;
use cellring::plan::{HistoryEntry, PlanError, Sampler, SamplerConfig, SamplerData, SamplerState, Subset};
use proptest::prelude::*;

use crate::cases::cases;
use crate::twin_sampler::Left;
use crate::{Minibatch, alone, collect, sampler_ranks};

/// What was saved, read by another process.
fn reread(state: &SamplerState) -> SamplerState {
    let text = serde_json::to_string(state).unwrap();
    let settings = serde_json::to_string(&state.settings).unwrap();
    assert!(settings.len() < 400, "{settings}");
    assert!(
        text.len() < 80 + 14 + settings.len() + 50 * (1 + state.history.len()),
        "{text}"
    );
    serde_json::from_str(&text).unwrap()
}

/// The minibatches of every rank of a sampler, from a state on.
fn resumed(sampler: &Sampler, world_size: u32, state: &SamplerState) -> Vec<Vec<Minibatch>> {
    (0..world_size)
        .map(|rank| {
            collect(
                &sampler
                    .with_rank(rank, world_size)
                    .unwrap()
                    .resume(state)
                    .unwrap(),
            )
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_very_next_minibatch_follows(case in cases(), epoch in 0u64..1000, part: u64) {
        let Some(sampler) = case.sampler() else { return Ok(()) };
        let world_size = case.config.world_size;
        let whole = sampler_ranks(&sampler, epoch);
        let plan = sampler.plan(epoch).unwrap();
        let (mut state, mut n) = (plan.state_after(0), 0);
        // Twice, so that a resumed plan is resumed.
        for part in [part, part >> 32] {
            let rest = sampler.resume(&state).unwrap();
            prop_assert_eq!((rest.epoch(), rest.n_before()), (epoch, n));
            prop_assert_eq!(rest.n_global_minibatches(), plan.n_global_minibatches());
            prop_assert_eq!(rest.n_dropped_obs(), plan.n_dropped_obs());
            let more = part % (rest.n_minibatches() + 1);
            n += more;
            state = reread(&rest.state_after(more));
            prop_assert_eq!(&state, &plan.state_after(n), "a state does not tell how it came about");
            // Another sampler, as in another process.
            let ranks = resumed(&case.sampler().unwrap(), world_size, &state);
            for (rank, whole) in ranks.iter().zip(&whole) {
                prop_assert_eq!(&rank[..], &whole[n as usize..]);
            }
        }
    }

    #[test]
    fn no_minibatch_is_lost_or_repeated_under_changing_world_sizes(
        case in cases(), epoch in 0u64..1000, legs in prop::collection::vec((1u32..9, any::<u64>()), 1..6),
    ) {
        let Some(sampler) = case.sampler() else { return Ok(()) };
        let global = alone(&sampler, epoch);
        let config = case.config.clone().world_size(1);
        let mut left = Left::all(global.len() as u64);
        let mut state = sampler.plan(epoch).unwrap().state_after(0);
        let mut consumed = BTreeSet::new();
        let (mut n_before, mut last) = (0, None);
        // The last leg goes to the end.
        let (n_legs, legs) = (legs.len(), legs.into_iter().zip(1..));
        for ((world_size, part), leg) in legs {
            if last == Some(world_size) {
                continue;
            }
            let config = config.clone().world_size(world_size);
            let ranks = resumed(&sampler, world_size, &state);
            let expected: Vec<Vec<Minibatch>> = left
                .divide(&config, epoch)
                .into_iter()
                .map(|rank| rank.into_iter().map(|(number, padding)| Minibatch {
                    obs: global[number as usize].clone(), global: number, padding,
                }).collect())
                .collect();
            prop_assert_eq!(&ranks, &expected);
            prop_assert!(ranks.iter().all(|rank| rank.len() == ranks[0].len()));

            let n = if leg == n_legs { ranks[0].len() } else { (part % (ranks[0].len() as u64 + 1)) as usize };
            for minibatch in ranks.iter().flat_map(|rank| &rank[..n]) {
                if minibatch.padding {
                    prop_assert!(!case.config.drop_last);
                } else {
                    prop_assert!(consumed.insert(minibatch.global), "{} came twice", minibatch.global);
                }
            }
            let plan = sampler.with_rank(0, world_size).unwrap().resume(&state).unwrap();
            prop_assert_eq!(plan.n_before(), n_before);
            n_before += n as u64;
            state = reread(&plan.state_after(n as u64));
            left.consume(&config, epoch, n);
            last = (n > 0).then_some(world_size).or(last);
        }
        let over = sampler.resume(&state).unwrap().n_minibatches() == 0;
        if over && !case.config.drop_last {
            prop_assert_eq!(consumed.len(), global.len());
        }
    }
}

#[test]
fn stretches_are_dealt_before_whole_fetches() {
    // 40 minibatches in fetches of 4. Three of 2 ranks: 0-2 and 4-6, so 3 and 7 are stretches.
    let config = SamplerConfig::default()
        .batch_size(1)
        .fetch_factor(4)
        .world_size(2);
    let sampler = Sampler::new(40, config, SamplerData::default()).unwrap();
    let numbers = |world_size, state: &SamplerState| -> Vec<Vec<u64>> {
        let ranks = resumed(&sampler, world_size, state);
        ranks
            .iter()
            .map(|rank| rank.iter().map(|minibatch| minibatch.global).collect())
            .collect()
    };
    let state = sampler.plan(0).unwrap().state_after(3);
    let legs = [HistoryEntry {
        world_size: 2,
        minibatches: 3,
    }];
    assert_eq!(state.history, legs);
    assert_eq!(
        numbers(1, &state),
        [[&[3, 7][..], &(8..40).collect::<Vec<_>>()].concat()]
    );
    let of_three = numbers(3, &state);
    // Too few stretches for three: they open the tail. Rounds of 12: 8-19 and 20-31.
    assert_eq!(of_three[0], [8, 9, 10, 11, 20, 21, 22, 23, 3, 7, 32, 33]);
    assert_eq!(of_three[2], [16, 17, 18, 19, 28, 29, 30, 31, 38, 39, 0, 1]);
}

#[test]
fn states_of_others_are_refused() {
    let config = SamplerConfig::default()
        .batch_size(1)
        .fetch_factor(2)
        .world_size(2);
    let sampler = Sampler::new(10, config.clone(), SamplerData::default()).unwrap();
    let state = sampler.plan(0).unwrap().state_after(3);
    let refuse = |change: fn(&mut SamplerState)| {
        let mut state = state.clone();
        change(&mut state);
        sampler.resume(&state).unwrap_err().to_string()
    };
    assert!(
        refuse(|state| state.version = 2)
            .starts_with("the sampler state is of version 2, this release reads version 1")
    );
    assert!(
        refuse(|state| state.fingerprint ^= 1)
            .starts_with("the sampler state was saved with another sampler config")
    );
    let beyond = "the sampler state says that each of 2 ranks consumed 6 minibatches, but each had only 5: the state is damaged";
    assert_eq!(refuse(|state| state.history[0].minibatches = 6), beyond);
    let leg = |world_size, minibatches| HistoryEntry {
        world_size,
        minibatches,
    };
    assert_eq!(
        refuse(|state| state.history.insert(
            0,
            HistoryEntry {
                world_size: 0,
                minibatches: 0
            }
        )),
        "world_size is 0 in the sampler config: it must be at least 1"
    );
    assert!(
        refuse(|state| state.history.insert(
            0,
            HistoryEntry {
                world_size: u32::MAX,
                minibatches: 1
            }
        ))
        .contains("adds up to 4294967295 ranks")
    );
    let other = sampler.with_rank(0, 3).unwrap();
    let mut too_long = state.clone();
    too_long.history = vec![leg(2, 6)];
    assert!(matches!(
        other.resume(&too_long),
        Err(error) if matches!(error.cause(), Cause::Plan(PlanError::StateBeyondEnd { .. }))
    ));
    assert!(serde_json::from_str::<SamplerState>(r#"{"version":1,"fingerprint":1,"epoch":0}"#).is_err());

    // The rank and the world size are no part of the fingerprint; everything else is.
    assert_eq!(other.fingerprint(), sampler.fingerprint());
    let of = |config: SamplerConfig, data| Sampler::new(10, config, data).unwrap().fingerprint();
    let plain = || config.clone();
    let subset =
        |ids: &[u64]| SamplerData::default().subset(Subset::from_ids(10, ids.iter().copied()).unwrap());
    let mut prints = vec![
        sampler.fingerprint(),
        of(plain().seed(1), SamplerData::default()),
        of(plain().block_size(1), SamplerData::default()),
        of(plain().batch_size(2), SamplerData::default()),
        of(plain().fetch_factor(1), SamplerData::default()),
        of(plain().drop_last(true), SamplerData::default()),
        of(plain(), SamplerData::default().identity(1)),
        of(plain(), subset(&[1, 2, 3])),
        of(plain(), subset(&[1, 2, 4])),
        Sampler::new(11, plain(), SamplerData::default())
            .unwrap()
            .fingerprint(),
    ];
    prints.sort_unstable();
    prints.dedup();
    assert_eq!(prints.len(), 10);
}

#[test]
fn extremes_resume() {
    for drop_last in [false, true] {
        let config = SamplerConfig::default()
            .batch_size(1)
            .fetch_factor(1 << 16)
            .world_size(1000)
            .drop_last(drop_last);
        let sampler = Sampler::new(1 << 48, config, SamplerData::default()).unwrap();
        let state = sampler.plan(u64::MAX).unwrap().state_after((1 << 30) + 5);
        for (rank, world_size) in [(999, 1000), (u32::MAX - 1, u32::MAX), (0, 1), (7, 999)] {
            let plan = sampler
                .with_rank(rank, world_size)
                .unwrap()
                .resume(&state)
                .unwrap();
            let n = plan.n_minibatches();
            let (last, _) = plan.locate(n - 1).unwrap();
            assert_eq!(last, plan.n_fetches() - 1);
            for fetch in [0, last] {
                assert!(plan.fetch(fetch).obs.iter().all(|obs| *obs < 1 << 48));
            }
        }
    }
}
