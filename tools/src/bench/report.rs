//! What `bench` says of a store.

use serde::Serialize;

use super::ceiling::{Decoded, Replayed};
use super::conversion::Conversion;
use super::drive::Driven;
use super::raw::{Raw, percentile};
use crate::output::{self, Fields, Show};

/// All runs on a store.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(super) store: String,
    pub(super) n_obs: u64,
    pub(super) n_vars: u64,
    pub(super) nnz: u64,
    pub(super) encoding: &'static str,
    pub(super) bytes: u64,
    pub(super) matrix_bytes: u64,
    pub(super) seconds_per_run: f64,
    pub(super) cores: usize,
    pub(super) cpu: Option<String>,
    pub(super) kernel: Option<String>,
    pub(super) backend: Option<String>,
    pub(super) direct: Option<bool>,
    pub(super) reason: Option<String>,
    /// Whether every run read from the device; `null` where the kernel does not tell.
    pub(super) cold: Option<bool>,
    pub(super) peak_rss_bytes: Option<u64>,
    /// Why the rates say little; `null` where they do not.
    pub(crate) too_small: Option<String>,
    /// The obs column that the entropy is of; `null` for stretches of the store.
    pub(super) column: Option<String>,
    pub(super) labels: String,
    /// Of minibatches in true random order.
    pub(super) random_entropy_bits: Option<f64>,
    /// What the decoding threads decode from memory, with nothing else to do; `null` for a linked store.
    pub(super) decode_cells_per_second: Option<f64>,
    pub(super) decode_nnz_per_second: Option<f64>,
    /// Of a linked store: the values of each chunk, if they are compressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) chunk_values: Option<u64>,
    /// And what converting it would bring.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) converted: Option<Conversion>,
    pub(super) runs: Vec<Row>,
    /// Random reads by each backend, read size and depth.
    pub(super) ceilings: Vec<Raw>,
    pub(super) unavailable: Vec<Unavailable>,
}

/// A backend that cannot be measured here.
#[derive(Debug, Serialize)]
pub(super) struct Unavailable {
    pub(super) backend: String,
    pub(super) reason: String,
}

/// The loader with one block size and fetch factor. Rates are from the first minibatch on.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) block_size: u64,
    pub(super) batch_size: u32,
    pub(super) fetch_factor: u32,
    pub(super) cells: u64,
    pub(super) epochs: u64,
    pub(super) seconds: f64,
    pub(super) first_minibatch_seconds: f64,
    pub(super) cells_per_second: f64,
    pub(super) nnz_per_second: f64,
    /// Decoded: 8 bytes a value.
    pub(super) csr_bytes_per_second: f64,
    pub(super) bytes_read: u64,
    pub(super) reads: u64,
    /// Calls of `io_uring_enter`; 0 without io_uring.
    pub(super) enter_calls_per_thousand_cells: f64,
    pub(super) mean_read_bytes: u64,
    pub(super) bytes_read_per_second: f64,
    /// Bytes read for each byte of the cells' frames.
    pub(super) read_amplification: f64,
    /// Of a linked store: values decoded for each one that is delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) decoded_per_value: Option<f64>,
    pub(super) cpu_seconds: f64,
    pub(super) cpu_seconds_per_100k_cells: f64,
    pub(super) cpu_seconds_per_million_cells: f64,
    /// Between minibatches, in milliseconds.
    pub(super) interval_p50_ms: f64,
    pub(super) interval_p90_ms: f64,
    pub(super) interval_p99_ms: f64,
    pub(super) interval_max_ms: f64,
    pub(super) entropy_bits: Option<f64>,
    /// The same reads without decoding.
    pub(super) device_bytes_per_second: f64,
    pub(super) device_reads_per_second: f64,
    pub(super) device_cells_per_second: f64,
    pub(super) device_cpu_seconds_per_gb: f64,
    pub(super) fraction_of_device: f64,
    /// Of the lower of device and decoding; of the device for a linked store.
    pub(super) fraction_of_ceiling: f64,
    /// Which of the two is lower, `device` or `decode`; of a linked store what its threads spent more time on.
    pub(super) bound_by: &'static str,
    /// Parts of the decoding threads' time.
    pub(super) time_decoding: f64,
    pub(super) time_waiting_for_reads: f64,
    pub(super) time_waiting_for_consumer: f64,
    pub(super) time_otherwise: f64,
    pub(super) read_wait_seconds: f64,
    /// Largest part of a shard that was in the page cache before the loader ran.
    pub(super) cached_before: Option<f64>,
    pub(super) cold: Option<bool>,
}

/// The sampler of a run, as far as it varies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) block_size: u64,
    pub(super) batch_size: u32,
    pub(super) fetch_factor: u32,
}

impl Row {
    pub(super) fn new(shape: Shape, loader: &Driven, device: &Replayed, decode: Option<&Decoded>) -> Self {
        let seconds = loader.seconds.max(f64::MIN_POSITIVE);
        let per_second = |n: u64| n as f64 / seconds;
        let cpu_seconds_per_cell = loader.cpu_seconds / loader.cells.max(1) as f64;
        let cells_per_second = per_second(loader.cells);
        let by_device = device.cells_per_second();
        let by_decode = decode.map_or(f64::INFINITY, |decode| decode.cells_per_second);
        let interval = |part: f64| percentile(&loader.intervals_ns, part).unwrap_or(0) as f64 * 1e-6;
        let split = &loader.split;
        let part = |ns: u64| (ns as f64 / split.total_ns.max(1) as f64).min(1.0);
        let parts = [split.decode_ns, split.read_wait_ns, split.output_wait_ns].map(part);
        let device_seconds = device.span.seconds.max(f64::MIN_POSITIVE);
        Self {
            block_size: shape.block_size,
            batch_size: shape.batch_size,
            fetch_factor: shape.fetch_factor,
            cells: loader.cells,
            epochs: loader.epochs,
            seconds: loader.seconds,
            first_minibatch_seconds: loader.first_seconds,
            cells_per_second,
            nnz_per_second: per_second(loader.nnz),
            csr_bytes_per_second: 8.0 * per_second(loader.nnz),
            bytes_read: loader.bytes_read,
            reads: loader.reads,
            enter_calls_per_thousand_cells: loader.enter_calls as f64 * 1e3 / loader.cells.max(1) as f64,
            mean_read_bytes: loader.bytes_read / loader.reads.max(1),
            bytes_read_per_second: per_second(loader.bytes_read),
            read_amplification: device.read_bytes as f64 / device.obs_bytes.max(1) as f64,
            decoded_per_value: decode
                .is_none()
                .then(|| device.decoded_bytes as f64 / device.obs_bytes.max(1) as f64),
            cpu_seconds: loader.cpu_seconds,
            cpu_seconds_per_100k_cells: cpu_seconds_per_cell * 1e5,
            cpu_seconds_per_million_cells: cpu_seconds_per_cell * 1e6,
            interval_p50_ms: interval(0.5),
            interval_p90_ms: interval(0.9),
            interval_p99_ms: interval(0.99),
            interval_max_ms: interval(1.0),
            entropy_bits: None,
            device_bytes_per_second: device.span.bytes as f64 / device_seconds,
            device_reads_per_second: device.span.reads as f64 / device_seconds,
            device_cells_per_second: by_device,
            device_cpu_seconds_per_gb: device.span.cpu_seconds * 1e9 / device.span.bytes.max(1) as f64,
            fraction_of_device: cells_per_second / by_device.max(f64::MIN_POSITIVE),
            fraction_of_ceiling: cells_per_second / by_device.min(by_decode).max(f64::MIN_POSITIVE),
            bound_by: match decode {
                Some(_) if by_device <= by_decode => "device",
                None if parts[1] > parts[0] => "device",
                _ => "decode",
            },
            time_decoding: parts[0],
            time_waiting_for_reads: parts[1],
            time_waiting_for_consumer: parts[2],
            time_otherwise: (1.0 - parts.iter().sum::<f64>()).max(0.0),
            read_wait_seconds: split.read_wait_ns as f64 * 1e-9,
            cached_before: None,
            cold: None,
        }
    }
}

impl Report {
    /// What the measurement says about itself.
    pub(super) fn data(&self) -> &'static str {
        match self.cold {
            Some(true) => "cold: dropped from the page cache before each run, and read from the device",
            Some(false) => {
                "NOT cold: some of it came from the page cache, so this does not measure the device"
            }
            None => "perhaps not cold: this kernel cannot say what is in the page cache (Linux 6.5 can)",
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
        let decode = match (self.decode_cells_per_second, self.decode_nnz_per_second) {
            (Some(cells), Some(nnz)) => format!(
                "{} cells/s from memory ({:.2} G values/s)",
                output::count(cells as u64),
                nnz * 1e-9
            ),
            _ => "not measured alone, because the store is linked; the ceiling is that of the device"
                .to_owned(),
        };
        let random = self.random_entropy_bits.map_or("none".to_owned(), |bits| {
            format!("{bits:.2} bits in true random order, of {}", self.labels)
        });
        let mut fields = Fields::new(heading)
            .add("read by", self.reason.clone().unwrap_or_default())
            .add("data", self.data())
            .add("runs", format!("{} each", output::seconds(self.seconds_per_run)))
            .add("decoding", decode)
            .add("entropy", random);
        if let Some(chunk_values) = self.chunk_values {
            let decoded: Vec<String> = self
                .runs
                .iter()
                .filter_map(|row| Some(format!("{} {:.2}", row.block_size, row.decoded_per_value?)))
                .collect();
            let chunks = format!(
                "of {} values; decoded for each value delivered, by block size: {}",
                output::count(chunk_values),
                decoded.join(", ")
            );
            fields = fields.add("chunks", chunks);
        }
        if let Some(converted) = &self.converted {
            fields = fields.add("converted", converted.sentence());
        }
        let header = [
            "block size",
            "fetch factor",
            "cells/s",
            "CSR",
            "mean read",
            "loader",
            "device",
            "of ceiling",
            "CPU s per 1M cells",
            "entropy",
            "p99 between minibatches",
        ];
        let row = |row: &Row| {
            vec![
                output::count(row.block_size),
                output::count(row.fetch_factor.into()),
                output::count(row.cells_per_second as u64),
                output::rate(row.csr_bytes_per_second),
                output::bytes(row.mean_read_bytes),
                output::rate(row.bytes_read_per_second),
                output::rate(row.device_bytes_per_second),
                output::percent(row.fraction_of_ceiling),
                format!("{:.2}", row.cpu_seconds_per_million_cells),
                row.entropy_bits.map_or("-".into(), |bits| format!("{bits:.2}")),
                format!("{:.2} ms", row.interval_p99_ms),
            ]
        };
        let rows: Vec<_> = self.runs.iter().map(row).collect();
        let mut text = format!("{}\n{}", fields.text(), output::table(&header, &rows));
        if !self.ceilings.is_empty() {
            let header = ["backend", "read", "depth", "rate", "reads/s", "CPU s per GB"];
            let row = |raw: &Raw| {
                vec![
                    raw.backend.clone(),
                    output::bytes(raw.read_bytes),
                    raw.depth.map_or("-".into(), output::count),
                    output::rate(raw.bytes_per_second),
                    output::count(raw.iops as u64),
                    format!("{:.3}", raw.cpu_seconds_per_gb),
                ]
            };
            let rows: Vec<_> = self.ceilings.iter().map(row).collect();
            text += &format!("\n{}", output::table(&header, &rows));
        }
        text
    }
}
