//! Linked stores with a checksum of each row: what no other check can notice.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cellring_tools::synth::Synth;
use serde_json::Value;

use crate::as_linked::overwrite;
use crate::linked::{age, spec_reader};
use crate::{cellring, digest, fail, report, scratch};

/// An uncompressed file that has more bytes than are sampled.
fn input(directory: &Path) -> PathBuf {
    let path = directory.join("cells.h5ad");
    Synth::new(6_000, 3_000, 5).write_h5ad(&path, |_| {}).unwrap();
    assert!(path.metadata().unwrap().len() > 8 << 20);
    age(&path);
    path
}

/// Changes a byte of a file, and sets its time back.
fn flip(path: &Path, at: usize) {
    let byte = std::fs::read(path).unwrap()[at];
    overwrite(path, at, &[byte ^ 1]);
}

#[test]
fn a_value_that_was_changed_in_place_is_noticed() {
    let directory = scratch();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let input = input(directory.path());
    let (plain, checked) = (at("plain"), at("checked"));
    let file = input.to_str().unwrap();
    assert_eq!(report(&["link", file, "-o", &plain])["row_checksums"], false);
    assert_eq!(
        report(&["link", file, "-o", &checked, "--checksum"])["row_checksums"],
        true
    );
    let before = digest(&plain, &[]);
    assert_eq!(digest(&checked, &[]), before);
    for (store, has) in [(&plain, false), (&checked, true)] {
        assert_eq!(report(&["verify", store])["row_checksums"], has);
        assert_eq!(report(&["info", store])["row_checksums"], has);
    }
    spec_reader(&[Path::new(&checked)]);

    // The first place from the middle on that is a value and not a sample: then nothing but a checksum can tell.
    let middle = input.metadata().unwrap().len() as usize / 2;
    let place = (middle..2 * middle).step_by(4096).find(|&place| {
        flip(&input, place);
        let (code, stdout, _) = cellring(&["epoch", &plain, "--digest", "--block-size", "4", "--json"]);
        let found = (code == 0).then(|| serde_json::from_str::<Value>(&stdout).unwrap()["digest"].clone());
        let is_silent = found.is_some_and(|found| found != before);
        if !is_silent {
            flip(&input, place);
        }
        is_silent
    });
    let place = place.unwrap();

    let (exported, converted) = (at("exported.h5ad"), at("converted"));
    for command in [
        &["epoch", &checked][..],
        &["verify", &checked],
        &["export", &checked, &exported],
        &["convert", &checked, "-o", &converted],
    ] {
        let message = fail(command);
        let says = message.contains("cells.h5ad: obs ") && message.contains("checksum");
        assert!(says, "{command:?}: {message}");
    }
    assert!(!Path::new(&exported).exists() && !Path::new(&converted).exists());
    flip(&input, place);
    assert_eq!(digest(&checked, &[]), before);
}

#[test]
fn checksums_are_kept_when_a_file_is_linked_again_or_moved() {
    let directory = scratch();
    let at = |name: &str| directory.path().join(name);
    let input = input(directory.path());
    let (file, store, moved) = (input.to_str().unwrap(), at("store"), at("moved.h5ad"));
    let store = store.to_str().unwrap();
    let has = || report(&["info", store])["row_checksums"].clone();
    report(&["link", file, "-o", store, "--checksum"]);
    let later = SystemTime::now() - Duration::from_secs(60);
    let touched = std::fs::File::options().append(true).open(&input).unwrap();
    touched.set_modified(later).unwrap();
    fail(&["epoch", store]);
    assert_eq!(report(&["link", "--refresh", store])["row_checksums"], true);
    assert_eq!(has(), true);
    std::fs::rename(&input, &moved).unwrap();
    let moved = moved.to_str().unwrap();
    assert_eq!(
        report(&["link", "--relocate", file, moved, store])["same_id"],
        true
    );
    assert_eq!(has(), true);
    report(&["verify", store]);
    // One that has none gets them.
    report(&["link", moved, "-o", store, "--force"]);
    assert_eq!(has(), false);
    report(&["link", "--refresh", store, "--checksum"]);
    assert_eq!(has(), true);
}
