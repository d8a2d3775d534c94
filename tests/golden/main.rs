//! Golden stores: the format does not drift, and an independent reader of its text agrees with the code.
//!
//! `tests/data/golden` holds matrices as plain dumps and the stores that were written from them; the README there tells
//! how. A golden store never changes: a new one is added beside it, by a line in [`stores::goldens`] and
//! `cargo test --test golden -- --ignored`, which writes what is missing and leaves what is there.
#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/forge.rs"]
mod forge;
#[path = "../common/forgeries.rs"]
mod forgeries;
mod spec;
mod stores;

use std::fs;

use cellring::Store;
use cellring::store::verify;
use common::{Kind, matrix, value_bits};
use stores::{directory, files, goldens, load_dump, matrices_to_dump, save_dump};

const TABLES: [&str; 2] = ["obs.arrow", "var.arrow"];

#[test]
#[ignore = "writes the golden files that are missing, into the repository"]
fn write_missing_golden_files() {
    fs::create_dir_all(directory()).unwrap();
    for (name, n_vars, rows) in matrices_to_dump() {
        let dump = directory().join(format!("{name}.json"));
        if !dump.exists() {
            save_dump(&dump, &rows, n_vars);
        }
    }
    for golden in goldens() {
        if !golden.committed().exists() {
            golden.write(&golden.committed());
            if !golden.has_tables {
                for table in TABLES {
                    fs::remove_file(golden.committed().join(table)).unwrap();
                }
            }
        }
    }
}

/// The dumps are what the stores are written from, so that nothing here rests on a platform's logarithm; those made of
/// integers alone are the same everywhere.
#[test]
fn dumps_are_the_matrices_they_were_made_from() {
    for (name, n_vars, rows) in matrices_to_dump() {
        if name == "lognormalised" {
            continue;
        }
        let (found, found_n_vars) = load_dump(&directory().join(format!("{name}.json")));
        assert_eq!(found_n_vars, n_vars, "{name}");
        assert_eq!(
            (&found.indptr, &found.indices),
            (&rows.indptr, &rows.indices),
            "{name}"
        );
        assert_eq!(value_bits(&found), value_bits(&rows), "{name}");
    }
    let lognormalised = matrix(12, 200, Kind::LogNormalised, 13);
    let (found, _) = load_dump(&directory().join("lognormalised.json"));
    assert_eq!(found.indices, lognormalised.indices);
}

#[test]
fn golden_stores_are_written_again_byte_by_byte() {
    let dir = tempfile::tempdir().unwrap();
    for golden in goldens() {
        let path = dir.path().join(golden.name);
        golden.write(&path);
        let (mut expected, found) = (files(&golden.committed()), files(&path));
        if !golden.has_tables {
            // The manifest, which is compared, holds their lengths and checksums.
            for table in TABLES {
                expected.insert(table.into(), found[table].clone());
            }
        }
        let names = |files: &stores::Files| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&found), names(&expected), "{}", golden.name);
        // Tables first: all other files hold the store id, which changes with every byte of them.
        for file in TABLES.into_iter().chain(expected.keys().map(String::as_str)) {
            let at = found[file].iter().zip(&expected[file]).position(|(a, b)| a != b);
            assert!(
                found[file] == expected[file],
                "{}: {file} is no longer written as it was, first at byte {at:?}: either restore the writer, or give \
                 the format a new version; where only the tables of tests/common or the Arrow crate have changed, \
                 make the golden stores anew",
                golden.name
            );
        }
    }
}

#[test]
fn golden_stores_are_read_as_the_matrices_they_came_from() {
    let dir = tempfile::tempdir().unwrap();
    for golden in goldens() {
        let store = Store::open(golden.whole(dir.path())).unwrap();
        let expected = golden.stored_rows();
        let found = store.rows(0..store.n_obs()).unwrap();
        assert_eq!(
            (&found.indptr, &found.indices),
            (&expected.indptr, &expected.indices),
            "{}",
            golden.name
        );
        assert_eq!(
            found.values.value_type(),
            expected.values.value_type(),
            "{}",
            golden.name
        );
        assert_eq!(value_bits(&found), value_bits(&expected), "{}", golden.name);
        let report = verify(&store, 2, &|_| ()).unwrap();
        assert_eq!(report.nnz, expected.nnz() as u64, "{}", golden.name);
        if let Some(order) = golden.order() {
            assert_eq!(store.source_positions().unwrap(), order, "{}", golden.name);
        }
    }
}

#[test]
fn golden_files_stay_small() {
    let bytes: u64 = fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| match path.is_dir() {
            true => fs::read_dir(path).unwrap().map(|e| e.unwrap().path()).collect(),
            false => vec![path],
        })
        .map(|file| fs::metadata(file).unwrap().len())
        .sum();
    assert!(bytes < 150_000, "the golden files take {bytes} bytes together");
}
