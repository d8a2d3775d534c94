//! Files and indexes that are not what they should be.

use std::sync::Arc;

use cellring::format::ValueType;
use cellring::store::verify;
use cellring::writer::{SourceArray, SourceChunk, SourceLayout, SourceMatrix, SourceRun};
use cellring::{Loader, Store};

use super::source::{Form, GZIP, Source, age, link, matrix};
use super::{config, sampler};

/// What is wrong with a file or an index is an error with the place; bytes that are not values are never delivered.
#[test]
fn hostile_places_and_damaged_chunks_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let source = Source::random(100, 80, ValueType::F32, ValueType::I32, false, 9);
    let (good, bytes) = matrix(
        &source,
        Form {
            chunk: Some(50),
            ..GZIP
        },
        1,
    );
    let path = directory.path().join("a.bin");
    let store = directory.path().join("s");
    let chunks = |array: &mut SourceArray, change: &dyn Fn(&mut Vec<SourceChunk>)| {
        if let SourceLayout::Chunks { chunks, .. } = &mut array.layout {
            change(chunks);
        }
    };
    type Change<'a> = (&'a str, &'a dyn Fn(&mut SourceMatrix, &mut Vec<u8>));
    let changes: [Change<'_>; 11] = [
        ("lie within a file", &|m, _| {
            chunks(&mut m.inputs[0].data, &|c| c[3].offset_bytes = u64::MAX - 3);
        }),
        ("expected at most", &|m, _| {
            chunks(&mut m.inputs[0].data, &|c| c[3].stored_bytes = u32::MAX)
        }),
        ("lie within a file", &|m, _| {
            chunks(columns(m), &|c| c[3].file = 7)
        }),
        ("is damaged", &|m, _| {
            chunks(&mut m.inputs[0].data, &|c| c[3].stored_bytes = 4)
        }),
        ("which do not make up", &|m, _| {
            chunks(&mut m.inputs[0].data, &|c| c.truncate(c.len() - 1))
        }),
        ("element", &|m, _| {
            // A chunk of values in the place of all those of columns.
            let chunks = match &m.inputs[0].data.layout {
                SourceLayout::Chunks { chunks, .. } => chunks.clone(),
                _ => vec![],
            };
            if let SourceLayout::Chunks { chunks: own, .. } = &mut columns(m).layout {
                own.fill(chunks[0]);
            }
        }),
        ("element", &|m, _| {
            columns(m).layout = SourceLayout::Runs(vec![SourceRun {
                first: 0,
                offset_bytes: 0,
                file: 0,
            }]);
            columns(m).filters.clear();
        }),
        ("do not ascend", &|m, _| {
            columns(m).filters.clear();
            columns(m).layout = SourceLayout::Runs(vec![
                SourceRun {
                    first: 900,
                    offset_bytes: 0,
                    file: 0,
                };
                3
            ]);
        }),
        ("is damaged", &|m, _| {
            m.inputs[0].data.filters = vec![(32015, vec![])];
        }),
        ("elements of 4 bytes", &|m, _| {
            if let SourceLayout::Chunks { elements, .. } = &mut m.inputs[0].data.layout {
                *elements = 1 << 40;
            }
        }),
        ("is damaged", &|m, bytes| {
            if let SourceLayout::Chunks { chunks, .. } = &m.inputs[0].data.layout {
                bytes[chunks[2].offset_bytes as usize + 9] ^= 0x10;
            }
        }),
    ];
    for (number, (expected, change)) in changes.into_iter().enumerate() {
        let (mut matrix, mut bytes) = (good.clone(), bytes.clone());
        change(&mut matrix, &mut bytes);
        std::fs::write(&path, &bytes).unwrap();
        age(&path);
        let outcome = link(&store, &path, &matrix).and_then(|()| {
            let store = Arc::new(Store::open(&store)?);
            let verified = verify(&store, 1, &|_| ()).map(drop);
            let loader = Loader::new(store, config(sampler(4, 8, 2)))?;
            let loaded = loader.epoch(0)?.try_for_each(|minibatch| minibatch.map(drop));
            assert_eq!(verified.is_err(), loaded.is_err(), "change {number}");
            loaded
        });
        let error = outcome.expect_err(&format!("change {number} is taken"));
        assert!(
            error.to_string().contains(expected),
            "change {number}: {error}, expected {expected}"
        );
    }
}

/// The columns of a sparse matrix.
fn columns(matrix: &mut SourceMatrix) -> &mut SourceArray {
    matrix.inputs[0].indices.as_mut().unwrap()
}
