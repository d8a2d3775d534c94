//! AnnData files as sources: real ones, every form in the fixtures of `tests/data`, and damaged ones.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests; the settings for tests do not reach helper functions"
)]

mod damage;
mod matrix;
mod refusals;
mod tables;
mod threads;

use std::path::{Path, PathBuf};

use cellring_anndata::{Canonicalised, MatrixSource, ReadError, Selection};
use cellring_core::CsrRows;
use cellring_core::with_values;

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

/// A file of the shared collection of real data, or `None` (said aloud) when the collection is not there.
pub(crate) fn real(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("CELLRING_SHARED_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")),
        PathBuf::from,
    );
    if folder.is_dir() {
        return Some(folder.join(name));
    }
    println!(
        "skipped {name}: {} does not exist; set CELLRING_SHARED_DATA",
        folder.display()
    );
    None
}

pub(crate) fn layer(name: &str) -> Selection {
    Selection::Layer(name.to_owned())
}

/// A matrix whole: offsets, columns, and values as f64.
#[derive(Debug, PartialEq)]
pub(crate) struct Whole {
    pub(crate) indptr: Vec<u64>,
    pub(crate) indices: Vec<u32>,
    pub(crate) values: Vec<f64>,
}

pub(crate) trait AsF64: Copy {
    fn as_f64(self) -> f64;
}

macro_rules! as_f64 {
    ($($type:ty),*) => {$(impl AsF64 for $type {
        fn as_f64(self) -> f64 {
            self as f64
        }
    })*};
}

as_f64!(u8, u16, u32, u64, i8, i16, i32, i64, f32, f64);

impl AsF64 for bool {
    fn as_f64(self) -> f64 {
        f64::from(u8::from(self))
    }
}

pub(crate) fn append(whole: &mut Whole, rows: &CsrRows) {
    let base = *whole.indptr.last().unwrap();
    assert_eq!(rows.indptr[0], 0);
    assert_eq!(rows.indptr.last().copied(), Some(rows.indices.len() as u64));
    assert_eq!(rows.indices.len(), rows.values.len());
    whole.indptr.extend(rows.indptr[1..].iter().map(|end| base + end));
    whole.indices.extend(&rows.indices);
    with_values!(&rows.values, values => whole.values.extend(values.iter().map(|value| value.as_f64())));
}

pub(crate) fn read(source: &MatrixSource, max_nnz: usize) -> Result<(Whole, Canonicalised), ReadError> {
    let mut whole = Whole {
        indptr: vec![0],
        indices: Vec::new(),
        values: Vec::new(),
    };
    let mut rows = source.rows(0..source.n_obs(), max_nnz)?;
    while let Some(window) = rows.next() {
        let window = window?;
        assert_eq!(window.values.value_type(), source.value_type());
        assert!(
            window.n_rows() == 1 || window.nnz() <= max_nnz,
            "{} entries in a window",
            window.nnz()
        );
        append(&mut whole, &window);
        rows.recycle(window);
    }
    assert_eq!(whole.indptr.len() as u64, source.n_obs() + 1);
    Ok((whole, rows.report()))
}

pub(crate) fn open_and_read(path: &Path, selection: &Selection) -> Result<(Whole, Canonicalised), ReadError> {
    read(&MatrixSource::open(path, selection)?, 1 << 20)
}

/// The matrix of the fixtures, canonical.
pub(crate) fn expected() -> Whole {
    Whole {
        indptr: vec![0, 0, 2, 4, 4, 7, 7],
        indices: vec![2, 7, 1, 9, 3, 4, 5],
        values: vec![3.0, 11.0, 1.0, 2.0, 9.0, 8.0, 4.0],
    }
}
