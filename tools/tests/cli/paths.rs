//! Paths that cannot be used: which part of one is wrong, and why, the same for every command.

use std::os::unix::fs::symlink;
use std::path::Path;

use crate::user::{Playground, allow};
use crate::{TestStore, fail, run, scratch};

/// Commands that take a store, each with what else it needs.
fn commands(store: &str) -> Vec<Vec<&str>> {
    let mut commands: Vec<Vec<&str>> = ["info", "obs", "var", "verify", "plan", "epoch", "bench", "tune"]
        .into_iter()
        .map(|command| vec![command, store])
        .collect();
    commands.push(vec!["export", store, "out.h5ad"]);
    commands
}

#[test]
fn the_part_that_is_missing_is_named() {
    let dir = scratch();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("file"), "text").unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    std::fs::create_dir(at("empty")).unwrap();
    std::fs::create_dir(at("zarr")).unwrap();
    std::fs::write(at("zarr/.zgroup"), "{}").unwrap();
    let cases = [
        (at("none"), "no such file or directory".to_owned()),
        (
            at("none/store"),
            format!("the directory {:?} does not exist", at("none")),
        ),
        (
            at("file/store"),
            format!("{:?} is a file, not a directory", at("file")),
        ),
        (
            at("dangling"),
            format!(
                "{:?} is a link to \"nowhere\", which does not exist",
                at("dangling")
            ),
        ),
        (at("file"), "it is a file, but a store is a directory".to_owned()),
        (at("empty"), "it has no manifest.json".to_owned()),
    ];
    for (path, expected) in &cases {
        for args in commands(path) {
            let message = fail(&args);
            assert!(
                message.starts_with(path.as_str()) && message.contains(expected.as_str()),
                "{args:?}: {message}"
            );
        }
    }
    // A zarr is read where it is by all but the export of a store.
    let zarr = at("zarr");
    for args in commands(&zarr) {
        let message = fail(&args);
        let expected = match args[0] {
            "export" => "convert it first: cellring convert",
            _ => "is an empty hierarchy, neither AnnData nor",
        };
        assert!(
            message.starts_with(&zarr) && message.contains(expected),
            "{args:?}: {message}"
        );
    }
}

#[test]
fn inputs_and_lists_are_named_as_stores_are() {
    let store = TestStore::counts(40, 30);
    let dir = scratch();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (list, input, out) = (at("none/list"), at("none/cells.h5ad"), at("out"));
    let cells = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/mousebrain10k.h5ad");
    let missing = format!("the directory {:?} does not exist", at("none"));
    for args in [
        vec!["epoch", store.path(), "--obs-file", &list],
        vec!["epoch", store.path(), "--order", &list],
        vec!["epoch", store.path(), "--genes", &list],
        vec!["epoch", store.path(), "--resume", &list],
        vec!["convert", &input, "-o", &out],
        vec!["convert", cells.to_str().unwrap(), "--genes", &list, "-o", &out],
        vec!["append", store.path(), &input],
        vec!["bench", "--raw", &list],
    ] {
        let message = fail(&args);
        assert!(message.contains(&missing), "{args:?}: {message}");
    }
}

#[test]
fn outputs_say_what_is_wrong_with_their_directory_before_any_work() {
    let store = TestStore::counts(40, 30);
    let dir = scratch();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let cells = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/mousebrain10k.h5ad");
    let cells = cells.to_str().unwrap();
    for (parent, expected) in [
        ("none", "does not exist; create it first"),
        ("file", "is a file, not a directory"),
    ] {
        let out = dir.path().join(parent).join("out.h5ad");
        let out = out.to_str().unwrap();
        let synth = ["synth", out, "--n-obs", "10", "--n-vars", "10"];
        for args in [
            vec!["convert", cells, "-o", out],
            vec!["convert", cells, "-o", out, "--part", "1/2"],
            vec!["export", store.path(), out],
            synth.to_vec(),
            vec!["bench", store.path(), "--report", out],
            vec!["epoch", store.path(), "--save-state", out],
        ] {
            let message = fail(&args);
            assert!(message.contains(expected), "{args:?}: {message}");
        }
    }
}

#[test]
fn what_may_not_be_entered_or_written_is_named() {
    let playground = Playground::new();
    let store = TestStore::counts(40, 30);
    let closed = playground.path("closed");
    std::fs::create_dir(&closed).unwrap();
    allow(&closed, 0o000);
    let target = closed.join("store");
    let ran = run(playground.command(&["info", target.to_str().unwrap()]));
    let expected = format!("the directory {closed:?} cannot be entered (permission denied)");
    assert!(ran.code == 1 && ran.stderr.contains(&expected), "{}", ran.stderr);
    assert!(!ran.stderr.contains("not a cellring store"), "{}", ran.stderr);

    let readable = playground.path("readable");
    std::fs::create_dir(&readable).unwrap();
    allow(&readable, 0o555);
    let ran = run(playground.command(&["synth", "readable/s.cellring", "--n-obs", "9", "--n-vars", "9"]));
    let expected = "the directory \"readable\" cannot be written (permission denied)";
    assert!(ran.code == 1 && ran.stderr.contains(expected), "{}", ran.stderr);

    let list = playground.path("list");
    std::fs::write(&list, "1\n").unwrap();
    allow(&list, 0o000);
    let copy = playground.path("copy.cellring");
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(&store.path).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    let ran = run(playground.command(&["epoch", "copy.cellring", "--obs-file", "list"]));
    let expected = "list: the file cannot be opened (permission denied)";
    assert!(ran.code == 1 && ran.stderr.contains(expected), "{}", ran.stderr);
    for path in [&closed, &readable] {
        allow(path, 0o755);
    }
}
