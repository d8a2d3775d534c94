//! Files that change, move, or are elsewhere.

use std::fs::{File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cellring::engine::{Backend, Direct, EngineConfig};
use cellring::format::ValueType;
use cellring::writer::{LinkedWriter, TableKind};
use cellring::{Epoch, Error, ErrorKind, Loader, OutputConfig, Store};

use super::source::{PLAIN, Source, age, matrix, stores};
use super::{config, content, epoch, large, sampler};
use crate::common::{obs_table, var_table};

/// What an epoch ends with. The minibatches before it are right.
fn error_of(found: Epoch, expected: &[(Vec<u64>, String)]) -> Error {
    for (minibatch, expected) in found.zip(expected) {
        match minibatch {
            Ok(minibatch) => assert!(content(&minibatch) == *expected),
            Err(error) => return error,
        }
    }
    panic!("the epoch went on to its end");
}

#[test]
fn a_file_that_changes_is_an_error_and_never_wrong_data() {
    let directory = tempfile::tempdir().unwrap();
    let (path, linked, held) = large(&directory);
    let config = config(sampler(4, 25, 4)).output(OutputConfig::default());
    let expected = epoch(&held, &config, 0);
    let content_before = std::fs::read(&path).unwrap();
    // Rewritten in place while an epoch runs: what comes before the error is right.
    let loader = Loader::new(linked.clone(), config.clone()).unwrap();
    let mut found = loader.epoch(0).unwrap();
    assert_eq!(content(&found.next().unwrap().unwrap()), expected[0]);
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&vec![0x77; content_before.len()], 0).unwrap();
    let error = error_of(found, &expected[1..]);
    assert_eq!(error.kind(), ErrorKind::Changed, "{error}");
    assert_eq!(Store::open(linked.path()).unwrap_err().kind(), ErrorKind::Changed);
    // Its old bytes are not enough: the time is another one.
    std::fs::write(&path, &content_before).unwrap();
    let error = Store::open(linked.path()).unwrap_err();
    assert!(error.to_string().contains("modified at"), "{error}");
    age(&path);
    assert!(epoch(&Arc::new(Store::open(linked.path()).unwrap()), &config, 0) == expected);
    // Other bytes, the same length and time: samples differ.
    let mut other = content_before.clone();
    other[..100].fill(0x11);
    std::fs::write(&path, &other).unwrap();
    age(&path);
    let error = Store::open(linked.path()).unwrap_err();
    assert!(error.to_string().contains("some of its bytes differ"), "{error}");
    // Shorter.
    std::fs::write(&path, &content_before[..1000]).unwrap();
    let error = Store::open(linked.path()).unwrap_err();
    assert!(error.to_string().contains("has 1000 bytes"), "{error}");
    // Gone, and in its place what is not a file.
    std::fs::remove_file(&path).unwrap();
    assert_eq!(Store::open(linked.path()).unwrap_err().kind(), ErrorKind::Io);
    std::fs::create_dir(&path).unwrap();
    assert_eq!(Store::open(linked.path()).unwrap_err().kind(), ErrorKind::Io);
}

/// As a program leaves it that opens the file to write it again: HDF5 cuts it before it finds that somebody else has it open.
#[test]
fn a_file_that_is_cut_during_an_epoch_is_an_error_on_every_backend() {
    for backend in BACKENDS {
        for len_bytes in [0, 100_000] {
            let directory = tempfile::tempdir().unwrap();
            let (path, linked, held) = large(&directory);
            let config = config(sampler(4, 25, 4)).output(OutputConfig::default());
            let expected = epoch(&held, &config, 0);
            let config = config.engine(EngineConfig::default().backend(backend));
            let loader = match Loader::new(linked, config) {
                Ok(loader) => loader,
                Err(error) if error.kind() == ErrorKind::Unavailable => continue,
                Err(error) => panic!("{error}"),
            };
            let mut found = loader.epoch(0).unwrap();
            assert_eq!(content(&found.next().unwrap().unwrap()), expected[0]);
            let file = File::options().write(true).open(&path).unwrap();
            file.set_len(len_bytes).unwrap();
            let error = error_of(found, &expected[1..]);
            assert_eq!(error.kind(), ErrorKind::Changed, "{backend:?}: {error}");
            assert!(error.to_string().contains("large.bin"), "{error}");
        }
    }
}

const BACKENDS: [Backend; 3] = [Backend::Uring, Backend::Pread, Backend::Mmap];

/// A loader of a linked store; `None` where the backend is not available.
fn loader_on(store: &Arc<Store>, backend: Backend) -> Option<Loader> {
    let config = config(sampler(4, 25, 4)).output(OutputConfig::default());
    let config = config.engine(EngineConfig::default().backend(backend));
    match Loader::new(Arc::clone(store), config) {
        Ok(loader) => Some(loader),
        Err(error) if error.kind() == ErrorKind::Unavailable => None,
        Err(error) => panic!("{error}"),
    }
}

/// A large file that is not compressed, the stores of it, and the bytes of another one, which differs in its values alone.
fn uncompressed(directory: &Path) -> (PathBuf, Arc<Store>, Arc<Store>, Vec<u8>) {
    let mut source = Source::random(3000, 2000, ValueType::F32, ValueType::I32, false, 6);
    let (path, linked, held) = stores(directory, "cells", &source, PLAIN, 3);
    let other = 7.0f32.to_bits().into();
    let values = source.rows.iter_mut().flatten();
    values.for_each(|(_, value)| *value = other);
    let (_, bytes) = matrix(&source, PLAIN, 3);
    assert_eq!(bytes.len() as u64, path.metadata().unwrap().len());
    (path, linked, held, bytes)
}

/// Neither length nor time tells, no chunk has a checksum, and every value is one that could be there.
#[test]
fn a_file_that_is_rewritten_and_gets_its_time_back_is_an_error() {
    for backend in BACKENDS {
        let directory = tempfile::tempdir().unwrap();
        let (path, linked, held, other) = uncompressed(directory.path());
        let Some(loader) = loader_on(&linked, backend) else {
            continue;
        };
        let own = std::fs::read(&path).unwrap();
        let rewrite = |bytes: &[u8]| {
            let file = File::options().write(true).open(&path).unwrap();
            file.write_all_at(bytes, 0).unwrap();
            age(&path);
        };
        let plain = config(sampler(4, 25, 4)).output(OutputConfig::default());
        let expected = epoch(&held, &plain, 0);
        let whole = |found: Epoch| found.map(|minibatch| content(&minibatch.unwrap()));
        assert!(whole(loader.epoch(0).unwrap()).eq(expected.iter().cloned()));
        // Between two reads, whatever they are for.
        rewrite(&other);
        let is_noticed = |found: Result<(), Error>| {
            let error = found.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Changed, "{backend:?}: {error}");
            assert!(error.to_string().contains("some of its bytes differ"), "{error}");
        };
        is_noticed(loader.epoch(0).unwrap().try_for_each(|found| found.map(drop)));
        is_noticed(loader.rows(&[3]).map(drop));
        is_noticed(linked.rows(3..4).map(drop));
        is_noticed(Store::open(linked.path()).map(drop));
        // The bytes that were linked are taken again, also of a file with another mode.
        rewrite(&own);
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert!(whole(loader.epoch(0).unwrap()).eq(expected.iter().cloned()));
        // During an epoch, where the time may be seen while it is another one.
        let mut found = loader.epoch(0).unwrap();
        assert_eq!(content(&found.next().unwrap().unwrap()), expected[0]);
        rewrite(&other);
        let error = error_of(found, &expected[1..]);
        assert_eq!(error.kind(), ErrorKind::Changed, "{backend:?}: {error}");
    }
}

/// Of the same length and time, as `rsync --times` puts it in place: what is open is read on, and nothing else is taken for it.
#[test]
fn a_file_that_another_one_takes_the_name_of_is_not_mixed_with_it() {
    for backend in BACKENDS {
        let directory = tempfile::tempdir().unwrap();
        let (path, linked, held, bytes) = uncompressed(directory.path());
        let Some(loader) = loader_on(&linked, backend) else {
            continue;
        };
        let expected = epoch(
            &held,
            &config(sampler(4, 25, 4)).output(OutputConfig::default()),
            0,
        );
        let mut found = loader.epoch(0).unwrap();
        assert_eq!(content(&found.next().unwrap().unwrap()), expected[0]);
        let other = directory.path().join("other");
        std::fs::write(&other, &bytes).unwrap();
        age(&other);
        std::fs::rename(&other, &path).unwrap();
        let rest: Vec<_> = found.map(|minibatch| content(&minibatch.unwrap())).collect();
        assert!(rest == expected[1..], "{backend:?}");
        // The store has the file open, and a loader opens it by its name.
        for direct in [Direct::Auto, Direct::Off] {
            let engine = EngineConfig::default().backend(backend).direct(direct);
            let error = Loader::new(linked.clone(), config(sampler(4, 25, 4)).engine(engine)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Changed, "{backend:?}: {error}");
            assert!(
                error.to_string().contains("another file has taken its name"),
                "{error}"
            );
        }
        assert_eq!(loader.rows(&[3]).unwrap_err().kind(), ErrorKind::Changed);
        assert_eq!(linked.rows(3..4).unwrap(), held.rows(3..4).unwrap());
        assert_eq!(Store::open(linked.path()).unwrap_err().kind(), ErrorKind::Changed);
    }
}

/// Opening a pipe would wait for whoever writes to it.
#[test]
fn a_pipe_in_place_of_a_file_is_refused_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let (path, linked, held) = large(&directory);
    std::fs::remove_file(&path).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let error = Store::open(linked.path()).unwrap_err();
    assert!(error.to_string().contains("not a regular file"), "{error}");
    // Nor by what opens it after the store; the same with a shard.
    std::fs::remove_file(&held.shard_paths()[0]).unwrap();
    std::fs::rename(&path, &held.shard_paths()[0]).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    for store in [linked, held] {
        let error = Loader::new(store, config(sampler(4, 25, 4))).unwrap_err();
        assert!(error.to_string().contains("not a regular file"), "{error}");
    }
}

#[test]
fn a_file_that_is_replaced_is_read_to_the_end_of_the_epoch() {
    let directory = tempfile::tempdir().unwrap();
    let (path, linked, held) = large(&directory);
    let config = config(sampler(4, 25, 4)).output(OutputConfig::default());
    let expected = epoch(&held, &config, 0);
    let loader = Loader::new(linked.clone(), config.clone()).unwrap();
    let mut minibatches = loader.epoch(0).unwrap();
    let mut found = vec![content(&minibatches.next().unwrap().unwrap())];
    let other = directory.path().join("other");
    std::fs::write(&other, b"another file").unwrap();
    std::fs::rename(&other, &path).unwrap();
    found.extend(minibatches.map(|minibatch| content(&minibatch.unwrap())));
    assert!(found == expected);
    assert_eq!(
        Loader::new(linked, config).unwrap_err().kind(),
        ErrorKind::Changed
    );
}

#[test]
fn files_lie_below_the_store_or_a_root_that_was_named() {
    let directory = tempfile::tempdir().unwrap();
    let source = Source::random(20, 30, ValueType::F32, ValueType::I32, false, 8);
    let (matrix, bytes) = matrix(&source, PLAIN, 1);
    let at = |name: &str| directory.path().join(name);
    for name in ["files", "stores", "elsewhere"] {
        std::fs::create_dir(at(name)).unwrap();
    }
    std::fs::write(at("files/a.bin"), &bytes).unwrap();
    age(&at("files/a.bin"));
    let make = |root: &Path| {
        let mut writer = LinkedWriter::create(&at("stores/s"), root, true)?;
        let identity: Vec<u32> = (0..30).collect();
        for (kind, (schema, batches)) in [
            (TableKind::Obs, obs_table(20)),
            (TableKind::Var, var_table(&identity)),
        ] {
            writer.write_table(kind, &schema, batches.into_iter().map(Ok::<_, cellring::Error>))?;
        }
        writer.add_file(&at("files/a.bin"), &[], 1)?;
        writer.set_matrix(&matrix)?;
        writer.finish().map(drop)
    };
    let error = make(&at("stores")).unwrap_err();
    assert!(error.to_string().contains("is not below"), "{error}");
    assert!(!at("stores/s").exists());
    make(directory.path()).unwrap();
    Store::open_below(at("stores/s"), directory.path()).unwrap();
    // Without a root it would be below `stores`.
    assert_eq!(Store::open(at("stores/s")).unwrap_err().kind(), ErrorKind::Io);
    // A link on the way that leads out.
    std::fs::rename(at("files"), at("elsewhere/files")).unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::fs::rename(at("elsewhere/files"), outside.path().join("files")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("files"), at("files")).unwrap();
    let error = Store::open_below(at("stores/s"), directory.path()).unwrap_err();
    assert!(error.to_string().contains("is not below"), "{error}");
    // Both moved together are found again.
    std::fs::remove_file(at("files")).unwrap();
    std::fs::rename(outside.path().join("files"), at("elsewhere/files")).unwrap();
    std::fs::rename(at("stores"), at("elsewhere/stores")).unwrap();
    Store::open_below(at("elsewhere/stores/s"), at("elsewhere")).unwrap();
}
