//! What the reporting commands say, and that it is true.

use cellring::format::Encoding;

use crate::common::Kind;
use crate::{TestStore, assert_keys, fail, json, scratch, succeed};

#[test]
fn info_tells_shape_size_and_columns() {
    for encoding in [Encoding::Packed, Encoding::Raw] {
        let store = TestStore::new(300, 200, Kind::Counts, encoding);
        let info = store.json("info", &[]);
        assert_eq!(info["n_obs"], 300);
        assert_eq!(info["n_vars"], 200);
        assert_eq!(info["nnz"], store.rows.nnz());
        assert_eq!(info["encoding"], encoding.name());
        assert_eq!(info["value_type"], "float32");
        assert_eq!(info["block_size"], 16);
        assert_eq!(
            info["obs_columns"],
            serde_json::json!(["plate", "score", "number"])
        );
        assert_eq!(info["var_columns"], serde_json::json!([]));
        assert_eq!(
            (&info["var_order"], &info["version"]),
            (&"source".into(), &1.into())
        );
        let files = std::fs::read_dir(&store.path).unwrap();
        let (mut all, mut tables) = (0, 0);
        for entry in files.map(Result::unwrap) {
            let bytes = entry.metadata().unwrap().len();
            all += bytes;
            if entry.file_name().to_str().unwrap().ends_with(".arrow") {
                tables += bytes;
            }
        }
        assert_eq!(
            (&info["bytes"], &info["table_bytes"]),
            (&all.into(), &tables.into())
        );
        assert_eq!(
            info["bytes_per_nnz"].as_f64().unwrap(),
            (all - tables) as f64 / store.rows.nnz() as f64
        );
        assert_eq!(info["shards"], crate::shards(&store.path).len());
        let text = succeed(&["info", store.path()]);
        assert!(text.starts_with("300 cells x 200 genes, "), "{text}");
        assert!(text.contains("plate, score, number"), "{text}");
    }
}

#[test]
fn verify_passes_a_whole_store() {
    let store = TestStore::counts(300, 200);
    let verified = store.json("verify", &["--threads", "2"]);
    assert_eq!(verified["whole"], true);
    assert_eq!(
        (&verified["n_obs"], &verified["nnz"]),
        (&300.into(), &store.rows.nnz().into())
    );
    assert_eq!(verified["bytes"], store.json("info", &[])["bytes"]);
    assert!(succeed(&["verify", store.path()]).starts_with("whole: 300 cells, "));
}

#[test]
fn epoch_reports_what_it_did() {
    let store = TestStore::counts(300, 200);
    let report = store.json("epoch", &["--batch-size", "16", "--threads", "2"]);
    assert_keys(
        &report,
        &[
            "seconds",
            "cells_per_second",
            "nnz_per_second",
            "bytes_read_per_second",
            "reason",
            "cpu_seconds",
            "consumer_wait_seconds",
            "read_wait_seconds",
            "decode_seconds",
            "plan_seconds",
            "depth",
        ],
    );
    assert_eq!(
        (&report["cells"], &report["minibatches"]),
        (&300.into(), &19.into())
    );
    assert_eq!(report["nnz"], store.rows.nnz());
    assert_eq!(report["decode_threads"], 2);
    assert!(report["direct"].is_boolean() && report.get("digest").is_none());
    assert!(["uring", "pread", "mmap"].contains(&report["backend"].as_str().unwrap()));
    assert!(report["reads"].as_u64().unwrap() > 0);
    assert!(report["bytes_read"].as_u64().unwrap() > 0);
    assert!(report["peak_rss_bytes"].as_u64().unwrap() > 1 << 20);
    let text = succeed(&["epoch", store.path(), "--digest"]);
    assert!(text.starts_with("300 cells in "), "{text}");
    assert!(text.contains(&store.digest(&[])), "{text}");
}

#[test]
fn bench_reports_each_block_size() {
    let store = TestStore::counts(600, 300);
    let report = store.json("bench", &["--seconds", "0.05", "--block-size", "1,64"]);
    let runs = report["runs"].as_array().unwrap();
    assert_eq!(
        runs.iter().map(|run| &run["block_size"]).collect::<Vec<_>>(),
        [1, 64]
    );
    for run in runs {
        assert!(run["cells"].as_u64().unwrap() > 0);
        for rate in [
            "cells_per_second",
            "bytes_read_per_second",
            "device_bytes_per_second",
            "fraction_of_ceiling",
        ] {
            assert!(run[rate].as_f64().unwrap() > 0.0, "{rate} of {run}");
        }
        assert_keys(run, &["cpu_seconds_per_100k_cells", "cold", "cached_before"]);
    }
    assert_keys(&report, &["cold", "backend", "direct", "peak_rss_bytes"]);
    let text = succeed(&["bench", store.path(), "--seconds", "0.05", "--block-size", "16"]);
    assert!(text.contains("cold") && text.contains("cells/s"), "{text}");
    let message = fail(&["bench", store.path(), "--batch-size", "1000", "--drop-last"]);
    assert!(message.contains("no minibatch"), "{message}");
}

#[test]
fn synth_makes_a_file_and_replaces_none_unasked() {
    let dir = scratch();
    let path = dir.path().join("made.h5ad");
    let out = path.to_str().unwrap();
    let size = ["--n-obs", "200", "--n-vars", "500"];
    let made = json(&[&["synth", out, "--seed", "3", "--json"][..], &size].concat());
    assert_eq!((&made["n_obs"], &made["n_vars"]), (&200.into(), &500.into()));
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(made["bytes"], bytes.len());
    assert!(made["nnz"].as_u64().unwrap() > 1000);
    assert!(bytes.starts_with(b"\x89HDF"));

    let message = fail(&[&["synth", out][..], &size].concat());
    assert!(message.contains("exists already; give --force"), "{message}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "untouched");
    let text = succeed(&[&["synth", out, "--force", "--seed", "4"][..], &size].concat());
    assert!(text.contains("200 cells x 500 genes"), "{text}");
    assert!(std::fs::read(&path).unwrap() != bytes, "another seed");

    let folder = dir.path().join("folder.h5ad");
    std::fs::create_dir(&folder).unwrap();
    let message = fail(&[&["synth", folder.to_str().unwrap(), "--force"][..], &size].concat());
    assert!(message.contains("is a directory"), "{message}");
    std::fs::remove_dir(&folder).unwrap();
    // Another name means a store, and what is none is not replaced.
    let message = fail(&[&["synth", dir.path().to_str().unwrap(), "--force"][..], &size].concat());
    assert!(message.contains("is not a cellring store"), "{message}");
    let missing = dir.path().join("missing/made.h5ad");
    fail(&[&["synth", missing.to_str().unwrap()][..], &size].concat());
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        1,
        "nothing is left behind"
    );
}

#[test]
fn demo_goes_from_h5ad_to_two_epochs() {
    let report = json(&["demo", "--json"]);
    assert_eq!(
        (&report["n_obs"], &report["n_vars"], &report["nnz"]),
        (&10_000.into(), &1000.into(), &691_914.into())
    );
    let epochs = report["epochs"].as_array().unwrap();
    assert_eq!(epochs.len(), 2);
    for epoch in epochs {
        assert_eq!(
            (&epoch["cells"], &epoch["nnz"]),
            (&10_000.into(), &691_914.into())
        );
    }
    assert_ne!(epochs[0]["digest"], epochs[1]["digest"]);
    assert!(report["store"].is_null());

    let dir = scratch();
    let place = dir.path().join("kept");
    let keep = place.to_str().unwrap();
    let text = succeed(&["demo", "--keep", keep]);
    assert!(
        text.contains(epochs[0]["digest"].as_str().unwrap()),
        "the same digest each time: {text}"
    );
    let store = place.join("mousebrain10k.cellring");
    assert!(
        text.contains(&format!("cellring epoch {}", store.display())),
        "{text}"
    );
    let kept = json(&["epoch", store.to_str().unwrap(), "--digest", "--json"]);
    assert_eq!(kept["digest"], epochs[0]["digest"]);
    assert!(fail(&["demo", "--keep", keep]).contains("exists already"));
}
