//! What is refused, and how the message says so.

use std::path::Path;

use cellring_anndata::{CountMode, Input, MatrixSource, ReadError, Selection};

use crate::{fixture, layer, open_and_read, real};

/// The message of the error that the matrix gives on opening or reading.
fn refusal(path: &Path, selection: &Selection) -> String {
    let Err(error) = open_and_read(path, selection) else {
        panic!("{} {selection:?} is read", path.display())
    };
    let message = error.to_string();
    assert!(
        !message.contains('\n') && !message.contains(". "),
        "one sentence: {message}"
    );
    message
}

#[test]
fn wrong_matrices_are_refused_with_their_place() {
    let path = fixture("matrices.h5ad");
    for (name, parts) in [
        ("float16", &["layers/float16/data", "float16"][..]),
        ("float_indices", &["indices", "float32"]),
        ("overflow", &["row 1", "column 7", "uint8"]),
        ("indptr_start", &["indptr", "element 0 is 1", "expected 0"]),
        (
            "indptr_decreasing",
            &["indptr", "element 3 is 4", "expected 6 to 9"],
        ),
        (
            "indptr_negative",
            &["indptr", "element 2 is -4", "expected 0 to 9"],
        ),
        ("indptr_short", &["indptr", "element 6 is 8", "expected 9"]),
        ("indptr_beyond", &["indptr", "element 6 is 12", "expected 9 to 9"]),
        ("indptr_length", &["indptr has 5 elements", "6 rows"]),
        ("data_length", &["data has 8 elements, indices 9"]),
        (
            "index_large",
            &["indices", "element 5", "row 2", "is 10", "0 to 9"],
        ),
        ("index_negative", &["indices", "element 7", "row 4", "is -4"]),
        ("index_negative_i64", &["indices", "element 7", "row 4", "is -4"]),
        ("shape_negative", &["shape is [6, -1]"]),
        ("shape_wide", &["2147483648 columns"]),
        ("no_indices", &["no layers/no_indices/indices"]),
        ("no_shape", &["attribute shape"]),
        ("bomb", &["claims 1099511627776 elements"]),
        ("unknown", &["bsr_matrix"]),
        ("newer", &["csr_matrix", "0.9.0"]),
        ("bare", &["without encoding-type"]),
        (
            "absent",
            &["has no layers/absent", "it has X, layers/", "layers/csc"],
        ),
    ] {
        let message = refusal(&path, &layer(name));
        for part in parts {
            assert!(message.contains(part), "{name}: {message:?} lacks {part:?}");
        }
    }
    assert!(refusal(&path, &Selection::Raw).contains("has no raw/X"));
    // The faults of columns are also found where only columns are read.
    let source = MatrixSource::open(&path, &layer("index_negative_i64")).unwrap();
    let error = source.detection_counts(3..6, CountMode::Stored).unwrap_err();
    assert!(
        matches!(
            error,
            ReadError::IndexRange {
                row: 4,
                position: 7,
                found: -4,
                n_vars: 10,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn what_is_no_matrix_is_refused_by_name() {
    for (name, part) in [
        ("compat/anndata_v0.11.4_noX.h5ad", "has no X"),
        (
            "compat/scp_truncated.h5ad",
            "truncated: its header says 243544 bytes, but it has 240602",
        ),
        ("README.md", "not an HDF5 file"),
        ("multi", "not an HDF5 file"),
        ("absent.h5ad", "cannot read"),
    ] {
        let Some(path) = real(name) else { return };
        let message = refusal(&path, &Selection::X);
        assert!(message.contains(part), "{name}: {message}");
    }
}

#[test]
fn damaged_tables_are_refused() {
    let file = Input::open(fixture("tables.h5ad")).unwrap();
    let error = file.var(&Selection::Raw).unwrap().read(0..4).unwrap_err();
    assert!(
        matches!(
            error,
            ReadError::CategoryCode {
                row: 2,
                found: 2,
                n_categories: 2,
                ..
            }
        ),
        "{error}"
    );
    let error = Input::open(fixture("storage.h5ad")).unwrap().obs().unwrap_err();
    assert!(matches!(error, ReadError::Missing { .. }), "{error}");
}
