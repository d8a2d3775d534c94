//! Dense matrices: what is zero is left out when it is read.

use std::cell::Cell;

use cellring::format::ValueType;
use cellring::store::verify;
use cellring::writer::{SourceLayout, SourceMatrix};
use cellring::{ErrorKind, Loader, Store};

use super::source::{Form, GZIP, PLAIN, Source, link, matrix, put_array, stores_of};
use super::{config, content, epoch, sampler};
use crate::common::Mix;

/// A dense matrix, most values of which are zero; in some rows all are, and in some none.
pub(super) fn dense(n_obs: usize, n_vars: u64, value_type: ValueType, seed: u64) -> Source {
    let mut source = Source::random(n_obs, n_vars, value_type, ValueType::U32, false, seed);
    let one = cellring::with_element!(value_type, T => cellring::format::Element::bits(<T as cellring::format::Element>::from_count(1)));
    for (number, row) in source.rows.iter_mut().enumerate() {
        let rest = if number % 11 == 5 { one } else { 0 };
        let mut all: Vec<(u32, u64)> = (0..n_vars as u32).map(|column| (column, rest)).collect();
        for &(column, bits) in row.iter() {
            all[column as usize].1 = bits;
        }
        *row = all;
    }
    source
}

/// The matrix in a file, in tiles of so many rows and columns.
pub(super) fn tiled(source: &Source, form: Form, tile: [usize; 2], seed: u64) -> (SourceMatrix, Vec<u8>) {
    let (n_obs, n_vars) = (source.rows.len(), source.n_vars as usize);
    let width = source.value_type.size_bytes();
    let by_row = source.elements(source.value_type, form.big_endian, |entry| entry.1);
    let mut bytes = vec![];
    for (top, left) in (0..n_obs)
        .step_by(tile[0])
        .flat_map(|top| (0..n_vars).step_by(tile[1]).map(move |left| (top, left)))
    {
        for row in top..top + tile[0] {
            for column in left..left + tile[1] {
                let at = (row * n_vars + column) * width;
                match row < n_obs && column < n_vars {
                    true => bytes.extend_from_slice(&by_row[at..at + width]),
                    false => bytes.resize(bytes.len() + width, 0),
                }
            }
        }
    }
    let (mut matrix, mut file) = (matrix(source, form, seed).0, b"a header".to_vec());
    // Chunks that are stored as they are have to be chunks here, too.
    let form = Form {
        chunk: Some(tile[0] * tile[1]),
        odd_chunks: true,
        ..form
    };
    matrix.inputs[0].indices = None;
    matrix.inputs[0].data = put_array(&mut file, "X", &bytes, source.value_type, form, &mut Mix(seed));
    if let SourceLayout::Chunks { chunks, .. } = matrix.inputs[0].data.layout.clone() {
        matrix.inputs[0].data.layout = SourceLayout::Tiles {
            rows: tile[0] as u64,
            columns: tile[1] as u64,
            chunks,
        };
    }
    (matrix, file)
}

#[test]
fn dense_matrices_give_the_minibatches_of_a_store() {
    let directory = tempfile::tempdir().unwrap();
    let tiles = [
        None,
        Some([7, 300]),
        Some([16, 300]),
        Some([10, 41]),
        Some([64, 1]),
        Some([500, 512]),
    ];
    let types = [
        ValueType::F32,
        ValueType::I64,
        ValueType::Bool,
        ValueType::F64,
        ValueType::U8,
        ValueType::I16,
    ];
    for (number, tile) in tiles.into_iter().enumerate() {
        let source = dense(130, 300, types[number], number as u64);
        for form in [
            PLAIN,
            GZIP,
            Form {
                shuffle: true,
                big_endian: true,
                ..GZIP
            },
        ] {
            let (matrix, bytes) = match tile {
                Some(tile) => tiled(&source, form, tile, 3),
                None => {
                    let (mut matrix, mut bytes) = (matrix(&source, PLAIN, 3).0, vec![1, 2, 3]);
                    let form = Form {
                        big_endian: form.big_endian,
                        ..PLAIN
                    };
                    let values = source.elements(source.value_type, form.big_endian, |entry| entry.1);
                    matrix.inputs[0].indices = None;
                    matrix.inputs[0].data =
                        put_array(&mut bytes, "X", &values, source.value_type, form, &mut Mix(5));
                    (matrix, bytes)
                }
            };
            let (_, linked, held) = stores_of(directory.path(), "one", &source, &matrix, bytes);
            for sampler in [sampler(1, 16, 2), sampler(16, 32, 4)] {
                let config = config(sampler);
                assert!(
                    epoch(&linked, &config, 1) == epoch(&held, &config, 1),
                    "{tile:?} {form:?}"
                );
            }
            assert_eq!(
                linked.rows(3..120).unwrap(),
                held.rows(3..120).unwrap(),
                "{tile:?} {form:?}"
            );
            let report = verify(&linked, 2, &|_| ()).unwrap();
            assert_eq!((report.n_obs, report.nnz), (130, 130 * 300));
        }
    }
}

#[test]
fn dense_matrices_that_are_not_whole_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let source = dense(30, 40, ValueType::F32, 1);
    let (good, bytes) = tiled(&source, GZIP, [10, 20], 1);
    let path = directory.path().join("a.bin");
    std::fs::write(&path, bytes).unwrap();
    super::source::age(&path);
    let store = directory.path().join("s");
    link(&store, &path, &good).unwrap();
    Store::open(&store).unwrap();
    let refused = |change: &dyn Fn(&mut SourceMatrix)| {
        let mut matrix = good.clone();
        change(&mut matrix);
        match link(&store, &path, &matrix) {
            Err(error) => error.to_string(),
            Ok(()) => {
                let error = Store::open(&store)
                    .and_then(|store| store.rows(0..30).map(drop))
                    .unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
                error.to_string()
            }
        }
    };
    let tiles = |matrix: &mut SourceMatrix, change: &dyn Fn(&mut u64, &mut u64)| {
        if let SourceLayout::Tiles { rows, columns, .. } = &mut matrix.inputs[0].data.layout {
            change(rows, columns);
        }
    };
    let said = refused(&|matrix| tiles(matrix, &|rows, _| *rows = 11));
    // A chunk that was not compressed is not as long as it should be.
    assert!(said.contains("does not lie within a file"), "{said}");
    let said = refused(&|matrix| tiles(matrix, &|_, columns| *columns = 40));
    assert!(said.contains("do not make up"), "{said}");
    let said = refused(&|matrix| tiles(matrix, &|rows, _| *rows = 0));
    assert!(said.contains("chunks of data"), "{said}");
    let said = refused(&|matrix| matrix.inputs[0].counts[3] = 39);
    assert!(said.contains("does not fit"), "{said}");
}

#[test]
fn reading_obs_ends_when_they_are_not_wanted_any_more() {
    let directory = tempfile::tempdir().unwrap();
    let source = dense(130, 300, ValueType::F32, 4);
    let (matrix, bytes) = tiled(&source, GZIP, [7, 300], 3);
    let (_, linked, held) = stores_of(directory.path(), "one", &source, &matrix, bytes);
    let [loader, other] = [linked, held].map(|store| Loader::new(store, config(sampler(16, 32, 4))).unwrap());
    let obs: Vec<u64> = (0..130).rev().collect();
    let n_asked = Cell::new(0);
    let found = loader.rows_while(&obs, &|| {
        n_asked.set(n_asked.get() + 1);
        true
    });
    let expected = content(&other.rows(&obs).unwrap());
    assert!(content(&found.unwrap()) == expected);
    // At each of the questions.
    assert!(n_asked.get() > 0);
    for last in 0..n_asked.get() {
        let left = Cell::new(last);
        let found = loader.rows_while(&obs, &|| left.replace(left.get() - 1) > 0);
        assert_eq!(found.unwrap_err().kind(), ErrorKind::Stopped);
        // It has asked once more than it was told to go on.
        assert_eq!(left.get(), -1);
    }
    assert!(content(&loader.rows(&obs).unwrap()) == expected);
}
