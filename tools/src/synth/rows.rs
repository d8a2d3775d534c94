//! The counts of a cell.

use std::ops::Range;

use cellring::format::{CsrRows, ValueBuffer};
use rayon::prelude::*;

use super::alias::AliasTable;
use super::burst::Bursts;
use super::depth::DepthCurve;
use super::obs::{LabelRuns, Labels, N_LINES, N_PLATES};
use super::random::{Purpose, normal_pair, stream};

/// Spread of the logarithm of gene popularity.
const SIGMA_GENE: f64 = 2.0;
/// Share of a cell's transcripts that are drawn from the programme of its line.
const LINE_SHARE: f64 = 0.30;
/// Median of detected genes, and the number of genes at which it holds.
const MEDIAN_GENES: [f64; 2] = [1400.0, 62_710.0];
/// Spread of the logarithm of the number of detected genes.
const SIGMA_DETECTED: f64 = 0.668;
/// Spread of the logarithm of a plate's depth.
const SIGMA_PLATE: f64 = 0.15;

/// The tables from which counts are drawn.
pub(super) struct Model {
    seed: u64,
    n_vars: usize,
    /// One for each cell line: the common popularity and the line's own, mixed. Empty without genes.
    genes: Vec<AliasTable>,
    depth: DepthCurve,
    bursts: Bursts,
    /// Median number of detected genes for each plate.
    medians: Vec<f64>,
    /// Least and greatest number of genes that a cell should show.
    limits: [f64; 2],
}

/// Memory that one row leaves clean for the next.
struct Scratch {
    /// Hits of each gene.
    hits: Vec<u16>,
    /// A bit for each gene that was hit: walking them yields the genes in order, without sorting.
    seen: Vec<u64>,
    /// The genes that were hit, ascending: as many of the first as the row has values.
    genes: Vec<u32>,
}

impl Model {
    pub(super) fn new(n_vars: u32, seed: u64) -> Self {
        let n_vars = n_vars as usize;
        let common = popularity(seed, 0, n_vars);
        let n_tables = if n_vars == 0 { 0 } else { N_LINES };
        let genes = (0..n_tables as u64)
            .into_par_iter()
            .map(|line| {
                let own = popularity(seed, 1 + line, n_vars);
                let mixed = common
                    .iter()
                    .zip(&own)
                    .map(|(c, o)| c * (1.0 - LINE_SHARE) + o * LINE_SHARE);
                AliasTable::new(&mixed.collect::<Vec<_>>())
            })
            .collect();
        // Smaller gene panels keep the better detected genes: the number of detected ones falls more slowly than
        // that of genes, here with its square root, but never above an eighth of them.
        let n = n_vars as f64;
        let median = (MEDIAN_GENES[0] * libm::sqrt(n / MEDIAN_GENES[1])).min(n / 8.0);
        let medians = (0..N_PLATES as u64)
            .map(|plate| {
                let [z, _] = normal_pair(&mut stream(seed, Purpose::PlateDepth, plate));
                median * libm::exp(SIGMA_PLATE * z)
            })
            .collect();
        let limits = [100f64.min(n / 16.0), n / 4.0];
        Self {
            seed,
            n_vars,
            genes,
            depth: DepthCurve::new(&common),
            bursts: Bursts::new(),
            medians,
            limits,
        }
    }

    /// The rows of these cells.
    pub(super) fn rows(&self, cells: Range<u64>, labels: &LabelRuns) -> CsrRows {
        let n_rows = (cells.end - cells.start) as usize;
        let mut scratch = Scratch {
            hits: vec![0; self.n_vars],
            seen: vec![0; self.n_vars.div_ceil(64)],
            genes: vec![0; self.n_vars],
        };
        let mut indptr = Vec::with_capacity(n_rows + 1);
        indptr.push(0);
        let expected = (n_rows as f64 * self.medians.iter().sum::<f64>() / N_PLATES as f64 * 1.5) as usize;
        let (mut indices, mut values) = (Vec::with_capacity(expected), Vec::with_capacity(expected));
        for cell in cells {
            self.row(cell, labels.labels(cell), &mut scratch, &mut indices, &mut values);
            indptr.push(indices.len() as u64);
        }
        CsrRows {
            indptr,
            indices,
            values: ValueBuffer::F32(values),
        }
    }

    fn row(
        &self,
        cell: u64,
        labels: Labels,
        scratch: &mut Scratch,
        indices: &mut Vec<u32>,
        values: &mut Vec<f32>,
    ) {
        let Some(table) = self.genes.get(usize::from(labels.line)) else {
            return;
        };
        let random = &mut stream(self.seed, Purpose::Counts, cell);
        let [z, _] = normal_pair(random);
        let detected = self.medians[usize::from(labels.plate)] * libm::exp(SIGMA_DETECTED * z);
        let n_hits = self.depth.hits(detected.clamp(self.limits[0], self.limits[1]));
        let Scratch { hits, seen, genes } = scratch;
        table.draw(random, n_hits, |gene| {
            let gene = gene as usize;
            hits[gene] += 1;
            seen[gene / 64] |= 1 << (gene % 64);
        });
        let mut nnz = 0;
        for (word, bits) in seen.iter_mut().enumerate() {
            let mut left = std::mem::take(bits);
            while left != 0 {
                genes[nnz] = word as u32 * 64 + left.trailing_zeros();
                nnz += 1;
                left &= left - 1;
            }
        }
        indices.extend_from_slice(&genes[..nnz]);
        values.extend(genes[..nnz].iter().map(|&gene| {
            let gene_hits = u32::from(std::mem::take(&mut hits[gene as usize]));
            (gene_hits + self.bursts.draw(random, gene_hits)) as f32
        }));
    }
}

/// Popularity of each gene, summing to 1: log-normal.
fn popularity(seed: u64, number: u64, n_vars: usize) -> Vec<f64> {
    let mut random = stream(seed, Purpose::Popularity, number);
    let mut popularity = Vec::with_capacity(n_vars + 1);
    while popularity.len() < n_vars {
        popularity.extend(normal_pair(&mut random).map(|z| libm::exp(SIGMA_GENE * z)));
    }
    popularity.truncate(n_vars);
    let sum: f64 = popularity.iter().sum();
    popularity.iter_mut().for_each(|p| *p /= sum);
    popularity
}
