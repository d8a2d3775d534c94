//! A state that does not fit names what differs.

use serde_json::Value;

use crate::{TestStore, fail, scratch, succeed};

#[test]
fn the_option_that_differs_is_named() {
    let store = TestStore::counts(300, 60);
    let dir = scratch();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (state, list, order) = (at("state.json"), at("list"), at("order"));
    let numbers = |range: std::ops::Range<u32>| range.map(|n| format!("{n}\n")).collect::<String>();
    std::fs::write(&list, numbers(0..200)).unwrap();
    std::fs::write(&order, numbers(0..250)).unwrap();
    let (some_genes, other_genes) = (at("some"), at("others"));
    std::fs::write(&some_genes, "gene_3\ngene_5\n").unwrap();
    std::fs::write(&other_genes, "gene_5\ngene_3\n").unwrap();
    let base = ["epoch", store.path()];
    let file = ["--obs-file", &list];
    let by_order = ["--order", &order];
    let filter = ["--obs-filter", "number < 600"];
    let split = ["--split", "train=0.8,val=0.2", "--part", "train"];
    let weights = ["--weights", "score"];
    let normalized = ["--normalize", "10000", "--log1p"];
    let genes = ["--genes", &some_genes];
    let cases: [(&[&str], &[&str], &[&str]); 23] = [
        (
            &normalized,
            &[],
            &[
                "log1p was true, is now not given",
                "normalize was 10000, is now not given",
            ],
        ),
        (
            &normalized,
            &["--normalize", "1000", "--log1p"],
            &["(normalize was 10000, is now 1000)"],
        ),
        (&[], &["--log1p"], &["(log1p was not given, is now true)"]),
        (&[], &["--layout", "dense"], &["(layout was csr, is now dense)"]),
        (&[], &["--values", "bf16"], &["(values was f32, is now bf16)"]),
        (&genes, &["--genes", &other_genes], &["(genes was different)"]),
        (
            &[],
            &["--obs-columns", "plate"],
            &["(obs_columns was not given, is now plate)"],
        ),
        (&[], &["--seed", "8"], &["seed was 0, is now 8"]),
        (&[], &["--batch-size", "16"], &["batch_size was 64, is now 16"]),
        (&[], &["--block-size", "8"], &["block_size was 16, is now 8"]),
        (&[], &["--fetch-factor", "2"], &["fetch_factor was 256, is now 2"]),
        (&[], &["--drop-last"], &["drop_last was false, is now true"]),
        (
            &[],
            &["--strategy", "sequential"],
            &["strategy was block-shuffle, is now sequential"],
        ),
        (
            &filter,
            &["--obs-filter", "number < 300"],
            &[
                "--obs-filter was number < 600, is now number < 300",
                "subset was different",
            ],
        ),
        (&filter, &[], &["--obs-filter was number < 600, is now not given"]),
        (
            &[],
            &["--obs-range", "0..100"],
            &["--obs-range was not given, is now 0..100"],
        ),
        (
            &split,
            &["--split", "train=0.8,val=0.2", "--part", "val"],
            &["--part was train, is now val"],
        ),
        (
            &split,
            &[
                "--split",
                "train=0.8,val=0.2",
                "--part",
                "train",
                "--split-seed",
                "3",
            ],
            &["--split-seed was 0, is now 3"],
        ),
        (
            &weights,
            &["--weights", "number"],
            &["--weights was score, is now number", "weights was different"],
        ),
        (
            &weights,
            &["--weights", "score", "--draws", "50"],
            &["n_draws was default, is now 50"],
        ),
        (
            &weights,
            &["--weights", "score", "--without-replacement"],
            &["replacement was true, is now false"],
        ),
        (
            &["--balance", "plate"],
            &["--balance", "number"],
            &["--balance was plate, is now number"],
        ),
        (
            &["--group", "number", "--n-per-group", "4"],
            &["--group", "number", "--n-per-group", "5"],
            &["n_per_group was 4, is now 5"],
        ),
    ];
    for (then, now, expected) in cases {
        succeed(&[&base, then, &["--minibatches", "1", "--save-state", &state]].concat());
        let message = fail(&[&base, now, &["--resume", &state]].concat());
        for part in expected {
            assert!(message.contains(part), "{then:?} {now:?}: {part}: {message}");
        }
        succeed(&[&base, then, &["--resume", &state]].concat());
    }
    // Files of the same name with other contents.
    for (option, path) in [(file, &list), (by_order, &order)] {
        succeed(
            &[
                &base[..],
                &option,
                &["--minibatches", "1", "--save-state", &state],
            ]
            .concat(),
        );
        std::fs::write(path, numbers(3..180)).unwrap();
        let message = fail(&[&base[..], &option, &["--resume", &state]].concat());
        assert!(message.contains(" was different"), "{message}");
    }
    // Another store, of the same size or of another.
    succeed(&[&base[..], &["--minibatches", "1", "--save-state", &state]].concat());
    let message = fail(&["epoch", TestStore::counts(300, 70).path(), "--resume", &state]);
    assert!(
        message.contains("data set was different") && !message.contains("n_obs"),
        "{message}"
    );
    let message = fail(&["epoch", TestStore::counts(310, 60).path(), "--resume", &state]);
    assert!(message.contains("n_obs was 300, is now 310"), "{message}");
    // What rank it is says nothing of the order.
    succeed(
        &[
            &base[..],
            &["--resume", &state, "--world-size", "2", "--rank", "1"],
        ]
        .concat(),
    );
}

#[test]
fn states_of_earlier_releases_are_still_read() {
    let store = TestStore::counts(300, 60);
    let dir = scratch();
    let path = dir.path().join("state.json");
    let state = path.to_str().unwrap();
    succeed(&["epoch", store.path(), "--minibatches", "2", "--save-state", state]);
    let mut old: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let known = old.as_object_mut().unwrap();
    assert!(known.remove("settings").is_some() && known.remove("output").is_some());
    let mut keys: Vec<_> = known.keys().cloned().collect();
    keys.sort();
    assert_eq!(
        keys,
        ["epoch", "fingerprint", "history", "version"],
        "as they were"
    );
    std::fs::write(&path, old.to_string()).unwrap();
    let rest = store.json("epoch", &["--resume", state]);
    assert_eq!(rest["minibatches"], 3);
    let rest = store.json("epoch", &["--resume", state, "--log1p"]);
    assert_eq!(rest["minibatches"], 3, "the output was not recorded");
    let message = fail(&["epoch", store.path(), "--resume", state, "--seed", "8"]);
    assert!(message.contains("other data (fingerprint "), "{message}");
}
