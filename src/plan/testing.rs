//! Statistics for the tests of this module.

/// Asserts that `counts` may be draws from a uniform law over the cells, by Pearson's chi-square.
///
/// The limit is four standard deviations on the scale of Wilson and Hilferty (1931): a false alarm once in 30,000.
pub(crate) fn assert_uniform(counts: &[u64], what: &str) {
    if counts.len() < 2 {
        return;
    }
    let total: u64 = counts.iter().sum();
    let expected = total as f64 / counts.len() as f64;
    assert!(
        expected >= 5.0,
        "{what}: {total} draws are too few for {} cells",
        counts.len()
    );
    let chi_square: f64 = counts
        .iter()
        .map(|count| (*count as f64 - expected).powi(2) / expected)
        .sum();
    let freedom = (counts.len() - 1) as f64;
    let spread = 2.0 / (9.0 * freedom);
    let score = ((chi_square / freedom).cbrt() - (1.0 - spread)) / spread.sqrt();
    assert!(
        score < 4.0,
        "{what}: chi-square {chi_square:.1} with {freedom} degrees of freedom is {score:.1} deviations off"
    );
}
