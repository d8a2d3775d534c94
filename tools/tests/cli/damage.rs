//! Damaged stores: `verify` finds it, and `epoch` never computes a digest of wrong cells.

use std::path::Path;

use cellring::format::Encoding;

use crate::common::Kind;
use crate::{TestStore, cellring, fail, shards};

/// Runs `verify`, which must fail with one sentence that names `file`, and `epoch`, which may fail or be right.
fn check(store: &TestStore, file: &Path, expected: &str, what: &str) {
    let message = fail(&["verify", store.path()]);
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(message.contains(store.path()), "{what}: {message}");
    if name != "manifest.json" {
        assert!(message.contains(name), "{what}: {message}");
    }
    let ran = cellring(&["epoch", store.path(), "--digest", "--json"]);
    match ran.code {
        0 => assert!(ran.stdout.contains(expected), "{what}: {}", ran.stdout),
        1 => {
            assert_eq!(ran.stdout, "", "{what}");
            let errors = ran
                .stderr
                .lines()
                .filter(|line| line.starts_with("{\"error\":"))
                .count();
            assert_eq!(errors, 1, "{what}: {}", ran.stderr);
        }
        code => panic!("{what}: exit code {code}: {}", ran.stderr),
    }
}

#[test]
fn one_flipped_bit_anywhere_is_found_and_never_delivered() {
    for encoding in [Encoding::Packed, Encoding::Raw] {
        let store = TestStore::new(60, 60, Kind::Counts, encoding);
        let expected = store.digest(&[]);
        for entry in std::fs::read_dir(&store.path).unwrap() {
            let file = entry.unwrap().path();
            let good = std::fs::read(&file).unwrap();
            let last = good.len() - 1;
            // Beside bytes all over the file: its end, and in a shard the header, the first block and the padding.
            let spread = (0..7).map(|k| k * last / 7 + k);
            for at in spread.chain([last, 64.min(last), 4100.min(last)]) {
                let mut bad = good.clone();
                bad[at] ^= 1 << (at % 7);
                std::fs::write(&file, bad).unwrap();
                check(
                    &store,
                    &file,
                    &expected,
                    &format!("{encoding:?} {} byte {at}", file.display()),
                );
            }
            std::fs::write(&file, good).unwrap();
        }
        assert_eq!(store.digest(&[]), expected, "whole again");
    }
}

#[test]
fn a_store_that_is_cut_short_or_lacks_a_file_is_refused() {
    let store = TestStore::counts(60, 60);
    for entry in std::fs::read_dir(&store.path).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let good = std::fs::read(&file).unwrap();
        for length in [0, good.len() / 2, good.len() - 1] {
            std::fs::write(&file, &good[..length]).unwrap();
            for command in ["info", "verify", "plan", "epoch", "bench"] {
                let message = fail(&[command, store.path()]);
                assert!(
                    message.contains(&name) || name == "manifest.json",
                    "{command}: {message}"
                );
            }
        }
        std::fs::remove_file(&file).unwrap();
        for command in ["info", "verify", "plan", "epoch", "bench"] {
            let message = fail(&[command, store.path()]);
            assert!(message.contains(&name), "{command}: {message}");
        }
        std::fs::write(&file, good).unwrap();
    }
    crate::succeed(&["verify", store.path()]);
    std::fs::write(store.path.join("stray"), "").unwrap();
    let message = fail(&["verify", store.path()]);
    assert!(
        message.contains("stray") && message.contains("does not belong"),
        "{message}"
    );
}

#[test]
fn a_store_of_a_newer_version_is_named_as_such() {
    let store = TestStore::counts(60, 60);
    let file = store.path.join("manifest.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let newer = text.replacen("\"version\": 1", "\"version\": 2", 1);
    assert_ne!(newer, text);
    std::fs::write(&file, newer).unwrap();
    for command in ["info", "verify", "plan", "epoch", "bench"] {
        let message = fail(&[command, store.path()]);
        assert!(
            message.contains("version 2, expected 1") && message.contains("update cellring"),
            "{command}: {message}"
        );
    }
}

#[test]
fn a_shard_of_another_store_is_refused() {
    let (store, other) = (TestStore::counts(60, 60), TestStore::counts(90, 60));
    let shard = &shards(&store.path)[0];
    let mut foreign = std::fs::read(&shards(&other.path)[0]).unwrap();
    foreign.resize(std::fs::metadata(shard).unwrap().len() as usize, 0);
    std::fs::write(shard, foreign).unwrap();
    for command in ["info", "verify", "plan", "epoch", "bench"] {
        let message = fail(&[command, store.path()]);
        assert!(message.contains("shard-00000.bin"), "{command}: {message}");
    }
}
