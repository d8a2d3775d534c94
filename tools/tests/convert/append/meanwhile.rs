//! Epochs that run, other processes and kills during an append, and what they leave.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use cellring::plan::SamplerConfig;
use cellring::{Loader, LoaderConfig, Store};

use super::{check, column, small, synth_rows, text};
use crate::command::{assert_same, kill_after, succeed};
use crate::{fail, names, scratch};

/// Whoever has the store open reads on as if nothing had happened.
#[test]
fn an_epoch_that_has_begun_ends_as_it_began() {
    let directory = scratch();
    let (a, b) = (directory.path().join("a.h5ad"), directory.path().join("b.h5ad"));
    synth_rows(&a, 0..500, 400);
    synth_rows(&b, 500..900, 400);
    let store = directory.path().join("s");
    succeed(&[
        "convert",
        text(&a),
        "-o",
        text(&store),
        "--block-size",
        "64",
        "--shard-size",
        "20k",
    ]);
    let config = LoaderConfig::default()
        .sampler(
            SamplerConfig::default()
                .block_size(4)
                .batch_size(16)
                .fetch_factor(2)
                .seed(5),
        )
        .memory_bytes(16 << 20);
    let content = |minibatch: &cellring::Minibatch| {
        (
            minibatch.obs().to_vec(),
            minibatch.indices().to_vec(),
            minibatch.data().to_vec(),
        )
    };
    let open = || Arc::new(Store::open(&store).unwrap());
    let epoch = |store: &Arc<Store>, between: &dyn Fn()| {
        let loader = Loader::new(Arc::clone(store), config.clone()).unwrap();
        let mut seen = Vec::new();
        for (number, minibatch) in loader.epoch(0).unwrap().enumerate() {
            seen.push(content(&minibatch.unwrap()));
            if number == 3 {
                between();
            }
        }
        seen
    };
    let before = open();
    let expected = epoch(&before, &|| ());
    let names_before = column(&before, "");
    let seen = epoch(&before, &|| {
        succeed(&["append", text(&store), text(&b)]);
    });
    assert_eq!(expected, seen);
    // Also what begins now, on the store that was opened before.
    assert_eq!(expected, epoch(&before, &|| ()));
    assert_eq!(names_before, column(&before, ""));
    assert_eq!(before.rows(448..500).unwrap().n_rows(), 52);
    let after = open();
    assert_eq!((before.n_obs(), after.n_obs()), (500, 900));
    assert_eq!(
        epoch(&after, &|| ())
            .iter()
            .map(|minibatch| minibatch.0.len())
            .sum::<usize>(),
        900
    );
}

#[test]
fn one_process_appends_at_a_time() {
    let directory = scratch();
    let store = small(directory.path());
    let lock = std::fs::File::open(&store).unwrap();
    lock.try_lock().unwrap();
    let input = directory.path().join("small.h5ad");
    let message = fail(&["append", text(&store), text(&input)]);
    assert!(message.contains("another process is appending"), "{message}");
    // A conversion that is to replace the store has taken hours, perhaps: it waits for the end of the append.
    let identity = || std::fs::metadata(&store).unwrap().ino();
    let before = identity();
    let mut convert = Command::new(env!("CARGO_BIN_EXE_cellring"))
        .args(["convert", text(&input), "-o", text(&store), "--force"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let made = directory
        .path()
        .join(format!(".small.tmp-{}/manifest.json", convert.id()));
    while !made.exists() {
        assert_eq!(convert.try_wait().unwrap(), None, "it ended without a store");
        std::thread::yield_now();
    }
    assert_eq!((identity(), convert.try_wait().unwrap()), (before, None));
    lock.unlock().unwrap();
    assert!(convert.wait().unwrap().success());
    assert_ne!(identity(), before);
    succeed(&["append", text(&store), text(&input)]);
    check(&store);
}

/// What a killed process may leave is removed by the next one; shards on other disks too.
#[test]
fn remains_are_removed() {
    let directory = scratch();
    let (a, b) = (directory.path().join("a.h5ad"), directory.path().join("b.h5ad"));
    synth_rows(&a, 0..500, 300);
    synth_rows(&b, 500..900, 300);
    let dirs = ["one", "two"].map(|name| directory.path().join(name));
    dirs.iter().for_each(|dir| std::fs::create_dir(dir).unwrap());
    let stripe = format!("{},{}", text(&dirs[0]), text(&dirs[1]));
    let (store, plain) = (directory.path().join("s"), directory.path().join("plain"));
    let convert = ["convert", text(&a), "--shard-size", "8k"];
    succeed(&[&convert[..], &["-o", text(&store), "--stripe", &stripe]].concat());
    succeed(&[&convert[..], &["-o", text(&plain)]].concat());
    let n_shards = |dir: &Path| -> usize {
        let stripe = &names(dir)[0];
        names(&dir.join(stripe))
            .iter()
            .filter(|name| name.starts_with("shard-"))
            .count()
    };
    let before = dirs.each_ref().map(|dir| n_shards(dir));
    let number = before[0] + before[1];
    for path in [&store, &plain] {
        std::fs::create_dir(path.join(".append")).unwrap();
        for name in ["index-0001.bin", "obs-0001.arrow", ".append/index-0001.bin"] {
            std::fs::write(path.join(name), b"half").unwrap();
        }
        let stray = path.join(format!("shard-{number:05}.bin"));
        if *path == store {
            let elsewhere = dirs[1]
                .join(&names(&dirs[1])[0])
                .join(format!("shard-{:05}.bin", number + 1));
            std::fs::write(&elsewhere, b"half").unwrap();
            std::os::unix::fs::symlink(&elsewhere, path.join(".append/shard-00009.bin")).unwrap();
        }
        std::fs::write(stray, b"half").unwrap();
        // Still the store it was.
        assert_eq!(Store::open(path).unwrap().n_obs(), 500);
        check(path);
        succeed(&["append", text(path), text(&b), "--shard-size", "8k"]);
        check(path);
    }
    assert_same(&plain, &store);
    let after = dirs.each_ref().map(|dir| n_shards(dir));
    assert_eq!(
        after[0] + after[1],
        Store::open(&store).unwrap().manifest().shards.len()
    );
    assert!(after[0] > before[0] && after[1] > before[1]);
    // A refused one leaves nothing.
    let files = names(&store);
    fail(&["append", text(&store), text(&directory.path().join("none.h5ad"))]);
    assert_eq!(
        (files, after),
        (names(&store), dirs.each_ref().map(|dir| n_shards(dir)))
    );
    succeed(&["convert", text(&a), "-o", text(&store), "--force"]);
    assert!(dirs.iter().all(|dir| names(dir).is_empty()));
}

/// What it was making is no reason not to replace the store.
#[test]
fn a_store_that_an_append_was_killed_in_is_replaced() {
    let directory = scratch();
    let (input, store) = (directory.path().join("a.h5ad"), directory.path().join("s"));
    synth_rows(&input, 0..500, 300);
    let convert = ["convert", text(&input), "-o", text(&store)];
    succeed(&convert);
    let whole = names(&store);
    std::fs::create_dir(store.join(".append")).unwrap();
    std::fs::write(store.join(".append/index-0001.bin"), b"half").unwrap();
    succeed(&[&convert[..], &["--force"]].concat());
    assert_eq!(names(&store), whole);
    check(&store);
}

/// SIGKILL at any moment leaves the old store or the new one.
#[test]
fn an_append_that_is_killed_leaves_the_old_store_or_the_new_one() {
    let directory = scratch();
    let (a, b) = (directory.path().join("a.h5ad"), directory.path().join("b.h5ad"));
    synth_rows(&a, 0..500, 2_000);
    synth_rows(&b, 500..1_000, 2_000);
    let store = directory.path().join("s");
    succeed(&["convert", text(&a), "-o", text(&store)]);
    let mut killed = 0;
    for delay_ms in (0..20).map(|k| k * k) {
        let n_before = Store::open(&store).unwrap().n_obs();
        killed += u32::from(kill_after(delay_ms, &["append", text(&store), text(&b)]));
        let opened = Store::open(&store).unwrap();
        assert!(opened.n_obs() == n_before || opened.n_obs() == n_before + 500);
        let read = opened.rows(0..opened.n_obs()).unwrap();
        assert_eq!(read.nnz() as u64, opened.manifest().nnz);
    }
    assert!(killed > 0, "the first is killed before it does anything");
    succeed(&["append", text(&store), text(&b)]);
    check(&store);
}
