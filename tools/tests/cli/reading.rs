//! How cells are read: past the page cache, within the memory budget, and without io_uring.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use cellring::engine::cached_fraction;
use cellring::format::{CsrRows, Encoding};
use cellring::writer::{BlockEncoder, StoreWriter, TableKind, WriterOptions};
use cellring_tools::page_cache::evict;
use cellring_tools::synth::Synth;
use tempfile::TempDir;

use crate::common::{obs_table, var_table};
use crate::seccomp::refuse_io_uring;
use crate::{TestStore, cellring, command, json, run, scratch, shards};

/// A store of synthetic counts that are like real ones, packed.
fn synthetic(n_obs: u64, n_vars: u32) -> (TempDir, PathBuf) {
    let dir = scratch();
    let path = dir.path().join("synthetic.cellring");
    let synth = Synth::new(n_obs, n_vars, 1);
    let options = WriterOptions::new(n_vars.into(), synth.value_type());
    let encoder = BlockEncoder {
        encoding: Encoding::Packed,
        n_vars: n_vars.into(),
        raw_value_type: synth.value_type(),
        column_of_source: None,
    };
    let block_size = options.block_size;
    let mut writer = StoreWriter::create(&path, options).unwrap();
    let mut first = 0;
    let threads = NonZeroUsize::new(2).unwrap();
    let append = |rows: CsrRows| {
        let block = encoder.encode(first, &rows, 0..rows.n_rows())?;
        first += rows.n_rows() as u64;
        writer.append(&block)
    };
    synth
        .for_each_block(0..n_obs, block_size.into(), threads, append)
        .unwrap();
    let genes: Vec<u32> = (0..n_vars).collect();
    for (kind, (schema, batches)) in [
        (TableKind::Obs, obs_table(n_obs as usize)),
        (TableKind::Var, var_table(&genes)),
    ] {
        let batches = batches.into_iter().map(Ok::<RecordBatch, cellring::Error>);
        writer.write_table(kind, &schema, batches).unwrap();
    }
    writer.finish().unwrap();
    (dir, path)
}

/// Which part of the shards is in the page cache at most.
fn cached(store: &Path) -> Option<f64> {
    let fractions = shards(store)
        .iter()
        .map(|shard| cached_fraction(shard).ok())
        .collect();
    let fractions: Option<Vec<f64>> = fractions;
    fractions?.into_iter().reduce(f64::max)
}

/// Whether O_DIRECT can be had on the filesystem of the store; says so where it cannot.
fn has_direct(store: &str) -> bool {
    let ran = cellring(&["epoch", store, "--backend", "pread", "--direct", "on"]);
    if ran.code != 0 {
        eprintln!("skipped: {}", ran.stderr.trim_end());
    }
    ran.code == 0
}

#[test]
fn direct_reads_leave_the_page_cache_alone() {
    let (_dir, path) = synthetic(8_000, 20_000);
    let store = path.to_str().unwrap();
    for shard in shards(&path) {
        evict(&shard).unwrap();
    }
    match cached(&path) {
        None => return eprintln!("skipped: this kernel cannot say what is in the page cache"),
        Some(fraction) if fraction >= 0.05 => {
            return eprintln!("skipped: the filesystem keeps {fraction} of the store in memory");
        }
        Some(_) => (),
    }
    if !has_direct(store) {
        return;
    }
    for backend in ["uring", "pread"] {
        let args = ["epoch", store, "--backend", backend, "--direct", "on", "--json"];
        let ran = cellring(&args);
        if ran.code == 1 && ran.stderr.contains("is not available") {
            eprintln!("skipped: {}", ran.stderr.trim_end());
            continue;
        }
        let report = json(&args);
        assert_eq!(
            (&report["backend"], &report["direct"]),
            (&backend.into(), &true.into())
        );
        assert_eq!(report["cells"], 8_000);
        let fraction = cached(&path).unwrap();
        assert!(
            fraction < 0.05,
            "{backend}: {fraction} of the store was read into the page cache"
        );
    }
    // The same through the page cache, so that the test is known to see it.
    json(&["epoch", store, "--backend", "pread", "--direct", "off", "--json"]);
    assert!(cached(&path).unwrap() > 0.9);
}

#[test]
fn memory_stays_within_the_budget() {
    let (_dir, path) = synthetic(20_000, 20_000);
    let store = path.to_str().unwrap();
    let info = json(&["info", store, "--json"]);
    let (budget, constant) = (64 << 20, 64 << 20);
    let limit = budget + info["index_bytes"].as_u64().unwrap() + constant;
    for way in [
        &["--direct", "on"][..],
        &["--backend", "pread", "--direct", "off"],
    ] {
        if way == ["--direct", "on"] && !has_direct(store) {
            continue;
        }
        let args = ["epoch", store, "--memory", "64MiB", "--digest", "--json"];
        let report = json(&[&args, way].concat());
        assert_eq!(report["cells"], 20_000);
        let peak = report["peak_rss_bytes"].as_u64().unwrap();
        assert!(
            peak < limit,
            "{way:?}: {peak} bytes resident, the limit is {limit}"
        );
    }
}

#[test]
fn where_io_uring_is_refused_the_epoch_runs_on_pread_with_one_warning() {
    let store = TestStore::counts(700, 300);
    if !has_direct(store.path()) {
        return;
    }
    let expected = store.digest(&["--backend", "pread"]);
    let without = |args: &[&str]| {
        let mut command = command(
            &[
                &["epoch", store.path(), "--direct", "on", "--digest", "--json"],
                args,
            ]
            .concat(),
        );
        refuse_io_uring(&mut command);
        run(command)
    };
    let ran = without(&[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (&report["backend"], &report["direct"], &report["digest"]),
        (&"pread".into(), &true.into(), &expected.into())
    );
    let lines: Vec<_> = ran.stderr.lines().collect();
    let [warning] = lines[..] else {
        panic!("one line: {}", ran.stderr)
    };
    for part in [
        "{\"warning\":{\"kind\":\"run\",\"message\":\"io_uring",
        "EPERM",
        "seccomp",
        "pread",
    ] {
        assert!(warning.contains(part), "{part}: {warning}");
    }
    // Whoever insists on it is told what is wrong instead.
    let ran = without(&["--backend", "uring"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    assert!(
        ran.stderr.starts_with("{\"error\":") && ran.stderr.contains("EPERM"),
        "{}",
        ran.stderr
    );
}
