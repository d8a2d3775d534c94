//! What is chosen from, and the choice.

use cellring::plan::SamplerConfig;
use serde::Serialize;

use crate::failure::Failure;

const BLOCK_SIZES: [u64; 6] = [1, 4, 16, 64, 256, 1024];
pub(super) const FETCH_FACTORS: [u32; 4] = [16, 64, 256, 1024];
/// One fetch is decoded while the next is read.
pub(super) const FETCHES_AT_A_TIME: usize = 2;
/// Speeds that are closer than this are equal: no short measurement tells them apart.
pub(super) const AS_FAST: f64 = 0.97;

/// One choice, and what is to be expected of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Candidate {
    pub(super) block_size: u64,
    pub(super) fetch_factor: u32,
    pub(super) entropy_bits: f64,
    pub(super) expected_cells_per_second: f64,
    /// Which is slower: `device` or `cores`.
    pub(super) bound_by: &'static str,
    pub(super) mean_read_bytes: u64,
    pub(super) read_bytes_per_cell: f64,
    /// Of a linked store with chunks: values decoded for each one that is delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) decoded_per_value: Option<f64>,
    /// Read buffers for one fetch that is decoded and one that is read; of a linked store their values.
    pub(super) buffer_bytes: usize,
    pub(super) fits_memory: bool,
    pub(super) meets_target: bool,
}

/// The choices for so many cells: fetches of several sizes, none larger than all of them, and blocks that are no larger either.
pub(super) fn shapes(n_obs: u64, sampler: &dyn Fn(u64, u32) -> SamplerConfig) -> Vec<SamplerConfig> {
    let batch_size = u64::from(sampler(1, 1).batch_size);
    let most = u32::try_from((n_obs / batch_size).max(1)).unwrap_or(u32::MAX);
    // The largest that there can be takes the place of the first that is too large.
    let mut factors: Vec<u32> = FETCH_FACTORS.into_iter().map(|factor| factor.min(most)).collect();
    factors.dedup();
    let fitting = || {
        BLOCK_SIZES
            .into_iter()
            .filter(|&block_size| block_size <= n_obs.max(1))
    };
    factors
        .into_iter()
        .flat_map(|factor| fitting().map(move |block_size| (block_size, factor)))
        .map(|(block_size, factor)| sampler(block_size, factor))
        .collect()
}

/// The fastest choice that mixes well and fits; of equally fast ones block size 1, or else the smallest fetch with the
/// largest blocks.
pub(super) fn choose(candidates: &[Candidate], target: f64, random: f64) -> Result<Candidate, Failure> {
    let mixed = || candidates.iter().filter(|candidate| candidate.meets_target);
    let fit = || mixed().filter(|candidate| candidate.fits_memory);
    let fastest = fit()
        .map(|candidate| candidate.expected_cells_per_second)
        .fold(0.0, f64::max);
    let as_fast = fit().filter(|candidate| candidate.expected_cells_per_second >= AS_FAST * fastest);
    let best = as_fast.min_by_key(|candidate| {
        (
            candidate.block_size != 1,
            candidate.fetch_factor,
            std::cmp::Reverse(candidate.block_size),
        )
    });
    if let Some(best) = best {
        return Ok(best.clone());
    }
    Err(match mixed().map(|candidate| candidate.buffer_bytes).min() {
        Some(buffer_bytes) => Failure::because(format!(
            "every choice that reaches {target:.2} bits needs more memory than given; raise --memory to {}MiB or \
             lower --target-entropy",
            ((buffer_bytes as u64).div_ceil(3) * 4).div_ceil(1 << 20)
        )),
        None => Failure::because(format!(
            "no sampling reaches {target:.2} bits: true random sampling has {random:.2} with this batch size; lower \
             --target-entropy or raise --batch-size"
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(block_size: u64, fetch_factor: u32, bits: f64, speed: f64, fits: bool) -> Candidate {
        Candidate {
            block_size,
            fetch_factor,
            entropy_bits: bits,
            expected_cells_per_second: speed,
            bound_by: "device",
            mean_read_bytes: 1,
            read_bytes_per_cell: 1.0,
            decoded_per_value: None,
            buffer_bytes: 300,
            fits_memory: fits,
            meets_target: bits >= 3.5,
        }
    }

    #[test]
    fn the_fastest_that_mixes_and_fits_is_chosen() {
        let chosen = |candidates: &[Candidate]| {
            let chosen = choose(candidates, 3.5, 3.6).unwrap();
            (chosen.block_size, chosen.fetch_factor)
        };
        let mut all = vec![
            candidate(1, 16, 3.6, 50.0, true),
            candidate(16, 64, 3.5, 99.0, true),
            candidate(16, 256, 3.6, 99.5, true),
            candidate(64, 64, 3.4, 200.0, true),
            candidate(64, 1024, 3.6, 200.0, false),
        ];
        assert_eq!(chosen(&all), (16, 64), "the smaller fetch of two equal ones");
        all.push(candidate(64, 64, 3.55, 98.0, true));
        assert_eq!(chosen(&all), (64, 64), "the larger block of two equal fetches");
        all[0].expected_cells_per_second = 97.0;
        assert_eq!(chosen(&all), (1, 16), "true random where it is as fast");
    }

    #[test]
    fn no_fetch_is_larger_than_what_there_is() {
        let sampler = |block_size, fetch_factor| {
            SamplerConfig::default()
                .block_size(block_size)
                .fetch_factor(fetch_factor)
        };
        for n_obs in [0, 1, 63, 64, 500, 1023, 1024, 5000, 20_000, 10_000_000] {
            let shapes = shapes(n_obs, &sampler);
            assert!(!shapes.is_empty(), "{n_obs}");
            for shape in &shapes {
                let is_one = shape.fetch_factor == 1;
                assert!(shape.fetch_obs() <= n_obs || is_one, "{n_obs}: {shape:?}");
                assert!(shape.block_size <= n_obs.max(1), "{n_obs}: {shape:?}");
            }
        }
        let factors = |n_obs| {
            let mut factors: Vec<u32> = shapes(n_obs, &sampler)
                .iter()
                .map(|shape| shape.fetch_factor)
                .collect();
            factors.dedup();
            factors
        };
        assert_eq!(factors(5000), [16, 64, 78]);
        assert_eq!(factors(10_000_000), FETCH_FACTORS);
    }

    #[test]
    fn where_nothing_fits_it_says_what_to_change() {
        let too_large = [
            candidate(1, 16, 3.6, 1.0, false),
            candidate(4, 16, 3.0, 1.0, true),
        ];
        let message = choose(&too_large, 3.5, 3.6).unwrap_err().to_string();
        assert!(message.contains("raise --memory to 1MiB"), "{message}");
        let message = choose(&too_large[1..], 3.5, 3.2).unwrap_err().to_string();
        assert!(message.contains("true random sampling has 3.20"), "{message}");
    }
}
