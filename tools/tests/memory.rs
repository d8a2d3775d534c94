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

/// Runs Python with these arguments and gives what it prints.
fn python(args: &[&Path]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let python =
        std::env::var_os("CELLRING_PYTHON").map_or_else(|| root.join(".venv/bin/python"), PathBuf::from);
    let made = Command::new(python).args(args).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap()
}

/// The same matrix stored by columns.
fn by_columns(input: &Path, output: &Path) {
    let code = "import anndata, sys\n\
                a = anndata.read_h5ad(sys.argv[1])\n\
                a.X = a.X.tocsc()\n\
                a.write_h5ad(sys.argv[2])";
    python(&[Path::new("-c"), Path::new(code), input, output]);
}

/// Makes a store within the memory; gives its number of cells.
fn convert(inputs: &[&str], store: &str, options: &[&str]) -> u64 {
    let memory = format!("{LIMIT_MIB}MiB");
    let fixed = ["-o", store, "--memory", &memory];
    let report = cellring(&[&["convert"], inputs, &fixed, options].concat());
    let number = |name: &str| report[name].as_u64().unwrap();
    let peak = number("peak_rss_bytes");
    assert!(
        peak > 32 * MIB && peak <= LIMIT_MIB * MIB,
        "{inputs:?} {options:?}: {} MiB of memory",
        peak / MIB
    );
    number("n_obs")
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
    for ((inputs, options), store) in ways.iter().zip(&stores) {
        let n_obs = convert(inputs, store, options);
        let expected = if inputs.len() == 2 { 60_000 } else { 40_000 };
        assert_eq!(n_obs, expected, "{options:?}");
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

/// Other forms of one data set, of which those that are not compressed well are larger than the memory.
#[test]
fn every_form_stays_within_its_memory() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let input = dir.path().join("a.h5ad");
    Synth::new(40_000, 30_000, 3).write_h5ad(&input, |_| {}).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/python/make_large.py");
    let made = python(&[&script, &input, dir.path()]);
    assert_eq!(made.lines().count(), 7, "{made}");
    let store = dir.path().join("store");
    for form in made.lines() {
        let n_obs = convert(
            &[form],
            store.to_str().unwrap(),
            // Of every cell of a dense matrix it is not known before how many values it has.
            &["--force", "--block-size", "16"],
        );
        assert!(n_obs == 40_000 || n_obs == 4_000, "{form}: {n_obs}");
    }
}

/// Texts that all differ are sorted within the limit that a refusal asks for, which counts them.
#[test]
fn texts_to_sort_by_stay_within_the_limit() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let [script, input, store] =
        ["make.py", "cells.h5ad", "s.cellring"].map(|name| directory.path().join(name));
    let code = "import anndata, sys\n\
        import numpy as np\n\
        import pandas as pd\n\
        import scipy.sparse as sp\n\
        n = 300_000\n\
        texts = [f'{(i * 7919) % n:030d}' for i in range(n)]\n\
        obs = pd.DataFrame({'text': texts}, index=[str(i) for i in range(n)])\n\
        x = sp.csr_matrix((n, 10), dtype=np.float32)\n\
        anndata.AnnData(X=x, obs=obs).write_h5ad(sys.argv[1])\n";
    std::fs::write(&script, code).unwrap();
    python(&[&script, &input]);
    let run = |limit: &str| {
        let [input, store] = [&input, &store].map(|path| path.to_str().unwrap());
        let output = Command::new(env!("CARGO_BIN_EXE_cellring"))
            .args([
                "convert",
                input,
                "-o",
                store,
                "--sort-by",
                "text",
                "--memory",
                limit,
                "--json",
            ])
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            said,
        )
    };
    // In the first there is no memory for keys, in the second too little for texts. What the first asks for is no less than what suffices.
    let asked = |limit: &str| -> u64 {
        let (code, _, said) = run(limit);
        let asked = said
            .split("give --memory ")
            .nth(1)
            .and_then(|rest| rest.split("MiB").next());
        assert_eq!(code, Some(1), "{said}");
        asked.unwrap().parse().unwrap()
    };
    let (first, limit) = (asked("1MiB"), asked("120MiB"));
    assert!(first >= limit, "{first} and {limit} MiB");
    let (code, stdout, said) = run(&format!("{limit}MiB"));
    assert_eq!(code, Some(0), "{said}");
    let report: Value = serde_json::from_str(&stdout).unwrap();
    let peak = report["peak_rss_bytes"].as_u64().unwrap();
    println!("{} of {limit} MiB", peak >> 20);
    assert!(peak <= limit * MIB, "{peak} bytes of {limit} MiB");
}

/// Writes the values of an `.h5ad` again in compressed chunks of so many elements; or, of 0, as one chunk of the most elements that some
/// programs write, of which none is there.
fn in_chunks_of(elements: u64, input: &Path, output: &Path) {
    let code = "import h5py, shutil, sys\n\
                shutil.copy(sys.argv[2], sys.argv[3])\n\
                n = int(sys.argv[1])\n\
                with h5py.File(sys.argv[3], 'r+') as f:\n    \
                    x = f['X']\n    \
                    for name in ['data', 'indices']:\n        \
                        values = x[name][:]\n        \
                        del x[name]\n        \
                        if n:\n            \
                            x.create_dataset(name, data=values, chunks=(n,), compression='gzip', compression_opts=1)\n        \
                        else:\n            \
                            x.create_dataset(name, (2**29 - 1,), 'f8' if name == 'data' else 'i4', chunks=(2**29 - 1,), compression='gzip')\n    \
                    if not n:\n        \
                        x['indptr'][-1] = 2**29 - 1";
    let elements = elements.to_string();
    python(&[
        Path::new("-c"),
        Path::new(code),
        Path::new(&elements),
        input,
        output,
    ]);
}

/// A thread decodes one chunk at a time, and what a fetch keeps of chunks is its rows.
#[test]
fn epochs_of_links_stay_within_their_memory_with_short_and_long_chunks() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (input, chunked, store) = (path("a.h5ad"), path("chunked.h5ad"), path("linked"));
    Synth::new(4_000, 30_000, 3)
        .write_h5ad(Path::new(&input), |_| {})
        .unwrap();
    for chunk_bytes in [16 << 10, 1 << 20] {
        in_chunks_of(chunk_bytes / 4, Path::new(&input), Path::new(&chunked));
        cellring(&["link", &chunked, "-o", &store, "--force"]);
        let report = cellring(&[
            "epoch",
            &store,
            "--memory",
            "32MiB",
            "--block-size",
            "16",
            "--fetch-factor",
            "16",
        ]);
        let peak = report["peak_rss_bytes"].as_u64().unwrap();
        assert_eq!(report["cells"], 4_000);
        assert!(
            peak <= 96 * MIB,
            "chunks of {chunk_bytes} bytes: {} MiB of memory",
            peak / MIB
        );
    }
    in_chunks_of(0, Path::new(&input), Path::new(&chunked));
    let refused = Command::new(env!("CARGO_BIN_EXE_cellring"))
        .args(["link", &chunked, "-o", &path("refused")])
        .output()
        .unwrap();
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(
        error.contains("X/data in ")
            && error.contains("chunked.h5ad cannot be read: its chunks have 4294 MB")
            && error.contains(
                "at most 268 MB are read; write it again in smaller chunks (h5repack -l X/data:CHUNK="
            ),
        "{error}"
    );
    assert!(!Path::new(&path("refused")).exists());
}
