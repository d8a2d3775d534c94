//! Data frames as Arrow tables.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use cellring_anndata::{Input, ReadError, Selection};

use crate::{fixture, real};

fn strings(batch: &RecordBatch, name: &str) -> Vec<Option<String>> {
    let column = batch.column_by_name(name).unwrap();
    column
        .as_string::<i32>()
        .iter()
        .map(|text| text.map(str::to_owned))
        .collect()
}

fn some(texts: &[&str]) -> Vec<Option<String>> {
    texts.iter().map(|&text| Some(text.to_owned())).collect()
}

/// Codes (-1 for null) and labels of a categorical column.
fn categorical(batch: &RecordBatch, name: &str) -> (Vec<i64>, DataType, arrow_array::ArrayRef) {
    let column = batch.column_by_name(name).unwrap().as_any_dictionary();
    let keys = column.keys();
    let codes = (0..keys.len())
        .map(|row| match keys.data_type() {
            _ if keys.is_null(row) => -1,
            DataType::Int8 => i64::from(keys.as_primitive::<Int8Type>().value(row)),
            DataType::Int16 => i64::from(keys.as_primitive::<Int16Type>().value(row)),
            DataType::Int32 => i64::from(keys.as_primitive::<Int32Type>().value(row)),
            _ => keys.as_primitive::<Int64Type>().value(row),
        })
        .collect();
    (codes, keys.data_type().clone(), column.values().clone())
}

#[test]
fn every_kind_of_column_is_read() {
    let table = Input::open(fixture("tables.h5ad")).unwrap().obs().unwrap();
    assert_eq!(table.n_rows(), 4);
    let warnings = table.warnings().join("\n");
    for part in [
        "obs/awkward has encoding-type awkward-array",
        "obs/wide has 2 dimensions",
        "obs/absent",
        "obs/bool is listed twice",
    ] {
        assert!(warnings.contains(part), "{warnings}");
    }
    assert_eq!(table.warnings().len(), 4, "{warnings}");

    let schema = table.schema();
    let metadata = |name: &str, key: &str| schema.field_with_name(name).unwrap().metadata().get(key).cloned();
    // A column has the name of the index, so the field of the index is called otherwise.
    assert_eq!(schema.field(0).name(), "_index");
    assert_eq!(metadata("_index", "cellring.role").as_deref(), Some("index"));
    assert_eq!(metadata("_index", "anndata.index_name").as_deref(), Some("cell"));
    let batch = table.read(0..4).unwrap();
    for name in ["_index", "cell"] {
        assert_eq!(strings(&batch, name), some(&["a", "b", "b", "\u{e9}t\u{e9}"]));
    }

    for (name, data_type) in [
        ("int8", DataType::Int8),
        ("int16", DataType::Int16),
        ("int32", DataType::Int32),
        ("int64", DataType::Int64),
        ("uint8", DataType::UInt8),
        ("uint16", DataType::UInt16),
        ("uint32", DataType::UInt32),
        ("uint64", DataType::UInt64),
        ("float16", DataType::Float16),
        ("float32", DataType::Float32),
        ("float64", DataType::Float64),
        ("big_int32", DataType::Int32),
        ("big_float64", DataType::Float64),
    ] {
        let column = batch.column_by_name(name).unwrap();
        assert_eq!(*column.data_type(), data_type, "{name}");
        assert_eq!(metadata(name, "anndata.encoding").as_deref(), Some("array"));
        let first = if name.starts_with("uint") { "1" } else { "-1" };
        for (row, expected) in [first, "0", "2", "100"].into_iter().enumerate() {
            let found = match &data_type {
                DataType::Int8 => column.as_primitive::<Int8Type>().value(row).to_string(),
                DataType::Int16 => column.as_primitive::<Int16Type>().value(row).to_string(),
                DataType::Int32 => column.as_primitive::<Int32Type>().value(row).to_string(),
                DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
                DataType::UInt64 => column.as_primitive::<UInt64Type>().value(row).to_string(),
                DataType::Float16 => column.as_primitive::<Float16Type>().value(row).to_string(),
                DataType::Float32 => column.as_primitive::<Float32Type>().value(row).to_string(),
                DataType::Float64 => column.as_primitive::<Float64Type>().value(row).to_string(),
                DataType::UInt8 => column.as_primitive::<UInt8Type>().value(row).to_string(),
                DataType::UInt16 => column.as_primitive::<UInt16Type>().value(row).to_string(),
                _ => column.as_primitive::<UInt32Type>().value(row).to_string(),
            };
            assert_eq!(found, expected, "{name}, row {row}");
        }
    }
    let bools = |name: &str| {
        batch
            .column_by_name(name)
            .unwrap()
            .as_boolean()
            .iter()
            .collect::<Vec<_>>()
    };
    assert_eq!(bools("bool"), [Some(true), Some(false), Some(false), Some(true)]);
    assert_eq!(strings(&batch, "fixed"), some(&["x", "", "long", "z"]));
    assert_eq!(strings(&batch, "spaces"), some(&["x", "", "long", "a b"]));
    let nested = batch
        .column_by_name("nested/column")
        .unwrap()
        .as_primitive::<Int32Type>();
    assert_eq!(nested.values().to_vec(), [4, 3, 2, 1]);

    let (codes, key, labels) = categorical(&batch, "cat");
    assert_eq!((codes, key), (vec![1, -1, 0, 1], DataType::Int8));
    assert_eq!(
        labels.as_string::<i32>().iter().flatten().collect::<Vec<_>>(),
        ["lo", "hi"]
    );
    assert_eq!(metadata("cat", "anndata.ordered").as_deref(), Some("true"));
    assert_eq!(
        schema.field_with_name("cat").unwrap().dict_is_ordered(),
        Some(true)
    );
    assert_eq!(metadata("cat_int", "anndata.ordered").as_deref(), Some("false"));
    assert_eq!(
        metadata("cat_int", "anndata.encoding").as_deref(),
        Some("categorical")
    );
    for (name, codes, key, labels_type) in [
        ("cat_int", [0, 0, 1, -1], DataType::Int16, DataType::Int64),
        ("cat_float", [0, 1, 1, 0], DataType::Int32, DataType::Float64),
        ("cat_bool", [0, 1, 1, 0], DataType::Int64, DataType::Boolean),
        ("cat_unsigned", [0, 1, 1, 0], DataType::Int16, DataType::Utf8),
        ("cat_nullable", [1, 0, -1, 0], DataType::Int8, DataType::Utf8),
    ] {
        let (found, found_key, labels) = categorical(&batch, name);
        assert_eq!((found, found_key), (codes.to_vec(), key), "{name}");
        assert_eq!((labels.data_type(), labels.len()), (&labels_type, 2), "{name}");
    }

    let ints = batch
        .column_by_name("null_int")
        .unwrap()
        .as_primitive::<Int64Type>();
    assert_eq!(ints.iter().collect::<Vec<_>>(), [Some(1), None, Some(3), Some(4)]);
    assert_eq!(bools("null_bool"), [Some(true), None, Some(false), Some(false)]);
    assert_eq!(
        strings(&batch, "null_text"),
        [
            Some("a".to_owned()),
            None,
            Some(String::new()),
            Some("\u{3bb}".to_owned())
        ]
    );
    assert_eq!(
        metadata("null_text", "anndata.encoding").as_deref(),
        Some("nullable-string-array")
    );
    assert_eq!(metadata("null_text", "anndata.na_value").as_deref(), Some("NaN"));

    // Windows are slices of the whole, with the same dictionaries.
    for start in 0..4 {
        for end in start..=4 {
            let part = table.read(start..end).unwrap();
            assert_eq!(part, batch.slice(start as usize, (end - start) as usize));
        }
    }
    assert!(matches!(
        table.read(2..5),
        Err(ReadError::RowRange { n_rows: 4, .. })
    ));
}

#[test]
fn an_empty_column_order_and_long_tables_are_read_in_windows() {
    let Some(path) = real("scp_118861x19_mostly_empty_rows.h5ad") else {
        return;
    };
    let file = Input::open(&path).unwrap();
    let obs = file.obs().unwrap();
    assert_eq!(obs.n_rows(), 118861);
    let whole = obs.read(0..118861).unwrap();
    let mut at = 0;
    while at < obs.n_rows() {
        let end = (at + 50_000).min(obs.n_rows());
        assert_eq!(
            obs.read(at..end).unwrap(),
            whole.slice(at as usize, (end - at) as usize)
        );
        at = end;
    }
    let baron = Input::open(real("baron_human1_csr_i32.h5ad").unwrap()).unwrap();
    let var = baron.var(&Selection::X).unwrap();
    assert_eq!((var.schema().fields().len(), var.n_rows()), (1, 20125));
}
