//! Small `.h5ad` files in which every kind of column and matrix occurs, made by formulas that a checker can repeat.

#![allow(
    clippy::unwrap_used,
    reason = "a sample that cannot be made fails the test that wants it"
)]

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use arrow_array::types::{Int8Type, Int16Type, UInt8Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, Float16Array, Float32Array, Float64Array, Int8Array,
    Int16Array, Int32Array, Int64Array, LargeStringArray, RecordBatch, StringArray, UInt8Array, UInt16Array,
    UInt32Array, UInt64Array,
};
use arrow_schema::{Field, Schema};
use cellring_anndata::write::{AnnDataWriter, Axis, MatrixSpec};
use cellring_anndata::{CsrRows, ValueBuffer, ValueType};

/// Every element type of a matrix.
pub(crate) const VALUE_TYPES: [ValueType; ValueType::ALL.len()] = match ValueType::ALL.first_chunk() {
    Some(all) => *all,
    None => unreachable!(),
};

/// Rows of the tables of [`columns`].
pub(crate) const N_COLUMN_ROWS: usize = 7;

fn field(name: &str, array: &dyn Array, metadata: &[(&str, &str)]) -> Field {
    let metadata: HashMap<String, String> = metadata
        .iter()
        .map(|(k, v)| (k.to_string(), v.to_string()))
        .collect();
    Field::new(name, array.data_type().clone(), true).with_metadata(metadata)
}

/// Name, values and field metadata of a column.
pub(crate) type Column<'a> = (&'a str, ArrayRef, &'a [(&'a str, &'a str)]);

/// A table of these columns.
pub(crate) fn table(columns: Vec<Column<'_>>) -> RecordBatch {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, array, about)| field(name, array, about))
        .collect();
    RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns.into_iter().map(|(_, array, _)| array).collect(),
    )
    .unwrap()
}

/// Names `PREFIX0`, `PREFIX1`, ... as an index.
pub(crate) fn names(prefix: &str, n: usize) -> RecordBatch {
    let index: StringArray = (0..n).map(|i| Some(format!("{prefix}{i}"))).collect();
    table(vec![("index", Arc::new(index), &[("cellring.role", "index")])])
}

/// Row i holds the columns j with (i + j) % 3 = 0, value i + j + 1 (bools: whether j is even); every fifth row is
/// empty, the first and the last too.
pub(crate) fn matrix(value_type: ValueType, n_obs: usize, n_vars: usize) -> CsrRows {
    let mut rows = CsrRows {
        indptr: vec![0],
        indices: vec![],
        values: ValueBuffer::with_capacity(value_type, 0),
    };
    for i in 0..n_obs {
        for j in (0..n_vars).filter(|j| i % 5 != 0 && i + 1 != n_obs && (i + j) % 3 == 0) {
            rows.indices.push(j as u32);
            match &mut rows.values {
                ValueBuffer::Bool(v) => v.push(j % 2 == 0),
                ValueBuffer::U8(v) => v.push((i + j + 1) as u8),
                ValueBuffer::U16(v) => v.push((i + j + 1) as u16),
                ValueBuffer::U32(v) => v.push((i + j + 1) as u32),
                ValueBuffer::U64(v) => v.push((i + j + 1) as u64),
                ValueBuffer::I8(v) => v.push((i + j + 1) as i8),
                ValueBuffer::I16(v) => v.push((i + j + 1) as i16),
                ValueBuffer::I32(v) => v.push((i + j + 1) as i32),
                ValueBuffer::I64(v) => v.push((i + j + 1) as i64),
                ValueBuffer::F32(v) => v.push((i + j + 1) as f32),
                ValueBuffer::F64(v) => v.push((i + j + 1) as f64),
            }
        }
        rows.indptr.push(rows.indices.len() as u64);
    }
    rows
}

/// One column of every kind.
pub(crate) fn columns() -> RecordBatch {
    let n = N_COLUMN_ROWS as i64;
    macro_rules! numbers {
        ($array:ty, $type:ty) => {
            Arc::new((0..n).map(|i| Some((i * 3) as $type)).collect::<$array>()) as ArrayRef
        };
    }
    let gap = |i: i64| (i % 3 != 1).then_some(i);
    let texts = [
        "",
        "plain",
        "gr\u{fc}n",
        "\u{65e5}\u{672c}",
        "a/b",
        " padded ",
        "x",
    ];
    let half: Float16Array = Float32Array::from_iter_values((0..n).map(|i| i as f32 / 4.0))
        .values()
        .iter()
        .map(|&v| {
            Some(<arrow_array::types::Float16Type as arrow_array::ArrowPrimitiveType>::Native::from_f32(v))
        })
        .collect();
    let codes_i8 = Int8Array::from(vec![Some(2), Some(0), None, Some(1), Some(1), Some(0), Some(2)]);
    let labels: ArrayRef = Arc::new(StringArray::from(vec!["low", "mid", "high", "unused"]));
    let codes_u8 = UInt8Array::from(vec![Some(2), Some(0), None, Some(1), Some(1), Some(0), Some(2)]);
    let number_labels: ArrayRef = Arc::new(Int64Array::from(vec![30, 10, 20]));
    let bool_labels: ArrayRef = Arc::new(BooleanArray::from(vec![true, false]));
    let float_labels: ArrayRef = Arc::new(Float32Array::from(vec![0.5, -1.5, 2.25]));
    let codes_i16 = Int16Array::from(vec![0, 1, 0, 1, 1, 0, 0]);
    table(vec![
        (
            "barcode",
            Arc::new(
                (0..n)
                    .map(|i| Some(format!("cell-{i}")))
                    .collect::<LargeStringArray>(),
            ) as ArrayRef,
            &[("cellring.role", "index"), ("anndata.index_name", "barcode")],
        ),
        ("i8", numbers!(Int8Array, i8), &[]),
        ("i16", numbers!(Int16Array, i16), &[]),
        ("i32", numbers!(Int32Array, i32), &[]),
        ("i64", numbers!(Int64Array, i64), &[]),
        ("u8", numbers!(UInt8Array, u8), &[]),
        ("u16", numbers!(UInt16Array, u16), &[]),
        ("u32", numbers!(UInt32Array, u32), &[]),
        ("u64", numbers!(UInt64Array, u64), &[]),
        ("f16", Arc::new(half), &[]),
        ("f32", numbers!(Float32Array, f32), &[]),
        (
            "f64",
            numbers!(Float64Array, f64),
            &[("anndata.encoding", "array")],
        ),
        (
            "f64_missing",
            Arc::new((0..n).map(|i| gap(i).map(|i| i as f64)).collect::<Float64Array>()),
            &[],
        ),
        (
            "flag",
            Arc::new((0..n).map(|i| Some(i % 2 == 0)).collect::<BooleanArray>()),
            &[],
        ),
        (
            "text",
            Arc::new(texts.into_iter().map(Some).collect::<StringArray>()),
            &[("anndata.encoding", "string-array")],
        ),
        (
            "int_missing",
            Arc::new((0..n).map(|i| gap(i).map(|i| i as i16)).collect::<Int16Array>()),
            &[],
        ),
        (
            "int_none_missing",
            numbers!(UInt8Array, u8),
            &[("anndata.encoding", "nullable-integer")],
        ),
        (
            "flag_missing",
            Arc::new(
                (0..n)
                    .map(|i| gap(i).map(|i| i % 2 == 0))
                    .collect::<BooleanArray>(),
            ),
            &[],
        ),
        (
            "flag_none_missing",
            Arc::new((0..n).map(|i| Some(i % 2 == 0)).collect::<BooleanArray>()),
            &[("anndata.encoding", "nullable-boolean")],
        ),
        (
            "text_missing",
            Arc::new(
                (0..n)
                    .map(|i| gap(i).map(|i| texts[i as usize]))
                    .collect::<StringArray>(),
            ),
            &[],
        ),
        (
            "text_none_missing",
            Arc::new(texts.into_iter().map(Some).collect::<LargeStringArray>()),
            &[("anndata.encoding", "nullable-string-array")],
        ),
        (
            "category",
            Arc::new(DictionaryArray::<Int8Type>::try_new(codes_i8.clone(), labels.clone()).unwrap()),
            &[("anndata.encoding", "categorical"), ("anndata.ordered", "false")],
        ),
        (
            "level",
            Arc::new(DictionaryArray::<Int8Type>::try_new(codes_i8, labels).unwrap()),
            &[("anndata.ordered", "true")],
        ),
        (
            "number_category",
            Arc::new(DictionaryArray::<UInt8Type>::try_new(codes_u8.clone(), number_labels).unwrap()),
            &[],
        ),
        (
            "bool_category",
            Arc::new(DictionaryArray::<Int16Type>::try_new(codes_i16, bool_labels).unwrap()),
            &[],
        ),
        (
            "float_category",
            Arc::new(DictionaryArray::<UInt8Type>::try_new(codes_u8, float_labels).unwrap()),
            &[],
        ),
        ("nested/deeply/column", numbers!(Int32Array, i32), &[]),
        ("nested/other", numbers!(Float32Array, f32), &[]),
    ])
}

/// Writes a file whose tables and matrix come in pieces of `step` rows.
pub(crate) fn write(path: &Path, spec: MatrixSpec, obs: &RecordBatch, var: &RecordBatch, step: usize) {
    let (n_obs, n_vars) = (spec.n_obs as usize, spec.n_vars as usize);
    let all = matrix(spec.value_type, n_obs, n_vars);
    let mut writer = AnnDataWriter::create(path, spec.clone()).unwrap();
    for start in (0..n_obs).step_by(step) {
        let end = (start + step).min(n_obs);
        let (from, to) = (all.indptr[start], all.indptr[end]);
        let range = from as usize..to as usize;
        macro_rules! cut {
            ($($kind:ident)*) => {
                match &all.values { $(ValueBuffer::$kind(v) => ValueBuffer::$kind(v[range.clone()].to_vec()),)* }
            };
        }
        writer
            .push_rows(&CsrRows {
                indptr: all.indptr[start..=end].iter().map(|p| p - from).collect(),
                indices: all.indices[range.clone()].to_vec(),
                values: cut!(Bool U8 U16 U32 U64 I8 I16 I32 I64 F32 F64),
            })
            .unwrap();
    }
    for (axis, table) in [(Axis::Var, var), (Axis::Obs, obs)] {
        // One batch at least: it brings the categories.
        let pieces = (0..table.num_rows().max(1)).step_by(step);
        let pieces = pieces.map(|start| table.slice(start, step.min(table.num_rows() - start)));
        writer.write_table(axis, &table.schema(), pieces).unwrap();
    }
    writer.finish().unwrap();
}

/// Writes all samples to a directory.
#[allow(
    dead_code,
    reason = "only the example that makes files for other programs calls it"
)]
pub(crate) fn write_all(directory: &Path) {
    let columns = columns();
    let (n, m) = (N_COLUMN_ROWS, 5);
    let spec =
        |value_type, n_obs: usize, n_vars: usize| MatrixSpec::new(n_obs as u64, n_vars as u64, value_type);
    for step in [1, 3, 100] {
        let path = directory.join(format!("columns_{step}.h5ad"));
        write(
            &path,
            spec(ValueType::F32, n, m),
            &columns,
            &names("gene", m),
            step,
        );
    }
    // The same columns on the var axis, none on obs.
    write(
        &directory.join("columns_var.h5ad"),
        spec(ValueType::F32, 4, n),
        &names("cell", 4),
        &columns,
        2,
    );
    for value_type in VALUE_TYPES {
        for (width, wide_indices) in [(32, false), (64, true)] {
            let mut spec = spec(value_type, 23, 40);
            spec.wide_indices = wide_indices;
            spec.nnz = Some(matrix(value_type, 23, 40).nnz() as u64);
            let path = directory.join(format!("matrix_{}_{width}.h5ad", value_type.numpy_name()));
            write(&path, spec, &names("cell", 23), &names("gene", 40), 4);
        }
    }
    write(
        &directory.join("no_obs.h5ad"),
        spec(ValueType::F32, 0, m),
        &columns.slice(0, 0),
        &names("gene", m),
        1,
    );
    write(
        &directory.join("no_vars.h5ad"),
        spec(ValueType::I32, n, 0),
        &columns,
        &names("gene", 0),
        2,
    );
    let long = long(150_001);
    let mut wide = spec(ValueType::F32, 150_001, 20);
    wide.wide_indices = true;
    write(
        &directory.join("long.h5ad"),
        wide,
        &long,
        &names("gene", 20),
        7_000,
    );
}

/// Columns of many chunks; the first missing value of `late` comes at row 140,000.
pub(crate) fn long(n: usize) -> RecordBatch {
    let rows = 0..n as i64;
    let labels: ArrayRef = Arc::new(
        (0..300)
            .map(|i| Some(format!("label {i}")))
            .collect::<StringArray>(),
    );
    let codes: Int16Array = rows.clone().map(|i| Some((i * 7 % 300) as i16)).collect();
    table(vec![
        (
            "id",
            Arc::new(
                rows.clone()
                    .map(|i| Some(format!("cell-{i}")))
                    .collect::<StringArray>(),
            ) as ArrayRef,
            &[],
        ),
        (
            "number",
            Arc::new(rows.clone().map(|i| Some(i * i)).collect::<Int64Array>()),
            &[],
        ),
        (
            "late",
            Arc::new(
                rows.clone()
                    .map(|i| (i < 140_000 || i % 2 == 0).then_some(i as i32))
                    .collect::<Int32Array>(),
            ),
            &[],
        ),
        (
            "label",
            Arc::new(DictionaryArray::<Int16Type>::try_new(codes, labels).unwrap()),
            &[("anndata.ordered", "true")],
        ),
        // Some texts are longer than a collection of the heap, most are empty.
        (
            "text",
            Arc::new(
                rows.map(|i| {
                    Some(if i % 50_000 == 1 {
                        "long ".repeat(20_000)
                    } else {
                        "ab".repeat((i % 3) as usize)
                    })
                })
                .collect::<StringArray>(),
            ),
            &[],
        ),
    ])
}
