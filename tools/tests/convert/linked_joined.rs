//! Several files as one linked store: it gives what their conversion gives.

use std::path::{Path, PathBuf};

use cellring::format::ValueType;
use cellring_tools::synth::Synth;

use crate::joined::{genes, write};
use crate::linked::{age, spec_reader};
use crate::{cellring, digest, fail, report, samples, scratch, shared_data};

fn shown(paths: &[PathBuf]) -> Vec<&str> {
    paths.iter().map(|path| path.to_str().unwrap()).collect()
}

/// Links and converts inputs with these options, and compares what is read of both stores. Gives the linked one.
fn compare(inputs: &[PathBuf], options: &[&str], directory: &Path) -> PathBuf {
    let [linked, held, fast] = ["linked", "held", "fast"].map(|name| directory.join(name));
    let [link, hold, again] = [&linked, &held, &fast].map(|path| path.to_str().unwrap());
    let inputs = shown(inputs);
    let root = ["--source-root", "/"];
    let exported = directory.join("exported.h5ad");
    let made = report(&[&["link"], &inputs[..], &["-o", link, "--force"], &root, options].concat());
    assert_eq!(made["sources"], serde_json::json!(inputs));
    let to = ["-o", hold, "--force", "--var-order", "source"];
    report(&[&["convert"], &inputs[..], &to, options].concat());
    for order in [&["--strategy", "sequential"][..], &["--obs-columns", "file"]] {
        assert_eq!(
            digest(link, &[order, &root].concat()),
            digest(hold, order),
            "{inputs:?} {options:?}"
        );
    }
    assert_eq!(report(&[&["verify", link], &root[..]].concat())["whole"], true);
    let checked = directory.join("checked");
    let to = ["-o", checked.to_str().unwrap(), "--force", "--checksum"];
    let made = report(&[&["link"], &inputs[..], &to, &root, options].concat());
    assert_eq!(made["row_checksums"], true);
    let verified = report(&[&["verify", checked.to_str().unwrap()], &root[..]].concat());
    assert_eq!(verified["row_checksums"], true);
    for table in ["obs", "var"] {
        let of = |store: &str, root: &[&str]| report(&[&[table, store], root].concat());
        assert_eq!(of(link, &root), of(hold, &[]));
    }
    report(
        &[
            &["export", link, exported.to_str().unwrap(), "--force"],
            &root[..],
        ]
        .concat(),
    );
    // As it was linked: the join is part of that.
    let to = ["-o", again, "--force", "--var-order", "source"];
    report(&[&["convert", link], &to[..], &root].concat());
    let id = |store: &str| report(&["info", store])["store_id"].clone();
    assert_eq!(id(again), id(hold), "{inputs:?} {options:?}");
    linked
}

/// Genes in other orders, of which some inputs lack some, in several forms of matrices.
fn of_every_form(directory: &Path) -> Vec<PathBuf> {
    let path = |name: &str| directory.join(name);
    let all: Vec<u32> = (0..9).collect();
    let cells = |n| samples::names("cell", n);
    write(&path("a.h5ad"), ValueType::F32, &cells(70), &genes(&all, 1));
    write(
        &path("b.h5ad"),
        ValueType::F32,
        &cells(5),
        &genes(&[12, 3, 8, 5, 20, 0, 4], 1),
    );
    let third: Vec<u32> = (3..9).rev().chain(30..33).collect();
    write(&path("c.h5ad"), ValueType::F32, &cells(200), &genes(&third, 1));
    // The same as zarr, compressed and dense.
    let [b, c] = ["b.h5ad", "c.h5ad"].map(|name| path(name).to_str().unwrap().to_owned());
    let (store, zarr, gzip) = (path("held"), path("b.zarr"), path("c-gzip.h5ad"));
    let [store, zarr, gzip] = [&store, &zarr, &gzip].map(|path| path.to_str().unwrap());
    report(&["convert", &b, "-o", store, "--force"]);
    report(&["export", store, zarr, "--compression", "gzip"]);
    report(&["convert", &c, "-o", store, "--force"]);
    report(&[
        "export",
        store,
        gzip,
        "--compression",
        "gzip",
        "--chunk",
        "64",
        "--form",
        "dense",
    ]);
    std::fs::remove_dir_all(store).unwrap();
    let inputs = ["a.h5ad", "b.zarr", "c-gzip.h5ad", "c.h5ad"].map(path).to_vec();
    inputs.iter().for_each(|input| age(input));
    inputs
}

#[test]
fn what_is_linked_together_is_what_is_converted_together() {
    let directory = scratch();
    let inputs = of_every_form(directory.path());
    for join in ["inner", "outer"] {
        let options = ["--join", join, "--label-column", "file", "--index-unique", "-"];
        let held = compare(&inputs, &options, directory.path()).with_file_name("held");
        let (near, dump) = (directory.path().join("near"), directory.path().join("held.npz"));
        let to = ["-o", near.to_str().unwrap(), "--force"];
        report(&[&["link"], &shown(&inputs)[..], &to, &options].concat());
        spec_reader(&[&held, &dump]);
        spec_reader(&[&near, Path::new("--compare"), &dump]);
    }
    let by_id = [
        "--join",
        "outer",
        "--var-key",
        "gene_ids",
        "--label-column",
        "file",
        "--label-values",
        "w,x,y,z",
    ];
    compare(&inputs, &by_id, directory.path());
    compare(&inputs[2..], &["--label-column", "file"], directory.path());
    // Of other types: the narrowest that holds all, as in a conversion.
    let counts = directory.path().join("counts.h5ad");
    write(
        &counts,
        ValueType::I32,
        &samples::names("cell", 30),
        &genes(&[5, 0, 7], 1),
    );
    age(&counts);
    let mixed = [inputs[0].clone(), counts];
    compare(
        &mixed,
        &["--join", "outer", "--label-column", "file"],
        directory.path(),
    );
    let one = compare(
        &inputs[..1],
        &["--label-column", "file", "--index-unique", "/"],
        directory.path(),
    );
    assert_eq!(
        report(&["info", one.to_str().unwrap(), "--source-root", "/"])["source"]["label_column"],
        "file"
    );
    let Some(shared) = shared_data() else { return };
    let multi = [
        "sc_celseq2",
        "sc_celseq2_5cl_p1",
        "sc_celseq2_5cl_p3",
        "sc_dropseq",
    ];
    let multi = multi.map(|name| shared.join("multi").join(format!("{name}.h5ad")));
    for join in ["inner", "outer"] {
        compare(
            &multi,
            &["--join", join, "--label-column", "file"],
            directory.path(),
        );
    }
    let of_pbmc = ["zarr/pbmc3k_1200_v2_blosc.zarr", "pbmc3k_csr_gzip_v012.h5ad"];
    compare(
        &of_pbmc.map(|name| shared.join(name)),
        &["--label-column", "file"],
        directory.path(),
    );
    let of_types = [
        "pbmc3k_csr_int64idx_lzf.h5ad",
        "zarr/pbmc3k_1200_v2_blosc.zarr",
        "compat/pbmc3k_300_bool.h5ad",
    ];
    compare(
        &of_types.map(|name| shared.join(name)),
        &["--label-column", "file"],
        directory.path(),
    );
    let layers = vec![shared.join("compat/cellrank_100_raw_layers.h5ad"); 2];
    let twice = [
        "--x",
        "--raw",
        "--label-column",
        "file",
        "--label-values",
        "first,second",
    ];
    compare(&layers, &twice, directory.path());
}

#[test]
fn joined_links_are_refreshed_relocated_and_refused_input_by_input() {
    let directory = scratch();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let cells = |name: &str, n, seed| {
        Synth::new(n, 400, seed)
            .write_h5ad(Path::new(&at(name)), |_| {})
            .unwrap();
        age(Path::new(&at(name)));
        at(name)
    };
    std::fs::create_dir(at("other")).unwrap();
    let (first, second) = (cells("plate.h5ad", 150, 1), cells("other/plate.h5ad", 90, 2));
    let (store, labels) = (
        at("s.cellring"),
        ["--label-column", "dish", "--label-values", "1,2"],
    );
    report(&[&["link", &first, &second, "-o", &store][..], &labels].concat());
    let before = digest(&store, &[]);
    let info = report(&["info", &store]);
    assert_eq!(info["linked_to"].as_array().unwrap().len(), 2);
    assert_eq!(
        info["source"]["files"],
        serde_json::json!(["plate.h5ad", "plate.h5ad"])
    );
    // The name of one of two that are called the same.
    let moved = at("other/moved.h5ad");
    std::fs::rename(&second, &moved).unwrap();
    let error = fail(&["epoch", &store]);
    assert!(error.contains("other/plate.h5ad"), "{error}");
    let relocated = report(&["link", "--relocate", &second, &moved, &store]);
    assert_eq!(relocated["same_id"], true);
    assert_eq!(digest(&store, &[]), before);
    assert_eq!(
        report(&["info", &store])["source"]["files"],
        serde_json::json!(["plate.h5ad", "moved.h5ad"])
    );
    // One of them changes.
    cells("other/moved.h5ad", 120, 3);
    let error = fail(&["epoch", &store]);
    assert!(error.contains("moved.h5ad: the file has changed"), "{error}");
    assert_eq!(report(&["link", "--refresh", &store])["n_obs"], 270);
    let held = at("held.cellring");
    let to = ["-o", &held, "--var-order", "source"];
    report(&[&["convert", &first, &moved], &to[..], &labels].concat());
    assert_eq!(digest(&store, &[]), digest(&held, &[]));
    for other in [
        &["--join", "outer"][..],
        &["--label-column", "file"],
        &["--index-unique", "-"],
    ] {
        let error = fail(&[&["convert", &store, "-o", &at("out")], other].concat());
        assert!(error.contains("joined in another way"), "{error}");
    }
    std::fs::rename(&first, at("gone")).unwrap();
    let error = fail(&["link", "--refresh", &store]);
    assert!(
        error.contains("it is not there") && error.contains("--relocate"),
        "{error}"
    );
    std::fs::rename(at("gone"), &first).unwrap();
    // What does not go together.
    let (code, _, error) = cellring(&["link", "--refresh", &store, &store]);
    assert!(code == 2 && error.contains("take one linked store"), "{error}");
    let out = at("out");
    let few = at("few.h5ad");
    write(
        Path::new(&few),
        ValueType::F32,
        &samples::names("cell", 5),
        &genes(&[0, 1, 2], 1),
    );
    let error = fail(&["link", &few, &first, "-o", &out]);
    assert!(error.contains("--var-key"), "{error}");
    let csc = at("csc.h5ad");
    report(&["export", &held, &csc, "--form", "csc"]);
    age(Path::new(&csc));
    let error = fail(&["link", &first, &csc, "-o", &out, "--join", "outer"]);
    assert!(
        error.contains("csc.h5ad cannot be linked: it is stored as csc_matrix"),
        "{error}"
    );
    assert!(!Path::new(&out).exists());
}

/// Directories of zarr that are called as what is in them, labels that were names of files, and joins that a manifest does not know.
#[test]
fn inputs_are_found_again_whatever_they_are_called() {
    let directory = scratch();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (store, held, file) = (at("s.cellring"), at("held"), at("cells.h5ad"));
    Synth::new(60, 300, 1)
        .write_h5ad(Path::new(&file), |_| {})
        .unwrap();
    report(&["convert", &file, "-o", &held, "--var-order", "source"]);
    std::fs::create_dir(at("data")).unwrap();
    let zarrs = [at("X"), at("data/data")];
    for (zarr, format) in zarrs.iter().zip(["2", "3"]) {
        report(&["export", &held, &format!("{zarr}.zarr"), "--zarr-format", format]);
        std::fs::rename(format!("{zarr}.zarr"), zarr).unwrap();
        age(Path::new(zarr));
    }
    let labels = ["--label-column", "from"];
    report(&[&["link", &zarrs[0], &zarrs[1], "-o", &store][..], &labels].concat());
    let of = |store: &str| digest(store, &["--obs-columns", "from"]);
    let before = of(&store);
    report(&["link", "--refresh", &store]);
    assert_eq!(of(&store), before);
    std::fs::rename(at("data"), at("moved")).unwrap();
    report(&["link", "--relocate", &at("data"), &at("moved"), &store]);
    std::fs::rename(&zarrs[0], at("Y")).unwrap();
    report(&["link", "--relocate", &zarrs[0], &at("Y"), &store]);
    let source = report(&["info", &store])["source"].clone();
    assert_eq!(source["files"], serde_json::json!(["Y", "data"]));
    assert_eq!(source["labels"], serde_json::json!(["X", "data"]));
    assert_eq!(of(&store), before);
    // What leads to the file has another name than it.
    std::fs::rename(at("Y"), at("moved/Z")).unwrap();
    std::os::unix::fs::symlink(at("moved/Z"), at("link")).unwrap();
    report(&["link", "--relocate", &at("Y"), &at("link"), &store]);
    assert_eq!(report(&["info", &store])["source"]["files"][0], "Z");
    // The labels are those that the cells have.
    report(&["link", "--refresh", &store]);
    assert_eq!(of(&store), before);
    report(&["convert", &store, "-o", &held, "--force", "--var-order", "source"]);
    assert_eq!(of(&held), before);
}
