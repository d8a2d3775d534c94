//! What cannot be converted: one sentence, exit code 1, and nothing left behind.

use std::path::Path;
use std::process::Command;

use ::cellring::Store;
use cellring_anndata::write::ZarrFormat;
use tempfile::TempDir;

use crate::linked_zarr::zarr;
use crate::{cellring, fail, fixture, names, python, scratch, synthetic};

/// Converts in an empty directory, which must be empty again afterwards.
fn refused(input: &Path, args: &[&str]) -> String {
    let directory = scratch();
    let store = directory.path().join("x.cellring");
    let base = ["convert", input.to_str().unwrap(), "-o", store.to_str().unwrap()];
    let message = fail(&[&base[..], args].concat());
    assert_eq!(names(directory.path()), [""; 0], "{message}");
    message
}

fn file(bytes: &[u8]) -> (TempDir, std::path::PathBuf) {
    let directory = scratch();
    let path = directory.path().join("input.h5ad");
    std::fs::write(&path, bytes).unwrap();
    (directory, path)
}

#[test]
fn files_that_are_not_anndata() {
    let message = refused(Path::new("no/such.h5ad"), &[]);
    assert!(
        message.contains("no/such.h5ad") && message.contains("the directory \"no\" does not exist"),
        "{message}"
    );
    for bytes in [&b"\x89HDF"[..], &[7; 5000]] {
        let (_directory, path) = file(bytes);
        assert!(refused(&path, &[]).contains("is not an HDF5 file"));
    }
    let whole = std::fs::read(fixture("matrices.h5ad")).unwrap();
    for bytes in [whole.len() - 1, whole.len() / 2, 100] {
        let (_directory, path) = file(&whole[..bytes]);
        let message = refused(&path, &[]);
        assert!(message.contains("is truncated"), "{bytes}: {message}");
    }
    let directory = scratch();
    let message = refused(directory.path(), &[]);
    assert!(message.contains(directory.path().to_str().unwrap()), "{message}");
}

#[test]
fn files_of_a_zarr_that_are_links_to_nothing_are_named() {
    let directory = scratch();
    let (_, path) = zarr(directory.path(), ZarrFormat::V3, "zstd");
    let chunk = path.join("X/data/c/1");
    for target in ["/no/such/file", "1"] {
        std::fs::remove_file(&chunk).unwrap();
        std::os::unix::fs::symlink(target, &chunk).unwrap();
        let message = refused(&path, &[]);
        assert!(message.contains("X/data/c/1"), "{message}");
    }
}

#[test]
fn matrices_that_are_not_read() {
    let input = fixture("matrices.h5ad");
    for (layer, part) in [
        ("unknown", "bsr_matrix"),
        ("index_large", "out of range"),
        ("overflow", "sum does not fit uint8"),
        ("bomb", "claims 1099511627776 elements"),
        ("shape_wide", "2147483648 columns"),
    ] {
        let message = refused(&input, &["--layer", layer]);
        assert!(message.contains(part) && message.contains(layer), "{message}");
    }
    let message = refused(&input, &["--layer", "typo"]);
    assert!(
        message.contains("has no layers/typo") && message.contains("layers/float32"),
        "{message}"
    );
    assert!(refused(&input, &["--raw"]).contains("has no raw/X"));
    // No X at all, and no tables.
    let message = refused(&fixture("storage.h5ad"), &[]);
    assert!(
        message.contains("has no X") && message.contains("layers/contiguous"),
        "{message}"
    );
    assert!(refused(&fixture("storage.h5ad"), &["--layer", "contiguous"]).contains("has no obs"));
}

/// A matrix of other lengths than its tables: found before anything is allocated for its columns.
#[test]
fn tables_of_another_length() {
    for (shape, part) in [
        ("6, 11", "has 11 columns, but its table var has 10 rows"),
        (
            "6, 2**31 - 1",
            "has 2147483647 columns, but its table var has 10 rows",
        ),
        ("5, 10", "indptr has 7 elements"),
    ] {
        let directory = scratch();
        let path = directory.path().join("input.h5ad");
        std::fs::copy(fixture("matrices.h5ad"), &path).unwrap();
        let script =
            format!("import h5py, sys; h5py.File(sys.argv[1], 'r+')['X'].attrs['shape'] = [{shape}]");
        let set = Command::new(python())
            .args(["-c", &script])
            .arg(&path)
            .status()
            .unwrap();
        assert!(set.success());
        let message = refused(&path, &[]);
        assert!(message.contains(part), "{message}");
    }
}

/// Columns of an unknown encoding are skipped, each with one warning; the rest is converted.
#[test]
fn columns_that_are_skipped() {
    let directory = scratch();
    let path = directory.path().join("input.h5ad");
    std::fs::copy(fixture("matrices.h5ad"), &path).unwrap();
    let script = "import h5py, sys
with h5py.File(sys.argv[1], 'r+') as file:
    for table, n in (('obs', 6), ('var', 10)):
        file[table].create_dataset('wide', data=[[1, 2]] * n)
        file[table].create_dataset('n', data=list(range(n)))
        file[table].attrs['column-order'] = ['wide', 'n']
";
    let edit = Command::new(python()).args(["-c", script]).arg(&path).status();
    assert!(edit.unwrap().success());
    let store = directory.path().join("x.cellring");
    let args = [
        "convert",
        path.to_str().unwrap(),
        "-o",
        store.to_str().unwrap(),
        "--json",
    ];
    let (code, stdout, stderr) = cellring(&args);
    assert_eq!(code, 0, "{stderr}");
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let warnings: Vec<&str> = report["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|w| w["message"].as_str().unwrap())
        .collect();
    assert!(
        warnings.len() == 2 && warnings[0].starts_with("obs/wide") && warnings[1].starts_with("var/wide"),
        "{warnings:?}"
    );
    let lines: Vec<String> = report["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|warning| serde_json::json!({ "warning": warning }).to_string())
        .collect();
    assert_eq!(stderr.lines().collect::<Vec<_>>(), lines);
    let store = ::cellring::Store::open(&store).unwrap();
    assert_eq!(store.obs().column_names().unwrap(), ["n"]);
    assert_eq!(store.var().column_names().unwrap(), ["n"]);
}

#[test]
fn existing_outputs() {
    let directory = scratch();
    let input = synthetic(directory.path());
    let (input, store) = (input.to_str().unwrap(), directory.path().join("x.cellring"));
    let args = ["convert", input, "-o", store.to_str().unwrap()];
    // A file, a directory that is not a store, a store: kept without --force, and only the store is replaced with it.
    std::fs::write(&store, "kept").unwrap();
    assert!(fail(&args).contains("exists already; give --force"));
    let forced = [&args[..], &["--force"]].concat();
    assert!(fail(&forced).contains("is not a cellring store"));
    assert_eq!(std::fs::read(&store).unwrap(), b"kept");
    std::fs::remove_file(&store).unwrap();
    std::fs::create_dir(&store).unwrap();
    std::fs::write(store.join("thesis.tex"), "kept").unwrap();
    assert!(fail(&args).contains("exists already"));
    assert!(fail(&forced).contains("is not a cellring store"));
    assert_eq!(names(&store), ["thesis.tex"]);
    std::fs::remove_dir_all(&store).unwrap();

    assert_eq!(cellring(&args).0, 0);
    let manifest = || std::fs::read_to_string(store.join("manifest.json")).unwrap();
    let before = manifest();
    assert!(fail(&args).contains("exists already"));
    assert_eq!(manifest(), before);
    assert_eq!(cellring(&[&forced[..], &["--block-size", "32"]].concat()).0, 0);
    assert_ne!(manifest(), before);
    // A conversion that fails leaves the store that it was to replace.
    let bad = fixture("matrices.h5ad");
    let after = manifest();
    fail(&[
        "convert",
        bad.to_str().unwrap(),
        "--layer",
        "index_large",
        "-o",
        store.to_str().unwrap(),
        "--force",
    ]);
    assert_eq!(manifest(), after);
    assert_eq!(names(directory.path()), ["synthetic.h5ad", "x.cellring"]);
}

#[test]
fn places_that_cannot_be_written() {
    let directory = scratch();
    let input = synthetic(directory.path());
    let nowhere = directory.path().join("no/such/x.cellring");
    let message = fail(&[
        "convert",
        input.to_str().unwrap(),
        "-o",
        nowhere.to_str().unwrap(),
    ]);
    assert!(
        message.contains("no/such") && message.contains("does not exist; create it first"),
        "{message}"
    );
    let message = fail(&["convert", input.to_str().unwrap(), "-o", "/"]);
    assert!(message.contains("exists already"), "{message}");
}

#[test]
fn wrong_usage_has_its_own_exit_code() {
    for args in [
        &["--layer", "a", "--layer", "a"][..],
        &["--block-size", "0"],
        &["--block-size", "65537"],
        &["--threads", "0"],
        &["--memory", "much"],
        &["--encoding", "zip"],
        &["--var-order", "random"],
    ] {
        let (code, _, stderr) = cellring(&[&["convert", "in.h5ad", "-o", "out"], args].concat());
        assert_eq!(code, 2, "{args:?}: {stderr}");
    }
    assert_eq!(cellring(&["convert", "in.h5ad"]).0, 2);
    for range in ["3", "7..3", "a..b", "-1..2"] {
        assert_eq!(
            cellring(&["export", "in", "out", "--obs-range", range]).0,
            2,
            "{range}"
        );
    }
}

/// anndata reads the copy of the metadata in a zarr's root, cellring each member's own: where they differ, neither is guessed at.
#[test]
fn consolidated_metadata_that_contradict_the_members() {
    let script = "import anndata, numpy as np, pandas as pd, sys, zarr
anndata.settings.zarr_write_format = int(sys.argv[2])
obs = pd.DataFrame({'a': [1, 2], 'b': [3, 4]}, index=['x', 'y'])
anndata.AnnData(np.ones((2, 3), 'f4'), obs=obs).write_zarr(sys.argv[1])
zarr.consolidate_metadata(sys.argv[1])
zarr.open_group(sys.argv[1], mode='r+', use_consolidated=False)['obs'].attrs['column-order'] = ['b']
";
    let run = |script: &str, args: &[&str]| {
        let done = Command::new(python())
            .args(["-W", "ignore", "-c", script])
            .args(args)
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    for format in ["2", "3"] {
        let directory = scratch();
        let path = directory.path().join("a.zarr");
        let name = path.to_str().unwrap();
        run(script, &[name, format]);
        let message = refused(&path, &[]);
        assert!(
            message.contains("differs from its copy in the consolidated metadata"),
            "{message}"
        );
        // zarr-python writes to no zip file that exists: it is to be unpacked.
        let zip = directory.path().join("b.zarr.zip");
        let archive = "import shutil, sys; shutil.make_archive(sys.argv[1][:-4], 'zip', sys.argv[2])";
        run(archive, &[zip.to_str().unwrap(), name]);
        let message = refused(&zip, &[]);
        let unpacked = directory.path().join("b.zarr").display().to_string();
        assert!(
            message.contains(&format!("unzip {} -d {unpacked}", zip.display()))
                && message.trim_end().ends_with(&format!(
                    "zarr.consolidate_metadata({unpacked:?}) and convert {unpacked}"
                )),
            "{message}"
        );
        // The remedy that the message names, as it stands there.
        let message = refused(&path, &[]);
        let call = message.split(" with ").last().unwrap().trim_end();
        run(&format!("import zarr; {call}"), &[]);
        let store = directory.path().join("x.cellring");
        let (code, _, stderr) = cellring(&["convert", name, "-o", store.to_str().unwrap()]);
        assert_eq!(code, 0, "{stderr}");
        let store = Store::open(&store).unwrap();
        assert_eq!(store.obs().schema().unwrap().fields().len(), 2, "its names and b");
    }
}
