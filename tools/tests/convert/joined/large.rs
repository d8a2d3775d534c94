//! Filters, many inputs, and long tables.

use super::*;

/// The filter asks about columns that are not kept; what it takes is the same in every order.
#[test]
fn filters_take_what_pandas_takes() {
    let directory = scratch();
    let path = |name: &str| directory.path().join(name);
    let inputs = ["a", "b"].map(|name| path(&format!("{name}.h5ad")));
    for (seed, path) in (1..).zip(&inputs) {
        Synth::new(900, 300, seed).write_h5ad(path, |_| {}).unwrap();
    }
    let lines = [
        (
            "plate == \"plate_001\" or pct_mito > 0.1",
            "plate == 'plate_001' or pct_mito > 0.1",
            None,
        ),
        (
            "not source == \"a\" and pct_mito < 0.05",
            "not source == 'a' and pct_mito < 0.05",
            None,
        ),
        ("source == \"b\"", "source == 'b'", Some(37)),
        ("pct_mito < 0.002", "pct_mito < 0.002", None),
    ];
    let orders = [
        None,
        Some(ObsOrder::Shuffled { seed: 9 }),
        Some(ObsOrder::SortedBy(vec!["drug".to_owned()])),
    ];
    let mut cases = vec![];
    for (number, (filter, query, max_obs)) in lines.into_iter().enumerate() {
        for (place, obs_order) in orders.iter().enumerate() {
            let join = JoinOptions::default().label_column("source".to_owned());
            let options = ConvertOptions {
                obs_filter: Some(filter.to_owned()),
                max_obs,
                obs_order: obs_order.clone(),
                ..options(join)
            };
            let (mut case, _) = case(&path(&format!("{number}-{place}")), &inputs, &options);
            case["query"] = query.into();
            case["label"] = "source".into();
            case["labels"] = json!(["a", "b"]);
            if let Some(max_obs) = max_obs {
                case["max_obs"] = max_obs.into();
            }
            cases.push(case);
        }
    }
    compare(&cases);
    let store = path("few.cellring");
    let few = ConvertOptions {
        obs_filter: Some("pct_mito < 0.05".to_owned()),
        obs_columns: Some(vec!["plate".to_owned()]),
        join: JoinOptions::default().label_column("source".to_owned()),
        ..ConvertOptions::default()
    };
    run(&inputs[..1], &store, &few);
    let store = Store::open(&store).unwrap();
    assert_eq!(store.obs().column_names().unwrap(), ["plate", "source"]);
    assert_eq!(store.manifest().source["obs_filter"], "pct_mito < 0.05");
}

/// Hundreds of inputs take no more memory than they say, nor more open files than a process has.
#[test]
fn hundreds_of_inputs_stay_within_the_limit() {
    let directory = scratch();
    let path = |name: &str| directory.path().join(name);
    Synth::new(150, 2_000, 3)
        .write_h5ad(path("one.h5ad"), |_| {})
        .unwrap();
    let inputs: Vec<String> = (0..300)
        .map(|number| {
            let name = path(&format!("plate{number:03}.h5ad"));
            std::fs::hard_link(path("one.h5ad"), &name).unwrap();
            name.display().to_string()
        })
        .collect();
    let store = path("s.cellring").display().to_string();
    let base = [
        "convert",
        "-o",
        &store,
        "--force",
        "--label-column",
        "plate_file",
        "--json",
    ];
    let with = |more: &[&str]| {
        let mut args: Vec<&str> = base.to_vec();
        args.extend(inputs.iter().map(String::as_str));
        args.extend(more);
        args.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    for order in [&[][..], &["--shuffle", "3"][..]] {
        let run = |limit_mib: u64| {
            let limit = format!("{limit_mib}MiB");
            let args = with(&[order, &["--memory", &limit]].concat());
            cellring(&args.iter().map(String::as_str).collect::<Vec<_>>())
        };
        // What one refusal asks for suffices.
        let (_, _, refused) = run(1);
        let asked = refused
            .split("give --memory ")
            .nth(1)
            .and_then(|rest| rest.split("MiB").next());
        let limit_mib: u64 = asked.unwrap().parse().unwrap();
        let (code, stdout, stderr) = run(limit_mib);
        assert_eq!(
            (code, stderr.lines().count()),
            (0, 1),
            "repeated names, said once: {stderr}"
        );
        let report: Value = serde_json::from_str(&stdout).unwrap();
        let peak = report["peak_rss_bytes"].as_u64().unwrap();
        println!("{} MiB of {limit_mib}", peak >> 20);
        assert!(peak <= limit_mib << 20, "{peak} bytes of {limit_mib} MiB");
        assert_eq!(report["n_obs"], 45_000);
    }
    let store = Store::open(path("s.cellring")).unwrap();
    assert_eq!(
        store
            .obs()
            .column("plate_file")
            .unwrap()
            .field()
            .data_type()
            .to_string(),
        "Dictionary(Int16, Utf8)"
    );
}

/// A table of obs that is far larger than its share of memory, shuffled and restored.
#[test]
fn long_tables_are_shuffled_out_of_core() {
    let directory = scratch();
    let path = |name: &str| directory.path().join(name);
    let n_obs = 400_000;
    Synth::new(n_obs, 16, 5)
        .write_h5ad(path("long.h5ad"), |_| {})
        .unwrap();
    let (input, store) = (
        path("long.h5ad").display().to_string(),
        path("s.cellring").display().to_string(),
    );
    let args = [
        "convert",
        &input,
        "-o",
        &store,
        "--shuffle",
        "1",
        "--memory",
        "224MiB",
        "--json",
    ];
    let (code, stdout, stderr) = cellring(&args);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let report: Value = serde_json::from_str(&stdout).unwrap();
    let peak = report["peak_rss_bytes"].as_u64().unwrap();
    assert!(peak <= 224 << 20, "{peak}");
    let out = path("out.h5ad");
    let options = ExportOptions {
        memory_bytes: 64 << 20,
        ..ExportOptions::default()
    };
    export(Path::new(&store), &out, &options, &|_, _| {}).unwrap();
    crate::round_trip::compare(&format!("{input}\t{}\n", out.display()));
}
