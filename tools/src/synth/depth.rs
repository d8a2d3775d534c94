//! From the number of genes a cell should show to the number of transcripts to draw.

use rayon::prelude::*;

/// Points of the curve; between them it is close to straight.
const POINTS: usize = 96;
/// The curve's ends. No cell has more transcripts, so 16 bits hold those of a gene.
const HITS: [f64; 2] = [1.0, u16::MAX as f64];

/// Expected number of distinct genes among so many draws.
pub(super) struct DepthCurve {
    /// Pairs (expected genes, draws), both ascending.
    points: Vec<(f64, f64)>,
}

impl DepthCurve {
    /// The curve for genes drawn with these probabilities, which sum to 1.
    pub(super) fn new(probabilities: &[f64]) -> Self {
        let step = libm::log(HITS[1] / HITS[0]) / (POINTS - 1) as f64;
        let points = (0..POINTS)
            .into_par_iter()
            .map(|point| {
                let hits = HITS[0] * libm::exp(step * point as f64);
                // Draws of a gene are all but Poisson: it shows unless there is none.
                let genes = probabilities.iter().map(|p| -libm::expm1(-hits * p)).sum();
                (genes, hits)
            })
            .collect();
        Self { points }
    }

    /// Draws after which `genes` distinct genes are expected.
    pub(super) fn hits(&self, genes: f64) -> u64 {
        let after = self
            .points
            .partition_point(|point| point.0 < genes)
            .clamp(1, self.points.len() - 1);
        let [(genes_0, hits_0), (genes_1, hits_1)] = [self.points[after - 1], self.points[after]];
        let part = if genes_1 > genes_0 {
            ((genes - genes_0) / (genes_1 - genes_0)).clamp(0.0, 1.0)
        } else {
            1.0
        };
        (hits_0 + part * (hits_1 - hits_0))
            .clamp(HITS[0], HITS[1])
            .round() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_genes_follow_the_known_curve() {
        let curve = DepthCurve::new(&[0.001; 1000]);
        // 1000 (1 - exp(-h / 1000)) = 500 at h = 1000 ln 2.
        assert!(
            (curve.hits(500.0) as f64 - 693.1).abs() < 5.0,
            "{}",
            curve.hits(500.0)
        );
        assert_eq!(curve.hits(0.0), 1);
        assert_eq!(curve.hits(2000.0), 65_535);
    }
}
