//! Stores: what is written is read back, and no damage goes unseen.
#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

mod common;

use std::path::Path;

use cellring::__internal::Cause;
use cellring::__internal::buffer::Pool;
use cellring::Store;
use cellring::engine::{Engine, EngineConfig, Read, Submission};
use cellring::format::encoding::raw::{RawLayout, block_view};
use cellring::format::{Encoding, FormatError, ValueBuffer, ValueType, VarOrder};
use cellring::store::verify;
use cellring::writer::{WriteError, WriterOptions};
use common::{Kind, matrix, value_bits, value_type, write_store};

fn options(kind: Kind, encoding: Encoding, n_vars: u64) -> WriterOptions {
    let mut options = WriterOptions::new(n_vars, value_type(kind));
    options.encoding = encoding;
    options.block_size = 32;
    if encoding == Encoding::Raw && kind == Kind::Counts {
        options.raw_value_type = ValueType::U32;
    }
    options
}

#[test]
fn round_trip_of_every_kind_encoding_and_order() {
    let dir = tempfile::tempdir().unwrap();
    for kind in [Kind::Counts, Kind::LogNormalised, Kind::Anything, Kind::Signed] {
        let rows = matrix(100, 700, kind, 5);
        for &encoding in Encoding::ALL {
            for uring in [true, false] {
                let path = dir.path().join("s.cellring");
                let mut options = options(kind, encoding, 700);
                options.shard_bytes = 4_000;
                options.replace = true;
                options.uring = uring;
                let manifest = write_store(&path, &rows, options, None).unwrap();
                assert!(manifest.shards.len() > 1, "several shards are tested");
                let store = Store::open(&path).unwrap();
                let back = store.rows(0..100).unwrap();
                assert_eq!((&back.indptr, &back.indices), (&rows.indptr, &rows.indices));
                assert_eq!(value_bits(&back), value_bits(&rows), "{kind:?} {encoding:?}");
                assert_eq!(
                    store.rows(33..35).unwrap().nnz() as u64,
                    rows.indptr[35] - rows.indptr[33]
                );
                let report = verify(&store, 2, &|_| ()).unwrap();
                assert_eq!((report.n_obs, report.nnz), (100, rows.nnz() as u64));
                assert_eq!(store.obs().column_names().unwrap(), ["plate", "score", "number"]);
            }
        }
    }
}

/// The raw encoding's block is a matrix where the device has put it: the bytes that the engine has read are the view's own.
#[test]
fn a_raw_block_is_a_matrix_in_the_slot_that_it_was_read_into() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let rows = matrix(100, 700, Kind::Counts, 3);
    let path = dir.path().join("raw.cellring");
    write_store(&path, &rows, options(Kind::Counts, Encoding::Raw, 700), None).unwrap();
    let store = Store::open(&path).unwrap();
    let pool = Pool::new(1, 1 << 20).unwrap();
    let (send, receive) = std::sync::mpsc::channel();
    let engine = Engine::start(
        &store.shard_paths(),
        &pool,
        &EngineConfig::default(),
        move |done| {
            drop(send.send(done));
        },
    )
    .unwrap();
    for block in 0..store.index().n_blocks() {
        let record = store.index().block(block).unwrap();
        let read = Read {
            file: record.shard,
            offset_bytes: record.offset_bytes,
            len_bytes: record.payload_bytes.next_multiple_of(engine.alignment()),
            slot: 0,
            slot_offset_bytes: 0,
        };
        let slots = pool.take(1).unwrap();
        engine.submit(Submission {
            tag: block,
            slots,
            reads: vec![read],
        });
        let done = receive.recv().unwrap();
        done.result.unwrap();
        let slot = done.slots[0].as_slice();
        let obs = store.index().obs_of_block(block);
        let nnz = store
            .index()
            .place(obs.end - 1, record.payload_bytes)
            .unwrap()
            .range
            .1;
        let n_obs = (obs.end - obs.start) as usize;
        let layout = RawLayout::new(n_obs, nnz as usize, 700, ValueType::U32);
        let view = block_view::<u32, u16>(slot, &layout, 700).unwrap();

        let start = slot.as_ptr() as usize;
        let indptr = view.indptr();
        assert_eq!(indptr.raw_storage().as_ptr() as usize, start);
        assert_eq!(view.indices().as_ptr() as usize, start + layout.indices_at);
        assert_eq!(view.data().as_ptr() as usize, start + layout.data_at);

        let obs = store.index().obs_of_block(block);
        let expected = store.rows(obs.clone()).unwrap();
        assert_eq!(view.rows() as u64, obs.end - obs.start);
        assert!(
            view.indices()
                .iter()
                .map(|&j| u32::from(j))
                .eq(expected.indices.iter().copied())
        );
        let values = view
            .data()
            .iter()
            .map(|&value| u64::from((value as f32).to_bits()));
        assert!(values.eq(value_bits(&expected)));
    }
}

#[test]
fn reordered_columns_lead_back_to_the_source() {
    let dir = tempfile::tempdir().unwrap();
    let rows = matrix(64, 100, Kind::Counts, 1);
    // Not an involution: a wrong inverse would show.
    let order: Vec<u32> = (0..100).map(|k| (k * 37 + 11) % 100).collect();
    for &encoding in Encoding::ALL {
        let path = dir.path().join(encoding.name());
        let mut options = options(Kind::Counts, encoding, 100);
        options.var_order = VarOrder::Detection;
        write_store(&path, &rows, options, Some(&order)).unwrap();
        let store = Store::open(&path).unwrap();
        assert_eq!(store.source_positions().unwrap(), order);
        let back = store.rows(0..64).unwrap();
        let (bits, back_bits) = (value_bits(&rows), value_bits(&back));
        for row in 0..64 {
            let range = |r: &cellring::format::CsrRows| r.indptr[row] as usize..r.indptr[row + 1] as usize;
            let mut found: Vec<_> = range(&back)
                .map(|k| (order[back.indices[k] as usize], back_bits[k]))
                .collect();
            found.sort_unstable();
            let expected: Vec<_> = range(&rows).map(|k| (rows.indices[k], bits[k])).collect();
            assert_eq!(found, expected);
        }
        verify(&store, 1, &|_| ()).unwrap();
    }
}

#[test]
fn equal_content_gives_equal_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let rows = matrix(50, 60, Kind::LogNormalised, 2);
    let files = |name: &str| {
        write_store(
            &dir.path().join(name),
            &rows,
            options(Kind::LogNormalised, Encoding::Packed, 60),
            None,
        )
        .unwrap();
        let mut files: Vec<_> = std::fs::read_dir(dir.path().join(name))
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        files.sort();
        files
            .iter()
            .map(|f| std::fs::read(f).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(files("a"), files("b"));
}

/// A store of rows that are as long has the same id, whatever their values are.
#[test]
fn a_store_that_takes_the_place_of_an_open_one_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.cellring");
    let mut rows = matrix(100, 700, Kind::LogNormalised, 5);
    let mut options = options(Kind::LogNormalised, Encoding::Packed, 700);
    options.replace = true;
    write_store(&path, &rows, options.clone(), None).unwrap();
    let store = Store::open(&path).unwrap();
    assert_eq!(value_bits(&store.rows(0..100).unwrap()), value_bits(&rows));
    let ValueBuffer::F32(values) = &mut rows.values else {
        unreachable!()
    };
    values.iter_mut().for_each(|value| *value *= 2.0);
    write_store(&path, &rows, options, None).unwrap();
    let error = store.rows(0..100).unwrap_err();
    assert!(error.to_string().contains("has taken its place"), "{error}");
    let now = Store::open(&path).unwrap().rows(0..100).unwrap();
    assert_eq!(value_bits(&now), value_bits(&rows));
}

#[test]
fn empty_matrices() {
    let dir = tempfile::tempdir().unwrap();
    for &encoding in Encoding::ALL {
        for (n_obs, n_vars) in [(0, 5), (3, 0), (0, 0)] {
            let path = dir.path().join(format!("{}-{n_obs}-{n_vars}", encoding.name()));
            let rows = matrix(n_obs, n_vars, Kind::Counts, 3);
            write_store(&path, &rows, options(Kind::Counts, encoding, n_vars), None).unwrap();
            let store = Store::open(&path).unwrap();
            assert_eq!(store.rows(0..n_obs as u64).unwrap(), rows);
            verify(&store, 1, &|_| ()).unwrap();
        }
    }
}

/// `verify` finds every flipped byte in every file; reading rows never gives other values than were written.
#[test]
fn every_flipped_byte_is_found() {
    let dir = tempfile::tempdir().unwrap();
    for &encoding in Encoding::ALL {
        let rows = matrix(20, 40, Kind::Counts, 4);
        let path = dir.path().join(encoding.name());
        let mut options = options(Kind::Counts, encoding, 40);
        options.block_size = 8;
        options.alignment = 512;
        write_store(&path, &rows, options, None).unwrap();
        verify(&Store::open(&path).unwrap(), 1, &|_| ()).unwrap();
        let mut flipped = 0;
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
                let message = found
                    .expect_err(&format!("{} byte {at} is not noticed", file.display()))
                    .to_string();
                assert!(
                    !message.contains('\n') && message.contains(&*path.to_string_lossy()),
                    "{message}"
                );
                flipped += 1;
            }
            std::fs::write(&file, &good).unwrap();
        }
        assert!(flipped > 3000);
        verify(&Store::open(&path).unwrap(), 1, &|_| ()).unwrap();
    }
}

#[test]
fn cut_off_files_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    write_store(
        &path,
        &matrix(20, 40, Kind::Counts, 4),
        options(Kind::Counts, Encoding::Packed, 40),
        None,
    )
    .unwrap();
    for entry in std::fs::read_dir(&path).unwrap() {
        let file = entry.unwrap().path();
        let good = std::fs::read(&file).unwrap();
        for len in [0, 1, good.len() / 2, good.len() - 1] {
            std::fs::write(&file, &good[..len]).unwrap();
            assert!(Store::open(&path).is_err(), "{} cut to {len}", file.display());
        }
        std::fs::remove_file(&file).unwrap();
        assert!(Store::open(&path).is_err(), "{} is missing", file.display());
        std::fs::write(&file, &good).unwrap();
    }
    std::fs::write(path.join("other"), b"x").unwrap();
    assert!(
        verify(&Store::open(&path).unwrap(), 1, &|_| ()).is_err(),
        "a file that does not belong there"
    );
}

#[test]
fn newer_stores_are_named_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    write_store(
        &path,
        &matrix(5, 5, Kind::Counts, 4),
        options(Kind::Counts, Encoding::Packed, 5),
        None,
    )
    .unwrap();
    let manifest = path.join("manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("\"version\": 1", "\"version\": 2")).unwrap();
    let error = Store::open(&path).unwrap_err();
    assert!(
        matches!(
            error.cause(),
            Cause::Format(FormatError::Version { found: 2, .. })
        ) && error.to_string().contains("newer"),
        "{error}"
    );
    let error = Store::open(dir.path().join("nothing")).unwrap_err();
    assert!(
        matches!(error.cause(), Cause::Format(FormatError::NotAStore { .. })),
        "{error}"
    );
    assert!(matches!(
        Store::open(dir.path()).unwrap_err().cause(),
        Cause::Format(FormatError::NotAStore { .. })
    ));
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn existing_stores_are_replaced_only_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let small = options(Kind::Counts, Encoding::Packed, 5);
    write_store(&path, &matrix(5, 5, Kind::Counts, 4), small.clone(), None).unwrap();
    let again = write_store(&path, &matrix(6, 5, Kind::Counts, 4), small.clone(), None);
    assert!(matches!(
        again.unwrap_err().cause(),
        Cause::Write(WriteError::Exists { .. })
    ));
    assert_eq!(Store::open(&path).unwrap().n_obs(), 5);
    let mut replace = small.clone();
    replace.replace = true;
    write_store(&path, &matrix(6, 5, Kind::Counts, 4), replace.clone(), None).unwrap();
    assert_eq!(Store::open(&path).unwrap().n_obs(), 6);
    let other = dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("precious"), b"x").unwrap();
    let refused = write_store(&other, &matrix(6, 5, Kind::Counts, 4), replace, None);
    assert!(matches!(
        refused.unwrap_err().cause(),
        Cause::Write(WriteError::NotReplaceable { .. })
    ));
    assert_eq!(
        (names(dir.path()), names(&other)),
        (vec!["other".into(), "s".into()], vec!["precious".to_string()])
    );
}

#[test]
fn a_dropped_writer_leaves_nothing_and_remains_of_killed_ones_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let writer =
        cellring::writer::StoreWriter::create(&path, options(Kind::Counts, Encoding::Packed, 5)).unwrap();
    assert_eq!(names(dir.path()).len(), 1, "the temporary directory");
    drop(writer);
    assert!(names(dir.path()).is_empty());
    // What a killed process leaves: a directory whose lock nobody holds.
    let remains = dir.path().join(".s.tmp-4000000");
    std::fs::create_dir(&remains).unwrap();
    std::fs::write(remains.join(".lock"), b"").unwrap();
    write_store(
        &path,
        &matrix(5, 5, Kind::Counts, 4),
        options(Kind::Counts, Encoding::Packed, 5),
        None,
    )
    .unwrap();
    assert_eq!(names(dir.path()), ["s"]);
}
