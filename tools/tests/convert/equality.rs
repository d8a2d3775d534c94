//! What a store depends on, and what it must not depend on.

use std::path::Path;

use cellring::Store;
use cellring::format::{CsrRows, Encoding, ValueBuffer, ValueType, VarOrder};
use cellring_anndata::write::{AnnDataWriter, Axis, MatrixSpec};
use cellring_anndata::{CountMode, Input, Selection};
use cellring_tools::convert::{ConvertError, ConvertOptions};

use crate::{cellring, fail, names, run_convert, samples, scratch, synthetic};

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

/// The whole process stays within --memory, also with the least that is accepted; one MiB less is refused.
#[test]
fn memory_stays_within_its_limit() {
    let directory = scratch();
    let input = synthetic(directory.path());
    let (input, store) = (input.to_str().unwrap(), directory.path().join("s.cellring"));
    let store = store.to_str().unwrap();
    for (encoding, block_size) in [("packed", "256"), ("raw", "256"), ("packed", "1500")] {
        let base = [
            "convert",
            input,
            "-o",
            store,
            "--force",
            "--encoding",
            encoding,
            "--block-size",
            block_size,
        ];
        let refused = fail(&[&base[..], &["--memory", "1MiB"]].concat());
        let least = refused
            .split("give --memory ")
            .nth(1)
            .unwrap()
            .split("MiB")
            .next()
            .unwrap();
        let least: u64 = least.parse().unwrap();
        let less = format!("{}MiB", least - 1);
        assert_eq!(
            fail(&[&base[..], &["--memory", &less]].concat())
                .split(' ')
                .next(),
            refused.split(' ').next()
        );
        let (code, stdout, stderr) =
            cellring(&[&base[..], &["--memory", &format!("{least}MiB"), "--json"]].concat());
        assert_eq!(code, 0, "{stderr}");
        let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        let peak = report["peak_rss_bytes"].as_u64().unwrap();
        assert!(
            peak > 0 && peak <= least << 20,
            "{peak} bytes of {least} MiB, {encoding}, blocks of {block_size}"
        );
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
