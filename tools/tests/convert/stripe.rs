//! Shards on several disks.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::command::{assert_same, json, kill_after, succeed, synthetic};
use crate::{fail, names, scratch};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A directory on another filesystem than the first, where there is one.
fn other_filesystem(than: &Path) -> Option<tempfile::TempDir> {
    let other = tempfile::tempdir_in("/dev/shm").ok()?;
    (other.path().metadata().unwrap().dev() != than.metadata().unwrap().dev()).then_some(other)
}

/// An epoch of a store over two filesystems is that of the same store on one.
#[test]
fn a_striped_store_gives_the_same_epoch() {
    let directory = scratch();
    let Some(other) = other_filesystem(directory.path()) else {
        println!("skipped: /dev/shm is not a filesystem of its own");
        return;
    };
    let input = synthetic(directory.path());
    let near = directory.path().join("near");
    std::fs::create_dir(&near).unwrap();
    let (plain, striped) = (directory.path().join("plain"), directory.path().join("striped"));
    let convert = |store: &Path, more: &[&str]| {
        succeed(
            &[
                &["convert", text(&input), "-o", text(store), "--shard-size", "100k"],
                more,
            ]
            .concat(),
        );
    };
    convert(&plain, &[]);
    let stripe = format!("{},{}", text(&near), text(other.path()));
    convert(&striped, &["--stripe", &stripe]);
    assert_same(&plain, &striped);
    let devices: std::collections::HashSet<u64> = shards(&striped)
        .iter()
        .map(|shard| shard.metadata().unwrap().dev())
        .collect();
    assert_eq!(devices.len(), 2);
    let digest = |store: &Path, more: &[&str]| {
        let report = json(&[&["epoch", text(store), "--digest", "--seed", "7"], more].concat());
        report["digest"].as_str().unwrap().to_owned()
    };
    for more in [&[][..], &["--backend", "pread"], &["--backend", "mmap"]] {
        assert_eq!(digest(&plain, more), digest(&striped, more));
    }
    succeed(&["verify", text(&striped)]);
    let (a, b) = (directory.path().join("a.h5ad"), directory.path().join("b.h5ad"));
    succeed(&["export", text(&plain), text(&a)]);
    succeed(&["export", text(&striped), text(&b)]);
    assert!(std::fs::read(a).unwrap() == std::fs::read(b).unwrap());
    assert_eq!(
        json(&["info", text(&striped)])["bytes"],
        json(&["info", text(&plain)])["bytes"]
    );

    // A failure leaves nothing anywhere, and a replaced store nothing of the old one.
    let stray = format!("{},{}", text(&near), "/nonexistent");
    let message = fail(&[
        "convert",
        text(&input),
        "-o",
        text(&striped),
        "--stripe",
        &stray,
        "--force",
    ]);
    assert!(message.contains("/nonexistent"), "{message}");
    assert_eq!((names(&near).len(), names(other.path()).len()), (1, 1));
    convert(&striped, &["--force"]);
    assert_eq!((names(&near).len(), names(other.path()).len()), (0, 0));
    assert_same(&plain, &striped);
}

fn shards(store: &Path) -> Vec<PathBuf> {
    let is_shard = |name: &String| name.starts_with("shard-");
    names(store)
        .into_iter()
        .filter(is_shard)
        .map(|name| store.join(name))
        .collect()
}

/// Striped parts become a striped store, again without copying, and other matrices are striped too.
#[test]
fn striped_parts_and_matrices() {
    let directory = scratch();
    let input = synthetic(directory.path());
    let dirs = ["a", "b"].map(|name| directory.path().join(name));
    dirs.iter().for_each(|dir| std::fs::create_dir(dir).unwrap());
    let stripe = format!("{},{}", text(&dirs[0]), text(&dirs[1]));
    let (whole, store) = (directory.path().join("whole"), directory.path().join("s"));
    let convert = |store: &Path, more: &[&str]| {
        let args = ["convert", text(&input), "-o", text(store), "--shard-size", "100k"];
        succeed(&[&args[..], more].concat());
    };
    convert(&whole, &["--parts", "3"]);
    for part in ["1/3", "2/3", "3/3"] {
        convert(&store, &["--part", part, "--stripe", &stripe]);
    }
    succeed(&["merge", "-o", text(&store)]);
    assert_same(&whole, &store);
    // One directory for the store in each, and none of the parts.
    for dir in &dirs {
        let left = names(dir);
        assert!(left.len() == 1 && left[0].starts_with("s.stripe-"), "{left:?}");
    }
    succeed(&["verify", text(&store)]);
    succeed(&["convert", text(&input), "-o", text(&store), "--force"]);
    assert!(dirs.iter().all(|dir| names(dir).is_empty()));
}

/// SIGKILL at any moment leaves nothing under the store's name, and the next run finds what was left on the other disks.
#[test]
fn a_killed_conversion_is_cleaned_up_after_in_all_places() {
    let directory = scratch();
    let input = synthetic(directory.path());
    let dirs = ["a", "b"].map(|name| directory.path().join(name));
    dirs.iter().for_each(|dir| std::fs::create_dir(dir).unwrap());
    let stripe = format!("{},{}", text(&dirs[0]), text(&dirs[1]));
    let store = directory.path().join("s");
    let args = [
        "convert",
        text(&input),
        "-o",
        text(&store),
        "--shard-size",
        "50k",
        "--force",
        "--stripe",
        &stripe,
    ];
    let mut killed = 0;
    // Most of them early, when the places are being prepared.
    for delay_ms in (0..24).map(|k| k * k / 2) {
        killed += u32::from(kill_after(delay_ms, &args));
        if store.exists() {
            // Each of them was complete; verified once, below.
            assert!(store.join("manifest.json").exists());
        }
    }
    assert!(killed > 0, "the first is killed before it does anything");
    succeed(&args);
    succeed(&["verify", text(&store)]);
    assert!(
        dirs.iter().all(|dir| names(dir).len() == 1),
        "{:?}",
        dirs.each_ref().map(|dir| names(dir))
    );
    assert_eq!(names(directory.path()), ["a", "b", "s", "synthetic.h5ad"]);
}
