//! A second implementation, written from the documentation of `cellring::plan` alone: slow, in memory, with its own
//! ChaCha8, so that neither a wrong text nor a changed dependency goes unnoticed.

use cellring::plan::{SamplerConfig, Strategy};

use crate::Minibatch;

/// The words of a ChaCha8 key stream, one at a time.
struct ChaCha8 {
    key: [u32; 8],
    n_words: u64,
}

impl ChaCha8 {
    fn new(seed: u64, epoch: u64, purpose: &[u8; 8], index: u64) -> Self {
        let fields = [seed, epoch, u64::from_le_bytes(*purpose), index];
        let key = std::array::from_fn(|word| (fields[word / 2] >> (32 * (word % 2))) as u32);
        Self { key, n_words: 0 }
    }

    /// Computes a whole block for each word.
    fn word(&mut self) -> u32 {
        let mut start = [0u32; 16];
        start[..4].copy_from_slice(&[0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574]);
        start[4..12].copy_from_slice(&self.key);
        let counter = self.n_words / 16;
        (start[12], start[13]) = (counter as u32, (counter >> 32) as u32);

        let mut state = start;
        let mut quarter = |a: usize, b: usize, c: usize, d: usize| {
            for (sum, add, xor, turn) in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)] {
                state[sum] = state[sum].wrapping_add(state[add]);
                state[xor] = (state[xor] ^ state[sum]).rotate_left(turn);
            }
        };
        for _ in 0..4 {
            (0..4).for_each(|i| quarter(i, 4 + i, 8 + i, 12 + i));
            (0..4).for_each(|i| quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4));
        }
        let at = (self.n_words % 16) as usize;
        self.n_words += 1;
        state[at].wrapping_add(start[at])
    }

    fn below(&mut self, n: u64) -> u64 {
        loop {
            let product = u64::from(self.word()) * n;
            if product % (1 << 32) >= (1u64 << 32) % n {
                return product >> 32;
            }
        }
    }

    fn shuffled(&mut self, mut list: Vec<u64>) -> Vec<u64> {
        for i in (1..list.len()).rev() {
            let j = self.below(i as u64 + 1) as usize;
            list.swap(i, j);
        }
        list
    }
}

fn turn(n_obs: u64, seed: u64, epoch: u64) -> u64 {
    let mut stream = ChaCha8::new(seed, epoch, b"turn...1", 0);
    loop {
        let word = u128::from(stream.word()) + (u128::from(stream.word()) << 32);
        let product = word * u128::from(n_obs);
        if product % (1 << 64) >= (1u128 << 64) % u128::from(n_obs) {
            return (product >> 64) as u64;
        }
    }
}

fn block_order(n: u64, seed: u64, epoch: u64) -> Vec<u64> {
    let mut stream = ChaCha8::new(seed, epoch, b"blocks.1", 0);
    if n <= 4096 {
        return stream.shuffled((0..n).collect());
    }
    let keys: Vec<u128> = (0..8)
        .map(|_| u128::from(stream.word()) + (u128::from(stream.word()) << 32))
        .collect();
    let two_64 = 1u128 << 64;
    let mix = |v: u128, k: u128| {
        let z = (v ^ k) * 0xbf58_476d_1ce4_e5b9 % two_64;
        (z ^ (z >> 32)) * 0x94d0_49bb_1331_11eb % two_64
    };
    let h = f64::log2(n as f64).floor() as u32 / 2;
    let columns = 1u128 << h;
    let rows = u128::from(n).div_ceil(columns);
    let image = |x: u128| {
        let (mut left, mut right) = (x / columns, x % columns);
        for pair in keys.chunks(2) {
            left = (left + mix(right, pair[0]) * rows / two_64) % rows;
            right = (right + mix(left, pair[1]) * columns / two_64) % columns;
        }
        left * columns + right
    };
    (0..u128::from(n))
        .map(|place| {
            let mut x = image(place);
            while x >= u128::from(n) {
                x = image(x);
            }
            x as u64
        })
        .collect()
}

/// All minibatches of the global sequence.
fn global_minibatches(n_obs: u64, config: &SamplerConfig, epoch: u64) -> Vec<Vec<u64>> {
    let obs: Vec<u64> = (0..n_obs).collect();
    let batch_size = config.batch_size as usize;
    let sequence: Vec<u64> = match config.strategy {
        Strategy::Sequential if config.drop_last => {
            let turn = u128::from(epoch) * 0x9e37_79b9_7f4a_7c15 % (1 << 64);
            let start = (turn * u128::from(n_obs)) >> 64;
            [&obs[start as usize..], &obs[..start as usize]].concat()
        }
        Strategy::Sequential => obs,
        _ => {
            let blocks: Vec<&[u64]> = obs.chunks(config.block_size as usize).collect();
            let order = block_order(blocks.len() as u64, config.seed, epoch);
            let mut laid_out: Vec<u64> = order
                .into_iter()
                .flat_map(|block| blocks[block as usize].to_vec())
                .collect();
            if n_obs > 0 {
                laid_out.rotate_left(turn(n_obs, config.seed, epoch) as usize);
            }
            laid_out
                .chunks(batch_size * config.fetch_factor as usize)
                .zip(0..)
                .flat_map(|(fetch, f)| {
                    ChaCha8::new(config.seed, epoch, b"fetch..1", f).shuffled(fetch.to_vec())
                })
                .collect()
        }
    };
    let mut minibatches: Vec<Vec<u64>> = sequence.chunks(batch_size).map(<[u64]>::to_vec).collect();
    if config.drop_last {
        minibatches.retain(|minibatch| minibatch.len() == batch_size);
    }
    minibatches
}

/// What each rank gets.
pub(crate) fn ranks(n_obs: u64, config: &SamplerConfig, epoch: u64) -> Vec<Vec<Minibatch>> {
    let global = global_minibatches(n_obs, config, epoch);
    let world_size = config.world_size as usize;
    let take = |number: usize, padding: bool| Minibatch {
        obs: global[number].clone(),
        global: number as u64,
        padding,
    };
    let mut ranks = vec![Vec::new(); world_size];
    let mut next = 0;
    while global.len() - next >= world_size * config.fetch_factor as usize {
        for rank in &mut ranks {
            rank.extend((next..next + config.fetch_factor as usize).map(|number| take(number, false)));
            next += config.fetch_factor as usize;
        }
    }

    let mut left: Vec<(usize, bool)> = (next..global.len()).map(|number| (number, false)).collect();
    if config.drop_last {
        left.truncate(left.len() / world_size * world_size);
    } else {
        let n_padding = left.len().next_multiple_of(world_size) - left.len();
        left.extend((0..n_padding).map(|j| {
            let turned = u128::from(epoch) * n_padding as u128 + j as u128;
            ((turned % global.len() as u128) as usize, true)
        }));
    }
    let share = left.len() / world_size;
    for (rank, minibatches) in ranks.iter_mut().enumerate() {
        minibatches.extend(
            left[rank * share..][..share]
                .iter()
                .map(|(number, padding)| take(*number, *padding)),
        );
    }
    ranks
}
