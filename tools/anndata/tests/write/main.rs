//! What the writer of `.h5ad` wrote, read back with an HDF5 reader that is not ours.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod matrix;
#[path = "../samples/mod.rs"]
mod samples;
mod tables;

use std::path::Path;
use std::sync::Arc;

use arrow_array::types::Int8Type;
use arrow_array::{ArrayRef, DictionaryArray, Int8Array, Int32Array, ListArray, StringArray};
use cellring_anndata::write::{AnnDataWriter, Axis, ColumnFault, ColumnProblem, MatrixSpec, WriteErrorKind};
use cellring_core::{CsrRows, ValueBuffer, ValueType};
use hdf5_reader::Hdf5File;
use samples::{N_COLUMN_ROWS, VALUE_TYPES, columns, matrix, names, table, write};

fn integers(file: &Hdf5File, path: &str) -> Vec<i64> {
    let dataset = file.dataset(path).unwrap();
    let width = dataset.raw_element_size().unwrap();
    let bytes = dataset.read_raw_bytes().unwrap();
    assert_eq!(bytes.len(), width * dataset.num_elements().unwrap() as usize);
    bytes
        .chunks_exact(width)
        .map(|value| {
            let mut wide = if value[width - 1] & 0x80 != 0 {
                [0xff; 8]
            } else {
                [0; 8]
            };
            wide[..width].copy_from_slice(value);
            i64::from_le_bytes(wide)
        })
        .collect()
}

fn encoding(file: &Hdf5File, path: &str) -> String {
    let attribute = match file.group(path) {
        Ok(group) => group.attribute("encoding-type"),
        Err(_) => file.dataset(path).unwrap().attribute("encoding-type"),
    };
    attribute.unwrap().read_string().unwrap()
}

fn texts(file: &Hdf5File, path: &str) -> Vec<String> {
    file.dataset(path).unwrap().read_strings().unwrap()
}

fn spec(value_type: ValueType, n_obs: usize, n_vars: usize) -> MatrixSpec {
    MatrixSpec::new(n_obs as u64, n_vars as u64, value_type)
}

/// A writer of 2 x 3 float32 values, and rows that fit it.
fn small(directory: &Path) -> (AnnDataWriter, CsrRows) {
    let writer = AnnDataWriter::create(directory.join("small.h5ad"), spec(ValueType::F32, 2, 3)).unwrap();
    let rows = CsrRows {
        indptr: vec![0, 1, 3],
        indices: vec![2, 0, 1],
        values: ValueBuffer::F32(vec![1.0, 2.0, 3.0]),
    };
    (writer, rows)
}

fn files_in(directory: &Path) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}

#[test]
fn an_unfinished_file_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let (mut writer, rows) = small(directory.path());
    writer.push_rows(&rows).unwrap();
    assert_eq!(files_in(directory.path()), 1);
    drop(writer);
    assert_eq!(files_in(directory.path()), 0);
    // Nor does one whose end fails: no table was written.
    let (mut writer, rows) = small(directory.path());
    writer.push_rows(&rows).unwrap();
    let error = writer.finish().unwrap_err();
    assert!(
        matches!(
            error.kind(),
            WriteErrorKind::Table {
                axis: Axis::Obs,
                times: 0
            }
        ),
        "{error}"
    );
    assert_eq!(files_in(directory.path()), 0);
}

#[test]
fn a_file_of_that_name_is_replaced_only_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("small.h5ad");
    std::fs::write(&path, "old").unwrap();
    let (mut writer, rows) = small(directory.path());
    writer.push_rows(&rows).unwrap();
    let (obs, var) = (names("cell", 2), names("gene", 3));
    writer.write_table(Axis::Obs, &obs.schema(), [obs]).unwrap();
    writer.write_table(Axis::Var, &var.schema(), [var]).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    writer.finish().unwrap();
    assert_eq!(integers(&Hdf5File::open(&path).unwrap(), "X/indptr"), [0, 1, 3]);
    assert_eq!(files_in(directory.path()), 1);
}
