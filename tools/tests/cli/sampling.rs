//! Options of `plan` and `epoch` that say which cells are sampled, and by what.

use std::collections::{BTreeMap, BTreeSet};

use crate::plans::{obs, plan};
use crate::{TestStore, cellring, scratch, succeed};

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
