//! Links are measured and tuned: what their chunks cost, and what a conversion would bring.

use serde_json::Value;

use crate::linked_cache::with_cache;
use crate::relinked::{compressed, shown};
use crate::{names, report, scratch};

/// A file may be a directory: what converting it brings is measured all the same.
#[test]
fn a_zarr_that_is_linked_automatically_is_measured_beside_a_conversion() {
    let directory = scratch();
    let zarr = shown(&directory.path().join("s.zarr"));
    let store = shown(&directory.path().join("s.cellring"));
    report(&[
        "convert",
        &shown(&compressed(directory.path(), 5_000)),
        "-o",
        &store,
    ]);
    report(&["export", &store, &zarr]);
    let bench = [
        "bench",
        &zarr,
        "--seconds",
        "0.02",
        "--block-size",
        "64",
        "--fetch-factor",
        "4",
        "--json",
    ];
    let (code, stdout, said) = with_cache(&directory.path().join("cache"), &bench);
    assert_eq!(code, 0, "{said}");
    let found: Value = serde_json::from_str(&stdout).unwrap();
    let converted = &found["converted"];
    assert_eq!(converted["not_measured"], Value::Null, "{found}");
    assert!(converted["times_as_fast"].as_f64().unwrap() > 0.0, "{found}");
}

#[test]
fn links_are_measured_and_tuned_with_their_chunks() {
    let directory = scratch();
    let cache = directory.path().join("cache");
    // About 680 values a cell.
    let file = shown(&compressed(directory.path(), 5_000));
    let store = shown(&directory.path().join("s.cellring"));
    report(&["link", &file, "-o", &store]);
    let run = |args: &[&str]| -> Value {
        let (code, stdout, said) = with_cache(&cache, &[args, &["--json"]].concat());
        assert_eq!(code, 0, "{args:?}: {said}");
        serde_json::from_str(&stdout).unwrap()
    };
    for input in [&store, &file] {
        let bench = [
            "bench",
            input,
            "--seconds",
            "0.02",
            "--block-size",
            "1,64",
            "--fetch-factor",
            "4",
        ];
        let found = run(&bench);
        let converted = &found["converted"];
        assert_eq!(converted["not_measured"], Value::Null, "{found}");
        assert!(converted["times_as_fast"].as_f64().unwrap() > 0.0, "{found}");
        assert!(
            converted["converted_bytes_per_cell"].as_f64() < converted["linked_bytes_per_cell"].as_f64(),
            "{found}"
        );
        assert_eq!(found["decode_cells_per_second"], Value::Null);
        assert_eq!(found["chunk_values"], 5_000);
        let decoded = |row: usize| found["runs"][row]["decoded_per_value"].as_f64().unwrap();
        assert!(decoded(0) > decoded(1) && decoded(1) >= 1.0, "{found}");
        let tuned = run(&["tune", input, "--seconds", "0.01"]);
        let chunks = &tuned["chunks"];
        assert_eq!(chunks["chunk_values"], 5_000, "{tuned}");
        let cells = chunks["cells_per_chunk"].as_f64().unwrap();
        let wanted = chunks["wanted_block_size"].as_u64().unwrap();
        assert!(
            cells / wanted as f64 <= 0.5 && 2.0 * cells / wanted as f64 > 0.5,
            "{tuned}"
        );
        let chosen = tuned["candidates"].as_array().unwrap();
        assert!(
            chosen.iter().all(|choice| {
                let is_measured = choice["expected_cells_per_second"].as_f64().unwrap() > 0.0;
                let is_fit = choice["fits_memory"] == true && choice["meets_target"] == true;
                is_measured == is_fit && choice["decoded_per_value"].as_f64().unwrap() >= 1.0
            }),
            "{tuned}"
        );
        let plan = [
            "plan",
            input,
            "--entropy",
            "plate",
            "--block-size",
            "1",
            "--fetch-factor",
            "1",
        ];
        let planned = run(&plan);
        // Cells from anywhere: each has a chunk of columns and one of values, or two.
        let chunks = planned["chunks"]["chunks_per_cell"].as_f64().unwrap();
        assert!((1.5..4.0).contains(&chunks), "{planned}");
        assert!(
            planned["chunks"]["decoded_per_value"].as_f64().unwrap() > 4.0,
            "{planned}"
        );
        let (_, text, _) = with_cache(&cache, &plan);
        assert!(text.contains("or more decode at most 1.5 times"), "{text}");
        for (command, words) in [
            (&bench[..], "as fast, reading"),
            (&["tune", input, "--seconds", "0.01"], "5,000 values each"),
        ] {
            let (code, text, said) = with_cache(&cache, command);
            assert!(code == 0 && text.contains(words), "{text}{said}");
        }
    }
    // Where values are not compressed there are no chunks; the page is drawn all the same.
    let plain = shown(&directory.path().join("synthetic.h5ad"));
    let page = shown(&directory.path().join("page.html"));
    let args = [
        "bench",
        &plain,
        "--seconds",
        "0.01",
        "--block-size",
        "16",
        "--fetch-factor",
        "4",
        "--report",
        &page,
    ];
    let found = run(&args);
    assert_eq!(found["chunk_values"], Value::Null);
    assert!(std::fs::read_to_string(&page).unwrap().contains("Converted: "));
    assert!(run(&["plan", &plain, "--entropy", "plate"])["chunks"].is_null());
    assert!(run(&["tune", &plain, "--seconds", "0.01"])["chunks"].is_null());
    let leftovers: Vec<String> = names(directory.path())
        .into_iter()
        .filter(|name| name.starts_with('.'))
        .collect();
    assert_eq!(leftovers, [""; 0], "what was converted for a moment is gone");
}
