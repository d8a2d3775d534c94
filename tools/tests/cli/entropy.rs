//! `plan --entropy`: how diverse minibatches are, and how annotations of real cells are sampled.

use std::path::Path;

use serde_json::Value;

use crate::{assert_keys, json, scratch, succeed};

/// The table of the documentation, in small: long runs, minibatches of 64.
#[test]
fn block_sampling_from_256_blocks_is_as_diverse_as_true_random_and_streaming_is_not() {
    let dir = scratch();
    let path = dir.path().join("runs.cellring");
    let path = path.to_str().unwrap();
    succeed(&[
        "synth", path, "--n-obs", "120000", "--n-vars", "32", "--seed", "1",
    ]);
    let report = json(&[
        "plan",
        path,
        "--entropy",
        "plate",
        "--block-sizes",
        "1,4,16,64,256",
        "--fetch-factors",
        "1,16,64,256",
        "--json",
    ]);
    assert_keys(
        &report,
        &[
            "mean_bits",
            "sd_bits",
            "column_bits",
            "expected",
            "minibatches",
            "table",
        ],
    );
    assert_eq!(report["minibatches"], 1875);
    let table = report["table"].as_array().unwrap();
    let bits = |entry: &Value| entry["mean_bits"].as_f64().unwrap();
    let is_stream = |entry: &&Value| entry["strategy"] == "sequential-shuffle";
    let random = bits(table.iter().find(|entry| entry["block_size"] == 1).unwrap());
    let whole = report["column_bits"].as_f64().unwrap();
    // Miller and Madow: 13 / (2 * 64 * ln 2) below the entropy of the column.
    assert!((whole - random - 0.1465).abs() < 0.02, "{whole} {random}");
    let mut n_mixed = 0;
    for entry in table.iter().filter(|entry| !is_stream(entry)) {
        let blocks = entry["blocks_per_fetch"].as_u64().unwrap();
        if blocks >= 256 {
            assert!((bits(entry) - random).abs() < 0.05, "{entry}");
            let expected = entry["expected"]["bits"].as_f64().unwrap();
            assert!((bits(entry) - expected).abs() < 0.05, "{entry}");
            n_mixed += 1;
        }
        if blocks == 1 {
            assert!(bits(entry) < 1.0, "{entry}");
        }
        let bound = |name: &str| entry["expected"][name].as_f64().unwrap();
        assert!(
            bound("lower_bits") - 0.05 < bits(entry) && bits(entry) <= bound("upper_bits"),
            "{entry}"
        );
    }
    assert!(n_mixed >= 8);
    let streamed = table
        .iter()
        .filter(is_stream)
        .find(|entry| entry["fetch_factor"] == 1)
        .unwrap();
    assert!(bits(streamed) < 0.05, "{streamed}");
    // Some minibatches from all over tell nearly the same.
    let some = json(&[
        "plan",
        path,
        "--entropy",
        "plate",
        "--minibatches",
        "300",
        "--json",
    ]);
    assert_eq!(some["minibatches"], 300);
    assert!((bits(&some) - bits(&report)).abs() < 0.03);
    let text = succeed(&["plan", path, "--entropy", "plate", "--block-sizes", "1,16"]);
    assert!(
        text.contains("all cells") && text.contains("streaming") && text.contains("f 256"),
        "{text}"
    );
    // Balanced by plate, every plate is as frequent.
    let balanced = json(&[
        "plan",
        path,
        "--entropy",
        "plate",
        "--balance",
        "plate",
        "--block-size",
        "1",
        "--json",
    ]);
    assert!(bits(&balanced) > bits(&report) - 0.01 && balanced["expected"].is_null());
}

/// Real cells with real annotations.
#[test]
fn annotations_of_real_cells() {
    let folder = std::env::var_os("CELLRING_SHARED_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        Into::into,
    );
    let source = folder.join("baron_human1_csr_i32.h5ad");
    if !source.is_file() {
        eprintln!(
            "skipped: {} does not exist; set CELLRING_SHARED_DATA",
            source.display()
        );
        return;
    }
    let dir = scratch();
    let path = dir.path().join("baron.cellring");
    let path = path.to_str().unwrap();
    succeed(&["convert", source.to_str().unwrap(), "-o", path]);
    let report = |args: &[&str]| json(&[&["epoch", path, "--json"], args].concat());
    let of = |name: &str| {
        let filter = format!("cell_type == '{name}'");
        report(&["--obs-filter", &filter])["cells"].as_u64().unwrap()
    };
    assert_eq!(of("beta") + of("alpha") + of("acinar"), {
        let filter = "cell_type in ['alpha', 'beta', 'acinar']";
        report(&["--obs-filter", filter])["cells"].as_u64().unwrap()
    });
    let rest = report(&[
        "--obs-filter",
        "not cell_type in ['alpha', 'beta', 'acinar'] or cell_type is missing",
    ]);
    assert_eq!(
        rest["cells"].as_u64().unwrap() + of("alpha") + of("beta") + of("acinar"),
        1937
    );
    let entropy = |args: &[&str]| {
        let found = json(&[&["plan", path, "--entropy", "cell_type", "--json"], args].concat());
        found["mean_bits"].as_f64().unwrap()
    };
    assert!(
        entropy(&["--balance", "cell_type", "--block-size", "1"]) > entropy(&["--block-size", "1"]) + 0.5
    );
}
