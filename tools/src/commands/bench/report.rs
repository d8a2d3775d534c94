//! What `bench` says.

use serde::Serialize;

use super::device::Ceiling;
use crate::measure::Measured;
use crate::output::{self, Fields, Show};

/// All runs on a store.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) n_obs: u64,
    pub(super) n_vars: u64,
    pub(super) nnz: u64,
    pub(super) bytes: u64,
    pub(super) seconds_per_run: f64,
    pub(super) backend: Option<String>,
    pub(super) direct: Option<bool>,
    pub(super) reason: Option<String>,
    /// Whether every run read from the device; `null` where the kernel does not tell.
    pub(super) cold: Option<bool>,
    pub(super) peak_rss_bytes: Option<u64>,
    pub(super) runs: Vec<Row>,
}

/// One block size.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) block_size: u64,
    pub(super) cells: u64,
    pub(super) epochs: u64,
    pub(super) seconds: f64,
    pub(super) cells_per_second: f64,
    pub(super) nnz_per_second: f64,
    pub(super) bytes_read: u64,
    pub(super) reads: u64,
    pub(super) mean_read_bytes: u64,
    pub(super) bytes_read_per_second: f64,
    pub(super) cpu_seconds: f64,
    pub(super) cpu_seconds_per_100k_cells: f64,
    pub(super) read_wait_seconds: f64,
    pub(super) device_bytes_per_second: f64,
    pub(super) device_reads_per_second: f64,
    pub(super) device_cpu_seconds_per_gb: f64,
    pub(super) fraction_of_ceiling: f64,
    /// Largest part of a shard that was in the page cache before the loader ran.
    pub(super) cached_before: Option<f64>,
    pub(super) cold: Option<bool>,
}

impl Row {
    pub(super) fn new(
        block_size: u64,
        loader: &Measured,
        device: Ceiling,
        cached_before: Option<f64>,
        cold: Option<bool>,
    ) -> Self {
        let bytes_read_per_second = loader.per_second(loader.engine.bytes);
        let device_bytes_per_second = device.bytes as f64 / device.seconds;
        Self {
            block_size,
            cells: loader.cells,
            epochs: loader.epochs,
            seconds: loader.seconds,
            cells_per_second: loader.per_second(loader.cells),
            nnz_per_second: loader.per_second(loader.nnz),
            bytes_read: loader.engine.bytes,
            reads: loader.engine.reads,
            mean_read_bytes: loader.engine.bytes / loader.engine.reads.max(1),
            bytes_read_per_second,
            cpu_seconds: loader.cpu_seconds,
            cpu_seconds_per_100k_cells: loader.cpu_seconds * 1e5 / loader.cells.max(1) as f64,
            read_wait_seconds: loader.read_wait_ns as f64 * 1e-9,
            device_bytes_per_second,
            device_reads_per_second: device.reads as f64 / device.seconds,
            device_cpu_seconds_per_gb: device.cpu_seconds * 1e9 / device.bytes.max(1) as f64,
            fraction_of_ceiling: bytes_read_per_second / device_bytes_per_second.max(f64::MIN_POSITIVE),
            cached_before,
            cold,
        }
    }
}

impl Show for Report {
    fn text(&self) -> String {
        let heading = format!(
            "{} cells x {} genes, {} values, {}",
            output::count(self.n_obs),
            output::count(self.n_vars),
            output::count(self.nnz),
            output::bytes(self.bytes)
        );
        let data = match self.cold {
            Some(true) => "cold: dropped from the page cache before each run, and read from the device",
            Some(false) => {
                "NOT cold: some of it came from the page cache, so this does not measure the device"
            }
            None => "perhaps not cold: this kernel does not tell what is in the page cache (Linux 6.5 does)",
        };
        let length = format!("{} each", output::seconds(self.seconds_per_run));
        let fields = Fields::new(heading)
            .add("read by", self.reason.clone().unwrap_or_default())
            .add("data", data)
            .add("runs", length);
        let header = [
            "block size",
            "cells/s",
            "mean read",
            "loader",
            "device",
            "of device",
            "CPU s per 100k cells",
        ];
        let row = |row: &Row| {
            vec![
                output::count(row.block_size),
                output::count(row.cells_per_second as u64),
                output::bytes(row.mean_read_bytes),
                output::rate(row.bytes_read_per_second),
                output::rate(row.device_bytes_per_second),
                output::percent(row.fraction_of_ceiling),
                format!("{:.2}", row.cpu_seconds_per_100k_cells),
            ]
        };
        let rows: Vec<_> = self.runs.iter().map(row).collect();
        format!("{}\n{}", fields.text(), output::table(&header, &rows))
    }
}
