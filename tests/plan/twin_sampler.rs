//! The second implementation of the strategies that need data: slow, in memory, from the documentation alone.

use std::collections::{BTreeMap, BTreeSet};

use cellring::plan::{MISSING, SamplerConfig, StrategyKind};

use crate::cases::Case;
use crate::twin::{ChaCha8, block_shuffle, cut, permutation, sequential, turned_blocks};

/// A hash with the next two keys of the stream.
fn hash(stream: &mut ChaCha8) -> impl Fn(u64) -> u64 + use<> {
    let (k, l) = (stream.word64(), stream.word64());
    let s = |z: u64| {
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    move |x| s(s(x.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(k)) ^ l)
}

/// All minibatches of the global sequence.
pub(crate) fn global_minibatches(case: &Case, epoch: u64) -> Vec<Vec<u64>> {
    let config = &case.config;
    let members = case.members();
    let sequence = match case.strategy {
        StrategyKind::Sequential => sequential(&members, config, epoch, false),
        StrategyKind::SequentialShuffle => sequential(&members, config, epoch, true),
        StrategyKind::BlockShuffle => block_shuffle(&members, config, epoch),
        StrategyKind::Custom => {
            let list: Vec<u64> = case.order.iter().cloned().flatten().collect();
            sequential(&list, config, epoch, case.shuffle)
        }
        StrategyKind::Weighted if case.replacement => {
            let members = positive(case);
            let sum = members
                .iter()
                .fold(0.0, |sum, obs| sum + f64::from(case.weights[*obs as usize]));
            let scale = f64::powi(2.0, 61 - f64::log2(sum).floor() as i32);
            let whole = |obs: &u64| ((f64::from(case.weights[*obs as usize]) * scale).floor() as u128).max(1);
            let members: Vec<_> = members.iter().map(|obs| (*obs, whole(obs))).collect();
            block_shuffle(&weighted(&members, case, epoch), config, epoch)
        }
        StrategyKind::Weighted => {
            let hash = hash(&mut ChaCha8::new(config.seed, epoch, b"keys...1", 0));
            let mut keys: Vec<(f64, u64)> = positive(case)
                .into_iter()
                .map(|obs| {
                    let u = ((hash(obs) / 4096) as f64 + 0.5) / f64::powi(2.0, 52);
                    (-u.ln() / f64::from(case.weights[obs as usize]), obs)
                })
                .collect();
            keys.sort_by(|a, b| a.partial_cmp(b).unwrap());
            let n_draws = case.n_draws.map_or(keys.len(), |n| n as usize);
            let mut drawn: Vec<u64> = keys[..n_draws].iter().map(|key| key.1).collect();
            drawn.sort_unstable();
            block_shuffle(&drawn, config, epoch)
        }
        StrategyKind::Balanced => {
            let with_class = |obs: &u64| case.codes[*obs as usize] != MISSING;
            let members: Vec<u64> = members.into_iter().filter(with_class).collect();
            let counted = if case.global {
                (0..case.n_obs).filter(with_class).collect()
            } else {
                members.clone()
            };
            let mut sizes = BTreeMap::new();
            counted
                .iter()
                .for_each(|obs| *sizes.entry(case.codes[*obs as usize]).or_insert(0u128) += 1);
            let each = (1u128 << 62) / sizes.len() as u128;
            let whole = |obs: &u64| (each / sizes[&case.codes[*obs as usize]]).max(1);
            let members: Vec<_> = members.iter().map(|obs| (*obs, whole(obs))).collect();
            block_shuffle(&weighted(&members, case, epoch), config, epoch)
        }
        _ => return grouped(case, epoch),
    };
    cut(&sequence, config)
}

fn positive(case: &Case) -> Vec<u64> {
    let mut members = case.members();
    members.retain(|obs| case.weights[*obs as usize] > 0.0);
    members
}

/// All draws with replacement, in the order of their numbers.
fn weighted(members: &[(u64, u128)], case: &Case, epoch: u64) -> Vec<u64> {
    let n_draws = case.n_draws.map_or(members.len(), |n| n as usize) as u128;
    let block_size = u128::from(case.config.block_size);
    let mut stream = ChaCha8::new(case.config.seed, epoch, b"draws..1", 0);
    let (h1, h2) = (hash(&mut stream), hash(&mut stream));
    let total: u128 = members.iter().map(|member| member.1).sum();
    let covering = |point: u128| {
        let mut before = 0;
        members.iter().position(|member| {
            before += member.1;
            point < before
        })
    };
    let mut draws = Vec::new();
    for k in 0..n_draws.div_ceil(block_size) {
        let d = k * block_size;
        let l = block_size.min(n_draws - d);
        let (x, y) = (total * d / n_draws, total * (d + l) / n_draws);
        let point = x + u128::from(h1(k as u64)) * (y - x) / (1 << 64);
        let block = covering(point).unwrap() as u128 / block_size * block_size;
        let weight = |some: &[(u64, u128)]| some.iter().map(|member| member.1).sum::<u128>();
        let end = (block + block_size).min(members.len() as u128);
        let from = weight(&members[..block as usize]);
        let width = weight(&members[block as usize..end as usize]);
        let c = |j: u128| width * j / l;
        for j in 0..l {
            let point = from + c(j) + u128::from(h2((d + j) as u64)) * (c(j + 1) - c(j)) / (1 << 64);
            draws.push(members[covering(point).unwrap()].0);
        }
    }
    draws
}

/// Minibatches of whole sets.
fn grouped(case: &Case, epoch: u64) -> Vec<Vec<u64>> {
    let config = &case.config;
    let (control_codes, match_codes, n_controls) = match &case.controls {
        Some((groups, matches, n)) => (groups.clone(), matches.clone(), *n as usize),
        None => (vec![], None, 0),
    };
    let match_of = |obs: u64| match_codes.as_ref().map_or(0, |codes| codes[obs as usize]);
    let mut groups = BTreeMap::<(u32, u32), Vec<u64>>::new();
    let mut controls = BTreeMap::<u32, Vec<u64>>::new();
    for obs in case.members() {
        let (code, matched) = (case.codes[obs as usize], match_of(obs));
        if code == MISSING || matched == MISSING {
            continue;
        }
        match control_codes.contains(&code) {
            true => controls.entry(matched).or_default().push(obs),
            false => groups.entry((matched, code)).or_default().push(obs),
        }
    }
    let controls: Vec<(u32, Vec<u64>)> = controls
        .into_iter()
        .zip(0..)
        .map(|((matched, obs), c)| {
            (
                matched,
                turned_blocks(&obs, config, epoch, [b"cblock.1", b"cturn..1"], c),
            )
        })
        .collect();

    let mut sets: Vec<Vec<u64>> = Vec::new();
    let mut n_of_match = BTreeMap::<u32, usize>::new();
    for (((matched, _), obs), g) in groups.into_iter().zip(0..) {
        let mut of_group: Vec<Vec<u64>> = match case.n_per_group {
            None => vec![obs],
            Some(n) => {
                let n = n as usize;
                let n_sets = if config.drop_last {
                    (obs.len() / n).max(1)
                } else {
                    obs.len().div_ceil(n)
                };
                let turned = turned_blocks(&obs, config, epoch, [b"gblock.1", b"gturn..1"], g);
                let endless: Vec<u64> = turned.iter().cycle().take(n_sets * n).copied().collect();
                endless.chunks(n).map(<[u64]>::to_vec).collect()
            }
        };
        for set in &mut of_group {
            let i = n_of_match.entry(matched).or_default();
            if let Some((_, controls)) = controls
                .iter()
                .find(|(code, _)| n_controls > 0 && *code == matched)
            {
                set.extend(controls.iter().cycle().skip(*i * n_controls).take(n_controls));
            }
            *i += 1;
        }
        sets.extend(of_group);
    }
    let m = case.sets_per_minibatch.map_or_else(
        || {
            let largest = match case.n_per_group {
                Some(n) => n as usize + n_controls,
                None => sets.iter().map(Vec::len).max().unwrap_or(n_controls),
            };
            config.batch_size as usize / largest.max(1)
        },
        |m| m as usize,
    );
    let order = permutation(
        sets.len() as u64,
        ChaCha8::new(config.seed, epoch, b"sets...1", 0),
    );
    let ordered: Vec<&Vec<u64>> = order.into_iter().map(|set| &sets[set as usize]).collect();
    let n_minibatches = if config.drop_last {
        ordered.len() / m
    } else {
        ordered.len().div_ceil(m)
    };
    let minibatches = ordered
        .chunks(m)
        .map(|sets| sets.iter().flat_map(|set| set.iter().copied()).collect());
    minibatches.take(n_minibatches).collect()
}

/// What no rank has consumed.
#[derive(Clone, Debug)]
pub(crate) struct Left {
    n_minibatches: u64,
    consumed: BTreeSet<u64>,
    /// Where whole fetches begin.
    start: u64,
}

impl Left {
    pub(crate) fn all(n_minibatches: u64) -> Self {
        Self {
            n_minibatches,
            consumed: BTreeSet::new(),
            start: 0,
        }
    }

    /// The minibatches of each rank, and whether they are padding.
    pub(crate) fn divide(&self, config: &SamplerConfig, epoch: u64) -> Vec<Vec<(u64, bool)>> {
        let (world_size, fetch_factor) = (config.world_size as usize, u64::from(config.fetch_factor));
        let stretches: Vec<u64> = (0..self.start)
            .filter(|number| !self.consumed.contains(number))
            .collect();
        let head = stretches.len() / world_size;
        let mut ranks = vec![Vec::new(); world_size];
        for (rank, minibatches) in ranks.iter_mut().enumerate() {
            minibatches.extend(
                stretches[rank * head..][..head]
                    .iter()
                    .map(|number| (*number, false)),
            );
        }
        let mut next = self.start;
        while self.n_minibatches - next >= world_size as u64 * fetch_factor {
            for minibatches in &mut ranks {
                minibatches.extend((next..next + fetch_factor).map(|number| (number, false)));
                next += fetch_factor;
            }
        }
        let mut tail: Vec<(u64, bool)> = stretches[head * world_size..]
            .iter()
            .map(|n| (*n, false))
            .collect();
        tail.extend((next..self.n_minibatches).map(|number| (number, false)));
        if config.drop_last {
            tail.truncate(tail.len() / world_size * world_size);
        }
        let p = tail.len().next_multiple_of(world_size) - tail.len();
        tail.extend((0..p).map(|j| {
            let turned = u128::from(epoch) * p as u128 + j as u128;
            ((turned % u128::from(self.n_minibatches)) as u64, true)
        }));
        let share = tail.len() / world_size;
        for (rank, minibatches) in ranks.iter_mut().enumerate() {
            minibatches.extend(&tail[rank * share..][..share]);
        }
        ranks
    }

    /// Once each rank has consumed `n` of its minibatches.
    pub(crate) fn consume(&mut self, config: &SamplerConfig, epoch: u64, n: usize) {
        if n == 0 {
            return;
        }
        let ranks = self.divide(config, epoch);
        if n == ranks[0].len() {
            self.consumed = (0..self.n_minibatches).collect();
            self.start = self.n_minibatches;
            return;
        }
        let (world_size, fetch_factor) = (config.world_size as usize, config.fetch_factor as usize);
        let head =
            (self.start as usize - self.consumed.iter().filter(|n| **n < self.start).count()) / world_size;
        let n_rounds = (self.n_minibatches - self.start) as usize / fetch_factor / world_size;
        if n > head + n_rounds * fetch_factor {
            self.start = self.n_minibatches;
        } else if n > head {
            self.start += ((n - head).div_ceil(fetch_factor) * world_size * fetch_factor) as u64;
        }
        for (number, padding) in ranks.iter().flat_map(|rank| &rank[..n]) {
            if !padding {
                self.consumed.insert(*number);
            }
        }
    }
}
