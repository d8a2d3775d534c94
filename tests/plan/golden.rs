//! Golden vectors. They never change: a release that failed them would change the order of runs under way. A new
//! strategy adds vectors of its own.

use cellring::plan::{SamplerConfig, Strategy};

use crate::{all_ranks, twin};

/// A config, an epoch, and what they must give.
struct Golden {
    n_obs: u64,
    config: SamplerConfig,
    epoch: u64,
    /// The first obs of rank 0.
    first: [u64; 8],
    /// FNV-1a, 64 bits, over the little-endian obs of every rank in turn.
    digest: u64,
}

fn goldens() -> Vec<Golden> {
    let base = SamplerConfig::default()
        .strategy(Strategy::BlockShuffle)
        .block_size(16)
        .batch_size(64)
        .fetch_factor(256)
        .seed(0)
        .drop_last(false)
        .rank(0)
        .world_size(1);
    let small = base.clone().block_size(4).batch_size(8).fetch_factor(4).seed(42);
    vec![
        Golden {
            n_obs: 100_003,
            config: base.clone(),
            epoch: 0,
            first: [60282, 81299, 39336, 55806, 50576, 64541, 36690, 37768],
            digest: 0x077b_532e_de90_36bd,
        },
        Golden {
            n_obs: 100_003,
            config: base.clone(),
            epoch: 1,
            first: [76451, 59911, 50546, 69631, 56478, 49969, 19359, 41787],
            digest: 0x68a4_d5f4_1bb2_92f1,
        },
        Golden {
            n_obs: 100_003,
            config: base.clone().block_size(1).seed(u64::MAX),
            epoch: 7,
            first: [8979, 8187, 57317, 68282, 97219, 96189, 99847, 51645],
            digest: 0x5e57_4717_8a53_ad55,
        },
        Golden {
            n_obs: 1_001,
            config: small.clone(),
            epoch: 0,
            first: [453, 212, 754, 661, 433, 133, 134, 452],
            digest: 0xa3e6_65f5_ae2f_5ebc,
        },
        Golden {
            n_obs: 1_001,
            config: small.clone().world_size(3),
            epoch: 5,
            first: [848, 751, 319, 700, 317, 851, 293, 925],
            digest: 0x94ac_3178_7ccf_3df8,
        },
        Golden {
            n_obs: 1_001,
            config: small.clone().world_size(3).drop_last(true),
            epoch: 5,
            first: [848, 751, 319, 700, 317, 851, 293, 925],
            digest: 0x850d_66ea_de3a_a56e,
        },
        Golden {
            n_obs: 1_001,
            config: small.strategy(Strategy::Sequential).drop_last(true),
            epoch: 1,
            first: [618, 619, 620, 621, 622, 623, 624, 625],
            digest: 0x2e6c_bf27_7f32_daf3,
        },
    ]
}

pub(crate) fn fnv_1a(obs: impl IntoIterator<Item = u64>) -> u64 {
    obs.into_iter()
        .flat_map(u64::to_le_bytes)
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

#[test]
fn order_never_changes() {
    for golden in goldens() {
        let Golden {
            n_obs,
            config,
            epoch,
            first,
            digest,
        } = golden;
        let ranks = all_ranks(n_obs, &config, epoch);
        assert_eq!(ranks, twin::ranks(n_obs, &config, epoch), "{config:?}");
        assert_eq!(ranks[0][0].obs[..8], first, "{config:?}");
        let obs = ranks.into_iter().flatten().flat_map(|minibatch| minibatch.obs);
        assert_eq!(fnv_1a(obs), digest, "{config:?}");
    }
}
