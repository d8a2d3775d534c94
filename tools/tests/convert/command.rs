//! Runs `cellring`, for the tests of stores that are appended to, made in parts, or put on several disks.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use cellring::format::{CsrRows, ValueBuffer, ValueType};
use cellring_anndata::write::{AnnDataWriter, Axis, MatrixSpec};
use cellring_tools::synth::Synth;
use serde_json::Value;

use crate::{cellring, names, samples};

/// About half a million counts in 1,000 obs.
pub(crate) fn synthetic(directory: &Path) -> PathBuf {
    let path = directory.join("synthetic.h5ad");
    Synth::new(1_000, 3_000, 3).write_h5ad(&path, |_| {}).unwrap();
    path
}

/// Starts `cellring`, kills it with SIGKILL after this time, and tells whether it was still running.
pub(crate) fn kill_after(delay_ms: u64, args: &[&str]) -> bool {
    let mut child = Command::new(env!("CARGO_BIN_EXE_cellring"))
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    #[allow(
        clippy::disallowed_methods,
        reason = "a moment that nothing tells of is what the test wants"
    )]
    std::thread::sleep(Duration::from_millis(delay_ms));
    child.kill().unwrap();
    !child.wait().unwrap().success()
}

/// What a run prints that must succeed.
pub(crate) fn succeed(args: &[&str]) -> String {
    let (code, stdout, stderr) = cellring(args);
    assert_eq!(code, 0, "{args:?}: {stderr}");
    stdout
}

pub(crate) fn json(args: &[&str]) -> Value {
    serde_json::from_str(&succeed(&[args, &["--json"]].concat())).unwrap()
}

/// The same files with the same bytes.
pub(crate) fn assert_same(a: &Path, b: &Path) {
    assert_eq!(names(a), names(b), "{} and {}", a.display(), b.display());
    for name in names(a) {
        let same = std::fs::read(a.join(&name)).unwrap() == std::fs::read(b.join(&name)).unwrap();
        assert!(same, "{name} of {} and {}", a.display(), b.display());
    }
}

/// Writes a matrix with these tables.
pub(crate) fn write_h5ad(
    path: &Path,
    rows: &CsrRows,
    n_vars: usize,
    obs: &arrow_array::RecordBatch,
    var: &arrow_array::RecordBatch,
) {
    let spec = MatrixSpec::new(rows.n_rows() as u64, n_vars as u64, rows.values.value_type());
    let mut writer = AnnDataWriter::create(path, spec).unwrap();
    writer.push_rows(rows).unwrap();
    for (axis, table) in [(Axis::Obs, obs), (Axis::Var, var)] {
        writer
            .write_table(axis, &table.schema(), [table.clone()])
            .unwrap();
    }
    writer.finish().unwrap();
}

/// Rows with explicit zeros, duplicates and columns out of order, but only from two thirds on; the last have the largest values.
pub(crate) fn untidy(path: &Path, n_obs: usize, n_vars: usize) {
    let mut rows = CsrRows {
        indptr: vec![0],
        indices: vec![],
        values: ValueBuffer::with_capacity(ValueType::F32, 0),
    };
    let mut values = vec![];
    for row in 0..n_obs {
        for k in 0..row % 9 {
            let column = ((row * 31 + k * k * 7) % n_vars) as u32;
            let is_untidy = 3 * row > 2 * n_obs;
            rows.indices.push(column);
            values.push(match (is_untidy, k) {
                (true, 2) => 0.0,
                (true, 3) => 70_000.0,
                _ => (1 + k) as f32,
            });
            if is_untidy && k == 4 {
                rows.indices.push(column);
                values.push(1.0);
            }
        }
        let start = *rows.indptr.last().unwrap() as usize;
        if 3 * row <= 2 * n_obs {
            // Tidy: ascending, each once.
            let mut entries: Vec<_> = rows.indices[start..]
                .iter()
                .copied()
                .zip(values[start..].iter().copied())
                .collect();
            entries.sort_by_key(|entry| entry.0);
            entries.dedup_by_key(|entry| entry.0);
            rows.indices.truncate(start);
            values.truncate(start);
            rows.indices.extend(entries.iter().map(|entry| entry.0));
            values.extend(entries.iter().map(|entry| entry.1));
        }
        rows.indptr.push(rows.indices.len() as u64);
    }
    rows.values = ValueBuffer::F32(values);
    write_h5ad(
        path,
        &rows,
        n_vars,
        &samples::names("cell", n_obs),
        &samples::names("gene", n_vars),
    );
}
