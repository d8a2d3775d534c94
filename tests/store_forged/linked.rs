//! Indexes of linked stores whose extents share bytes, or claim more than their files can hold: each is refused, or is what it says, within
//! the memory that it may take.

use std::path::Path;
use std::sync::Arc;

use cellring::format::ValueType;
use cellring::store::verify;
use cellring::writer::{SourceArray, SourceChunk, SourceLayout, SourceMatrix, SourceRun};
use cellring::{ErrorKind, Loader, LoaderConfig, Store};

use crate::forge::Forge;
use crate::source::{Form, GZIP, PLAIN, Source, age, link, matrix, stores_of};
use crate::{ENOUGH, alone, assert_refused, epoch, measured};

/// Elements of a chunk, and chunks of an obs, where one extent is that of very many chunks.
const ELEMENTS: usize = 16;
const CHUNKS_OF_OBS: usize = 64;
const N_CHUNKS: usize = 200_000;

fn chunks(array: &mut SourceArray) -> &mut Vec<SourceChunk> {
    match &mut array.layout {
        SourceLayout::Chunks { chunks, .. } => chunks,
        other => panic!("{other:?}"),
    }
}

fn minibatches(store: &Arc<Store>) -> Vec<String> {
    let loader = Loader::new(Arc::clone(store), LoaderConfig::default()).unwrap();
    let minibatches = loader.epoch(0).unwrap().map(|minibatch| {
        let minibatch = minibatch.unwrap();
        format!("{:?} {:?}", minibatch.obs(), minibatch.csr().unwrap())
    });
    minibatches.collect()
}

/// The same rows, with the value at another place of all for each.
fn moved(source: &Source, place: impl Fn(usize) -> u64) -> Source {
    let mut at = 0..;
    let mut value = |_: &(u32, u64)| place(at.next().unwrap());
    let rows = source.rows.iter();
    let rows = rows.map(|row| row.iter().map(|entry| (entry.0, value(entry))).collect());
    Source {
        rows: rows.collect(),
        ..*source
    }
}

/// Bytes that are those of two extents are read as both: nothing is wrong with that.
#[test]
fn extents_that_share_their_bytes_are_read_as_the_index_says() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let source = Source::random(100, 80, ValueType::I32, ValueType::I32, false, 9);
    let entries: Vec<(u32, u64)> = source.rows.iter().flatten().copied().collect();
    assert!(entries.len() > 300);
    let chunked = |shuffle, deflate| Form {
        chunk: Some(50),
        shuffle,
        deflate,
        ..PLAIN
    };
    let check = |what: &str, matrix: &SourceMatrix, bytes: Vec<u8>, expected: &Source| {
        let (_, linked, held) = stores_of(dir.path(), "one", expected, matrix, bytes);
        let n_obs = linked.n_obs();
        assert_eq!(
            linked.rows(0..n_obs).unwrap(),
            held.rows(0..n_obs).unwrap(),
            "{what}"
        );
        assert!(minibatches(&linked) == minibatches(&held), "{what}");
        verify(&linked, 1, &|_| ()).unwrap();
    };
    for form in [chunked(false, true), chunked(true, true)] {
        let (mut twice, bytes) = matrix(&source, form, 1);
        let chunks = chunks(&mut twice.inputs[0].data);
        chunks[3] = chunks[2];
        let expected = moved(&source, |k| entries[if k / 50 == 3 { k - 50 } else { k }].1);
        check("the same chunk", &twice, bytes, &expected);
    }
    let (good, bytes) = matrix(&source, PLAIN, 1);
    let SourceLayout::Runs(runs) = good.inputs[0].data.layout.clone() else {
        panic!("one run")
    };
    let mut overlapping = good.clone();
    let second = SourceRun {
        first: 100,
        offset_bytes: runs[0].offset_bytes + 4 * 50,
        ..runs[0]
    };
    overlapping.inputs[0].data.layout = SourceLayout::Runs(vec![runs[0], second]);
    let expected = moved(&source, |k| entries[if k < 100 { k } else { k - 50 }].1);
    check("runs that overlap", &overlapping, bytes.clone(), &expected);
    let mut columns = good.clone();
    columns.inputs[0].data.layout = columns.inputs[0].indices.as_ref().unwrap().layout.clone();
    let expected = moved(&source, |k| entries[k].0.into());
    check("columns as values", &columns, bytes, &expected);

    // A chunk of which a part is the end of another one does not begin as one that is compressed.
    let (mut within, bytes) = matrix(&source, chunked(false, true), 1);
    let chunks = chunks(&mut within.inputs[0].data);
    (chunks[3].offset_bytes, chunks[3].stored_bytes) =
        (chunks[2].offset_bytes + 9, chunks[2].stored_bytes - 9);
    let (_, linked, _) = stores_of(dir.path(), "one", &source, &within, bytes);
    let error = linked.rows(0..100).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    assert!(error.to_string().contains("chunk 3 of X/data"), "{error}");
}

/// A matrix whose chunks are one of columns and one of values, again and again, in a file of about so many bytes. And a row of it.
fn one_chunk_again_and_again(file_bytes: usize) -> (SourceMatrix, Vec<u8>, Vec<(u32, u64)>) {
    let row: Vec<(u32, u64)> = (0..ELEMENTS as u32).map(|k| (3 * k, u64::from(k + 1))).collect();
    let one = Source {
        n_vars: (ELEMENTS * CHUNKS_OF_OBS) as u64,
        value_type: ValueType::I32,
        index_type: ValueType::I32,
        rows: vec![row],
    };
    let form = Form {
        chunk: Some(ELEMENTS),
        ..GZIP
    };
    let (mut all, mut bytes) = matrix(&one, form, 1);
    bytes.resize(bytes.len().max(file_bytes), 0x5A);
    let input = &mut all.inputs[0];
    input.counts = vec![(ELEMENTS * CHUNKS_OF_OBS) as u32; N_CHUNKS / CHUNKS_OF_OBS];
    for array in input.indices.iter_mut().chain([&mut input.data]) {
        let chunks = chunks(array);
        *chunks = vec![chunks[0]; N_CHUNKS];
    }
    let times = |&(column, value): &(u32, u64)| (column, value * CHUNKS_OF_OBS as u64);
    let row = one.rows[0].iter().map(times).collect();
    (all, bytes, row)
}

fn link_bytes(store: &Path, matrix: &SourceMatrix, bytes: &[u8]) -> Result<(), cellring::Error> {
    let file = store.with_extension("bin");
    std::fs::write(&file, bytes).unwrap();
    age(&file);
    link(store, &file, matrix)
}

#[test]
fn one_extent_of_very_many_chunks_is_read_within_the_memory() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    // 3.2 million values, of 4 bytes each.
    let (matrix, bytes, row) = one_chunk_again_and_again(12_000);
    link_bytes(&path, &matrix, &bytes).unwrap();
    let index_bytes = std::fs::metadata(path.join("index.bin")).unwrap().len() as usize;
    let (found, bytes) = measured(|| epoch(&path, &[]));
    found.unwrap();
    assert!(bytes < ENOUGH + index_bytes, "{bytes} bytes");
    let store = Store::open(&path).unwrap();
    let last = store.n_obs() - 1;
    for obs in [0, 1000, last] {
        let found = store.rows(obs..obs + 1).unwrap();
        let (columns, values): (Vec<u32>, Vec<i32>) =
            row.iter().map(|&(column, value)| (column, value as i32)).unzip();
        assert_eq!(found.indices, columns);
        assert_eq!(found.values, cellring::format::ValueBuffer::I32(values));
    }
}

/// More than deflate could have made smaller: it would take a reader minutes, or days, and whoever wrote the index nothing.
#[test]
fn claims_that_no_file_can_hold_are_refused_at_once() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let expected = "and the files that it is in have";
    let (small, bytes, _) = one_chunk_again_and_again(0);
    assert!(bytes.len() < 2000);
    assert_refused("one chunk", link_bytes(&path, &small, &bytes), expected);
    // Those that were never written take no bytes at all.
    let mut absent = small.clone();
    let input = &mut absent.inputs[0];
    for array in input.indices.iter_mut().chain([&mut input.data]) {
        chunks(array).fill(SourceChunk {
            offset_bytes: 0,
            stored_bytes: 0,
            file: 0,
            filter_mask: 0,
        });
    }
    assert_refused("no chunk", link_bytes(&path, &absent, &bytes), expected);

    // Behind checksums that hold: an index that says of its file that it is short.
    let (matrix, bytes, _) = one_chunk_again_and_again(12_000);
    link_bytes(&path, &matrix, &bytes).unwrap();
    let sound = Forge::open(&path);
    let mut forged = sound.clone();
    let name_bytes = "s.bin".len();
    let place = 64 + 4 + 2 + name_bytes;
    let index = forged.file("index.bin");
    assert_eq!(index[place..place + 8], (bytes.len() as u64).to_le_bytes());
    for (file_bytes, expected) in [(11_636u64, expected), (11_637, "has 12000 bytes, and had 11637")] {
        forged.file("index.bin")[place..place + 8].copy_from_slice(&file_bytes.to_le_bytes());
        forged.seal_linked();
        forged.write(&path);
        let (found, bytes) = measured(|| Store::open(&path).map(drop));
        assert_refused("a short file", found, expected);
        assert!(bytes < 1 << 20, "{bytes} bytes");
    }
    let mut older = sound.clone();
    older.file("index.bin")[8..12].copy_from_slice(&1u32.to_le_bytes());
    older.seal_linked();
    older.write(&path);
    let error = Store::open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Version, "{error}");
    assert!(
        error
            .to_string()
            .contains("version 1, expected 2); link its files again"),
        "{error}"
    );
    // It is that number alone.
    let mut again = sound.clone();
    again.seal_linked();
    assert!(again.files == sound.files && again.manifest["store_id"] == sound.manifest["store_id"]);
}

/// What a chunk inflates to is known; more is damage, and not made room for.
#[test]
fn a_chunk_that_inflates_without_end_is_damaged() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let source = Source::random(100, 80, ValueType::F32, ValueType::I32, false, 9);
    let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::new(6).unwrap());
    let mut bomb = vec![0; 65_000];
    let n = compressor.zlib_compress(&vec![0; 60 << 20], &mut bomb).unwrap();
    bomb.truncate(n);
    for shuffle in [false, true] {
        let form = Form {
            chunk: Some(50),
            shuffle,
            ..GZIP
        };
        let (mut matrix, mut bytes) = matrix(&source, form, 1);
        let chunk = &mut chunks(&mut matrix.inputs[0].data)[3];
        (chunk.offset_bytes, chunk.stored_bytes) = (bytes.len() as u64, n as u32);
        bytes.extend_from_slice(&bomb);
        link_bytes(&path, &matrix, &bytes).unwrap();
        let (found, bytes) = measured(|| epoch(&path, &[]));
        assert_refused("a bomb", found, "chunk 3 of X/data");
        assert!(bytes < ENOUGH, "{bytes} bytes");
    }
}
