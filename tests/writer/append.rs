//! Stores that obs were appended to, with the library alone.

use std::path::Path;

use crate::common::{Kind, matrix, value_bits, value_type, write_store};
use arrow_array::RecordBatch;
use cellring::__internal::Cause;
use cellring::Store;
use cellring::format::{CsrRows, Encoding, ValueType};
use cellring::store::verify;
use cellring::writer::{StoreAppender, WriteError, WriterOptions};

const BLOCK_SIZE: usize = 8;

/// The rows from `start` on.
fn tail(rows: &CsrRows, start: usize) -> CsrRows {
    let first = rows.indptr[start];
    let cellring::format::ValueBuffer::F32(values) = &rows.values else {
        panic!("counts are f32");
    };
    CsrRows {
        indptr: rows.indptr[start..].iter().map(|at| at - first).collect(),
        indices: rows.indices[first as usize..].to_vec(),
        values: cellring::format::ValueBuffer::F32(values[first as usize..].to_vec()),
    }
}

/// Makes a store of the first `n_first` rows and appends the others, of which the appender is given those from its first on.
fn write(path: &Path, rows: &CsrRows, n_first: usize, encoding: Encoding) {
    let n_obs = rows.n_rows();
    let mut options = WriterOptions::new(40, value_type(Kind::Counts));
    options.encoding = encoding;
    options.block_size = BLOCK_SIZE as u32;
    options.alignment = 512;
    if encoding == Encoding::Raw {
        options.raw_value_type = ValueType::U32;
    }
    let first = CsrRows {
        indptr: rows.indptr[..=n_first].to_vec(),
        ..rows.clone()
    };
    write_store(path, &first, options.clone(), None).unwrap();
    // Its obs table is that of a store of all rows.
    let whole = path.with_extension("whole");
    options.replace = true;
    write_store(&whole, rows, options, None).unwrap();
    let whole = Store::open(&whole).unwrap();

    let before = Store::open(path).unwrap();
    let mut appender = StoreAppender::open(path, true).unwrap();
    let start = appender.first_obs() as usize;
    assert_eq!(start, n_first - n_first % BLOCK_SIZE);
    let encoder = appender.encoder();
    let new = tail(rows, start);
    for row in (0..n_obs - start).step_by(BLOCK_SIZE) {
        let range = row..(row + BLOCK_SIZE).min(n_obs - start);
        let block = encoder.encode((start + row) as u64, &new, range).unwrap();
        appender.append(&block).unwrap();
    }
    let batches: Vec<Result<RecordBatch, cellring::Error>> = vec![Ok(whole.obs().batch(0).unwrap())];
    appender
        .write_obs(whole.obs().schema().unwrap(), batches)
        .unwrap();
    appender.finish().unwrap();
    // Whoever has it open keeps seeing what it held, also what was not looked at before.
    let names = before.obs().names().unwrap();
    assert_eq!(
        names.batches().iter().map(|batch| batch.len()).sum::<usize>(),
        n_first
    );
    assert_eq!(
        before.rows(0..n_first as u64).unwrap().indices,
        first.indices[..first.indptr[n_first] as usize]
    );
}

#[test]
fn rows_are_those_of_a_store_made_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let rows = matrix(60, 40, Kind::Counts, 4);
    for encoding in [Encoding::Packed, Encoding::Raw] {
        for n_first in [1, 7, 8, 21, 24, 59] {
            let path = dir.path().join(format!("{}-{n_first}", encoding.name()));
            write(&path, &rows, n_first, encoding);
            let store = Store::open(&path).unwrap();
            verify(&store, 1, &|_| ()).unwrap();
            let back = store.rows(0..60).unwrap();
            assert_eq!((&back.indptr, &back.indices), (&rows.indptr, &rows.indices));
            assert_eq!(value_bits(&back), value_bits(&rows));
            // All but the shards says the same as in the store made at once, though these lie elsewhere.
            let whole = Store::open(path.with_extension("whole")).unwrap();
            let (a, b) = (store.manifest(), whole.manifest());
            assert_eq!(
                (a.nnz, a.max_obs_nnz, a.max_obs_bytes, a.f32_exact),
                (b.nnz, b.max_obs_nnz, b.max_obs_bytes, b.f32_exact)
            );
            assert!(a.shards[0].store_id.is_some() && a.shards[1].store_id.is_none());
        }
    }
}

/// Every flipped byte is found, but for those of the block that was written again: nothing reads them.
#[test]
fn every_flipped_byte_that_is_read_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let rows = matrix(20, 40, Kind::Counts, 4);
    for encoding in [Encoding::Packed, Encoding::Raw] {
        let path = dir.path().join(encoding.name());
        write(&path, &rows, 13, encoding);
        let shards = Store::open(&path).unwrap().manifest().shards.clone();
        assert_eq!((shards[0].blocks, shards[1].blocks), (1, 2));
        let mut unread = 0;
        for entry in std::fs::read_dir(&path).unwrap() {
            let file = entry.unwrap().path();
            let good = std::fs::read(&file).unwrap();
            for at in 0..good.len() {
                let mut bad = good.clone();
                bad[at] ^= 1 << (at % 8);
                std::fs::write(&file, &bad).unwrap();
                let found = Store::open(&path).and_then(|store| {
                    if let Ok(read) = store.rows(0..20) {
                        assert_eq!(read, rows, "{} byte {at}: other values were read", file.display());
                    }
                    verify(&store, 1, &|_| ())
                });
                if found.is_ok() {
                    assert!(
                        file.ends_with("shard-00000.bin"),
                        "{} byte {at} is not noticed",
                        file.display()
                    );
                    unread += 1;
                }
            }
            std::fs::write(&file, &good).unwrap();
        }
        // The old second block, which is the end of the shard.
        let store = Store::open(&path).unwrap();
        let first = store.index().block(0).unwrap();
        let end = first.offset_bytes + u64::from(first.payload_bytes).next_multiple_of(512);
        assert_eq!(unread, shards[0].bytes - end);
    }
}

#[test]
fn one_appends_at_a_time_and_one_that_is_dropped_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let rows = matrix(20, 40, Kind::Counts, 4);
    let path = dir.path().join("s");
    write(&path, &rows, 13, Encoding::Packed);
    let names = || {
        let mut names: Vec<_> = std::fs::read_dir(&path)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    let before = names();
    let appender = StoreAppender::open(&path, true).unwrap();
    assert!(matches!(
        StoreAppender::open(&path, true),
        Err(error) if matches!(error.cause(), Cause::Write(WriteError::Busy { .. }))
    ));
    // What is under way there is not damage.
    assert_ne!(names(), before);
    verify(&Store::open(&path).unwrap(), 1, &|_| ()).unwrap();
    drop(appender);
    assert_eq!(names(), before);
    drop(StoreAppender::open(&path, true).unwrap());
}
