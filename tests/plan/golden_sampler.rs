//! Golden vectors of the strategies that need data. They never change.

use cellring::plan::{
    Balanced, Controls, Custom, Grouped, MISSING, Sampler, SamplerConfig, SamplerData, Strategy, Subset,
    Weighted,
};

use crate::{golden::fnv_1a, sampler_ranks};

/// A strategy, and the digest over the obs of all ranks in two epochs, and the fingerprint.
fn goldens() -> Vec<(&'static str, Strategy, SamplerData, [&'static str; 3])> {
    let n_obs = 10_007u64;
    let none = SamplerData::default;
    let subset = || Some(Subset::from_fn(n_obs, |obs| obs % 8 < 5 && obs / 1000 != 4).unwrap());
    let code = |obs: u64| {
        if obs.is_multiple_of(91) {
            MISSING
        } else {
            (obs * obs / 50_000 % 23) as u32
        }
    };
    let weighted = |replacement, n_draws| {
        Strategy::Weighted(
            Weighted::new((0..n_obs).map(|obs| (obs % 13) as f32 * 0.37).collect::<Vec<_>>())
                .n_draws(n_draws)
                .replacement(replacement),
        )
    };
    let grouped = |controls: bool, n_per_group: Option<u32>| {
        Strategy::Grouped(
            Grouped::new((0..n_obs).map(code).collect::<Vec<_>>())
                .n_per_group(n_per_group)
                .sets_per_minibatch(n_per_group.is_none().then_some(1))
                .controls(controls.then(|| {
                    Controls::new(vec![3, 4, 5], 2)
                        .match_codes((0..n_obs).map(|obs| (obs % 3) as u32).collect::<Vec<_>>())
                })),
        )
    };
    let balanced =
        Strategy::Balanced(Balanced::new((0..n_obs).map(code).collect::<Vec<_>>()).n_draws(Some(5000)));
    let custom = Custom::from_ranges((0..500).map(|i| i * 7919 % 10_000..i * 7919 % 10_000 + 3)).unwrap();
    vec![
        (
            "subset",
            Strategy::BlockShuffle,
            none().subset(subset()),
            ["23134d93e9cdb063", "31c0aeda820d3492", "70313ca47f2992fb"],
        ),
        (
            "streaming",
            Strategy::SequentialShuffle,
            none(),
            ["16d30a3d8714a6ea", "7ded849b01b3e759", "2ba4c04ca7dc6013"],
        ),
        (
            "with replacement",
            weighted(true, None),
            none(),
            ["6dff3d747e387976", "21d3e3504ed7e107", "b0d8d427e16baebc"],
        ),
        (
            "without",
            weighted(false, Some(4000)),
            none().subset(subset()),
            ["5084e0b9112ed680", "6caa0982b396ede3", "ea83639ba6be8924"],
        ),
        (
            "balanced",
            balanced,
            none().subset(subset()),
            ["2859a8c843bd6ce2", "8682d8ff9fa0d17d", "83c26b61efdeb35f"],
        ),
        (
            "sets",
            grouped(false, Some(4)),
            none(),
            ["99a5d077ee4e6308", "f0ff6c9c44af0d70", "6b3d34fa5948b102"],
        ),
        (
            "controls",
            grouped(true, Some(4)),
            none(),
            ["cc82dc607c5f6ee4", "0f7f8e6a36b0dfd8", "ddeb75fa00ece3c8"],
        ),
        (
            "groups",
            grouped(false, None),
            none(),
            ["04b11761c4fdce7b", "1a51ef737ddb05c0", "7a4b10e8c8063df3"],
        ),
        (
            "custom",
            Strategy::Custom(custom.shuffled()),
            none(),
            ["bb64e088b4fef607", "2300c04f81e81670", "89413b20c6ab756b"],
        ),
    ]
}

#[test]
fn order_and_fingerprint_never_change() {
    let of = |strategy, data| {
        let config = SamplerConfig::default()
            .strategy(strategy)
            .block_size(3)
            .batch_size(32)
            .fetch_factor(4)
            .seed(11)
            .drop_last(false)
            .rank(0)
            .world_size(3);
        let sampler = Sampler::new(10_007, config, data).unwrap();
        let digest = |epoch| {
            let ranks = sampler_ranks(&sampler, epoch);
            fnv_1a(ranks.into_iter().flatten().flat_map(|minibatch| minibatch.obs))
        };
        [digest(0), digest(5), sampler.fingerprint()]
    };
    let hex = |digests: [u64; 3]| digests.map(|digest| format!("{digest:016x}"));
    let (mut found, mut expected) = (Vec::new(), Vec::new());
    for (name, strategy, data, golden) in goldens() {
        found.push((name, hex(of(strategy, data))));
        expected.push((name, golden.map(str::to_owned)));
    }
    assert_eq!(found, expected);
}

#[test]
fn splits_never_change() {
    let all = Subset::all(10_007).unwrap();
    let codes: Vec<u32> = (0..10_007).map(|obs| obs / 100).collect();
    let digest = |parts: Vec<Subset>| fnv_1a(parts.iter().flat_map(Subset::iter).collect::<Vec<_>>());
    let fractions = [0.7, 0.2, 0.1];
    let found = [
        digest(all.split(&fractions, 3).unwrap()),
        digest(Subset::all(1000).unwrap().split(&fractions, 3).unwrap()),
        digest(all.split_by_group(&codes, &fractions, 3).unwrap()),
    ];
    assert_eq!(
        found.map(|n| format!("{n:016x}")),
        ["2ea5efd1468a2813", "19240fa8f9c88639", "95c99fa5310bb8c7"]
    );
}
