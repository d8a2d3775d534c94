//! `cellring bench` and `cellring tune`, each at its smallest size: what they say, and the page that they write.
#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

#[path = "../../tests/common/mod.rs"]
mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cellring::Store;
use cellring::plan::{Plan, SamplerConfig, mean_entropy};
use cellring::writer::WriterOptions;
use common::{Kind, matrix, value_type, write_store};
use serde_json::Value;
use tempfile::TempDir;

fn cellring(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cellring"))
        .args(args)
        .output()
        .unwrap()
}

fn json(args: &[&str]) -> Value {
    let output = cellring(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {stderr}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn fail(args: &[&str], code: i32) -> String {
    let output = cellring(args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(code), &[][..]),
        "{args:?}: {stderr}"
    );
    stderr
}

fn assert_positive(object: &Value, keys: &[&str]) {
    for key in keys {
        let value = object[key].as_f64();
        assert!(value.is_some_and(|value| value > 0.0), "{key} of {object}");
    }
}

/// Not in the directory for temporary files, which is often tmpfs and knows no direct I/O.
fn scratch() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn store(n_obs: usize) -> (TempDir, PathBuf) {
    let dir = scratch();
    let path = dir.path().join("small & <plain>.cellring");
    let mut options = WriterOptions::new(300, value_type(Kind::Counts));
    options.shard_bytes = 200_000;
    write_store(&path, &matrix(n_obs, 300, Kind::Counts, 3), options, None).unwrap();
    (dir, path)
}

#[test]
fn raw_reads_a_file_with_every_backend() {
    let dir = scratch();
    let path = dir.path().join("file");
    std::fs::write(&path, vec![7; 3 << 20]).unwrap();
    let file = path.to_str().unwrap();
    for backend in ["auto", "pread", "mmap", "uring", "plain-uring", "tokio-uring"] {
        let args = [
            "bench",
            "--raw",
            file,
            "--read-size",
            "16KiB",
            "--seconds",
            "0.1",
            "--json",
        ];
        let args = [&args[..], &["--backend", backend, "--depth", "8"]].concat();
        let output = cellring(&args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        if output.status.code() == Some(1) && backend.contains("uring") && stderr.contains("io_uring") {
            eprintln!("skipped {backend}: {stderr}");
            continue;
        }
        assert!(output.status.success(), "{backend}: {stderr}");
        let raw: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_positive(&raw, &["bytes_per_second", "iops", "bytes", "reads", "seconds"]);
        assert!(raw["cpu_seconds_per_gb"].as_f64().unwrap() >= 0.0);
        assert_eq!((&raw["depth"], &raw["read_bytes"]), (&8.into(), &16384.into()));
        assert_eq!(
            raw["bytes"].as_u64().unwrap(),
            raw["reads"].as_u64().unwrap() * 16384,
            "whole reads"
        );
        assert!(raw["direct"].is_boolean());
        if backend != "auto" {
            assert_eq!(raw["backend"], backend);
        }
        if backend != "tokio-uring" {
            assert_positive(&raw, &["submission_p50_ms", "submission_p99_ms"]);
        }
    }
    let text = cellring(&["bench", "--raw", file, "--seconds", "0.05"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("65.5 kB") && text.contains("reads/s"), "{text}");
}

#[test]
fn raw_says_what_cannot_be_read() {
    let dir = scratch();
    let path = dir.path().join("file");
    std::fs::write(&path, [7; 10_000]).unwrap();
    let file = path.to_str().unwrap();
    let missing = dir.path().join("none");
    let short = fail(&["bench", "--raw", file, "--seconds", "0.1"], 1);
    assert!(short.contains("the longest has 10000"), "{short}");
    let none = fail(
        &["bench", "--raw", missing.to_str().unwrap(), "--seconds", "0.1"],
        1,
    );
    assert!(none.contains("none"), "{none}");
    let directory = fail(&["bench", "--raw", dir.path().to_str().unwrap()], 1);
    assert!(directory.contains("is not a file"), "{directory}");
    fail(&["bench", "--raw", file, "--read-size", "0"], 2);
    fail(&["bench", "--raw", file, "--report", "r.html"], 2);
    fail(&["bench", "--raw", file, "store.cellring"], 2);
    fail(&["bench"], 2);
    let (_dir, store) = store(100);
    let message = fail(&["epoch", store.to_str().unwrap(), "--backend", "tokio-uring"], 2);
    assert!(message.contains("bench --raw"), "{message}");
}

/// The elements of the page that hold a plot.
fn plots(page: &str) -> Vec<&str> {
    page.split("<section id=\"")
        .skip(1)
        .filter(|section| section.contains("<svg "))
        .map(|section| section.split('"').next().unwrap())
        .collect()
}

#[test]
fn a_report_has_every_run_and_a_page_that_needs_nothing_else() {
    let (dir, path) = store(1500);
    let page = dir.path().join("report.html");
    let report = json(&[
        "bench",
        path.to_str().unwrap(),
        "--seconds",
        "0.02",
        "--column",
        "plate",
        "--block-size",
        "1,64",
        "--fetch-factors",
        "2,8",
        "--batch-size",
        "32",
        "--report",
        page.to_str().unwrap(),
        "--json",
    ]);
    let runs = report["runs"].as_array().unwrap();
    let shapes: Vec<_> = runs
        .iter()
        .map(|run| {
            (
                run["block_size"].as_u64().unwrap(),
                run["fetch_factor"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(shapes, [(1, 2), (64, 2), (1, 8), (64, 8)]);
    for run in runs {
        assert_positive(
            run,
            &[
                "cells_per_second",
                "csr_bytes_per_second",
                "fraction_of_ceiling",
                "fraction_of_device",
                "device_cells_per_second",
                "read_amplification",
                "mean_read_bytes",
                "interval_p50_ms",
                "interval_p99_ms",
                "interval_max_ms",
                "first_minibatch_seconds",
            ],
        );
        assert!(run["enter_calls_per_thousand_cells"].as_f64().unwrap() >= 0.0);
        assert!(run["cpu_seconds_per_million_cells"].as_f64().unwrap() >= 0.0);
        let parts = [
            "time_decoding",
            "time_waiting_for_reads",
            "time_waiting_for_consumer",
            "time_otherwise",
        ];
        let parts = parts.map(|part| run[part].as_f64().unwrap());
        assert!(parts.iter().all(|part| (0.0..=1.0).contains(part)), "{run}");
        assert!(run["bound_by"] == "device" || run["bound_by"] == "decode");
    }
    // 7 plates in runs: a fetch of 64 obs in blocks of 64 meets few of them, one in random order most.
    let entropy = |i: usize| runs[i]["entropy_bits"].as_f64().unwrap();
    let random = report["random_entropy_bits"].as_f64().unwrap();
    assert!(entropy(1) < entropy(3) && entropy(3) < random, "{runs:?}");
    assert!((entropy(0) - random).abs() < 0.05 && random < 3.0, "{runs:?}");
    assert_eq!(report["column"], "plate");
    assert_positive(&report, &["decode_cells_per_second", "decode_nnz_per_second"]);

    let ceilings = report["ceilings"].as_array().unwrap();
    for backend in ["pread", "mmap"] {
        let of_backend = ceilings.iter().filter(|raw| raw["backend"] == backend);
        assert!(of_backend.clone().count() >= 6, "{backend}: {ceilings:?}");
        of_backend.for_each(|raw| assert_positive(raw, &["bytes_per_second", "iops", "depth"]));
    }
    for backend in ["uring", "plain-uring", "tokio-uring"] {
        let is_there = |list: &Value| {
            list.as_array()
                .unwrap()
                .iter()
                .any(|raw| raw["backend"] == backend)
        };
        assert!(
            is_there(&report["ceilings"]) || is_there(&report["unavailable"]),
            "{backend}"
        );
    }

    let page = std::fs::read_to_string(page).unwrap();
    let without_namespaces = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    for outside in [
        "http:", "https:", "//cdn", "<script", "<link", "<img", "@import", "url(",
    ] {
        assert!(!without_namespaces.contains(outside), "{outside}");
    }
    assert_eq!(
        plots(&page),
        ["diversity", "bounds", "ceiling", "split", "backends", "depths"]
    );
    assert!(page.contains("small &amp; &lt;plain&gt;.cellring") && !page.contains("<plain>"));
    assert_eq!(page.matches("<svg ").count(), page.matches("</svg>").count());
    assert!(!page.contains("NaN") && !page.contains("inf"), "numbers only");
    for table in ["id=\"runs\"", "id=\"reads\""] {
        assert!(page.contains(table), "{table}");
    }
}

#[test]
fn without_a_report_only_the_loader_is_measured() {
    let (_dir, path) = store(700);
    let report = json(&[
        "bench",
        path.to_str().unwrap(),
        "--seconds",
        "0.02",
        "--block-size",
        "4",
        "--json",
    ]);
    assert_eq!(report["runs"].as_array().unwrap().len(), 1);
    assert_eq!(report["ceilings"].as_array().unwrap().len(), 0);
    assert_eq!(report["column"], Value::Null);
    let unknown = fail(&["bench", path.to_str().unwrap(), "--column", "plat"], 1);
    assert!(
        unknown.contains("\"plat\"") && unknown.contains("plate"),
        "{unknown}"
    );
}

/// Entropy of the plates under a plan, in bits: `plate` as the test store has it.
fn entropy(path: &Path, advice: &Value) -> f64 {
    let store = Store::open(path).unwrap();
    let config = SamplerConfig::default()
        .block_size(advice["block_size"].as_u64().unwrap())
        .batch_size(advice["batch_size"].as_u64().unwrap() as u32)
        .fetch_factor(advice["fetch_factor"].as_u64().unwrap() as u32);
    let plan = Plan::new(store.n_obs(), &config, 0).unwrap();
    let plate = |obs: u64| {
        if obs % 11 == 5 {
            99
        } else {
            obs * 7 / store.n_obs()
        }
    };
    mean_entropy(&plan, u64::MAX, plate).unwrap().mean_bits
}

#[test]
fn tune_recommends_what_meets_the_target() {
    let (_dir, path) = store(6000);
    let tune = |args: &[&str]| {
        let all = ["tune", path.to_str().unwrap(), "--seconds", "0.03", "--json"];
        json(&[&all, args].concat())
    };
    for args in [
        &["--column", "plate"][..],
        &["--column", "plate", "--target-entropy", "2.5"],
        &["--column", "plate", "--batch-size", "16", "--memory", "64MiB"],
    ] {
        let advice = tune(args);
        let target = advice["target_entropy_bits"].as_f64().unwrap();
        let bits = entropy(&path, &advice);
        assert!(bits >= target - 0.01, "{bits} of {target}: {advice}");
        assert!(
            (advice["entropy_bits"].as_f64().unwrap() - bits).abs() < 0.01,
            "{advice}"
        );
        if let Some(place) = args.iter().position(|arg| *arg == "--target-entropy") {
            assert_eq!(target, args[place + 1].parse::<f64>().unwrap());
        } else {
            let random = advice["random_entropy_bits"].as_f64().unwrap();
            assert!((target / random - 0.99).abs() < 1e-9);
        }
        assert_positive(
            &advice,
            &[
                "expected_cells_per_second",
                "measured_cells_per_second",
                "true_random_cells_per_second",
            ],
        );
        let chosen = |candidate: &&Value| {
            candidate["block_size"] == advice["block_size"]
                && candidate["fetch_factor"] == advice["fetch_factor"]
        };
        let candidates = advice["candidates"].as_array().unwrap();
        let chosen = candidates.iter().find(chosen).unwrap();
        assert_eq!(
            (&chosen["fits_memory"], &chosen["meets_target"]),
            (&true.into(), &true.into())
        );
        let why = advice["why"].as_str().unwrap();
        assert!(
            why.contains("bits over obs column \"plate\"") && why.contains("rue random sampling"),
            "{why}"
        );
        assert!(
            (2..=4).contains(&why.matches(". ").count()),
            "a few sentences: {why}"
        );
    }
    let text = cellring(&["tune", path.to_str().unwrap(), "--seconds", "0.03"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.contains("--block-size") && text.contains("stretches of the store"),
        "{text}"
    );
}

#[test]
fn tune_says_what_cannot_be_had() {
    let (_dir, path) = store(3000);
    let path = path.to_str().unwrap();
    let args = ["tune", path, "--seconds", "0.03"];
    let message = fail(
        &[&args[..], &["--column", "plate", "--target-entropy", "3.5"]].concat(),
        1,
    );
    assert!(message.contains("no sampling reaches 3.50 bits"), "{message}");
    let message = fail(&[&args[..], &["--memory", "4KiB"]].concat(), 1);
    assert!(message.contains("raise --memory"), "{message}");
    fail(&[&args[..], &["--target-entropy", "many"]].concat(), 2);
    let (_dir, empty) = store(0);
    let message = fail(&["tune", empty.to_str().unwrap()], 1);
    assert!(message.contains("no cells"), "{message}");
}

#[test]
fn a_gpu_that_is_not_there_is_named_with_what_to_do() {
    let (_dir, path) = store(300);
    let path = path.to_str().unwrap();
    if cellring::gpu::Gpu::open(0).is_ok() {
        let report = json(&[
            "bench",
            path,
            "--gpu",
            "--seconds",
            "0.05",
            "--block-size",
            "16",
            "--json",
        ]);
        assert_positive(
            &report["runs"][0],
            &["cells_per_second", "copy_seconds", "overlap"],
        );
    } else {
        let message = fail(&["bench", path, "--gpu", "--seconds", "0.05"], 1);
        assert!(
            message.contains("GPU") && message.contains("install"),
            "{message}"
        );
    }
    fail(&["bench", path, "--gpu", "--report", "r.html"], 2);
    fail(&["bench", path, "--gpu-device", "1"], 2);
}
