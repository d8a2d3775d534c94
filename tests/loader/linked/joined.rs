//! The obs of several inputs as one store, whatever form and columns each has.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cellring::engine::{Backend, EngineConfig};
use cellring::format::{Element, ValueType};
use cellring::plan::Strategy;
use cellring::store::verify;
use cellring::writer::{SourceArray, SourceLayout, SourceMatrix, WriterOptions};
use cellring::{ErrorKind, Loader, Store};

use super::dense::{dense, tiled};
use super::source::{Form, GZIP, PLAIN, Source, age, link_all, matrix};
use super::{config, content, epoch, sampler};
use crate::common::{Mix, write_store};

/// What a column becomes that the store does not have.
const NOT_KEPT: u32 = u32::MAX;

/// What is linked: its matrix, the files that it is in, and the rows that a store of it has.
pub(super) struct Joined {
    pub(super) matrix: SourceMatrix,
    files: Vec<PathBuf>,
    pub(super) rows: Source,
}

/// One input in a form, and what its columns become.
pub(super) struct Part {
    source: Source,
    form: Form,
    tile: Option<[usize; 2]>,
    columns: Option<Vec<u32>>,
}

fn in_file(array: &mut SourceArray, number: u32) {
    match &mut array.layout {
        SourceLayout::Runs(runs) => runs.iter_mut().for_each(|run| run.file = number),
        SourceLayout::Chunks { chunks, .. } | SourceLayout::Tiles { chunks, .. } => {
            chunks.iter_mut().for_each(|chunk| chunk.file = number);
        }
    }
}

pub(super) fn joined(directory: &Path, n_vars: u64, parts: Vec<Part>) -> Joined {
    let (mut inputs, mut files) = (vec![], vec![]);
    let mut rows = Source {
        rows: vec![],
        n_vars,
        value_type: parts[0].source.value_type,
        index_type: ValueType::U32,
    };
    for (number, part) in parts.into_iter().enumerate() {
        let (one, bytes) = match part.tile {
            Some(tile) => tiled(&part.source, part.form, tile, 3),
            None => matrix(&part.source, part.form, 3),
        };
        let path = directory.join(format!("{number}.bin"));
        std::fs::write(&path, bytes).unwrap();
        age(&path);
        files.push(path);
        let mut input = one.inputs.into_iter().next().unwrap();
        input
            .indices
            .iter_mut()
            .chain([&mut input.data])
            .for_each(|array| in_file(array, number as u32));
        input.file = number as u32;
        input.column_map = part.columns.clone().map(Into::into);
        inputs.push(input);
        let becomes = |column: u32| {
            part.columns
                .as_ref()
                .map_or(column, |columns| columns[column as usize])
        };
        let entries = |row: Vec<(u32, u64)>| {
            let placed = row.into_iter().map(|(column, bits)| (becomes(column), bits));
            placed.filter(|&(column, _)| column != NOT_KEPT).collect()
        };
        rows.rows.extend(part.source.rows.into_iter().map(entries));
    }
    Joined {
        matrix: SourceMatrix {
            checksums: None,
            n_vars,
            value_type: rows.value_type,
            inputs,
            source: serde_json::json!({}),
        },
        files,
        rows,
    }
}

pub(super) fn link(store: &Path, joined: &Joined) -> Result<(), cellring::Error> {
    let files: Vec<&Path> = joined.files.iter().map(PathBuf::as_path).collect();
    link_all(store, &files, &joined.matrix)
}

/// Some columns of `n_vars` in any order, and others that are not kept.
fn columns(n: u64, n_vars: u64, seed: u64) -> Vec<u32> {
    let mut rng = Mix(seed);
    let mut all: Vec<u32> = (0..n_vars as u32).collect();
    all.resize(all.len().max(n as usize), NOT_KEPT);
    for k in (1..all.len()).rev() {
        all.swap(k, rng.below(k as u64 + 1) as usize);
    }
    all.truncate(n as usize);
    all
}

/// Inputs of every kind: equal columns and others, more and fewer than the store has, dense ones, one without obs and one without values.
pub(super) fn inputs(value_type: ValueType, n_vars: u64) -> Vec<Part> {
    let sparse = |n_obs, n_vars, index_type, odd, seed| {
        Source::random(n_obs, n_vars, value_type, index_type, odd, seed)
    };
    let part = |source, form, columns| Part {
        source,
        form,
        tile: None,
        columns,
    };
    let chunked = Form {
        chunk: Some(64),
        odd_chunks: true,
        ..GZIP
    };
    let empty = Source {
        rows: vec![vec![]; 5],
        ..sparse(0, 20, ValueType::I32, false, 0)
    };
    vec![
        part(sparse(70, n_vars, ValueType::I32, true, 1), GZIP, None),
        part(
            sparse(40, n_vars, ValueType::I64, true, 2),
            chunked,
            Some(columns(n_vars, n_vars, 2)),
        ),
        part(sparse(0, n_vars, ValueType::I32, false, 3), PLAIN, None),
        part(empty, PLAIN, Some(columns(20, n_vars, 3))),
        part(
            sparse(90, 3 * n_vars, ValueType::I32, true, 4),
            PLAIN,
            Some(columns(3 * n_vars, n_vars, 4)),
        ),
        Part {
            tile: Some([16, 50]),
            ..part(dense(33, 120, value_type, 5), GZIP, Some(columns(120, n_vars, 5)))
        },
        Part {
            tile: Some([7, 200]),
            ..part(dense(20, n_vars, value_type, 6), GZIP, None)
        },
        part(
            sparse(25, 9, ValueType::U16, false, 7),
            GZIP,
            Some(columns(9, n_vars, 7)),
        ),
    ]
}

#[test]
fn minibatches_are_those_of_a_store_that_holds_the_values_of_all() {
    let directory = tempfile::tempdir().unwrap();
    for (value_type, n_vars) in [
        (ValueType::F32, 200),
        (ValueType::I64, 66_000),
        (ValueType::U8, 200),
    ] {
        let joined = joined(directory.path(), n_vars, inputs(value_type, n_vars));
        let (linked, held) = (directory.path().join("linked"), directory.path().join("held"));
        link(&linked, &joined).unwrap();
        let options = WriterOptions::new(n_vars, value_type).replace(true);
        write_store(&held, &joined.rows.canonical(), options, None).unwrap();
        let [linked, held] = [linked, held].map(|path| Arc::new(Store::open(&path).unwrap()));
        let n_obs = held.n_obs();
        assert_eq!(
            linked.rows(0..n_obs).unwrap(),
            held.rows(0..n_obs).unwrap(),
            "{value_type:?}"
        );
        assert_eq!(
            linked.rows(68..120).unwrap(),
            held.rows(68..120).unwrap(),
            "{value_type:?}"
        );
        verify(&linked, 2, &|_| ()).unwrap();
        let samplers = [
            sampler(1, 16, 2),
            sampler(16, 32, 4),
            sampler(500, 64, 1).strategy(Strategy::Sequential),
        ];
        for sampler in samplers {
            for backend in [Backend::Uring, Backend::Pread, Backend::Mmap] {
                let config = config(sampler.clone())
                    .memory_bytes(128 << 20)
                    .engine(EngineConfig::default().backend(backend));
                if let Err(error) = Loader::new(linked.clone(), config.clone()) {
                    // Where a way of reading is not available.
                    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                    continue;
                }
                assert!(
                    epoch(&linked, &config, 1) == epoch(&held, &config, 1),
                    "{value_type:?} {backend:?}"
                );
            }
        }
    }
}

/// The values of `source` in another type, as bits.
fn in_type(source: &Source, value_type: ValueType) -> Source {
    let bits = |bits: u64| {
        let number =
            cellring::with_element!(source.value_type, S => <S as Element>::from_bits(bits).number());
        cellring::with_element!(value_type, T => T::from_number(number).unwrap().bits())
    };
    let row = |row: &Vec<(u32, u64)>| row.iter().map(|&(column, value)| (column, bits(value))).collect();
    Source {
        rows: source.rows.iter().map(row).collect(),
        value_type,
        ..*source
    }
}

#[test]
fn values_of_inputs_of_other_types_become_those_of_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let types = [
        ValueType::F64,
        ValueType::I32,
        ValueType::F32,
        ValueType::U8,
        ValueType::I16,
        ValueType::Bool,
    ];
    let (mut parts, mut rows) = (vec![], vec![]);
    for (number, value_type) in types.into_iter().enumerate() {
        let mut source = Source::random(40, 90, value_type, ValueType::I32, number % 2 == 1, number as u64);
        if value_type == ValueType::F32 {
            // Not counts, and so kept in their own type.
            source.rows[0]
                .iter_mut()
                .for_each(|entry| entry.1 = u64::from(1.5f32.to_bits()));
        }
        rows.extend(in_type(&source, ValueType::F64).rows);
        let columns = (number == 4).then(|| columns(90, 90, 1));
        if let Some(columns) = &columns {
            let moved = rows.iter_mut().rev().take(40).flatten();
            moved.for_each(|entry| entry.0 = columns[entry.0 as usize]);
        }
        parts.push(Part {
            source,
            form: GZIP,
            tile: None,
            columns,
        });
    }
    let mut joined = joined(directory.path(), 90, parts);
    joined.rows.rows = rows;
    let (linked, held) = (directory.path().join("linked"), directory.path().join("held"));
    link(&linked, &joined).unwrap();
    // "Or" of booleans is not their sum, so the last rows are not those that the numbers make.
    write_store(
        &held,
        &joined.rows.canonical(),
        WriterOptions::new(90, ValueType::F64),
        None,
    )
    .unwrap();
    let [linked, held] = [linked, held].map(|path| Arc::new(Store::open(&path).unwrap()));
    assert_eq!(linked.rows(0..200).unwrap(), held.rows(0..200).unwrap());
    let bools = linked.rows(200..240).unwrap();
    cellring::with_values!(&bools.values, values => assert!(values.iter().all(|value| value.number() == cellring::format::Number::Float(1.0))));
    verify(&linked, 2, &|_| ()).unwrap();
    let others: Vec<u64> = (0..200).rev().step_by(3).chain(0..200).collect();
    let rows = |store: &Arc<Store>| {
        let loader = Loader::new(store.clone(), config(sampler(4, 8, 2))).unwrap();
        content(&loader.rows(&others).unwrap())
    };
    assert!(rows(&linked) == rows(&held));
    assert_eq!(epoch(&linked, &config(sampler(4, 8, 2)), 0).len(), 30);
}

#[test]
fn inputs_without_obs_or_columns_at_any_place_are_joined() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("s");
    let sparse =
        |n_obs, n_vars, seed| Source::random(n_obs, n_vars, ValueType::F32, ValueType::I32, false, seed);
    let part = |source, columns: Option<Vec<u32>>| Part {
        source,
        form: GZIP,
        tile: None,
        columns,
    };
    let parts = vec![
        part(sparse(0, 50, 1), None),
        part(sparse(20, 30, 2), Some(vec![NOT_KEPT; 30])),
        part(sparse(0, 50, 3), None),
        part(sparse(64, 50, 4), None),
        Part {
            tile: Some([4, 9]),
            ..part(dense(11, 9, ValueType::F32, 5), Some(vec![NOT_KEPT; 9]))
        },
        part(sparse(0, 50, 6), None),
    ];
    let joined = joined(directory.path(), 50, parts);
    link(&store, &joined).unwrap();
    let store = Arc::new(Store::open(&store).unwrap());
    let rows = store.rows(0..95).unwrap();
    assert_eq!(rows, joined.rows.canonical());
    assert!(rows.indptr[20] == 0 && rows.indptr[84] == rows.indptr[95]);
    assert_eq!(epoch(&store, &config(sampler(4, 8, 2)), 0).len(), 12);
    verify(&store, 1, &|_| ()).unwrap();
}

#[test]
fn inputs_that_do_not_fit_together_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("s");
    let mut good = joined(directory.path(), 200, inputs(ValueType::F32, 200));
    link(&store, &good).unwrap();
    let whole = good.matrix.clone();
    type Change<'a> = (&'a str, &'a dyn Fn(&mut SourceMatrix));
    let changes: [Change<'_>; 6] = [
        ("which is not a uint8", &|matrix| {
            matrix.value_type = ValueType::U8;
        }),
        ("names column 200 of 200", &|matrix| {
            matrix.inputs[7].column_map = Some(vec![200, 1, 2, 3, 4, 5, 6, 7, 8].into());
        }),
        ("names column 3 twice", &|matrix| {
            matrix.inputs[7].column_map = Some(vec![3, 1, 2, 3, 4, 5, 6, 7, 8].into());
        }),
        ("values in 9 columns", &|matrix| matrix.inputs[7].counts[3] = 10),
        ("its file is number 8", &|matrix| matrix.inputs[7].file = 8),
        // Columns of an input that has more than it says.
        ("expected a column from 0 to 2", &|matrix| {
            matrix.inputs[7].column_map = Some((0..3).collect());
        }),
    ];
    for (expected, change) in changes {
        good.matrix = whole.clone();
        change(&mut good.matrix);
        let refused = link(&store, &good).and_then(|()| {
            let store = Store::open(&store)?;
            store.rows(0..store.n_obs()).map(drop)
        });
        let error = refused.expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}, expected {expected}");
    }
}
