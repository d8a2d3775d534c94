//! Small stores, and small parts of stores: nothing larger than they are is recommended, and what cannot be measured is said.

use crate::plans::{obs, plan};
use crate::{TestStore, cellring, json, scratch};

#[test]
fn no_fetch_is_recommended_that_is_larger_than_what_is_sampled() {
    let store = TestStore::counts(3000, 60);
    let tune = |args: &[&str]| {
        let short = ["--seconds", "0.01", "--batch-size", "16", "--json"];
        json(&[&["tune", store.path()], &short[..], args].concat())
    };
    for (args, n_obs) in [
        (&[][..], 3000),
        (&["--obs-range", "0..500"], 500),
        (&["--obs-filter", "number < 2100"], 700),
        (&["--split", "a=0.9,b=0.1", "--part", "b"], 300),
        (&["--obs-range", "7..9"], 2),
    ] {
        let advice = tune(args);
        let of = |key: &str| advice[key].as_u64().unwrap();
        assert_eq!(of("n_obs"), n_obs, "{args:?}");
        assert!(of("fetch_factor") * 16 <= n_obs.max(16), "{args:?}: {advice}");
        assert!(of("block_size") <= n_obs, "{args:?}: {advice}");
        for candidate in advice["candidates"].as_array().unwrap() {
            let factor = candidate["fetch_factor"].as_u64().unwrap();
            assert!(factor * 16 <= n_obs.max(16), "{args:?}: {candidate}");
        }
        assert!(
            advice["too_small"]
                .as_str()
                .unwrap()
                .contains("too few to measure"),
            "{advice}"
        );
    }
}

#[test]
fn bench_says_when_a_store_is_too_small_to_measure() {
    let store = TestStore::counts(600, 60);
    let dir = scratch();
    let page = dir.path().join("page.html");
    let args = ["bench", store.path(), "--seconds", "0.01", "--block-size", "16"];
    let ran = cellring(&args);
    let expected = "600 cells are too few to measure with fetches of 16,384";
    assert!(ran.code == 0 && ran.stderr.contains(expected), "{}", ran.stderr);
    let report = json(&[&args[..], &["--json", "--report", page.to_str().unwrap()]].concat());
    assert!(report["too_small"].as_str().unwrap().starts_with(expected));
    assert!(std::fs::read_to_string(page).unwrap().contains(expected));
}

#[test]
fn a_plan_says_which_minibatches_are_padding() {
    // 4 minibatches for 3 ranks: two each, and two of these six are padding.
    let store = TestStore::counts(64, 60);
    let mut n_padding = 0;
    for rank in ["0", "1", "2"] {
        let lines = plan(
            &store,
            &["--batch-size", "16", "--world-size", "3", "--rank", rank],
        );
        assert_eq!(lines.len(), 2);
        for line in &lines {
            n_padding += usize::from(line.get("padding").is_some_and(|padding| padding == true));
            assert_eq!(obs(line).len(), 16);
        }
    }
    assert_eq!(n_padding, 2);
}
