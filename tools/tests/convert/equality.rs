//! What a store depends on, and what it must not depend on.

use std::path::Path;

use cellring::Store;
use cellring::format::{CsrRows, Encoding, ValueBuffer, ValueType, VarOrder};
use cellring_anndata::write::{AnnDataWriter, Axis, MatrixSpec};
use cellring_anndata::{CountMode, Input, Selection};
use cellring_tools::convert::{ConvertError, ConvertOptions};

use crate::{cellring, names, report, run_convert, samples, scratch, synthetic};

/// The bytes of all files of a store.
fn bytes(store: &Path) -> Vec<(String, Vec<u8>)> {
    names(store)
        .into_iter()
        .map(|name| {
            let bytes = std::fs::read(store.join(&name)).unwrap();
            (name, bytes)
        })
        .collect()
}

/// The least memory, in MiB, that a conversion of this file asks for.
fn least_memory(input: &Path, options: &ConvertOptions) -> u64 {
    let options = ConvertOptions {
        memory_bytes: 1 << 20,
        ..options.clone()
    };
    let nowhere = input.with_extension("nowhere");
    let error = run_convert(input, &nowhere, &options).unwrap_err();
    let ConvertError::Memory { needed_bytes, .. } = error else {
        panic!("{error}")
    };
    assert!(!nowhere.exists());
    needed_bytes.div_ceil(1 << 20)
}

#[test]
fn stores_do_not_depend_on_threads_memory_or_place() {
    let (one, two) = (scratch(), scratch());
    let input = synthetic(one.path());
    let copy = two.path().join(input.file_name().unwrap());
    std::fs::copy(&input, &copy).unwrap();
    for encoding in [Encoding::Packed, Encoding::Raw] {
        let options = |threads, memory_bytes| ConvertOptions {
            encoding,
            block_size: 64,
            threads: Some(threads),
            memory_bytes,
            ..ConvertOptions::default()
        };
        let (a, b) = (one.path().join(encoding.name()), two.path().join(encoding.name()));
        run_convert(&input, &a, &options(4, 1 << 30)).unwrap();
        let least = least_memory(&input, &options(1, 0)) << 20;
        run_convert(&copy, &b, &options(1, least)).unwrap();
        assert_eq!(
            names(&a),
            [
                "index.bin",
                "manifest.json",
                "obs.arrow",
                "shard-00000.bin",
                "var.arrow"
            ]
        );
        assert!(bytes(&a) == bytes(&b), "{encoding:?}");
        let manifest = std::fs::read_to_string(a.join("manifest.json")).unwrap();
        assert!(!manifest.contains(one.path().to_str().unwrap()), "{manifest}");
        let store = Store::open(&a).unwrap();
        let source = &store.manifest().source;
        assert_eq!(source["file"], "synthetic.h5ad");
        assert_eq!(
            (source["matrix"].as_str(), source["indices_type"].as_str()),
            (Some("X"), Some("int32"))
        );
        assert_eq!(source["explicit_zeros_dropped"], 0);
    }
}

/// The whole process stays within --memory, also with the least that is accepted, which a refusal names; a MiB less is refused, and more is
/// not.
#[test]
fn memory_stays_within_its_limit() {
    let directory = scratch();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let by_rows = synthetic(directory.path()).to_str().unwrap().to_owned();
    let (by_columns, appended) = (path("csc.h5ad"), path("appended.cellring"));
    report(&["convert", &by_rows, "-o", &appended]);
    report(&["export", &appended, &by_columns, "--form", "csc"]);
    let output = ["-o", &path("s.cellring"), "--force"].map(str::to_owned);
    let convert = |options: &[&str]| {
        let options = options.iter().map(|&option| option.to_owned());
        let words: Vec<String> = std::iter::once("convert".to_owned())
            .chain(output.clone())
            .chain(options)
            .collect();
        words
    };
    let mut append = vec!["append".to_owned(), appended.clone()];
    append.extend(vec![by_columns.clone(); 16]);
    for command in [
        convert(&[&by_rows]),
        convert(&[&by_rows, "--encoding", "raw"]),
        convert(&[&by_rows, "--block-size", "1500"]),
        convert(&[&by_rows, "--shuffle", "1"]),
        convert(&[&by_rows, "--sort-by", "plate"]),
        convert(&[&by_columns]),
        convert(&[&by_columns, "--shuffle", "1"]),
        convert(&[&by_columns, &by_rows, &by_columns]),
        convert(&[&vec![by_columns.as_str(); 6][..], &["--shuffle", "1"]].concat()),
        append,
    ] {
        let run = |memory: &str| {
            let command: Vec<&str> = command.iter().map(String::as_str).collect();
            cellring(&[&command[..], &["--memory", memory, "--json"]].concat())
        };
        let asked = |limit: &str| -> u64 {
            let (code, _, said) = run(limit);
            let asked = said
                .split("give --memory ")
                .nth(1)
                .and_then(|rest| rest.split("MiB").next());
            assert_eq!(code, 1, "{command:?} in {limit}: {said}");
            asked.unwrap().parse().unwrap()
        };
        // While the order of the obs is not known, more may be asked for than is needed.
        let (first, least) = (asked("1MiB"), asked("100MiB"));
        assert!(first >= least, "{command:?}: {first} and {least} MiB");
        assert_eq!(asked(&format!("{}MiB", least - 1)), least, "{command:?}");
        for limit in [least, least + 5, 2 * least] {
            // The store that was appended to has another number of obs then.
            if limit > least && command[0] == "append" {
                break;
            }
            let (code, stdout, stderr) = run(&format!("{limit}MiB"));
            assert_eq!(code, 0, "{command:?}: {stderr}");
            let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
            let peak = report["peak_rss_bytes"].as_u64().unwrap();
            println!("{} of {limit} MiB: {command:?}", peak >> 20);
            assert!(
                peak > 0 && peak <= limit << 20,
                "{peak} bytes of {limit} MiB: {command:?}"
            );
        }
    }
}

/// The report's keys, and the canonical form of an unsorted matrix with a duplicate and explicit zeros.
#[test]
fn the_report_counts_what_was_changed() {
    let directory = scratch();
    let input = crate::fixture("matrices.h5ad");
    let store = directory.path().join("s.cellring");
    let args = [
        "convert",
        input.to_str().unwrap(),
        "-o",
        store.to_str().unwrap(),
        "--json",
    ];
    let (code, stdout, stderr) = cellring(&args);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    for (key, value) in [
        ("n_obs", 6),
        ("n_vars", 10),
        ("nnz", 7),
        ("rows_sorted", 1),
        ("duplicates_summed", 1),
        ("explicit_zeros_dropped", 1),
    ] {
        assert_eq!(report[key], value, "{key}");
    }
    assert_eq!(
        (report["encoding"].as_str(), report["var_order"].as_str()),
        (Some("packed"), Some("detection"))
    );
    for key in ["bytes", "bytes_per_nnz", "seconds", "peak_rss_bytes"] {
        assert!(report[key].as_f64().unwrap() > 0.0, "{key}");
    }
    assert!(report["warnings"].as_array().unwrap().is_empty());
    assert_eq!(
        Store::open(&store).unwrap().manifest().source["duplicates_summed"],
        1
    );
}

/// Explicit zeros and duplicates are no detections: the order is that of the canonical matrix.
#[test]
fn detection_counts_what_remains() {
    let directory = scratch();
    let (input, store) = (
        directory.path().join("a.h5ad"),
        directory.path().join("a.cellring"),
    );
    let spec = MatrixSpec::new(4, 4, ValueType::F32);
    let mut writer = AnnDataWriter::create(&input, spec).unwrap();
    // Column 0 is stored four times, but never with a value; column 3 three times in one row.
    let rows = CsrRows {
        indptr: vec![0, 2, 5, 9, 11],
        indices: vec![0, 1, 0, 1, 2, 0, 3, 3, 3, 0, 1],
        values: ValueBuffer::F32(vec![0.0, 1.0, 0.0, 2.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 5.0]),
    };
    writer.push_rows(&rows).unwrap();
    for (axis, table) in [
        (Axis::Obs, samples::names("cell", 4)),
        (Axis::Var, samples::names("gene", 4)),
    ] {
        writer.write_table(axis, &table.schema(), [table]).unwrap();
    }
    writer.finish().unwrap();
    let report = run_convert(&input, &store, &ConvertOptions::default()).unwrap();
    assert_eq!(
        (
            report.explicit_zeros_dropped,
            report.duplicates_summed,
            report.nnz
        ),
        (4, 2, 5)
    );
    let positions = |store: &Path| Store::open(store).unwrap().source_positions().unwrap();
    assert_eq!(positions(&store), [1, 2, 3, 0]);

    // A matrix in need of nothing, against counts of its own.
    let input = synthetic(directory.path());
    let store = directory.path().join("b.cellring");
    run_convert(&input, &store, &ConvertOptions::default()).unwrap();
    let matrix = Input::open(&input).unwrap().matrix(&Selection::X).unwrap();
    let counts = matrix
        .detection_counts(0..matrix.n_obs(), CountMode::Exact)
        .unwrap();
    let mut expected: Vec<u32> = (0..counts.len() as u32).collect();
    expected.sort_by(|&a, &b| counts[b as usize].cmp(&counts[a as usize]).then(a.cmp(&b)));
    assert_eq!(positions(&store), expected);
    assert_ne!(expected, (0..counts.len() as u32).collect::<Vec<_>>());
}

/// The raw encoding takes the narrowest type, packed the source's, and each its own order of columns.
#[test]
fn defaults_of_the_encodings() {
    let directory = scratch();
    let input = synthetic(directory.path());
    let mut manifests = vec![];
    for encoding in [Encoding::Packed, Encoding::Raw] {
        let store = directory.path().join(encoding.name());
        let options = ConvertOptions {
            encoding,
            ..ConvertOptions::default()
        };
        run_convert(&input, &store, &options).unwrap();
        manifests.push(Store::open(&store).unwrap().manifest().clone());
    }
    let [packed, raw] = manifests.try_into().unwrap();
    assert_eq!(
        (packed.var_order, raw.var_order),
        (VarOrder::Detection, VarOrder::Source)
    );
    assert_eq!((packed.value_type, packed.raw_value_type), (ValueType::F32, None));
    assert_eq!(raw.value_type, ValueType::F32);
    assert!(
        matches!(raw.raw_value_type, Some(ValueType::U8 | ValueType::U16)),
        "{:?}",
        raw.raw_value_type
    );
}
