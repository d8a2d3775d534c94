//! Options of `plan` and `epoch` that say which cells are sampled, by what, and in which form they come.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cellring::Store;
use serde_json::Value;

use crate::plans::{obs, plan};
use crate::{TestStore, assert_keys, cellring, json, scratch, succeed};

/// The obs of an epoch, in order.
fn planned(store: &TestStore, args: &[&str]) -> Vec<u64> {
    plan(store, args).iter().flat_map(obs).collect()
}

fn sorted(mut obs: Vec<u64>) -> Vec<u64> {
    obs.sort_unstable();
    obs
}

/// The plate of an obs of a test store of 700.
fn plate(obs: u64) -> Option<u64> {
    (obs % 11 != 5).then_some(obs / 100)
}

/// The message of a run that is used wrongly or fails, and its exit code.
fn refused(store: &TestStore, args: &[&str]) -> (i32, String) {
    let ran = cellring(&[&["plan", store.path()], args].concat());
    assert!(ran.stdout.is_empty() && ran.code != 0, "{args:?}: {}", ran.stdout);
    (ran.code, ran.stderr)
}

#[test]
fn subsets_are_met_all_at_once() {
    let store = TestStore::counts(700, 40);
    let dir = scratch();
    let ids = dir.path().join("ids");
    std::fs::write(&ids, "# some cells\n650\n3\n\n  99 \n3\n450\n").unwrap();
    let ids = ids.to_str().unwrap();
    assert_eq!(
        sorted(planned(&store, &["--obs-range", "690..700,0..4,2..6"])),
        [0, 1, 2, 3, 4, 5, 690, 691, 692, 693, 694, 695, 696, 697, 698, 699]
    );
    assert_eq!(sorted(planned(&store, &["--obs-file", ids])), [3, 99, 450, 650]);
    assert_eq!(
        sorted(planned(&store, &["--obs-file", ids, "--obs-range", "4..600"])),
        [99, 450]
    );
    let filter = "plate in ['plate_1', 'plate_6'] and (score < 60 or not number < 2000)";
    let expected: Vec<u64> = (0..700)
        .filter(|&obs| matches!(plate(obs), Some(1 | 6)) && (obs < 120 || obs * 3 >= 2000))
        .collect();
    assert!(expected.len() > 30);
    assert_eq!(sorted(planned(&store, &["--obs-filter", filter])), expected);
    // The strategies that do not draw at random keep to it, too.
    let sequential = ["--obs-filter", filter, "--strategy", "sequential"];
    assert_eq!(planned(&store, &sequential), expected);
    let text = succeed(&["plan", store.path(), "--obs-filter", filter]);
    assert!(
        text.contains(&format!("subset       {} cells", expected.len())),
        "{text}"
    );
    // What is planned is what is loaded.
    let report = store.json("epoch", &["--obs-filter", filter]);
    assert_eq!(report["cells"], expected.len());
}

#[test]
fn splits_are_disjoint_complete_and_the_same_under_every_filter() {
    let store = TestStore::counts(700, 40);
    let split = ["--split", "train=0.8,val=0.1,test=0.1"];
    let part = |name: &str, more: &[&str]| -> BTreeSet<u64> {
        let args = [&split[..], &["--part", name], more].concat();
        planned(&store, &args).into_iter().collect()
    };
    let parts = ["train", "val", "test"].map(|name| part(name, &[]));
    assert_eq!([560, 70, 70], [parts[0].len(), parts[1].len(), parts[2].len()]);
    let all: BTreeSet<u64> = parts.iter().flatten().copied().collect();
    assert_eq!(all.len(), 700);
    // The seed of the order does not move cells, the seed of the split does.
    assert_eq!(part("test", &["--seed", "9", "--epoch", "3"]), parts[2]);
    assert_ne!(part("test", &["--split-seed", "9"]), parts[2]);
    let some = part("test", &["--obs-range", "100..300"]);
    assert!(!some.is_empty() && some.is_subset(&parts[2]));
    // Whole plates at a time; cells without a plate are in no part.
    let by_plate = ["a", "b"].map(|name| -> BTreeSet<u64> {
        let args = ["--split", "a=0.5,b=0.5", "--part", name, "--split-by", "plate"];
        planned(&store, &args).into_iter().collect()
    });
    let plates = by_plate.map(|part| part.into_iter().map(plate).collect::<BTreeSet<_>>());
    assert!(plates.iter().flatten().all(Option::is_some));
    assert!(plates[0].len() >= 3 && plates[1].len() >= 3 && plates[0].is_disjoint(&plates[1]));
    assert_eq!(plates.iter().map(BTreeSet::len).sum::<usize>(), 7);
}

#[test]
fn weights_and_classes() {
    let store = TestStore::counts(700, 40);
    let drawn = planned(
        &store,
        &["--weights", "number", "--draws", "6000", "--block-size", "1"],
    );
    assert_eq!(drawn.len(), 6000);
    // The weight of obs i is 3 i: the upper half is drawn three times as often as the lower.
    let upper = drawn.iter().filter(|obs| **obs >= 350).count();
    assert!((4300..4700).contains(&upper), "{upper}");
    let once = planned(
        &store,
        &["--weights", "number", "--draws", "500", "--without-replacement"],
    );
    assert_eq!(once.iter().collect::<BTreeSet<_>>().len(), 500);

    let counts = |args: &[&str]| {
        let mut counts = BTreeMap::new();
        for obs in planned(&store, args) {
            *counts.entry(plate(obs).unwrap()).or_insert(0) += 1;
        }
        counts
    };
    // Plates 0 and 3 with a few cells of 3 alone.
    let uneven = [
        "--obs-range",
        "0..100,300..310",
        "--balance",
        "plate",
        "--draws",
        "1000",
    ];
    let even = counts(&uneven);
    assert!(
        even.keys().eq(&[0, 3]) && even.values().all(|n| (450..550).contains(n)),
        "{even:?}"
    );
    let global = counts(&[&uneven[..], &["--balance-global"]].concat());
    assert!(global[&0] > 4 * global[&3], "{global:?}");
}

#[test]
fn sets_with_controls() {
    let store = TestStore::counts(700, 40);
    let args = ["--group", "plate", "--n-per-group", "4", "--batch-size", "12"];
    for controls in ["plate=plate_2", "plate == 'plate_2'"] {
        let lines = plan(
            &store,
            &[&args[..], &["--controls", controls, "--n-controls", "2"]].concat(),
        );
        let mut seen = BTreeSet::new();
        for line in &lines {
            for set in obs(line).chunks(6) {
                let plates: Vec<_> = set.iter().map(|&obs| plate(obs)).collect();
                assert!(
                    plates[..4]
                        .iter()
                        .all(|plate| *plate == plates[0] && plate.is_some())
                );
                assert_eq!(plates[4..], [Some(2); 2]);
                assert_ne!(plates[0], Some(2), "controls form no sets");
                seen.insert(plates[0]);
            }
        }
        assert_eq!(seen.len(), 6);
    }
    // Controls of the same plate, which a filter marks.
    let matched = [
        "--controls",
        "number < 3 or score >= 0 and number in [300, 303, 600, 903]",
        "--match",
        "plate",
    ];
    let lines = plan(
        &store,
        &[
            &args[..],
            &matched,
            &["--n-controls", "1", "--obs-range", "0..400"],
        ]
        .concat(),
    );
    for line in &lines {
        for set in obs(line).chunks(5) {
            let (control, set) = set.split_last().unwrap();
            assert!([0, 100, 101, 200, 301].contains(control));
            assert!(
                set.iter()
                    .all(|&obs| plate(obs) == plate(*control) && obs != *control)
            );
        }
    }
}

#[test]
fn an_order_of_ones_own() {
    let store = TestStore::counts(700, 40);
    let dir = scratch();
    let order = dir.path().join("order");
    let listed: Vec<u64> = (0..100).map(|k| k * 37 % 101).collect();
    let text: Vec<String> = listed.iter().map(u64::to_string).collect();
    std::fs::write(&order, text.join("\n")).unwrap();
    let order = order.to_str().unwrap();
    assert_eq!(planned(&store, &["--order", order]), listed);
    let shuffled = planned(&store, &["--order", order, "--shuffle-order"]);
    assert_ne!(shuffled, listed);
    assert_eq!(sorted(shuffled), sorted(listed));
    std::fs::write(order, "1\n700\n").unwrap();
    let (code, message) = refused(&store, &["--order", order]);
    assert!(
        code == 1 && message.contains("names obs 700 of a data set of 700 obs"),
        "{message}"
    );
    std::fs::write(order, "1\ntwo\n").unwrap();
    let (code, message) = refused(&store, &["--order", order]);
    assert!(
        code == 1 && message.contains("line 2 is \"two\", expected the number of a cell"),
        "{message}"
    );
}

#[test]
fn what_makes_no_sense_is_refused_with_a_sentence() {
    let store = TestStore::counts(700, 40);
    let wrong = [
        (
            &["--obs-filter", "plat == 'a'"][..],
            2,
            "character 1, there is no obs column \"plat\" (there are: plate, score, number)",
        ),
        (&["--obs-filter", "score >"], 2, "character 8, expected a number"),
        (
            &["--obs-filter", "plate == 'plate_9'"],
            1,
            "--obs-filter: the filter matches none of the 700 obs: no obs has \"plate_9\" in the obs column \"plate\" (the nearest",
        ),
        (
            &["--obs-range", "0..701"],
            2,
            "the subset names obs 700 of a data set of 700",
        ),
        (&["--obs-range", "5..5"], 2, "\"5..5\" is not a range of cells"),
        (
            &["--obs-file", "/nowhere"],
            1,
            "/nowhere: no such file or directory",
        ),
        (
            &["--split", "a=0.5,b=0.6", "--part", "a"],
            2,
            "sum to 1.1, more than 1",
        ),
        (
            &["--split", "a=0.5,b=0.5", "--part", "c"],
            2,
            "--part c is not a part of --split, whose parts are a, b",
        ),
        (&["--split", "a=0.5"], 2, "--part"),
        (&["--weights", "plate"], 1, "weights must be numbers"),
        (
            &["--weights", "nothing"],
            1,
            "no column \"nothing\"; the table has: plate, score, number",
        ),
        (
            &["--balance", "score"],
            1,
            "classes must be categories, texts, integers or booleans",
        ),
        (
            &["--strategy", "weighted"],
            2,
            "the strategy weighted needs --weights COLUMN",
        ),
        (
            &["--strategy", "sequential", "--balance", "plate"],
            2,
            "--balance COLUMN is for the strategy balanced, not for sequential",
        ),
        (
            &["--weights", "score", "--balance", "plate"],
            2,
            "give one of them",
        ),
        (&["--draws", "7"], 2, "--draws is for --weights or --balance"),
        (
            &["--weights", "number", "--draws", "700", "--without-replacement"],
            1,
            "700 obs cannot be drawn without replacement from the 699",
        ),
        (
            &["--group", "plate", "--controls", "plate=plate_2"],
            2,
            "--n-controls or --n-per-group",
        ),
        (
            &[
                "--group",
                "plate",
                "--n-per-group",
                "2",
                "--controls",
                "plate=plate_77",
            ],
            1,
            "no cell has \"plate_77\" in the obs column \"plate\"; the nearest of its 7 values are plate_0, plate_1",
        ),
        (&["--group", "plate"], 1, "does not fit into a minibatch of 64"),
        (&["--entropy", "nothing"], 1, "no column \"nothing\""),
    ];
    for (args, code, message) in wrong {
        let (found_code, found) = refused(&store, args);
        assert!(
            found_code == code && found.contains(message),
            "{args:?}: {found_code}, {found}"
        );
    }
}

#[test]
fn a_run_that_was_stopped_goes_on() {
    let store = TestStore::counts(700, 300);
    let dir = scratch();
    let state = dir.path().join("state.json");
    let state = state.to_str().unwrap();
    for more in [
        &[][..],
        &["--balance", "plate"],
        &["--obs-range", "30..600", "--drop-last"],
    ] {
        let sampler = [
            &[
                "--batch-size",
                "16",
                "--fetch-factor",
                "3",
                "--block-size",
                "4",
                "--epoch",
                "2",
            ],
            more,
        ]
        .concat();
        let resumed: Vec<&str> = sampler
            .iter()
            .filter(|arg| !["--epoch", "2"].contains(arg))
            .copied()
            .collect();
        let whole = plan(&store, &sampler);
        let first = store.json(
            "epoch",
            &[&sampler[..], &["--minibatches", "7", "--save-state", state]].concat(),
        );
        assert_eq!(first["minibatches"], 7);
        // In two more pieces.
        let second = [
            "--resume",
            state,
            "--minibatches",
            "10",
            "--save-state",
            state,
            "--digest",
        ];
        let second = store.json("epoch", &[&resumed[..], &second].concat());
        let third = store.json(
            "epoch",
            &[&resumed[..], &["--resume", state, "--digest"]].concat(),
        );
        let expected = [&whole[7..17], &whole[17..]].map(|part| crate::epochs::digest_of(&store.rows, part));
        assert_eq!(
            [&second["digest"], &third["digest"]],
            [&expected[0], &expected[1]]
        );
        let other = cellring(
            &[
                &["epoch", store.path(), "--resume", state],
                more,
                &["--batch-size", "8"],
            ]
            .concat(),
        );
        assert!(
            other.code == 1 && other.stderr.contains("saved with another sampler config"),
            "{}",
            other.stderr
        );
    }
    std::fs::write(state, "{}").unwrap();
    let ran = cellring(&["epoch", store.path(), "--resume", state]);
    assert!(
        ran.code == 1 && ran.stderr.contains("not a state that --save-state wrote"),
        "{}",
        ran.stderr
    );
}

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
