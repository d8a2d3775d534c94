//! Inputs several times as large as the memory that a conversion may use: it stays within it, by the kernel's own figure of the most
//! memory that was ever resident.
#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

use std::path::{Path, PathBuf};
use std::process::Command;

use cellring_tools::synth::Synth;
use serde_json::Value;

const MIB: u64 = 1 << 20;

/// What `--memory` says.
const LIMIT_MIB: u64 = 192;

/// Runs `cellring` and gives the one JSON object that it prints.
fn cellring(args: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_cellring"))
        .args(args)
        .arg("--json")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {stderr}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The same matrix stored by columns.
fn by_columns(input: &Path, output: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let python =
        std::env::var_os("CELLRING_PYTHON").map_or_else(|| root.join(".venv/bin/python"), PathBuf::from);
    let code = "import anndata, sys\n\
                a = anndata.read_h5ad(sys.argv[1])\n\
                a.X = a.X.tocsc()\n\
                a.write_h5ad(sys.argv[2])";
    let made = Command::new(python)
        .args(["-c", code])
        .args([input, output])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// One data set for all ways, since making it takes longest.
#[test]
fn conversion_stays_within_its_memory() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (input, more, columns) = (path("a.h5ad"), path("b.h5ad"), path("columns.h5ad"));
    Synth::new(40_000, 30_000, 3)
        .write_h5ad(Path::new(&input), |_| {})
        .unwrap();
    Synth::new(20_000, 30_000, 4)
        .write_h5ad(Path::new(&more), |_| {})
        .unwrap();
    by_columns(Path::new(&input), Path::new(&columns));
    for file in [&input, &columns] {
        let bytes = std::fs::metadata(file).unwrap().len();
        assert!(bytes > 2 * LIMIT_MIB * MIB, "{bytes} bytes");
    }
    let stores = ["plain", "columns", "shuffled", "sorted", "joined", "parts"].map(path);
    let ways: [(&[&str], &[&str]); 6] = [
        (&[&input], &[]),
        (&[&columns], &[]),
        (&[&input], &["--shuffle", "5"]),
        (&[&input], &["--sort-by", "plate,cell_line"]),
        (&[&input, &more], &["--join", "outer", "--label-column", "source"]),
        (&[&input], &["--parts", "3"]),
    ];
    let memory = format!("{LIMIT_MIB}MiB");
    for ((inputs, options), store) in ways.iter().zip(&stores) {
        let fixed = ["-o", store, "--memory", &memory];
        let report = cellring(&[&["convert"], *inputs, &fixed, *options].concat());
        let peak = report["peak_rss_bytes"].as_u64().unwrap();
        assert!(
            peak > 32 * MIB && peak <= LIMIT_MIB * MIB,
            "{options:?}: {} MiB of memory",
            peak / MIB
        );
        let n_obs = if inputs.len() == 2 { 60_000 } else { 40_000 };
        assert_eq!(report["n_obs"], n_obs, "{options:?}");
    }
    // What was turned is what was never turned.
    let manifest = |store: &str| cellring(&["info", store])["store_id"].clone();
    assert_eq!(manifest(&stores[0]), manifest(&stores[1]));
    // And back: the table of obs and the rows come in the source's order.
    for store in [&stores[0], &stores[2]] {
        let out = path("back.h5ad");
        let report = cellring(&["export", store, &out, "--force"]);
        assert_eq!(report["n_obs"], 40_000);
    }
}
