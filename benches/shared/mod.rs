//! What several benchmarks need: whether they are measured or only tried, settings, and medians.
#![allow(dead_code, reason = "each benchmark uses some of it")]

use std::str::FromStr;

/// Whether `cargo bench` runs it. `cargo test --benches` runs each at its smallest size, so that it cannot rot.
pub(crate) fn is_measured() -> bool {
    std::env::args().any(|word| word == "--bench")
}

/// A setting from the environment.
pub(crate) fn setting<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    let value = text.parse().ok();
    assert!(value.is_some(), "{name}={text} is not valid");
    value
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
