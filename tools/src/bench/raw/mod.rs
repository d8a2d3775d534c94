//! What a device gives at most: random reads by the loader's engine into the loader's kind of buffers, and nothing else.

mod engine;
mod places;
mod result;
mod tokio_uring;

use std::path::PathBuf;

use cellring::engine::cached_fraction;

use crate::failure::Failure;
use places::Places;
pub(crate) use result::{Raw, RawConfig, Span, nanos, percentile};

/// Reads at random places of the files for so long. Every piece of them is equally likely, and read once in each pass.
pub(crate) fn measure(paths: &[PathBuf], config: &RawConfig) -> Result<Raw, Failure> {
    let fractions: Option<Vec<f64>> = paths.iter().map(|path| cached_fraction(path).ok()).collect();
    let places = Places::new(paths, config.read_bytes, config.seed)?;
    let mut raw = match engine::engine_config(config) {
        Some(engine_config) => engine::read(paths, &places, config, &engine_config)?,
        None => tokio_uring::measure(paths, places, config)?,
    };
    raw.cached_before = fractions.map(|fractions| fractions.into_iter().fold(0.0, f64::max));
    Ok(raw)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cellring::engine::Direct;

    use super::*;

    #[test]
    fn every_backend_reads_what_it_counts() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, vec![1; 1 << 20]).unwrap();
        for name in ["auto", "pread", "mmap", "uring", "plain-uring", "tokio-uring"] {
            let config = RawConfig {
                backend: name.parse().unwrap(),
                direct: Direct::Off,
                read_bytes: 4096,
                depth: Some(4),
                time: Duration::from_secs(60),
                seed: 1,
                once: true,
            };
            match measure(std::slice::from_ref(&path), &config) {
                Ok(raw) => assert_eq!((raw.bytes, raw.reads), (1 << 20, 256), "{name}"),
                Err(failure) if name.contains("uring") => eprintln!("skipped {name}: {failure:?}"),
                Err(failure) => panic!("{name}: {failure:?}"),
            }
        }
    }
}
