//! A second implementation, written from the documentation of `cellring::plan` alone: slow, in memory, with its own
//! ChaCha8, so that neither a wrong text nor a changed dependency goes unnoticed.

use cellring::plan::{SamplerConfig, Strategy};

use crate::Minibatch;

/// The words of a ChaCha8 key stream, one at a time.
pub(crate) struct ChaCha8 {
    key: [u32; 8],
    n_words: u64,
}

impl ChaCha8 {
    pub(crate) fn new(seed: u64, epoch: u64, purpose: &[u8; 8], index: u64) -> Self {
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

    pub(crate) fn word64(&mut self) -> u64 {
        u64::from(self.word()) | u64::from(self.word()) << 32
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

fn turn(n: u64, mut stream: ChaCha8) -> u64 {
    loop {
        let product = u128::from(stream.word64()) * u128::from(n);
        if product % (1 << 64) >= (1u128 << 64) % u128::from(n) {
            return (product >> 64) as u64;
        }
    }
}

/// All entries of a permutation.
pub(crate) fn permutation(n: u64, mut stream: ChaCha8) -> Vec<u64> {
    if n <= 4096 {
        return stream.shuffled((0..n).collect());
    }
    let keys: Vec<u128> = (0..8).map(|_| u128::from(stream.word64())).collect();
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

/// The list in blocks, which two streams of this index put in order and turn.
pub(crate) fn turned_blocks(
    list: &[u64],
    config: &SamplerConfig,
    epoch: u64,
    purposes: [&[u8; 8]; 2],
    index: u64,
) -> Vec<u64> {
    let stream = |purpose| ChaCha8::new(config.seed, epoch, purpose, index);
    let blocks: Vec<&[u64]> = list.chunks(config.block_size as usize).collect();
    let order = permutation(blocks.len() as u64, stream(purposes[0]));
    let mut laid_out: Vec<u64> = order
        .into_iter()
        .flat_map(|block| blocks[block as usize].to_vec())
        .collect();
    if !list.is_empty() {
        laid_out.rotate_left(turn(list.len() as u64, stream(purposes[1])) as usize);
    }
    laid_out
}

fn shuffled_fetches(sequence: &[u64], config: &SamplerConfig, epoch: u64) -> Vec<u64> {
    sequence
        .chunks(config.batch_size as usize * config.fetch_factor as usize)
        .zip(0..)
        .flat_map(|(fetch, f)| ChaCha8::new(config.seed, epoch, b"fetch..1", f).shuffled(fetch.to_vec()))
        .collect()
}

pub(crate) fn block_shuffle(list: &[u64], config: &SamplerConfig, epoch: u64) -> Vec<u64> {
    let turned = turned_blocks(list, config, epoch, [b"blocks.1", b"turn...1"], 0);
    shuffled_fetches(&turned, config, epoch)
}

pub(crate) fn sequential(list: &[u64], config: &SamplerConfig, epoch: u64, shuffle: bool) -> Vec<u64> {
    let mut list = list.to_vec();
    if config.drop_last {
        let turn = u128::from(epoch) * 0x9e37_79b9_7f4a_7c15 % (1 << 64);
        let start = (turn * list.len() as u128) >> 64;
        list.rotate_left(start as usize);
    }
    match shuffle {
        true => shuffled_fetches(&list, config, epoch),
        false => list,
    }
}

/// The minibatches of a sequence.
pub(crate) fn cut(sequence: &[u64], config: &SamplerConfig) -> Vec<Vec<u64>> {
    let batch_size = config.batch_size as usize;
    let mut minibatches: Vec<Vec<u64>> = sequence.chunks(batch_size).map(<[u64]>::to_vec).collect();
    if config.drop_last {
        minibatches.retain(|minibatch| minibatch.len() == batch_size);
    }
    minibatches
}

/// All minibatches of the global sequence, for strategies that need no data.
fn global_minibatches(n_obs: u64, config: &SamplerConfig, epoch: u64) -> Vec<Vec<u64>> {
    let obs: Vec<u64> = (0..n_obs).collect();
    let sequence = match config.strategy {
        Strategy::Sequential => sequential(&obs, config, epoch, false),
        Strategy::SequentialShuffle => sequential(&obs, config, epoch, true),
        _ => block_shuffle(&obs, config, epoch),
    };
    cut(&sequence, config)
}

/// What each rank gets.
pub(crate) fn ranks(n_obs: u64, config: &SamplerConfig, epoch: u64) -> Vec<Vec<Minibatch>> {
    deal(&global_minibatches(n_obs, config, epoch), config, epoch)
}

/// The minibatches of the global sequence, dealt to ranks.
pub(crate) fn deal(global: &[Vec<u64>], config: &SamplerConfig, epoch: u64) -> Vec<Vec<Minibatch>> {
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
