//! What cannot be linked is refused with the reason, and whatever a file claims, linking it ends.

use std::path::Path;
use std::process::Command;

use crate::linked::age;
use crate::relinked::{set_age, shown};
use crate::{fail, made_by, report, scratch, shared_data};

#[test]
fn what_is_not_stored_by_rows_is_refused_with_the_reason() {
    let Some(data) = shared_data() else { return };
    let directory = scratch();
    let store = directory.path().join("s.cellring");
    for name in [
        "pbmc3k_csc_gzip_v012.h5ad",
        "zarr/pbmc3k_1200_v3_csc_sharded.zarr",
    ] {
        let input = data.join(name);
        let error = fail(&["link", input.to_str().unwrap(), "-o", store.to_str().unwrap()]);
        let expected = "is stored as csc_matrix, and not by rows; convert it instead: cellring convert";
        assert!(error.contains(expected), "{error}");
        assert!(!store.exists());
    }
}

/// Bytes that are elsewhere, today or tomorrow, or are not those of a chunk. Converting takes some of them, and is named as the remedy then.
#[test]
fn what_cannot_be_read_in_place_is_refused_with_the_reason() {
    let (directory, made) = made_by("make_unlinkable.py");
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let mut n_taken = 0;
    for line in made.lines() {
        let words: Vec<&str> = line.split('\t').collect();
        let &[input, reason, outcome] = words.as_slice() else {
            panic!("{line}")
        };
        let store = at("s.cellring");
        let error = fail(&["link", input, "-o", &store]);
        assert!(error.contains(reason), "{error}");
        assert!(!Path::new(&store).exists());
        let is_taken = outcome == "takes";
        let remedy = "convert it instead: cellring convert";
        assert_eq!(error.contains(remedy), is_taken, "{error}");
        let convert = ["convert", input, "-o", &store];
        if is_taken {
            n_taken += 1;
            assert_eq!(report(&convert)["n_obs"], 50);
            std::fs::remove_dir_all(&store).unwrap();
        } else {
            assert!(fail(&convert).contains(reason), "{line}");
        }
    }
    assert_eq!((made.lines().count(), n_taken), (10, 2));
}

/// Whatever a file claims, linking it and reading the store ends, in order and in little memory.
#[test]
fn hostile_files_are_refused_or_read() {
    let (directory, made) = made_by("make_hostile.py");
    let store = directory.path().join("x.cellring");
    let mut n_linked = 0;
    let run = |args: &[&Path]| {
        let script = "ulimit -d 1572864 && exec timeout 120 \"$0\" \"$@\"";
        let output = Command::new("sh")
            .args(["-c", script, env!("CARGO_BIN_EXE_cellring")])
            .args(args)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let code = output.status.code();
        assert!(matches!(code, Some(0 | 1)), "{args:?}: {code:?} {said}");
        code == Some(0)
    };
    for line in made.lines() {
        let (input, _) = line.split_once('\t').unwrap();
        if Path::new(input).is_file() {
            age(Path::new(input));
        }
        let root = ["--source-root", "/"].map(Path::new);
        let (link, output) = (
            ["link", "--force", "-o"].map(Path::new),
            [&*store, Path::new(input)],
        );
        if run(&[&link[..], &output, &root].concat()) {
            n_linked += 1;
            for command in ["verify", "epoch"] {
                run(&[&[Path::new(command), &store][..], &root].concat());
            }
        }
    }
    println!(
        "{n_linked} of {} hostile files can be linked",
        made.lines().count()
    );
}

#[test]
fn features_are_chosen_when_a_link_is_read() {
    let (directory, _) = made_by("make_inputs.py");
    let file = shown(&directory.path().join("crispr.h5"));
    set_age(Path::new(&file), 3600);
    let store = shown(&directory.path().join("s.cellring"));
    let error = fail(&["link", &file, "-o", &store, "--feature-types", "Gene Expression"]);
    assert!(
        error.contains("--feature-types, --genome") && error.contains("convert it instead"),
        "{error}"
    );
    assert!(!Path::new(&store).exists());
    report(&["link", &file, "-o", &store]);
    assert_eq!(report(&["verify", &store])["whole"], true);
}
