//! Options of `epoch` that say in which form cells come.

use std::collections::BTreeSet;
use std::path::Path;

use cellring::Store;
use serde_json::Value;

use crate::{cellring, json, scratch, succeed};

#[test]
fn forms_of_output() {
    let dir = scratch();
    let path = dir.path().join("mouse.cellring");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/mousebrain10k.h5ad");
    succeed(&["convert", source.to_str().unwrap(), "-o", path.to_str().unwrap()]);
    let store = Store::open(&path).unwrap();
    let report = |args: &[&str]| -> Value {
        let base = [
            "epoch",
            path.to_str().unwrap(),
            "--minibatches",
            "20",
            "--digest",
            "--json",
        ];
        json(&[&base[..], args].concat())
    };
    let plain = report(&[]);
    assert_eq!(plain["cells"], 20 * 64);
    assert_eq!(
        report(&["--layout", "csr", "--values", "f32"])["digest"],
        plain["digest"]
    );
    let genes = dir.path().join("genes");
    std::fs::write(&genes, "Satb2\nDbi\nno such gene\nMap2\n").unwrap();
    let genes = genes.to_str().unwrap();
    let forms = [
        &["--layout", "dense"][..],
        &["--layout", "dense", "--values", "f16"],
        &["--layout", "dense", "--values", "bf16"],
        &["--layout", "top-k:20"],
        &["--normalize", "10000", "--log1p"],
        &["--normalize", "10000"],
        &["--log1p"],
    ];
    let mut digests = BTreeSet::from([plain["digest"].to_string()]);
    for args in forms {
        let found = report(args);
        assert!(digests.insert(found["digest"].to_string()), "{args:?}");
        assert_eq!(report(args)["digest"], found["digest"], "{args:?}");
    }
    // Another way to read changes nothing, whatever the form.
    assert_eq!(
        report(&["--layout", "dense", "--backend", "pread", "--threads", "1"])["digest"],
        report(&["--layout", "dense"])["digest"]
    );
    let found = report(&["--genes", genes]);
    assert!(found["nnz"].as_u64() < plain["nnz"].as_u64());
    let ran = cellring(&[
        "epoch",
        path.to_str().unwrap(),
        "--minibatches",
        "1",
        "--genes",
        genes,
    ]);
    assert!(
        ran.stderr.contains("1 of its genes are not in the store") && ran.stderr.contains("no such gene"),
        "{}",
        ran.stderr
    );
    assert_eq!(store.n_obs(), 10_000);
    for (args, message) in [
        (&["--layout", "top-k:0"][..], "is not a layout"),
        (&["--values", "f64"], "is not a type of values"),
        (&["--normalize", "-1"], "-1"),
    ] {
        let ran = cellring(&[&["epoch", path.to_str().unwrap()], args].concat());
        assert!(ran.code > 0 && ran.stderr.contains(message), "{}", ran.stderr);
    }
}
