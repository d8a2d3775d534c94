//! Plots of reports that are made up: all that is written in them can be read.

use super::axes::{binary, short, short_binary, top};
use super::style::*;
use super::*;
use crate::bench::raw::Raw;
use crate::bench::report::{Report, Row};

#[test]
fn numbers_on_axes_are_short() {
    let values = [0.0, 250.0, 50_000.0, 340_000.0, 1_200_000.0].map(|value| short(&value));
    assert_eq!(values, ["0", "250", "50k", "340k", "1.2M"]);
    assert_eq!([4096, 1 << 20, 700].map(binary), ["4 KiB", "1 MiB", "700 B"]);
    assert_eq!([4096, 1 << 20, 700].map(short_binary), ["4K", "1M", "700"]);
    assert_eq!(top([].into_iter()), 1.0);
}

/// A run with this speed and entropy; all else is nothing.
fn row(block_size: u64, fetch_factor: u32, cells_per_second: f64, entropy_bits: f64) -> Row {
    Row {
        block_size,
        batch_size: 64,
        fetch_factor,
        cells: 0,
        epochs: 1,
        seconds: 1.0,
        first_minibatch_seconds: 0.0,
        cells_per_second,
        nnz_per_second: 0.0,
        csr_bytes_per_second: 0.0,
        bytes_read: 0,
        reads: 0,
        enter_calls_per_thousand_cells: 0.0,
        mean_read_bytes: 0,
        bytes_read_per_second: 0.0,
        read_amplification: 1.0,
        decoded_per_value: None,
        cpu_seconds: 0.0,
        cpu_seconds_per_100k_cells: 0.0,
        cpu_seconds_per_million_cells: 0.0,
        interval_p50_ms: 0.0,
        interval_p90_ms: 0.0,
        interval_p99_ms: 0.0,
        interval_max_ms: 0.0,
        entropy_bits: Some(entropy_bits),
        device_bytes_per_second: 1e9,
        device_reads_per_second: 0.0,
        device_cells_per_second: 600_000.0,
        device_cpu_seconds_per_gb: 0.0,
        fraction_of_device: 0.5,
        fraction_of_ceiling: cells_per_second / 600_000.0,
        bound_by: "device",
        time_decoding: 0.4,
        time_waiting_for_reads: 0.3,
        time_waiting_for_consumer: 0.2,
        time_otherwise: 0.1,
        read_wait_seconds: 0.0,
        cached_before: None,
        cold: None,
    }
}

fn raw(backend: &str, read_bytes: u64, depth: u64) -> Raw {
    Raw {
        backend: backend.to_owned(),
        read_bytes,
        depth: Some(depth),
        bytes_per_second: 1e6 * (read_bytes as f64).sqrt() * depth as f64,
        ..Raw::default()
    }
}

fn report(runs: Vec<Row>) -> Report {
    let backends = ["uring", "plain-uring", "tokio-uring", "pread", "mmap"];
    let sizes = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];
    let of_backend = |backend| sizes.map(|bytes| [4, 32, 128].map(|depth| raw(backend, bytes, depth)));
    Report {
        store: String::new(),
        n_obs: 1,
        n_vars: 1,
        nnz: 1,
        encoding: "packed",
        bytes: 1,
        matrix_bytes: 1,
        seconds_per_run: 1.0,
        cores: 1,
        cpu: None,
        kernel: None,
        backend: None,
        direct: None,
        reason: None,
        cold: None,
        peak_rss_bytes: None,
        too_small: None,
        column: None,
        labels: String::new(),
        random_entropy_bits: Some(5.3),
        decode_cells_per_second: Some(900_000.0),
        decode_nnz_per_second: Some(0.0),
        chunk_values: None,
        converted: None,
        runs,
        ceilings: backends.into_iter().flat_map(of_backend).flatten().collect(),
        unavailable: Vec::new(),
    }
}

const BLOCKS: [u64; 6] = [1, 4, 16, 64, 256, 1024];

/// What people get: mixing gets worse and reading faster with larger blocks.
fn usual() -> Report {
    let of_factor = |factor: u32| {
        BLOCKS.map(|block| {
            let loss = 0.02 + block as f64 / f64::from(factor) / 4.0;
            let speed = 80_000.0 * (block as f64).powf(0.3);
            row(block, factor, speed.min(500_000.0), 5.3 - loss.min(4.0))
        })
    };
    report([16, 64, 256].into_iter().flat_map(of_factor).collect())
}

/// All points in one place, as of a small store.
fn coinciding(factors: &[u32]) -> Report {
    let of_factor = |&factor: &u32| BLOCKS.map(|block| row(block, factor, 450_000.0, 5.3));
    report(factors.iter().flat_map(of_factor).collect())
}

/// Left, top, right, bottom and content of each text of a plot, in its units, if letters are as wide as in common fonts.
fn texts(svg: &str) -> Vec<([f64; 4], String)> {
    let mut texts = Vec::new();
    for element in svg.split("<text ").skip(1) {
        let (attributes, rest) = element.split_once('>').unwrap();
        let content = rest.split("</text>").next().unwrap().trim().to_owned();
        // Marks of an axis that have no label.
        if content.is_empty() {
            continue;
        }
        let attribute = |name: &str| {
            let (_, rest) = attributes.split_once(&format!("{name}=\""))?;
            rest.split('"').next()
        };
        let number = |name| attribute(name).unwrap().parse::<f64>().unwrap();
        let (x, y, size) = (number("x"), number("y"), number("font-size"));
        assert!(
            size >= 11.9,
            "{content}: letters of {size} of {WIDTH} cannot be read at 600 pixels"
        );
        let width = 0.58 * size * content.chars().count() as f64;
        let dy = attribute("dy").map_or(0.0, |dy| match dy.strip_suffix("em") {
            Some(em) => em.parse::<f64>().unwrap() * size,
            None => dy.strip_suffix("ex").unwrap().parse::<f64>().unwrap() * size / 2.0,
        });
        let left = match attribute("text-anchor") {
            Some("middle") => -width / 2.0,
            Some("end") => -width,
            _ => 0.0,
        };
        let [left, top, right, bottom] = [left, dy - 0.76 * size, left + width, dy + 0.2 * size];
        // Rotated around its own place, if it is.
        let [left, top, right, bottom] = match attribute("transform") {
            Some(turn) if turn.starts_with("rotate(270") => [top, -right, bottom, -left],
            Some(other) => panic!("{other}"),
            None => [left, top, right, bottom],
        };
        texts.push(([x + left, y + top, x + right, y + bottom], content));
    }
    texts
}

fn assert_readable(name: &str, plot: &Plot) {
    let head = plot.svg.split('>').next().unwrap();
    let size = |attribute: &str| -> f64 {
        let (_, rest) = head.split_once(&format!(" {attribute}=\"")).unwrap();
        rest.split('"').next().unwrap().parse().unwrap()
    };
    let (width, height) = (size("width"), size("height"));
    let texts = texts(&plot.svg);
    assert!(texts.len() > 5, "{name}: {texts:?}");
    for (k, (a, text)) in texts.iter().enumerate() {
        let is_inside = a[0] >= 0.0 && a[1] >= 0.0 && a[2] <= width && a[3] <= height;
        assert!(
            is_inside,
            "{name}: {text:?} at {a:?} leaves the plot of {width} x {height}"
        );
        for (b, other) in &texts[..k] {
            let overlap = a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
            assert!(!overlap, "{name}: {text:?} at {a:?} covers {other:?} at {b:?}");
        }
    }
}

#[test]
fn no_text_covers_another_or_leaves_the_plot() {
    let many = [1, 2, 4, 8, 16, 64, 256];
    let reports = [
        ("usual", usual()),
        ("coinciding", coinciding(&[16, 64, 256])),
        ("many factors", coinciding(&many)),
        ("one", coinciding(&[16])),
    ];
    for (name, report) in &reports {
        let [best, panels] = ceilings(report).unwrap().unwrap();
        let plots = [
            ("diversity", diversity(report).unwrap().unwrap()),
            ("share_of_ceiling", share_of_ceiling(report).unwrap()),
            ("bounds", bounds(report).unwrap()),
            ("time_split", time_split(report).unwrap()),
            ("best", best),
            ("panels", panels),
        ];
        for (plot_name, plot) in &plots {
            if let Ok(dir) = std::env::var("CELLRING_SHOW_PLOTS") {
                std::fs::write(format!("{dir}/{name}-{plot_name}.svg"), &plot.svg).unwrap();
            }
            assert_readable(&format!("{name}, {plot_name}"), plot);
        }
        // Every point has its name.
        let named = texts(&plots[0].1.svg);
        let names = named.iter().filter(|(_, text)| text.starts_with('b')).count();
        assert_eq!(names, report.runs.len(), "{name}");
    }
}
