//! `obs` and `var`: what is said of a column is what is in it, and what is shown can be asked for.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::types::{Int8Type, Int16Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, Float32Array, Float64Array, Int8Array, Int16Array,
    Int32Array, Int64Array, LargeStringArray, RecordBatch, StringArray, UInt64Array,
};
use arrow_schema::{Field, Schema, SchemaRef};
use cellring::format::constants::TABLE_BATCH_ROWS;
use cellring::writer::WriterOptions;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{Kind, matrix, role, value_type, write_store_with_obs};
use crate::{fail, scratch, succeed};

/// More than one batch, so that what is said is of all.
const N_OBS: usize = TABLE_BATCH_ROWS + 7;

fn kind(i: usize) -> Option<usize> {
    (i % 10 != 9).then_some(i % 3 % 2)
}

/// One column of each kind, with names and values that need quotes.
fn table(rows: std::ops::Range<usize>) -> RecordBatch {
    let n = |rows: &std::ops::Range<usize>| rows.clone();
    let column = |name: &str, array: ArrayRef, about: &[(&str, &str)]| {
        let metadata = about.iter().map(|(k, v)| (format!("anndata.{k}"), v.to_string()));
        let field = Field::new(name, array.data_type().clone(), true);
        (
            field.with_metadata(metadata.collect::<HashMap<String, String>>()),
            array,
        )
    };
    let kinds = StringArray::from(vec!["B \"cell\"", "T\\cell", "unused"]);
    let codes = Int8Array::from_iter(n(&rows).map(|i| kind(i).map(|k| k as i8)));
    let kinds = DictionaryArray::<Int8Type>::try_new(codes, Arc::new(kinds)).unwrap();
    let doses = Int16Array::from_iter_values(n(&rows).map(|i| (i % 2) as i16));
    let doses =
        DictionaryArray::<Int16Type>::try_new(doses, Arc::new(Int64Array::from(vec![50, 5]))).unwrap();
    let columns = vec![
        (
            role(
                Field::new("barcode", arrow_schema::DataType::Utf8, false),
                "index",
            ),
            Arc::new(StringArray::from_iter_values(
                n(&rows).map(|i| format!("cell_{i}")),
            )) as ArrayRef,
        ),
        column(
            "cell type",
            Arc::new(kinds),
            &[("encoding", "categorical"), ("ordered", "false")],
        ),
        column(
            "dose",
            Arc::new(doses),
            &[("encoding", "categorical"), ("ordered", "true")],
        ),
        column(
            "n_genes",
            Arc::new(Int32Array::from_iter_values(
                n(&rows).map(|i| i as i32 % 100 - 20),
            )),
            &[("encoding", "array")],
        ),
        column(
            "pct.mito",
            Arc::new(Float32Array::from_iter_values(n(&rows).map(|i| match i % 4 {
                3 => f32::NAN,
                k => k as f32 / 10.0,
            }))),
            &[("encoding", "array")],
        ),
        column(
            "total",
            Arc::new(Float64Array::from_iter(n(&rows).map(|i| match i {
                0 => f64::INFINITY,
                i => (i as f64).sqrt(),
            }))),
            &[("encoding", "array")],
        ),
        column(
            "in",
            Arc::new(UInt64Array::from_iter(
                n(&rows).map(|i| (i % 5 != 0).then_some(u64::MAX - i as u64 % 2)),
            )),
            &[("encoding", "nullable-integer")],
        ),
        column(
            "is_doublet",
            Arc::new(BooleanArray::from_iter(n(&rows).map(|i| Some(i % 8 == 0)))),
            &[("encoding", "array")],
        ),
        column(
            "passed",
            Arc::new(BooleanArray::from_iter(
                n(&rows).map(|i| (i % 2 == 0).then_some(true)),
            )),
            &[("encoding", "nullable-boolean")],
        ),
        column(
            "sample`s",
            Arc::new(LargeStringArray::from_iter_values(
                n(&rows).map(|i| format!("s{}", i % 2)),
            )),
            &[("encoding", "string-array")],
        ),
        column(
            "each",
            Arc::new(StringArray::from_iter_values(n(&rows).map(|i| format!("x{i}")))),
            &[("encoding", "string-array")],
        ),
    ];
    let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn obs_table() -> (SchemaRef, Vec<RecordBatch>) {
    let batches: Vec<_> = (0..N_OBS)
        .step_by(TABLE_BATCH_ROWS)
        .map(|start| table(start..N_OBS.min(start + TABLE_BATCH_ROWS)))
        .collect();
    (batches[0].schema(), batches)
}

fn store() -> (TempDir, String) {
    let dir = scratch();
    let path = dir.path().join("tables.cellring");
    let rows = matrix(N_OBS, 3, Kind::Counts, 5);
    write_store_with_obs(
        &path,
        &rows,
        WriterOptions::new(3, value_type(Kind::Counts)),
        None,
        obs_table(),
    )
    .unwrap();
    let path = path.to_str().unwrap().to_owned();
    (dir, path)
}

fn json_of(args: &[&str]) -> Value {
    crate::json(&[args, &["--json"]].concat())
}

#[test]
fn an_overview_has_every_column() {
    let (_dir, store) = store();
    let table = json_of(&["obs", &store]);
    assert_eq!(table["n_rows"], N_OBS);
    assert_eq!(
        (&table["index"], &table["first_name"], &table["n_distinct_names"]),
        (&json!("barcode"), &json!("cell_0"), &json!(N_OBS))
    );
    let count = |holds: fn(usize) -> bool| (0..N_OBS).filter(|i| holds(*i)).count();
    let expected = [
        (
            "cell type",
            json!("`cell type`"),
            "category",
            count(|i| i % 10 == 9),
            2,
        ),
        ("dose", json!("dose"), "category of int64, ordered", 0, 2),
        ("n_genes", json!("n_genes"), "int32", 0, 100),
        ("pct.mito", json!("pct.mito"), "float32", count(|i| i % 4 == 3), 3),
        ("total", json!("total"), "float64", 0, N_OBS),
        ("in", json!("`in`"), "UInt64", count(|i| i % 5 == 0), 2),
        ("is_doublet", json!("is_doublet"), "bool", 0, 2),
        ("passed", json!("passed"), "boolean", count(|i| i % 2 == 1), 1),
        ("sample`s", Value::Null, "str", 0, 2),
        ("each", json!("each"), "str", 0, N_OBS),
    ];
    let columns = table["columns"].as_array().unwrap();
    assert_eq!(columns.len(), expected.len());
    for (column, (name, filter_name, dtype, n_missing, n_distinct)) in columns.iter().zip(expected) {
        assert_eq!(column["name"], name);
        assert_eq!(column["filter_name"], filter_name, "{name}");
        assert_eq!(column["dtype"], dtype, "{name}");
        assert_eq!(column["n_missing"], n_missing, "{name}");
        assert_eq!(column["n_distinct"], n_distinct, "{name}");
        assert!(column["values"].as_array().unwrap().len() <= 5, "{name}");
    }
    let range = |name: &str| {
        let column = columns.iter().find(|column| column["name"] == name).unwrap();
        (column["min"].clone(), column["max"].clone())
    };
    assert_eq!(range("n_genes"), (json!(-20), json!(79)));
    assert_eq!(range("pct.mito"), (json!(0.0), json!(0.2)), "as it was written");
    assert_eq!(range("total"), (json!(1.0), json!("inf")));
    assert_eq!(range("in"), (json!(u64::MAX - 1), json!(u64::MAX)));
    assert_eq!(range("dose"), (json!(5), json!(50)));
    assert_eq!(range("each"), (Value::Null, Value::Null));

    let text = succeed(&["obs", &store]);
    for part in [
        "65,543 cells",
        "barcode, such as cell_0; all different",
        "`cell type`",
        r#""B \"cell\"" ("#,
        "-20 to 79",
        "category of int64, ordered",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn every_value_that_is_shown_can_be_asked_for() {
    let (_dir, store) = store();
    let table = json_of(&["obs", &store]);
    let mut n_filters = 0;
    for column in table["columns"].as_array().unwrap() {
        let name = column["name"].as_str().unwrap();
        let one = json_of(&["obs", &store, name, "--limit", "7"]);
        for value in one["values"].as_array().unwrap() {
            let Some(filter) = value["filter"].as_str() else {
                assert!(name == "sample`s" || value["value"] == "inf", "{name}: {value}");
                continue;
            };
            n_filters += 1;
            let count = value["count"].as_u64().unwrap();
            if count == 0 {
                assert_eq!(value["value"], "unused");
                continue;
            }
            let args = ["epoch", &store, "--obs-filter", filter, "--json"];
            assert_eq!(crate::json(&args)["cells"], count, "{filter}");
        }
        if column["n_missing"] != 0 {
            let filter = format!("{} is missing", column["filter_name"].as_str().unwrap());
            let found = crate::json(&["epoch", &store, "--obs-filter", &filter, "--json"]);
            assert_eq!(found["cells"], column["n_missing"], "{filter}");
        }
    }
    assert!(n_filters > 25, "{n_filters}");
}

#[test]
fn a_column_has_counts_and_quantiles() {
    let (_dir, store) = store();
    let kinds = json_of(&["obs", &store, "cell type"]);
    let count = |of: Option<usize>| (0..N_OBS).filter(|i| kind(*i) == of).count();
    let value =
        |value: &str, count: usize, filter: &str| json!({"value": value, "count": count, "filter": filter});
    assert_eq!(
        kinds["values"],
        json!([
            value("B \"cell\"", count(Some(0)), r#"`cell type` == "B \"cell\"""#),
            value("T\\cell", count(Some(1)), r#"`cell type` == "T\\cell""#),
            value("unused", 0, r#"`cell type` == "unused""#),
        ])
    );
    assert_eq!(
        (&kinds["ordered"], &kinds["encoding"]),
        (&json!(false), &json!("categorical"))
    );
    assert!(kinds.get("quantiles").is_none());

    let numbers = json_of(&["obs", &store, "n_genes", "--limit", "2"]);
    assert_eq!(
        (numbers["values"].as_array().unwrap().len(), &numbers["n_more"]),
        (2, &json!(98))
    );
    let mut sorted: Vec<i64> = (0..N_OBS).map(|i| i as i64 % 100 - 20).collect();
    sorted.sort_unstable();
    for quantile in numbers["quantiles"].as_array().unwrap() {
        let place = (N_OBS - 1) as f64 * quantile["percent"].as_f64().unwrap() / 100.0;
        let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
        let expected = low as f64 + (high - low) as f64 * place.fract();
        assert_eq!(quantile["value"], expected, "{quantile}");
    }
    assert_eq!(
        json_of(&["obs", &store, "n_genes", "--limit", "0"])["values"]
            .as_array()
            .unwrap()
            .len(),
        100
    );

    let text = succeed(&["obs", &store, "cell type", "--limit", "1"]);
    for part in [
        r#"`cell type` == "B \"cell\"""#,
        "`cell type` is missing",
        "2 more values; --limit 0 shows all",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = succeed(&["obs", &store, "n_genes"]);
    assert!(
        text.contains("median") && text.contains("n_genes >= 29"),
        "{text}"
    );
    let message = fail(&["obs", &store, "cell_type"]);
    assert!(
        message.contains("no column \"cell_type\"") && message.contains("cell type, dose"),
        "{message}"
    );
}

#[test]
fn more_different_values_than_are_counted_are_said_to_be() {
    let n = 100_010;
    let dir = scratch();
    let path = dir.path().join("many.cellring");
    let batch = |rows: std::ops::Range<usize>| {
        let names = StringArray::from_iter_values(rows.clone().map(|i| format!("c{}", i / 2)));
        let texts = StringArray::from_iter_values(rows.clone().map(|i| format!("t{i}")));
        let numbers = Int64Array::from_iter_values(rows.map(|i| i as i64));
        let fields = vec![
            role(Field::new("name", names.data_type().clone(), false), "index"),
            Field::new("text", texts.data_type().clone(), false),
            Field::new("number", numbers.data_type().clone(), false),
        ];
        let columns: Vec<ArrayRef> = vec![Arc::new(names), Arc::new(texts), Arc::new(numbers)];
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    };
    let batches = vec![batch(0..TABLE_BATCH_ROWS), batch(TABLE_BATCH_ROWS..n)];
    let rows = matrix(n, 2, Kind::Counts, 5);
    let options = WriterOptions::new(2, value_type(Kind::Counts));
    write_store_with_obs(&path, &rows, options, None, (batches[0].schema(), batches)).unwrap();
    let store = path.to_str().unwrap();
    let table = json_of(&["obs", store]);
    assert_eq!(table["n_distinct_names"], n / 2);
    for column in table["columns"].as_array().unwrap() {
        assert_eq!(
            (&column["n_distinct"], &column["n_distinct_above"]),
            (&Value::Null, &json!(100_000))
        );
    }
    let texts = json_of(&["obs", store, "text"]);
    let first: Vec<&Value> = texts["values"]
        .as_array()
        .unwrap()
        .iter()
        .map(|value| &value["value"])
        .collect();
    assert_eq!(first, ["t0", "t1", "t2"]);
    let numbers = json_of(&["obs", store, "number"]);
    assert_eq!((&numbers["min"], &numbers["max"]), (&json!(0), &json!(n - 1)));
    assert_eq!(numbers["quantiles"][3]["value"], (n - 1) as f64 / 2.0);
    let text = succeed(&["obs", store]);
    assert!(
        text.contains("only 50,005 different ones") && text.contains("more than 100,000"),
        "{text}"
    );
}

#[test]
fn the_first_rows_are_shown() {
    let (_dir, store) = store();
    let n = TABLE_BATCH_ROWS + 2;
    let printed = succeed(&["obs", &store, "--head", &n.to_string(), "--json"]);
    let rows: Vec<Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), n);
    assert_eq!(
        rows[3],
        json!({"row": 3, "name": "cell_3", "values": {
            "cell type": "B \"cell\"", "dose": 5, "n_genes": -17, "pct.mito": null, "total": 3f64.sqrt(),
            "in": u64::MAX - 1, "is_doublet": false, "passed": null, "sample`s": "s1", "each": "x3",
        }})
    );
    assert_eq!(rows[n - 1]["name"], format!("cell_{}", n - 1));
    let text = succeed(&["obs", &store, "dose", "--head", "3"]);
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        lines,
        [
            ["barcode", "dose"],
            ["cell_0", "50"],
            ["cell_1", "5"],
            ["cell_2", "50"]
        ]
    );
    let text = succeed(&["obs", &store, "--head", "2500"]);
    assert_eq!(text.lines().count(), 2501, "one header");
}

#[test]
fn info_says_where_to_look_and_shows_no_json() {
    let (_dir, store) = store();
    let text = succeed(&["info", &store]);
    assert!(text.contains(&format!("`cellring obs {store}`")), "{text}");
    let dir = scratch();
    let made = dir.path().join("made.cellring");
    let made = made.to_str().unwrap();
    let cells = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("data/mousebrain10k.h5ad");
    let cells = cells.to_str().unwrap();
    succeed(&[
        "convert",
        cells,
        cells,
        "-o",
        made,
        "--label-column",
        "run",
        "--label-values",
        "a,b",
        "--index-unique",
        "-",
    ]);
    succeed(&["append", made, cells]);
    let text = succeed(&["info", made]);
    assert!(
        !text.contains('{') && !text.contains('"') && !text.contains('['),
        "{text}"
    );
    for part in [
        "files mousebrain10k.h5ad, mousebrain10k.h5ad",
        "matrix X",
        "appended",
        "run",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // The names of both halves were made unique, those that were appended were not.
    let table = json_of(&["obs", made]);
    assert_eq!(table["columns"][0]["name"], "run");
    assert_eq!(table["n_rows"], 30_000);
}

#[test]
fn genes_of_every_matrix_are_shown() {
    let dir = scratch();
    let made = dir.path().join("made.cellring");
    let made = made.to_str().unwrap();
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/data/pbmc3k_600_raw_layers_denseX.h5ad");
    if !data.exists() {
        eprintln!("skipped: {} is not there", data.display());
        return;
    }
    succeed(&["convert", data.to_str().unwrap(), "-o", made, "--x", "--raw"]);
    let genes = |args: &[&str]| json_of(&[&["var", made], args].concat())["n_rows"].clone();
    assert_eq!(
        [genes(&[]), genes(&["--matrix", "X"])],
        [json!(1200), json!(1200)]
    );
    assert_eq!(genes(&["--matrix", "raw/X"]), json!(13_769));
    let message = fail(&["var", made, "--matrix", "raw"]);
    assert!(
        message.contains("no other matrix \"raw\"") && message.contains("raw/X"),
        "{message}"
    );
    // Filters are over obs.
    let table = json_of(&["var", made]);
    for column in table["columns"].as_array().unwrap() {
        assert!(column["filter_name"].is_null(), "{column}");
    }
}
