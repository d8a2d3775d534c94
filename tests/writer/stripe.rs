//! Stores whose shards lie in several directories.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::common::{Kind, matrix, value_type, write_store};
use cellring::__internal::buffer::Pool;
use cellring::Store;
use cellring::engine::{Backend, Engine, EngineConfig, Read, Submission};
use cellring::format::Manifest;
use cellring::store::verify;
use cellring::writer::{StoreWriter, WriterOptions};

fn options(stripe: &[&Path]) -> WriterOptions {
    let mut options = WriterOptions::new(300, value_type(Kind::Counts));
    options.block_size = 16;
    options.shard_bytes = 9_000;
    options.stripe = stripe.iter().map(|path| path.to_path_buf()).collect();
    options
}

fn write(path: &Path, options: WriterOptions) -> Result<Manifest, cellring::Error> {
    write_store(path, &matrix(200, 300, Kind::Counts, 5), options, None)
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Three directories: for the store, and for its shards.
fn places() -> (tempfile::TempDir, PathBuf, PathBuf, PathBuf) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let place = |name: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir(&path).unwrap();
        path
    };
    let (home, one, two) = (place("home"), place("one"), place("two"));
    (dir, home, one, two)
}

#[test]
fn a_striped_store_is_the_store_with_its_shards_elsewhere() {
    let (_dir, home, one, two) = places();
    let plain = home.join("plain");
    let plain_manifest = write(&plain, options(&[])).unwrap();
    let striped = home.join("striped");
    let manifest = write(&striped, options(&[&one, &two])).unwrap();
    assert_eq!(manifest, plain_manifest);
    assert!(manifest.shards.len() > 4);
    for name in names(&plain) {
        let [a, b] = [&plain, &striped].map(|store| std::fs::read(store.join(&name)).unwrap());
        assert_eq!(a, b, "{name}");
    }
    for (number, shard) in manifest.shards.iter().enumerate() {
        let target = std::fs::read_link(striped.join(&shard.file)).unwrap();
        let expected = [&one, &two][number % 2];
        assert_eq!(
            target.parent().unwrap().parent().unwrap(),
            expected.canonicalize().unwrap()
        );
    }
    verify(&Store::open(&striped).unwrap(), 2, &|_| ()).unwrap();

    // Replaced, its old shards are gone, wherever the new ones lie.
    let mut replace = options(&[&two]);
    replace.replace = true;
    write(&striped, replace.clone()).unwrap();
    assert_eq!((names(&one).len(), names(&two).len()), (0, 1));
    replace.stripe.clear();
    write(&striped, replace).unwrap();
    assert_eq!((names(&one).len(), names(&two).len()), (0, 0));
    assert_eq!(names(&home), ["plain", "striped"]);
}

#[test]
fn nothing_is_left_of_a_store_that_is_not_finished() {
    let (_dir, home, one, two) = places();
    let store = home.join("s");
    let writer = StoreWriter::create(&store, options(&[&one, &two])).unwrap();
    assert_eq!((names(&one).len(), names(&two).len()), (1, 1));
    drop(writer);
    assert_eq!([&home, &one, &two].map(|dir| names(dir).len()), [0; 3]);
    let nowhere = one.join("nowhere");
    let error = write(&store, options(&[&two, &nowhere])).unwrap_err();
    assert!(
        error.to_string().contains("name a directory that exists"),
        "{error}"
    );
    assert_eq!([&home, &one, &two].map(|dir| names(dir).len()), [0; 3]);
}

/// What a killed process leaves in all places is removed by the next one for the same store, and by no other.
#[test]
fn remains_elsewhere_are_removed() {
    let (_dir, home, one, two) = places();
    let store = home.join("s");
    let writer = StoreWriter::create(&store, options(&[&one])).unwrap();
    // As if the process were gone: its lock is, its directories are not.
    std::mem::forget(writer);
    let staging = home.join(&names(&home)[0]);
    let renamed = home.join(".s.tmp-4000000");
    std::fs::rename(&staging, &renamed).unwrap();
    std::fs::remove_file(renamed.join(".lock")).unwrap();
    write(&home.join("t"), options(&[&two])).unwrap();
    assert_eq!(names(&home), [".s.tmp-4000000", "t"]);
    write(&store, options(&[&two])).unwrap();
    assert_eq!(names(&home), ["s", "t"]);
    assert_eq!((names(&one).len(), names(&two).len()), (0, 2));
    verify(&Store::open(home.join("t")).unwrap(), 1, &|_| ()).unwrap();
}

/// Reads all blocks with one engine over two filesystems: each has a ring of its own, found through the links.
#[test]
fn shards_on_two_filesystems_are_read_together() {
    let (_dir, home, one, _) = places();
    let Ok(other) = tempfile::tempdir_in("/dev/shm") else {
        println!("skipped: there is no /dev/shm");
        return;
    };
    let device = |path: &Path| path.metadata().unwrap().dev();
    if device(&one) == device(other.path()) {
        println!("skipped: /dev/shm is not a filesystem of its own");
        return;
    }
    let path = home.join("s");
    write(&path, options(&[&one, other.path()])).unwrap();
    let store = Store::open(&path).unwrap();
    let n_blocks = store.index().n_blocks();
    let mut config = EngineConfig::default();
    config.backend = Backend::Uring;
    let pool = Pool::new(1, 1 << 20).unwrap();
    let (send, receive) = std::sync::mpsc::channel();
    let Ok(engine) = Engine::start(&store.shard_paths(), &pool, &config, move |done| {
        drop(send.send(done))
    }) else {
        println!("skipped: there is no io_uring");
        return;
    };
    let mut reads = Vec::new();
    let mut at = 0;
    for block in 0..n_blocks {
        let record = store.index().block(block).unwrap();
        let len_bytes = record.payload_bytes.next_multiple_of(4096);
        reads.push(Read {
            file: record.shard,
            offset_bytes: record.offset_bytes,
            len_bytes,
            slot: 0,
            slot_offset_bytes: at,
        });
        at += len_bytes;
    }
    let slots = pool.take(1).unwrap();
    engine.submit(Submission { tag: 0, slots, reads });
    let done = receive.recv().unwrap();
    done.result.unwrap();
    for read in &done.reads {
        let shard = std::fs::read(&store.shard_paths()[read.file as usize]).unwrap();
        let expected = &shard[read.offset_bytes as usize..][..read.len_bytes as usize];
        assert!(&done.slots[0].as_slice()[read.slot_offset_bytes as usize..][..expected.len()] == expected);
    }
    assert_eq!(engine.stats().rings, 2, "{}", engine.choice().reason);
}
