//! Decoding of packed frames by each kernel, beside a copy of the decoded bytes, from the cache and from memory; encoding.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "criterion's macros make items without docs; a benchmark may unwrap"
)]

use std::hint::black_box;

use cellring::format::ValueType;
use cellring::format::encoding::Padded;
use cellring::format::encoding::packed::{FrameDecoder, FrameEncoder, Kernel};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

const N_VARS: u32 = 62_710;
const N_OBS: usize = 256;
const BATCH_SIZE: usize = 64;
/// More than the last-level cache of the machines that this was measured on.
const BEYOND_CACHE_BYTES: usize = 64 << 20;

/// Cells with about 1,930 genes each, whose popularity falls off as in real data, in detection order; mostly ones.
fn cells() -> Vec<(Vec<u32>, Vec<f32>)> {
    let mut rng = SmallRng::seed_from_u64(1);
    // P(gene of rank r is seen) for a log-normal popularity (sigma 2): Phi^-1 is close to a logistic quantile here.
    let seen: Vec<f64> = (0..N_VARS)
        .map(|rank| {
            let u = (f64::from(rank) + 0.5) / f64::from(N_VARS);
            let z = ((1.0 - u) / u).ln() / 1.702;
            -f64::exp_m1(-0.0085 * (2.0 * z).exp())
        })
        .collect();
    let cell = |rng: &mut SmallRng| {
        let indices: Vec<u32> = (0..N_VARS)
            .filter(|&gene| rng.random_bool(seen[gene as usize]))
            .collect();
        let mut count = || {
            let mut count = 1.0;
            while rng.random_bool(0.4) {
                count += if rng.random_bool(0.03) { 20.0 } else { 1.0 };
            }
            count
        };
        let values = indices.iter().map(|_| count()).collect();
        (indices, values)
    };
    (0..N_OBS).map(|_| cell(&mut rng)).collect()
}

fn codec(c: &mut Criterion) {
    let cells = cells();
    let nnz: usize = cells.iter().map(|(indices, _)| indices.len()).sum();
    let normalised: Vec<(Vec<u32>, Vec<f32>)> = cells
        .iter()
        .map(|(indices, values)| {
            let scale = 1e4 / values.iter().sum::<f32>();
            (
                indices.clone(),
                values.iter().map(|v| (v * scale).ln_1p()).collect(),
            )
        })
        .collect();
    let mut indices = vec![0i32; nnz];
    let mut data = vec![0f32; nnz];

    for (name, cells) in [("counts", &cells), ("log1p", &normalised)] {
        let mut encoder = FrameEncoder::default();
        let mut frames = Vec::new();
        let mut ends = Vec::new();
        let mut encode = |frames: &mut Vec<u8>, ends: &mut Vec<usize>| {
            frames.clear();
            ends.clear();
            for (obs, (indices, values)) in cells.iter().enumerate() {
                encoder.encode(obs as u64, indices, values, frames);
                ends.push(frames.len());
            }
        };
        encode(&mut frames, &mut ends);
        let mut group = c.benchmark_group(format!(
            "{name}, {:.3} bytes per nonzero",
            frames.len() as f64 / nnz as f64
        ));
        group.throughput(Throughput::Elements(nnz as u64));
        group.bench_function("encode", |b| b.iter(|| encode(&mut frames, &mut ends)));
        // What decoders may load behind the last frame, as a slot of the loader has it.
        frames.resize(frames.len() + 64, 0);

        // Minibatches are decoded one after the other into the same memory, as they are in the loader.
        let decode = |decoder: &FrameDecoder, frames: &[u8], indices: &mut [i32], data: &mut [f32]| {
            let (mut from, mut at) = (0, 0);
            for (obs, ((source, _), &end)) in cells.iter().zip(&ends).enumerate() {
                if obs % BATCH_SIZE == 0 {
                    at = 0;
                }
                if let Some(&next_end) = ends.get(obs + 1) {
                    // As the loader does.
                    Padded::new(&frames[end..], next_end - end).prefetch();
                }
                let (frame, to) = (Padded::new(&frames[from..], end - from), at + source.len());
                let (indices, data) = (&mut indices[at..to], &mut data[at..to]);
                decoder.decode(frame, obs as u64, indices, data).unwrap();
                (from, at) = (end, to);
            }
        };
        let copy = |from: &(Vec<i32>, Vec<f32>), indices: &mut [i32], data: &mut [f32]| {
            for at in (0..nnz).step_by(nnz / N_OBS * BATCH_SIZE) {
                let end = nnz.min(at + nnz / N_OBS * BATCH_SIZE);
                black_box(&mut indices[..end - at]).copy_from_slice(black_box(&from.0[at..end]));
                black_box(&mut data[..end - at]).copy_from_slice(black_box(&from.1[at..end]));
            }
        };
        for kernel in Kernel::available() {
            let decoder = FrameDecoder::new(N_VARS, ValueType::F32).with_kernel(kernel);
            group.bench_function(
                BenchmarkId::new("decode within the cache", format!("{kernel:?}")),
                |b| {
                    b.iter(|| decode(&decoder, &frames, &mut indices, &mut data));
                },
            );
        }
        let decoded = (indices.clone(), data.clone());
        group.bench_function("memcpy of the decoded bytes within the cache", |b| {
            b.iter(|| copy(&decoded, &mut indices, &mut data));
        });

        // A loader's bytes come from a disk, not from the cache: neither packed ones nor those of a store that is not packed.
        let copies = BEYOND_CACHE_BYTES.div_ceil(frames.len());
        let many_frames = vec![frames.clone(); copies];
        let many_decoded = vec![decoded; copies];
        group.throughput(Throughput::Elements((nnz * copies) as u64));
        group.sample_size(20);
        for kernel in Kernel::available() {
            let decoder = FrameDecoder::new(N_VARS, ValueType::F32).with_kernel(kernel);
            group.bench_function(
                BenchmarkId::new("decode from memory", format!("{kernel:?}")),
                |b| {
                    b.iter(|| {
                        for frames in &many_frames {
                            decode(&decoder, frames, &mut indices, &mut data);
                        }
                    });
                },
            );
        }
        group.bench_function("memcpy of the decoded bytes from memory", |b| {
            b.iter(|| {
                for decoded in &many_decoded {
                    copy(decoded, &mut indices, &mut data);
                }
            });
        });
        group.finish();
    }
}

criterion_group!(benches, codec);
criterion_main!(benches);
