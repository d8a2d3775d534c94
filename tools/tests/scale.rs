//! A large store costs no more memory than a small one, but for its index, and opening it reads none of its tables.
#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use cellring::engine::cached_fraction;
use cellring::plan::{Plan, SamplerConfig};
use cellring::{Loader, LoaderConfig, Store};
use cellring_tools::page_cache::evict;
use serde_json::Value;

const N_OBS: u64 = 1_000_000;
const MIB: u64 = 1 << 20;

/// Runs `cellring` and gives the one JSON object that it prints.
fn cellring(args: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_cellring"))
        .args(args)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {stderr}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// One store for all tests of this file, since making it takes longest: so they are one.
#[test]
fn a_million_cells() {
    // Beside the test binary: the directory for temporary files is often tmpfs, which is page cache itself.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().join("million.cellring");
    let store = path.to_str().unwrap();
    let n_obs = N_OBS.to_string();
    let made = cellring(&["synth", store, "--n-obs", &n_obs, "--n-vars", "48", "--json"]);
    assert_eq!(made["n_obs"], N_OBS);
    opening_reads_no_table(&path);
    memory_stays_in_budget(&path);
    planning_takes_no_memory(N_OBS);
}

fn opening_reads_no_table(path: &Path) {
    let obs = path.join("obs.arrow");
    evict(&obs).unwrap();
    let before = match cached_fraction(&obs) {
        Ok(fraction) => fraction,
        // An old kernel, or one that tells only a file's owner.
        Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied) => return,
        Err(error) => panic!("{error}"),
    };
    let store = Arc::new(Store::open(path).unwrap());
    assert_eq!((store.n_obs(), store.obs().n_rows()), (N_OBS, N_OBS));
    let loader = Loader::new(store.clone(), LoaderConfig::default()).unwrap();
    let minibatch = loader.epoch(0).unwrap().next().unwrap().unwrap();
    assert_eq!(minibatch.n_obs(), 64);
    assert_eq!(cached_fraction(&obs).unwrap(), before, "no page of obs was read");

    // A column is read when it is asked for, and others are not.
    let obs_columns = ["plate"];
    let config = LoaderConfig::default().obs_columns(obs_columns);
    Loader::new(store, config).unwrap();
    assert!(before == 1.0 || cached_fraction(&obs).unwrap() > before);
}

fn memory_stays_in_budget(path: &Path) {
    let index_bytes = fs::metadata(path.join("index.bin")).unwrap().len();
    assert!(
        index_bytes > 6 * N_OBS && index_bytes < 7 * N_OBS,
        "{index_bytes} bytes"
    );
    for (memory, block_size) in [("32MiB", "16"), ("96MiB", "1")] {
        let run = ["epoch", path.to_str().unwrap(), "--json", "--seconds", "1"];
        let options = ["--memory", memory, "--block-size", block_size];
        let report = cellring(&[&run[..], &options[..]].concat());
        assert!(report["cells"].as_u64().unwrap() > 0);
        let Some(peak_bytes) = report["peak_rss_bytes"].as_u64() else {
            continue; // No /proc.
        };
        let budget: u64 = memory.trim_end_matches("MiB").parse().unwrap();
        let most = (budget + 64) * MIB + index_bytes;
        assert!(
            peak_bytes <= most,
            "{peak_bytes} bytes with {memory} and an index of {index_bytes}, expected at most {most}"
        );
    }
}

/// The plan of any number of cells is as small, and begins at once: a list of the cells below would take 2 PiB.
fn planning_takes_no_memory(n_obs: u64) {
    for n_obs in [n_obs, 1 << 48] {
        let plan = Plan::new(n_obs, &SamplerConfig::default(), 5).unwrap();
        let fetch = plan.fetch(plan.n_fetches() / 2);
        assert_eq!((fetch.obs.len(), fetch.minibatches.len()), (16_384, 256));
        assert!(fetch.obs.iter().all(|&obs| obs < n_obs));
    }
}
