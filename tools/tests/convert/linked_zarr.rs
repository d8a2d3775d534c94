//! Links of zarr: its files are many, and any of them may change.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use cellring::format::VarOrder;
use cellring::{ErrorKind, Store};
use cellring_anndata::write::{Compression, ZarrFormat};
use cellring_tools::convert::ConvertOptions;
use cellring_tools::export::{ExportOptions, export};
use cellring_tools::synth::Synth;
use serde_json::Value;

use crate::linked::{age, compare_rows, epoch, spec_reader};
use crate::{cellring, digest, fail, report, run_convert, scratch};

/// A store, and a zarr that it was exported to, in small chunks.
pub(crate) fn zarr(directory: &Path, format: ZarrFormat, compression: &str) -> (PathBuf, PathBuf) {
    let (source, held) = (directory.join("source.h5ad"), directory.join("held.cellring"));
    if !held.exists() {
        Synth::new(300, 2_000, 3).write_h5ad(&source, |_| {}).unwrap();
        let options = ConvertOptions {
            var_order: Some(VarOrder::Source),
            ..ConvertOptions::default()
        };
        run_convert(&source, &held, &options).unwrap();
    }
    let path = directory.join("cells.zarr");
    let options = ExportOptions {
        compression: Some(compression.parse::<Compression>().unwrap()),
        chunk_len: Some(5_000),
        zarr_format: format,
        force: true,
        ..ExportOptions::default()
    };
    export(&held, &path, &options, &|_, _| ()).unwrap();
    age(&path);
    (held, path)
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// In processes of their own: one whose limit is the usual one and may be raised, and one whose limit stays.
#[test]
fn a_zarr_of_thousands_of_files_is_read_where_few_may_be_open() {
    const PLACE: &str = "CELLRING_TEST_MANY_FILES";
    if let Some(directory) = std::env::var_os(PLACE) {
        let at = |name: &str| Path::new(&directory).join(name);
        let linked = Store::open(at("many.link")).unwrap_or_else(|error| panic!("{error}"));
        let held = Store::open(at("held.cellring")).unwrap();
        assert!(epoch(&Arc::new(linked)) == epoch(&Arc::new(held)));
        return;
    }
    let directory = scratch();
    let (held, path) = zarr(directory.path(), ZarrFormat::V2, "none");
    let nnz = Store::open(&held).unwrap().manifest().nnz;
    let options = ExportOptions {
        chunk_len: Some((2 * nnz / 5_200) as u32),
        zarr_format: ZarrFormat::V2,
        force: true,
        ..ExportOptions::default()
    };
    export(&held, &path, &options, &|_, _| ()).unwrap();
    age(&path);
    let link = directory.path().join("many.link");
    report(&["link", shown(&path), "-o", shown(&link)]);
    let n_files = Store::open(&link).unwrap().shard_paths().len();
    assert!(n_files > 5_000, "{n_files}");
    let within = |limit: &str| {
        let test = "linked_zarr::a_zarr_of_thousands_of_files_is_read_where_few_may_be_open";
        let output = Command::new("sh")
            .args(["-c", &format!("{limit} && exec \"$0\" \"$@\"")])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(PLACE, directory.path())
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap());
        (output.status.success(), said.concat())
    };
    let (succeeds, said) = within("ulimit -Sn 1024 && ulimit -Hn 12000");
    match said.contains("ulimit") {
        // The limit of this process is lower.
        true => eprintln!("skipped: {said}"),
        false => assert!(succeeds && said.contains("1 passed"), "{said}"),
    }
    let (succeeds, said) = within("ulimit -n 1024");
    let expected = format!(
        "leads to {n_files} files, all of which are open while it is read, and this process may have 1024 open"
    );
    assert!(!succeeds && said.contains(&expected), "{said}");
}

#[test]
fn both_versions_are_read_by_both_readers() {
    let directory = scratch();
    let linked = directory.path().join("linked.cellring");
    let dump = directory.path().join("held.npz");
    for (format, compression) in [
        (ZarrFormat::V2, "none"),
        (ZarrFormat::V2, "gzip"),
        (ZarrFormat::V3, "none"),
        (ZarrFormat::V3, "gzip"),
        (ZarrFormat::V3, "zstd"),
    ] {
        let (held, path) = zarr(directory.path(), format, compression);
        assert!(
            compare_rows(&path, directory.path()).is_some(),
            "{format:?} {compression}"
        );
        if compression != "zstd" {
            if !dump.exists() {
                spec_reader(&[&held, &dump]);
            }
            report(&["link", shown(&path), "-o", shown(&linked), "--force"]);
            spec_reader(&[&linked, Path::new("--compare"), &dump]);
            // Of many files the first are named.
            let (_, text, _) = cellring(&["info", shown(&linked)]);
            let line = text.lines().find(|line| line.contains("values in ")).unwrap();
            assert!(line.contains(" more") && line.len() < 1_000, "{line}");
        }
    }
}

/// Chunks that were never written could be written later.
#[test]
fn a_directory_in_which_chunks_are_missing_is_refused() {
    let directory = scratch();
    let (_, path) = zarr(directory.path(), ZarrFormat::V2, "gzip");
    std::fs::remove_file(path.join("X/data/1")).unwrap();
    let store = directory.path().join("s.cellring");
    let said = fail(&["link", shown(&path), "-o", shown(&store)]);
    assert!(
        said.contains("X/data/1 is not there") && !store.exists(),
        "{said}"
    );
}

#[test]
fn what_becomes_of_a_zarr_is_noticed_or_followed() {
    let directory = scratch();
    let (held, path) = zarr(directory.path(), ZarrFormat::V3, "zstd");
    let at = |name: &str| directory.path().join(name);
    let store = at("s.cellring");
    report(&["link", shown(&path), "-o", shown(&store)]);
    let expected = digest(shown(&held), &[]);
    assert_eq!(digest(shown(&store), &[]), expected);
    // The directory itself, linked on the way.
    let output = Command::new(env!("CARGO_BIN_EXE_cellring"))
        .args(["epoch", shown(&path), "--digest", "--block-size", "4", "--json"])
        .env("XDG_CACHE_HOME", at("cache"))
        .output()
        .unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["digest"], expected);
    // Converted, by way of the link.
    let fast = at("fast.cellring");
    report(&[
        "convert",
        shown(&store),
        "-o",
        shown(&fast),
        "--var-order",
        "source",
    ]);
    assert_eq!(digest(shown(&fast), &[]), expected);
    // Moved, with all its files.
    let moved = at("moved.zarr");
    std::fs::rename(&path, &moved).unwrap();
    assert_eq!(Store::open(&store).unwrap_err().kind(), ErrorKind::Io);
    report(&["link", "--relocate", "cells.zarr", shown(&moved), shown(&store)]);
    assert_eq!(digest(shown(&store), &[]), expected);
    // Any of the files may change: one that says what an array is, and one that holds its chunks.
    for changed in [
        "X/data/zarr.json",
        "X/indices/c/0",
        "obs/zarr.json",
        "X/indptr/zarr.json",
    ] {
        let file = moved.join(changed);
        let content = std::fs::read(&file).unwrap();
        std::fs::write(&file, &content).unwrap();
        let error = Store::open(&store).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Changed, "{error}");
        assert!(error.to_string().contains(changed), "{error}");
        age(&moved);
        report(&["link", "--refresh", shown(&store)]);
        assert_eq!(digest(shown(&store), &[]), expected);
    }
    // More files than the process may open.
    let limited = Command::new("sh")
        .args([
            "-c",
            r#"ulimit -n 40 && exec "$0" epoch "$1""#,
            env!("CARGO_BIN_EXE_cellring"),
            shown(&store),
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&limited.stderr);
    assert!(!limited.status.success() && said.contains("ulimit -n"), "{said}");
}
