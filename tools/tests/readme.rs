//! Every line of the README's tour of the command is run as it stands.
#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use cellring::format::{CsrRows, ValueBuffer, ValueType};
use cellring_tools::anndata::write::{AnnDataWriter, Axis, Form, MatrixSpec, Place};

/// The commands of a block that is marked as tested.
fn blocks(readme: &str) -> Vec<Vec<&str>> {
    let marked = readme.split("<!-- tested:").skip(1);
    marked
        .map(|text| {
            let (_, block) = text.split_once("```sh\n").unwrap();
            let (block, _) = block.split_once("```").unwrap();
            block.lines().filter(|line| !line.trim().is_empty()).collect()
        })
        .collect()
}

/// A file with layers, `raw` and `obsm`.
fn write_layers(path: &Path) {
    const N_OBS: u64 = 40;
    let place = |name: &str| Place::of_path(name).unwrap();
    let spec = |n_vars: u64| MatrixSpec::new(N_OBS, n_vars, ValueType::F32);
    // A value in every third column.
    let rows = |n_vars: u64, step: u32| {
        let columns: Vec<u32> = (0..n_vars as u32).step_by(step as usize).collect();
        CsrRows {
            indptr: (0..=N_OBS).map(|row| row * columns.len() as u64).collect(),
            indices: columns.repeat(N_OBS as usize),
            values: ValueBuffer::F32(
                (0..N_OBS as usize * columns.len())
                    .map(|k| k as f32 + 0.5)
                    .collect(),
            ),
        }
    };
    let names = |axis: &str, n: u64| {
        let names = StringArray::from_iter_values((0..n).map(|k| format!("{axis}_{k}")));
        RecordBatch::try_from_iter([("_index", Arc::new(names) as ArrayRef)]).unwrap()
    };
    let mut writer = AnnDataWriter::create(path, spec(30)).unwrap();
    for (axis, table) in [(Axis::Obs, names("cell", N_OBS)), (Axis::Var, names("gene", 30))] {
        writer
            .write_table(axis, &table.schema(), [table.clone()])
            .unwrap();
    }
    writer.push_rows(&rows(30, 3)).unwrap();
    for layer in ["layers/spliced", "layers/unspliced"] {
        writer.next_matrix(place(layer), spec(30)).unwrap();
        writer.push_rows(&rows(30, 4)).unwrap();
    }
    writer.next_matrix(place("raw/X"), spec(50)).unwrap();
    let genes = names("raw_gene", 50);
    writer
        .write_table(Axis::RawVar, &genes.schema(), [genes.clone()])
        .unwrap();
    writer.push_rows(&rows(50, 2)).unwrap();
    let dense = spec(7).with_form(Form::Dense);
    writer.next_matrix(place("obsm/X_pca"), dense).unwrap();
    writer.push_rows(&rows(7, 1)).unwrap();
    writer.finish().unwrap();
}

#[test]
fn the_commands_of_the_readme_work() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(
        root.join("tools/data/mousebrain10k.h5ad"),
        dir.path().join("cells.h5ad"),
    )
    .unwrap();
    write_layers(&dir.path().join("layers.h5ad"));
    let bin = Path::new(env!("CARGO_BIN_EXE_cellring")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let blocks = blocks(&readme);
    assert!(
        blocks.len() >= 3,
        "a tour of the command, several matrices, and a table"
    );
    let mut printed = String::new();
    let mut commands = 0;
    for line in blocks.into_iter().flatten() {
        assert!(line.starts_with("cellring "), "{line}");
        let output = Command::new("bash")
            .args(["-c", line])
            .current_dir(dir.path())
            .env("PATH", &path)
            .output()
            .unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}\n{message}");
        printed = String::from_utf8(output.stdout).unwrap();
        commands += 1;
    }
    assert!(commands >= 20, "{commands} commands");

    // The last one printed the table that follows it.
    let rows: Vec<&str> = readme
        .lines()
        .skip_while(|line| !line.starts_with("| 1 (true random)"))
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert_eq!(rows.len(), 7, "six block sizes, and streaming");
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).skip(1).collect();
        let cells = cells.join("  ");
        assert!(printed.contains(&cells), "{cells} is not in\n{printed}");
    }
}
