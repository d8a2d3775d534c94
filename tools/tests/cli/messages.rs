//! With `--json`, errors and warnings are lines of JSON on standard error.

use serde_json::Value;

use crate::{TestStore, cellring, scratch};

fn error(args: &[&str], code: i32) -> (String, String) {
    let ran = cellring(args);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (code, ""),
        "{args:?}: {}",
        ran.stderr
    );
    assert_eq!(ran.stderr.lines().count(), 1, "{args:?}: {}", ran.stderr);
    let error: Value = serde_json::from_str(&ran.stderr).unwrap();
    let text = |key: &str| error["error"][key].as_str().unwrap().to_owned();
    assert_eq!(error.as_object().unwrap().len(), 1);
    (text("kind"), text("message"))
}

#[test]
fn errors_are_json_also_those_of_usage() {
    let store = TestStore::counts(40, 30);
    let dir = scratch();
    let none = dir.path().join("none");
    let none = none.to_str().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let file = file.to_str().unwrap();
    let below = format!("{none}/out.h5ad");
    for (args, code, kind, part) in [
        (
            vec!["info", none, "--json"],
            1,
            "not-a-store",
            "no such file or directory",
        ),
        (
            vec!["info", store.path(), "--frobnicate", "--json"],
            2,
            "usage",
            "--frobnicate",
        ),
        (vec!["info", "--json"], 2, "usage", "<STORE>"),
        (vec!["frobnicate", "--json"], 2, "usage", "frobnicate"),
        (vec!["--json"], 2, "usage", "--json"),
        (
            vec!["epoch", store.path(), "--batch-size", "0", "--json"],
            2,
            "usage",
            "0 is not in",
        ),
        (
            vec!["plan", "--json", store.path(), "--rank", "2", "--world-size", "2"],
            2,
            "usage",
            "rank 2",
        ),
        (
            vec!["export", store.path(), file, "--container", "h5ad", "--json"],
            1,
            "exists",
            "exists already",
        ),
        (
            vec!["export", store.path(), "x.h5da", "--json"],
            2,
            "usage",
            "the name ends in .h5da, so it does not say whether to write HDF5 or zarr; give one that ends in .h5ad or .zarr",
        ),
        (
            vec!["synth", "x.h5da", "--n-obs", "5", "--n-vars", "5", "--json"],
            2,
            "usage",
            "the name ends in .h5da, but synth makes .h5ad files",
        ),
        (
            vec!["export", store.path(), &below, "--container", "h5ad", "--json"],
            1,
            "path",
            "does not exist",
        ),
        (
            vec!["convert", none, "-o", &below, "--json"],
            1,
            "path",
            "does not exist",
        ),
        (
            vec!["epoch", store.path(), "--resume", none, "--json"],
            1,
            "path",
            "no such file or directory",
        ),
        (
            vec!["obs", store.path(), "nothing", "--json"],
            1,
            "failed",
            "no column \"nothing\"",
        ),
    ] {
        let (found, message) = error(&args, code);
        assert_eq!(found, kind, "{args:?}: {message}");
        assert!(message.contains(part), "{args:?}: {message}");
        assert!(
            !message.contains("Usage:") && !message.starts_with("error"),
            "{message}"
        );
    }
    // Help is not an error, and without --json nothing changes.
    let help = cellring(&["info", "--json", "--help"]);
    assert!(help.code == 0 && help.stdout.contains("Usage:"));
    let plain = cellring(&["info", store.path(), "--frobnicate"]);
    assert!(plain.stderr.starts_with("error: ") && plain.stderr.contains("Usage:"));
}

#[test]
fn warnings_are_json_too() {
    let store = TestStore::counts(40, 30);
    let dir = scratch();
    let genes = dir.path().join("genes");
    std::fs::write(&genes, "gene_1\nno such gene\n").unwrap();
    let args = ["epoch", store.path(), "--genes", genes.to_str().unwrap()];
    let warnings = |args: &[&str]| {
        let ran = cellring(args);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stderr
    };
    let json = warnings(&[&args[..], &["--json"]].concat());
    let line = json.lines().find(|line| line.contains("no such gene")).unwrap();
    let warning: Value = serde_json::from_str(line).unwrap();
    assert!(
        warning["warning"]["message"]
            .as_str()
            .unwrap()
            .contains("1 of its genes are not in the store"),
        "{warning}"
    );
    for line in json.lines() {
        serde_json::from_str::<Value>(line).unwrap();
    }
    assert!(warnings(&args).lines().all(|line| line.starts_with("warning: ")));
}
