//! Decoding of packed frames by each kernel, beside a copy of the decoded bytes, and encoding.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "criterion's macros make items without docs; a benchmark may unwrap"
)]

use cellring::format::ValueType;
use cellring::format::packed::{FrameDecoder, FrameEncoder, Kernel, Padded};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

const N_VARS: u32 = 62_710;
const N_OBS: usize = 256;

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
        for kernel in Kernel::available() {
            let decoder = FrameDecoder::new(N_VARS, ValueType::F32).with_kernel(kernel);
            group.bench_function(BenchmarkId::new("decode", format!("{kernel:?}")), |b| {
                b.iter(|| {
                    let (mut from, mut at) = (0, 0);
                    for (obs, ((source, _), &end)) in cells.iter().zip(&ends).enumerate() {
                        let to = at + source.len();
                        decoder
                            .decode(
                                Padded::new(&frames[from..], end - from),
                                obs as u64,
                                &mut indices[at..to],
                                &mut data[at..to],
                            )
                            .unwrap();
                        (from, at) = (end, to);
                    }
                });
            });
        }
        let (decoded_indices, decoded_data) = (indices.clone(), data.clone());
        group.bench_function("memcpy of the decoded bytes", |b| {
            b.iter(|| {
                std::hint::black_box(&mut indices).copy_from_slice(std::hint::black_box(&decoded_indices));
                std::hint::black_box(&mut data).copy_from_slice(std::hint::black_box(&decoded_data));
            });
        });
        group.bench_function("encode", |b| b.iter(|| encode(&mut frames, &mut ends)));
        group.finish();
    }
}

criterion_group!(benches, codec);
criterion_main!(benches);
