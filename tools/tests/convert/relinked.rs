//! What the commands do with linked stores: converting them, linking their files again, and telling them where these are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use cellring::Store;
use cellring_anndata::Selection;
use cellring_anndata::write::Compression;
use cellring_tools::convert::{ConvertError, ConvertOptions};
use cellring_tools::export::{ExportOptions, export};
use cellring_tools::link::{LinkOptions, link};
use cellring_tools::synth::Synth;
use serde_json::Value;

use crate::{cellring, digest, fail, names, python, report, run_convert, scratch, shared_data, synthetic};

/// Gives a file a time at which it was last changed, long enough ago.
pub(crate) fn set_age(path: &Path, seconds: u64) {
    let file = std::fs::File::options().append(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(seconds))
        .unwrap();
}

pub(crate) fn shown(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Every file of a store.
fn content(store: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut left = vec![store.to_path_buf()];
    while let Some(directory) = left.pop() {
        for name in names(&directory) {
            let path = directory.join(name);
            match path.is_dir() {
                true => left.push(path),
                false => {
                    let relative = path.strip_prefix(store).unwrap().to_path_buf();
                    all.insert(relative, std::fs::read(path).unwrap());
                }
            }
        }
    }
    all
}

/// A compressed file of about a million values, in chunks of this length.
pub(crate) fn compressed(directory: &Path, chunk_len: u32) -> PathBuf {
    let input = synthetic(directory);
    let (held, path) = (directory.join("held"), directory.join("gzip.h5ad"));
    run_convert(&input, &held, &ConvertOptions::default()).unwrap();
    let options = ExportOptions {
        compression: Some("gzip".parse::<Compression>().unwrap()),
        chunk_len: Some(chunk_len),
        ..ExportOptions::default()
    };
    export(&held, &path, &options, &|_, _| ()).unwrap();
    set_age(&path, 3600);
    path
}

#[test]
fn a_converted_link_is_the_converted_file() {
    let directory = scratch();
    let at = |name: &str| directory.path().join(name);
    let input = synthetic(directory.path());
    let linked = shown(&at("linked.cellring"));
    let mut cases = vec![(input, vec![], vec![])];
    if let Some(data) = shared_data() {
        let layers = data.join("compat/cellrank_100_raw_layers.h5ad");
        cases.push((layers.clone(), vec!["--x", "--raw"], vec![]));
        cases.push((layers, vec!["--raw"], vec!["--shuffle", "7"]));
        cases.push((
            data.join("pbmc3k_csr_gzip_v012.h5ad"),
            vec![],
            vec!["--max-obs", "100", "--encoding", "raw"],
        ));
    }
    for (input, matrices, options) in cases {
        let input = shown(&input);
        let root = ["--source-root", "/"];
        report(&[&["link", &input, "-o", &linked, "--force"][..], &matrices, &root].concat());
        let [of_link, of_file] = ["of_link", "of_file"].map(|name| shown(&at(name)));
        let of_input = ["convert", &input, "-o", &of_file, "--force"];
        report(&[&of_input[..], &matrices, &options].concat());
        let of_store = ["convert", &linked, "-o", &of_link, "--force"];
        report(&[&of_store[..], &root, &options].concat());
        assert!(
            content(Path::new(&of_link)) == content(Path::new(&of_file)),
            "{input} {matrices:?}"
        );
    }
}

#[test]
fn a_link_is_converted_as_it_was_linked_or_not_at_all() {
    let directory = scratch();
    let at = |name: &str| shown(&directory.path().join(name));
    let input = synthetic(directory.path());
    let (file, store, out) = (shown(&input), at("s.cellring"), at("out.cellring"));
    report(&["link", &file, "-o", &store]);
    for other in [&["--raw"][..], &["--x"], &["--group", "mod/rna"]] {
        let error = fail(&[&["convert", &store, "-o", &out], other].concat());
        assert!(
            error.contains("stands for X of its input") && error.contains(&file),
            "{error}"
        );
    }
    let error = fail(&["convert", &store, &file, "-o", &out]);
    assert!(error.contains("a linked cellring store"), "{error}");
    report(&["convert", &file, "-o", &out]);
    let error = fail(&["convert", &out, "-o", &at("again")]);
    assert!(error.contains("is a cellring store already"), "{error}");
    set_age(&input, 77);
    let error = fail(&["convert", &store, "-o", &out, "--force"]);
    assert!(
        error.contains("has changed since it was linked") && error.contains("cellring link --refresh"),
        "{error}"
    );
    assert_eq!(report(&["verify", &out])["whole"], true, "what was there is left");
    // In the library too a matrix is taken once.
    let options = LinkOptions {
        other_matrices: vec![Selection::X],
        ..LinkOptions::default()
    };
    let twice = link(&[input], Path::new(&at("twice")), &options, &|_, _| ());
    assert!(matches!(twice, Err(ConvertError::Twice { .. })), "{twice:?}");
    assert!(!Path::new(&at("twice")).exists());
}

#[test]
fn refresh_links_the_file_again_with_what_was_linked() {
    let Some(data) = shared_data() else { return };
    let directory = scratch();
    let at = |name: &str| shown(&directory.path().join(name));
    let (file, store) = (at("a.h5ad"), at("s.cellring"));
    std::fs::copy(data.join("compat/cellrank_100_raw_layers.h5ad"), &file).unwrap();
    set_age(Path::new(&file), 3600);
    let first = report(&["link", &file, "-o", &store, "--raw", "--x"]);
    let left_out = first["left_out"].to_string();
    assert!(
        !left_out.contains("--obsm"),
        "link has no such option: {left_out}"
    );
    let before = digest(&store, &[]);
    let id = report(&["info", &store])["store_id"].clone();
    set_age(Path::new(&file), 60);
    assert!(fail(&["info", &store]).contains("cellring link --refresh"));
    let again = report(&["link", "--refresh", &store]);
    assert_eq!(again["matrices"], first["matrices"]);
    assert_eq!(digest(&store, &[]), before);
    // Its content is the same, so that saved states can be resumed.
    assert_eq!(report(&["info", &store])["store_id"], id);
    assert_eq!(report(&["verify", &store])["whole"], true);
    let converted = at("c.cellring");
    report(&["convert", &store, "-o", &converted]);
    let error = fail(&["link", "--refresh", &converted]);
    assert!(error.contains("not a linked store"), "{error}");
    let error = fail(&["link", "--refresh", &file]);
    assert!(error.contains("not a linked store"), "{error}");
    for args in [&["--output", "x"][..], &["--raw"], &["--force"]] {
        let (code, _, said) = cellring(&[&["link", "--refresh", &store], args].concat());
        assert!(code == 2 && said.contains("cannot be used with"), "{said}");
    }
}

/// More cells are as welcome as another file that took the name; but which it is is said.
#[test]
fn refresh_says_what_is_not_what_it_was() {
    let directory = scratch();
    let at = |name: &str| shown(&directory.path().join(name));
    let (file, store) = (at("a.h5ad"), at("s.cellring"));
    let make = |n_obs: u64, n_vars: u32| {
        Synth::new(n_obs, n_vars, 3)
            .write_h5ad(Path::new(&file), |_| {})
            .unwrap();
        set_age(Path::new(&file), 3600 + n_obs);
    };
    let refreshed = || {
        let report = report(&["link", "--refresh", &store]);
        let warnings: Vec<Value> = report["warnings"].as_array().unwrap().clone();
        warnings
            .into_iter()
            .filter(|warning| warning["kind"] == "changes")
            .map(|warning| warning["message"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    make(300, 2_000);
    report(&["link", &file, "-o", &store]);
    assert!(refreshed().is_empty());
    make(340, 2_000);
    let [said] = &refreshed()[..] else {
        panic!("one warning")
    };
    assert!(
        said.contains("s.cellring: ") && said.contains("340 obs, before 300; if"),
        "{said}"
    );
    assert!(refreshed().is_empty());
    assert_eq!(report(&["info", &store])["n_obs"], 340);
    // Another one, in which nothing has its name.
    let renamed = "import anndata, sys; a = anndata.read_h5ad(sys.argv[1]); a.obs_names = 'x' + a.obs_names; a.var_names = 'y' + a.var_names; \
                   a = a[:, :1500].copy(); a.X = a.X.astype('i4'); a.write_h5ad(sys.argv[1])";
    let made = Command::new(python())
        .args(["-W", "ignore", "-c", renamed, &file])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    set_age(Path::new(&file), 60);
    let [said] = &refreshed()[..] else {
        panic!("one warning")
    };
    for part in [
        "340 of the first 340 obs have other names",
        "1500 genes, before 2000",
        "1500 of the first 1500 genes have other names",
        "values of type int32, before",
        "put back the file that was linked, and refresh again",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn relocated_files_are_the_ones_that_were_linked_and_the_store_keeps_its_id() {
    let directory = scratch();
    let at = |name: &str| shown(&directory.path().join(name));
    let input = synthetic(directory.path());
    let (file, store, state) = (shown(&input), at("s.cellring"), at("state"));
    report(&["link", &file, "-o", &store]);
    let before = report(&["info", &store]);
    let expected = digest(&store, &[]);
    report(&["epoch", &store, "--minibatches", "5", "--save-state", &state]);
    let rest = report(&["epoch", &store, "--resume", &state, "--digest"])["digest"].clone();
    std::fs::create_dir(at("moved")).unwrap();
    let moved = at("moved/cells.h5ad");
    std::fs::rename(&file, &moved).unwrap();
    let error = fail(&["info", &store]);
    assert!(
        error.contains("cellring link --relocate OLD NEW STORE"),
        "{error}"
    );
    // What is not the file, or not of the store, or not below the root, leaves the store as it was.
    let other = at("other.h5ad");
    let untouched = content(Path::new(&store));
    let mut bytes = std::fs::read(&moved).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&other, &bytes).unwrap();
    set_age(Path::new(&other), 3600);
    let error = fail(&["link", "--relocate", &file, &other, &store]);
    assert!(error.contains("some of its bytes differ"), "{error}");
    std::fs::write(&other, &bytes[1..]).unwrap();
    set_age(Path::new(&other), 3600);
    let error = fail(&["link", "--relocate", &file, &other, &store]);
    assert!(error.contains(&format!("expected {}", bytes.len())), "{error}");
    let error = fail(&["link", "--relocate", "unknown.h5ad", &moved, &store]);
    assert!(error.contains("it refers to synthetic.h5ad"), "{error}");
    let inside = at("moved/inside.cellring");
    report(&["link", &moved, "-o", &inside]);
    let error = fail(&["link", "--relocate", "cells.h5ad", &other, &inside]);
    assert!(error.contains("--source-root"), "{error}");
    assert!(content(Path::new(&store)) == untouched);
    let found = report(&["link", "--relocate", "synthetic.h5ad", &moved, &store]);
    assert_eq!(
        (&found["same_id"], &found["linked_to"][0]),
        (&true.into(), &moved.as_str().into())
    );
    let after = report(&["info", &store]);
    assert_eq!(before["store_id"], after["store_id"]);
    assert_eq!(after["source"]["file"], "cells.h5ad");
    assert_eq!(digest(&store, &[]), expected);
    let resumed = report(&["epoch", &store, "--resume", &state, "--digest"]);
    assert_eq!(resumed["digest"], rest);
    assert_eq!(report(&["verify", &store])["whole"], true);
    // A copy has another time; and a directory may be what was renamed.
    let copy = at("moved/copy.h5ad");
    std::fs::copy(&moved, &copy).unwrap();
    set_age(Path::new(&copy), 60);
    report(&["link", "--relocate", &moved, &copy, &store]);
    std::fs::rename(at("moved"), at("renamed")).unwrap();
    report(&["link", "--relocate", &at("moved"), &at("renamed"), &store]);
    assert_eq!(digest(&store, &[]), expected);
    assert_eq!(report(&["info", &store])["store_id"], before["store_id"]);
    report(&["link", "--refresh", &store]);
    assert_eq!(digest(&store, &[]), expected);
    let leftovers: Vec<String> = names(directory.path())
        .into_iter()
        .filter(|name| name.starts_with('.'))
        .collect();
    assert_eq!(leftovers, [""; 0]);
}

/// The error for a file that is gone names it below the directory of the store; so may OLD, when the file is below another one now.
#[test]
fn a_file_that_leaves_the_directory_of_the_store_is_told_as_the_error_names_it() {
    let directory = scratch();
    let at = |name: &str| shown(&directory.path().canonicalize().unwrap().join(name));
    for name in ["here", "there"] {
        std::fs::create_dir(at(name)).unwrap();
    }
    let (file, moved, store) = (
        at("here/cells.h5ad"),
        at("there/cells.h5ad"),
        at("here/s.cellring"),
    );
    std::fs::rename(synthetic(directory.path()), &file).unwrap();
    report(&["link", &file, "-o", &store]);
    let expected = digest(&store, &[]);
    std::fs::rename(&file, &moved).unwrap();
    let error = fail(&["epoch", &store]);
    assert!(error.contains(&file), "{error}");
    let error = fail(&["link", "--relocate", &file, &moved, &store]);
    assert!(error.contains("--source-root"), "{error}");
    let root = ["--source-root", &at("")];
    report(&[&["link", "--relocate", &file, &moved, &store], &root[..]].concat());
    assert_eq!(digest(&store, &root), expected);
}

#[test]
fn several_matrices_move_together() {
    let Some(data) = shared_data() else { return };
    let directory = scratch();
    let at = |name: &str| shown(&directory.path().join(name));
    let (file, moved, store) = (at("a.h5ad"), at("b.h5ad"), at("s.cellring"));
    std::fs::copy(data.join("compat/cellrank_100_raw_layers.h5ad"), &file).unwrap();
    set_age(Path::new(&file), 3600);
    report(&["link", &file, "-o", &store, "--raw", "--x"]);
    let ids = |store: &str| {
        let store = Store::open(store).unwrap();
        let further = store.matrices()[0].manifest().store_id.clone();
        (store.manifest().store_id.clone(), further)
    };
    let before = ids(&store);
    std::fs::rename(&file, &moved).unwrap();
    report(&["link", "--relocate", &file, &moved, &store]);
    assert_eq!(ids(&store), before);
    assert_eq!(report(&["verify", &store])["whole"], true);
}
