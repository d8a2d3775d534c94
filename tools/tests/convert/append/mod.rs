//! Obs that are added to a store.

mod genes;
mod meanwhile;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int8Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, DictionaryArray, Int32Array, RecordBatch, StringArray};
use cellring::Store;
use cellring::format::{CsrRows, ValueBuffer};
use cellring::store::verify;
use cellring_tools::synth::Synth;

use crate::command::{json, succeed, write_h5ad};
use crate::{names, samples, scratch};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Counts in these rows of a matrix of which each file holds some.
fn synth_rows(path: &Path, rows: std::ops::Range<u64>, n_vars: u32) {
    let synth = Synth::new(1_000, n_vars, 3);
    let (matrix, obs) = (synth.rows(rows.clone()), synth.obs(rows));
    write_h5ad(path, &matrix, n_vars as usize, &obs, &synth.var());
}

/// Whether the store is whole, by the reader and by the one that was written from the specification.
fn check(store: &Path) {
    verify(&Store::open(store).unwrap(), 2, &|_| ()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/spec_reader.py");
    let ran = Command::new(crate::python())
        .arg(script)
        .arg(store)
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

/// Every row with its columns in the order of the source: column, bits of the value.
fn content(store: &Store) -> Vec<Vec<(u32, u64)>> {
    let positions = store.source_positions().unwrap();
    let rows = store.rows(0..store.n_obs()).unwrap();
    let bits: Vec<u64> = match &rows.values {
        ValueBuffer::F32(values) => values.iter().map(|value| value.to_bits().into()).collect(),
        ValueBuffer::I32(values) => values.iter().map(|&value| value as u64).collect(),
        other => panic!("values of type {:?}", other.value_type()),
    };
    let row = |i: usize| {
        let entries = rows.indptr[i] as usize..rows.indptr[i + 1] as usize;
        let mut row: Vec<_> = entries
            .map(|k| (positions[rows.indices[k] as usize], bits[k]))
            .collect();
        row.sort_unstable();
        row
    };
    (0..rows.n_rows()).map(row).collect()
}

/// A column of obs as text.
fn column(store: &Store, name: &str) -> Vec<Option<String>> {
    let column = match name {
        "" => store.obs().names().unwrap(),
        name => store.obs().column(name).unwrap(),
    };
    let shown = |array: &dyn Array, row: usize| -> Option<String> {
        if array.is_null(row) {
            return None;
        }
        if let Some(array) = array.as_any_dictionary_opt() {
            let code = array.normalized_keys()[row];
            return Some(array.values().as_string::<i32>().value(code).to_owned());
        }
        if let Some(array) = array.as_string_opt::<i32>() {
            return Some(array.value(row).to_owned());
        }
        if let Some(array) = array.as_primitive_opt::<Int64Type>() {
            return Some(array.value(row).to_string());
        }
        if let Some(array) = array.as_primitive_opt::<Int32Type>() {
            return Some(array.value(row).to_string());
        }
        Some(format!("{:?}", array.slice(row, 1)))
    };
    (0..store.n_obs())
        .map(|obs| {
            let (array, row) = column.at(obs);
            shown(&array.slice(row, 1), 0)
        })
        .collect()
}

/// Appending some rows after others gives the store of all of them, however many there are in a block.
#[test]
fn what_is_appended_follows_what_was_there() {
    let directory = scratch();
    let path = |name: &str| directory.path().join(name);
    synth_rows(&path("all.h5ad"), 0..900, 700);
    for (name, rows) in [("a", 0..600), ("b", 600..601), ("c", 601..900)] {
        synth_rows(&path(&format!("{name}.h5ad")), rows, 700);
    }
    let [all, a, b, c] = ["all.h5ad", "a.h5ad", "b.h5ad", "c.h5ad"].map(path);
    for options in [
        &["--block-size", "256"][..],
        &["--block-size", "100"],
        &["--block-size", "1000", "--var-order", "source"],
        &["--block-size", "64", "--encoding", "raw"],
        &["--block-size", "64", "--shard-size", "50k"],
    ] {
        let (whole, store) = (path("whole"), path("s"));
        for (input, output) in [(&all, &whole), (&a, &store)] {
            succeed(&[&["convert", text(input), "-o", text(output), "--force"], options].concat());
        }
        succeed(&["append", text(&store), text(&b)]);
        check(&store);
        let report = json(&["append", text(&store), text(&c), text(&b), "--shard-size", "50k"]);
        assert_eq!(
            (&report["n_obs_appended"], &report["n_obs"]),
            (&300.into(), &901.into())
        );
        check(&store);
        let (whole, store) = (Store::open(&whole).unwrap(), Store::open(&store).unwrap());
        assert_eq!(content(&whole), content(&store)[..900]);
        assert_eq!(content(&whole)[600], content(&store)[900]);
        assert_eq!(store.source_positions().unwrap().len(), 700);
        for name in ["", "plate", "cell_line", "drug"] {
            let (whole, store) = (column(&whole, name), column(&store, name));
            assert_eq!((&whole[..], &whole[600]), (&store[..900], &store[900]), "{name}");
        }
        let files = names(store.path());
        assert!(files.contains(&"index-0002.bin".to_owned()) && files.contains(&"obs-0002.arrow".to_owned()));
        assert!(
            !files.contains(&"index.bin".to_owned()) && !files.contains(&"index-0001.bin".to_owned()),
            "{files:?}"
        );
        let appended = &json(&["info", text(store.path())])["source"]["appended"];
        assert_eq!(appended.as_array().unwrap().len(), 3);
        succeed(&["export", text(store.path()), text(&path("back.h5ad")), "--force"]);
    }
    // In another order than the source's, new obs come last in the source too.
    let store = path("shuffled");
    succeed(&["convert", text(&a), "-o", text(&store), "--shuffle", "1"]);
    succeed(&["append", text(&store), text(&c)]);
    check(&store);
    let back = path("back.h5ad");
    succeed(&["export", text(&store), text(&back), "--force"]);
    let (again, joined) = (path("again"), path("joined"));
    succeed(&["convert", text(&back), "-o", text(&again)]);
    succeed(&["convert", text(&a), "-o", text(&joined)]);
    succeed(&["append", text(&joined), text(&c)]);
    assert_eq!(
        content(&Store::open(&again).unwrap()),
        content(&Store::open(&joined).unwrap())
    );
}

/// Tables of several batches, which begin and end within those of the store.
#[test]
fn long_tables_are_joined() {
    let directory = scratch();
    samples::write_all(directory.path());
    let long = directory.path().join("long.h5ad");
    let store = directory.path().join("s");
    succeed(&["convert", text(&long), "-o", text(&store), "--max-obs", "70000"]);
    succeed(&["append", text(&store), text(&long)]);
    succeed(&["verify", text(&store)]);
    let whole = directory.path().join("whole");
    succeed(&["convert", text(&long), "-o", text(&whole)]);
    let (whole, store) = (Store::open(&whole).unwrap(), Store::open(&store).unwrap());
    assert_eq!(store.n_obs(), 220_001);
    for name in ["", "number", "late", "text"] {
        let batches = |store: &Store| match name {
            "" => store.obs().names().unwrap(),
            name => store.obs().column(name).unwrap(),
        };
        let (whole, store) = (batches(&whole), batches(&store));
        for obs in (0..150_001).step_by(997).chain([0, 139_999, 140_001, 150_000]) {
            let (a, i) = whole.at(obs);
            let (b, j) = store.at(70_000 + obs);
            assert_eq!(
                a.slice(i, 1).to_data(),
                b.slice(j, 1).to_data(),
                "{name} of obs {obs}"
            );
        }
    }
}

/// Names and codes of a small table.
fn obs(columns: Vec<(&str, ArrayRef)>, n: usize) -> RecordBatch {
    let index: ArrayRef = Arc::new((0..n).map(|i| Some(format!("c{i}"))).collect::<StringArray>());
    let mut all: Vec<samples::Column<'_>> = vec![("index", index, &[("cellring.role", "index")])];
    all.extend(columns.into_iter().map(|(name, column)| (name, column, &[][..])));
    samples::table(all)
}

fn var(names: &[&str]) -> RecordBatch {
    let index: ArrayRef = Arc::new(StringArray::from(names.to_vec()));
    samples::table(vec![("index", index, &[("cellring.role", "index")])])
}

fn categorical(texts: &[&str]) -> ArrayRef {
    let column: DictionaryArray<Int8Type> = texts.iter().map(|text| Some(*text)).collect();
    Arc::new(column)
}

/// A matrix of these rows: column and value.
fn rows(of: &[&[(u32, f32)]]) -> CsrRows {
    let mut indptr = vec![0];
    let (mut indices, mut values) = (vec![], vec![]);
    for row in of {
        indices.extend(row.iter().map(|entry| entry.0));
        values.extend(row.iter().map(|entry| entry.1));
        indptr.push(indices.len() as u64);
    }
    CsrRows {
        indptr,
        indices,
        values: ValueBuffer::F32(values),
    }
}

/// A store of two obs and the genes a to d.
fn small(directory: &Path) -> PathBuf {
    let input = directory.join("small.h5ad");
    let table = obs(
        vec![
            ("kind", categorical(&["y", "x"])),
            ("count", Arc::new(Int32Array::from(vec![1, 2]))),
            ("note", Arc::new(StringArray::from(vec!["one", "two"]))),
        ],
        2,
    );
    let matrix = rows(&[&[(0, 1.0), (2, 2.0)], &[(1, 3.0), (2, 4.0), (3, 5.0)]]);
    write_h5ad(&input, &matrix, 4, &table, &var(&["a", "b", "c", "d"]));
    let store = directory.join("small");
    succeed(&["convert", text(&input), "-o", text(&store)]);
    store
}
