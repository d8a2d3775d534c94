//! What converting a linked store would bring: a part of it is converted, and both are measured.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cellring::plan::{Sampler, SamplerConfig, SamplerData, Subset};
use cellring::writer::unfinished::{self, Unfinished};
use cellring::{LoaderConfig, Store};
use serde::Serialize;

use super::ceiling::extents;
use super::drive::{Driven, drive};
use super::page_cache::drop_page_cache;
use crate::convert::{ConvertOptions, convert};
use crate::failure::Failure;
use crate::output;

/// Fetches that the part has, if there are as many.
const SAMPLE_FETCHES: u64 = 8;
/// The most values of it: some seconds of converting.
const MAX_SAMPLE_VALUES: f64 = (1u64 << 26) as f64;

/// What reads are multiples of.
const ALIGNMENT: u32 = 512;

/// What converting would bring.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Conversion {
    /// The first cells, which were converted, and measured in both stores.
    pub(super) n_obs: u64,
    pub(super) block_size: u64,
    pub(super) fetch_factor: u32,
    pub(super) linked_cells_per_second: f64,
    pub(super) converted_cells_per_second: f64,
    pub(super) times_as_fast: f64,
    /// Read for a cell, by the plan.
    pub(super) linked_bytes_per_cell: f64,
    pub(super) converted_bytes_per_cell: f64,
    /// CPU time for a million cells.
    pub(super) linked_cpu_seconds_per_million_cells: f64,
    pub(super) converted_cpu_seconds_per_million_cells: f64,
    /// Bytes that the whole store would have, as the part has them.
    pub(super) converted_bytes: u64,
    /// Why nothing was measured; `null` where it was.
    pub(super) not_measured: Option<String>,
}

/// A store that is removed when it has been measured, or a signal ends the process.
struct RemovedAfterwards {
    path: PathBuf,
    _unfinished: Unfinished,
}

impl RemovedAfterwards {
    fn new(path: &Path) -> Self {
        let removed = path.to_path_buf();
        Self {
            path: path.to_path_buf(),
            _unfinished: unfinished::register(move || drop(std::fs::remove_dir_all(removed))),
        }
    }
}

impl Drop for RemovedAfterwards {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Measures the first cells of a linked store in this order, as they are and converted.
pub(super) fn measure(
    store: &Arc<Store>,
    source_root: Option<&Path>,
    sampler: &SamplerConfig,
    config: &dyn Fn(SamplerConfig) -> Result<LoaderConfig, Failure>,
    time: Duration,
) -> Result<Conversion, Failure> {
    let mean_nnz = store.manifest().nnz as f64 / store.n_obs().max(1) as f64;
    let most = (MAX_SAMPLE_VALUES / mean_nnz.max(1.0)) as u64;
    let n_obs = (SAMPLE_FETCHES * sampler.fetch_obs())
        .min(most.max(1))
        .min(store.n_obs());
    let nothing = |why: String| Conversion {
        n_obs,
        block_size: sampler.block_size,
        fetch_factor: sampler.fetch_factor,
        not_measured: Some(why),
        ..Conversion::default()
    };
    // Beside the link, where there is a disk, and not only memory.
    // Of one name: what a run left that was killed is replaced by the next.
    let mut name = std::ffi::OsString::from(".");
    name.push(store.path().file_name().unwrap_or_default());
    name.push("-bench");
    let path = store.path().with_file_name(name);
    let _removed = RemovedAfterwards::new(&path);
    let options = ConvertOptions {
        source_root: source_root.map(Path::to_path_buf),
        max_obs: Some(n_obs),
        force: true,
        ..ConvertOptions::default()
    };
    if let Err(error) = convert(&[store.path().to_path_buf()], &path, &options, &|_, _| {}) {
        return Ok(nothing(error.to_string()));
    }
    let part = Arc::new(Store::open(&path)?);
    let run = |store: &Arc<Store>, data: SamplerData| -> Result<Option<Driven>, Failure> {
        drop_page_cache(&store.shard_paths())?;
        drive(store, config(sampler.clone())?.data(data), 0, time)
    };
    let first = Subset::from_ranges(store.n_obs(), std::iter::once(0..n_obs))?;
    let linked = run(store, SamplerData::default().subset(Some(first.clone())))?;
    let converted = run(&part, SamplerData::default())?;
    let (Some(linked), Some(converted)) = (linked, converted) else {
        return Ok(nothing("the cells are too few for a minibatch".to_owned()));
    };
    let rate = |run: &Driven| run.cells as f64 / run.seconds.max(f64::MIN_POSITIVE);
    // By the plan: what a run reads ahead is not what it delivers.
    let per_cell = |store: &Store, subset: Option<Subset>| -> Result<f64, Failure> {
        let data = SamplerData::default().subset(subset);
        let plan = Sampler::new(store.n_obs(), sampler.clone(), data)?.plan(0)?;
        let n_cells = plan.fetch(0).obs.len().max(1);
        Ok(extents(store, &plan, 0, ALIGNMENT)?.read_bytes() as f64 / n_cells as f64)
    };
    let cpu = |run: &Driven| run.cpu_seconds * 1e6 / run.cells.max(1) as f64;
    Ok(Conversion {
        n_obs,
        block_size: sampler.block_size,
        fetch_factor: sampler.fetch_factor,
        linked_cells_per_second: rate(&linked),
        converted_cells_per_second: rate(&converted),
        times_as_fast: rate(&converted) / rate(&linked).max(f64::MIN_POSITIVE),
        linked_bytes_per_cell: per_cell(store, Some(first))?,
        converted_bytes_per_cell: per_cell(&part, None)?,
        linked_cpu_seconds_per_million_cells: cpu(&linked),
        converted_cpu_seconds_per_million_cells: cpu(&converted),
        converted_bytes: (part.total_bytes() as f64 / n_obs.max(1) as f64 * store.n_obs() as f64) as u64,
        not_measured: None,
    })
}

impl Conversion {
    /// In words.
    pub(super) fn sentence(&self) -> String {
        if let Some(why) = &self.not_measured {
            return format!("what converting would bring was not measured: {why}");
        }
        format!(
            "{} cells/s instead of {}, {:.1} times as fast, reading {} a cell instead of {}; about {} in all (measured on the first {} cells, \
             block size {}, fetch factor {})",
            output::count(self.converted_cells_per_second as u64),
            output::count(self.linked_cells_per_second as u64),
            self.times_as_fast,
            output::bytes(self.converted_bytes_per_cell as u64),
            output::bytes(self.linked_bytes_per_cell as u64),
            output::bytes(self.converted_bytes),
            output::count(self.n_obs),
            output::count(self.block_size),
            output::count(self.fetch_factor.into())
        )
    }
}
