//! What is odd about a request is said once, on standard error and in the JSON.

use cellring::format::Encoding;
use serde_json::Value;

use crate::common::Kind;
use crate::{TestStore, cellring, fail, json, scratch};

/// Report and standard error of an epoch.
fn epoch(store: &TestStore, args: &[&str]) -> (Value, String) {
    let ran = cellring(&[&["epoch", store.path()], args, &["--json"]].concat());
    assert_eq!(ran.code, 0, "{args:?}: {}", ran.stderr);
    (serde_json::from_str(&ran.stdout).unwrap(), ran.stderr)
}

#[test]
fn warnings_are_the_same_as_text_and_in_the_json() {
    let store = TestStore::counts(700, 40);
    let dir = scratch();
    let genes = dir.path().join("genes");
    std::fs::write(&genes, "gene_1\nnone1\nnone2\n").unwrap();
    for (args, kind, part) in [
        (
            &["--obs-filter", "plate in ['plate_1', 'plate1']"][..],
            "selection",
            "--obs-filter: no obs has \"plate1\" in the obs column \"plate\" (",
        ),
        (
            &["--balance", "plate", "--obs-filter", "plate == 'plate_1'"],
            "selection",
            "--balance: all cells with a value in plate have \"plate_1\" there",
        ),
        (
            &["--genes", genes.to_str().unwrap()],
            "genes",
            "2 of its genes are not in the store, so their columns are zero: none1, none2",
        ),
    ] {
        let (report, stderr) = epoch(&store, args);
        let warnings = report["warnings"].as_array().unwrap();
        let odd: Vec<&Value> = warnings
            .iter()
            .filter(|warning| warning["kind"] == kind)
            .collect();
        assert_eq!(odd.len(), 1, "{report}");
        let sentence = odd[0]["message"].as_str().unwrap();
        assert!(sentence.contains(part), "{part}: {sentence}");
        let said = serde_json::json!({ "warning": odd[0] }).to_string();
        let lines = stderr.lines().filter(|line| *line == said);
        assert_eq!(lines.count(), 1, "{stderr}");
        // The rest of the report is there as ever.
        assert!(report["cells"].as_u64().unwrap() > 0);
    }
    let (report, _) = epoch(&store, &["--obs-filter", "plate in ['plate_1', 'plate_2']"]);
    let of_kind = |kind: &str| {
        let warnings = report["warnings"].as_array().cloned().unwrap_or_default();
        warnings.iter().any(|warning| warning["kind"] == kind)
    };
    assert!(!of_kind("selection") && !of_kind("genes"), "{report}");
    // Two classes are something to balance.
    let (_, stderr) = epoch(&store, &["--balance", "plate", "--obs-range", "0..5,303..308"]);
    assert!(!stderr.contains("--balance"), "{stderr}");
}

/// Every eleventh cell has no plate.
#[test]
fn cells_without_a_label_are_counted() {
    let store = TestStore::counts(700, 40);
    let group = ["--group", "plate", "--n-per-group", "4"];
    let of_each_plate = "number in [0, 300, 600, 900, 1200, 1503, 1800] or plate is missing";
    let controls = [
        "--controls",
        of_each_plate,
        "--match",
        "plate",
        "--n-controls",
        "1",
    ];
    for (args, expected) in [
        (
            &["--balance", "plate"][..],
            &["--balance: 64 of 700 cells have no value in plate, so they are never drawn"][..],
        ),
        (
            &["--balance", "plate,number", "--obs-range", "0..100"],
            &["--balance: 9 of 100 cells have no value in plate, number, so they are never drawn"],
        ),
        (
            &group,
            &["--group: 64 of 700 cells have no value in plate, so they are in no minibatch"],
        ),
        (
            &[&group[..], &controls].concat(),
            &[
                // Controls have a group of their own, but these no match.
                "--match: 64 of 700 cells have no value in plate, so they are in no minibatch",
            ],
        ),
        (&["--balance", "number"], &[]),
    ] {
        for command in ["plan", "epoch"] {
            let ran = cellring(&[&[command, store.path()], args].concat());
            assert_eq!(ran.code, 0, "{}", ran.stderr);
            let lines: Vec<&str> = ran
                .stderr
                .lines()
                .filter(|line| line.contains("have no value"))
                .collect();
            let expected: Vec<String> = expected.iter().map(|line| format!("warning: {line}")).collect();
            assert_eq!(lines, expected);
        }
    }
}

#[test]
fn what_fits_nothing_is_refused_with_what_there_is() {
    let store = TestStore::counts(700, 40);
    let dir = scratch();
    let genes = dir.path().join("genes");
    std::fs::write(&genes, "ENSG1\nENSG2\n").unwrap();
    let list = genes.to_str().unwrap();
    let refused = |args: &[&str]| fail(&[&["epoch", store.path()], args].concat());
    let message = refused(&["--genes", list]);
    assert!(
        message.contains(list)
            && message.contains("none of the requested genes (ENSG1, ENSG2) is in the store"),
        "{message}"
    );
    std::fs::write(&genes, "# none\n\n").unwrap();
    assert!(refused(&["--genes", list]).contains("names no gene"));
    let message = refused(&["--obs-filter", "plate == 'Plate_2'"]);
    assert!(
        message.contains("the nearest of its 7 values are \"plate_2\", "),
        "{message}"
    );
    let message = refused(&["--obs-filter", "number < 0"]);
    assert!(
        message.contains("\"number\" (its values are from 0 to "),
        "{message}"
    );
    let message = refused(&[
        "--group",
        "plate",
        "--n-per-group",
        "4",
        "--controls",
        "plate=Plate_2",
    ]);
    assert!(
        message.contains("the nearest of its 7 values are plate_2, "),
        "{message}"
    );
    let message = refused(&["--split", "a=1,b=0", "--part", "b"]);
    assert!(
        message.contains("--split selects none of the 700 cells"),
        "{message}"
    );
}

#[test]
fn scaled_values_are_not_normalised() {
    let store = TestStore::new(120, 40, Kind::Signed, Encoding::Packed);
    for args in [&["--log1p"][..], &["--normalize", "10000"]] {
        let message = fail(&[&["epoch", store.path()], args].concat());
        assert!(
            message.contains("it can be neither normalised nor log-transformed")
                && message.contains("for the gene \"gene_"),
            "{message}"
        );
    }
    assert_eq!(cellring(&["epoch", store.path()]).code, 0);
}

#[test]
fn values_that_were_log_transformed_are_normalised_with_one_warning() {
    let store = TestStore::new(120, 40, Kind::LogNormalised, Encoding::Packed);
    for (args, asked) in [
        (&["--log1p"][..], "log1p expects counts, but obs "),
        (&["--normalize", "10000"], "normalize expects counts, but obs "),
        (
            &["--normalize", "10000", "--log1p", "--obs-range", "50..60"],
            "normalize and log1p expect counts, but obs 5",
        ),
    ] {
        let args = [&["epoch", store.path()], args].concat();
        let ran = cellring(&args);
        assert_eq!((ran.code, ran.stderr.lines().count()), (0, 1), "{}", ran.stderr);
        assert!(
            ran.stderr.starts_with("warning: ") && ran.stderr.contains(asked),
            "{}",
            ran.stderr
        );
        let report = json(&[&args[..], &["--json"]].concat());
        assert_eq!(report["warnings"][0]["kind"], "counts", "{report}");
        assert_eq!(report["warnings"].as_array().unwrap().len(), 1);
    }
    // As they are, and counts, there is nothing to say.
    let counts = TestStore::counts(120, 40);
    for args in [
        &[store.path()][..],
        &[counts.path(), "--normalize", "10000", "--log1p"],
    ] {
        assert_eq!(cellring(&[&["epoch"], args].concat()).stderr, "", "{args:?}");
    }
}
