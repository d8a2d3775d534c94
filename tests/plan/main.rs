//! The plan against its contract: properties over random shapes, a plain twin, statistics and golden vectors.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

mod cases;
mod golden;
mod golden_sampler;
mod properties;
mod resume;
mod sampler;
mod statistics;
mod statistics_sampler;
mod twin;
mod twin_sampler;
mod user;

use cellring::plan::{Plan, PlannedFetch, Sampler, SamplerConfig};

/// A minibatch as a rank gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Minibatch {
    obs: Vec<u64>,
    global: u64,
    padding: bool,
}

/// The plan of a config that is known to be right.
fn plan(n_obs: u64, config: &SamplerConfig, epoch: u64) -> Plan {
    Plan::new(n_obs, config, epoch).unwrap_or_else(|error| panic!("{config:?}: {error}"))
}

/// Every minibatch of the config's rank, in order, through one `PlannedFetch` that is used again and again.
fn minibatches(n_obs: u64, config: &SamplerConfig, epoch: u64) -> Vec<Minibatch> {
    collect(&plan(n_obs, config, epoch))
}

/// Every minibatch of the plan, in order.
fn collect(plan: &Plan) -> Vec<Minibatch> {
    let mut fetch = PlannedFetch::default();
    let mut all = Vec::new();
    for number in 0..plan.n_fetches() {
        plan.fetch_into(number, &mut fetch);
        assert!(!fetch.minibatches.is_empty(), "a fetch that nobody needs");
        let mut end = 0;
        for (index, minibatch) in fetch.minibatches.iter().enumerate() {
            assert_eq!(minibatch.range.start, end, "a gap between minibatches");
            end = minibatch.range.end;
            assert_eq!(plan.locate(all.len() as u64), Some((number, index)));
            all.push(Minibatch {
                obs: fetch.obs_of(index).to_vec(),
                global: minibatch.global,
                padding: minibatch.padding,
            });
        }
        assert_eq!(end, fetch.obs.len(), "obs without a minibatch");
    }
    assert_eq!(all.len() as u64, plan.n_minibatches());
    assert_eq!(plan.locate(plan.n_minibatches()), None);
    all
}

/// The minibatches of every rank.
fn all_ranks(n_obs: u64, config: &SamplerConfig, epoch: u64) -> Vec<Vec<Minibatch>> {
    (0..config.world_size)
        .map(|rank| minibatches(n_obs, &config.clone().rank(rank), epoch))
        .collect()
}

/// The obs of the whole epoch in global order, as one rank alone sees them.
fn sequence(n_obs: u64, config: &SamplerConfig, epoch: u64) -> Vec<u64> {
    let alone = config.clone().rank(0).world_size(1);
    minibatches(n_obs, &alone, epoch)
        .into_iter()
        .flat_map(|minibatch| minibatch.obs)
        .collect()
}

/// The minibatches of every rank of a sampler.
fn sampler_ranks(sampler: &Sampler, epoch: u64) -> Vec<Vec<Minibatch>> {
    let world_size = sampler.config().world_size;
    (0..world_size)
        .map(|rank| collect(&sampler.with_rank(rank, world_size).unwrap().plan(epoch).unwrap()))
        .collect()
}

/// The global minibatches of a sampler, as one rank alone sees them.
fn alone(sampler: &Sampler, epoch: u64) -> Vec<Vec<u64>> {
    let minibatches = collect(&sampler.with_rank(0, 1).unwrap().plan(epoch).unwrap());
    minibatches.into_iter().map(|minibatch| minibatch.obs).collect()
}
