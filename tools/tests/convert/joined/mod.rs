//! Several inputs as one store, and parts of them.

mod columns;
mod large;
mod refusals;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use arrow_array::types::Int8Type;
use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int8Array, Int32Array, Int64Array, RecordBatch,
    StringArray,
};
use cellring::Store;
use cellring::format::{CsrRows, ValueBuffer, ValueType};
use cellring::store::verify;
use cellring_anndata::write::{AnnDataWriter, Axis, MatrixSpec};
use cellring_anndata::{JoinOptions, VarJoin};
use cellring_tools::convert::{ConvertOptions, ConvertReport, ObsOrder, convert};
use cellring_tools::export::{ExportOptions, export};
use cellring_tools::synth::Synth;
use serde_json::{Value, json};

use crate::{cellring, fail, python, samples, scratch, shared_data};

/// Compares exports of joined stores with what anndata joins.
fn compare(cases: &[Value]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut child = Command::new(python())
        .arg(root.join("tests/python/compare_joined.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: String = cases.iter().map(|case| format!("{case}\n")).collect();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{stdout}");
    assert_eq!(stdout, format!("{} equal\n", cases.len()));
}

fn run(inputs: &[PathBuf], store: &Path, options: &ConvertOptions) -> ConvertReport {
    convert(inputs, store, options, &|done, total| assert!(done <= total))
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Converts, verifies and exports; the case that compares the outcome, and the warnings.
fn case(name: &Path, inputs: &[PathBuf], options: &ConvertOptions) -> (Value, Vec<String>) {
    let (store, out) = (name.with_extension("cellring"), name.with_extension("out.h5ad"));
    let report = run(inputs, &store, options);
    let store = Store::open(&store).unwrap();
    verify(&store, 2, &|_| {}).unwrap();
    export(store.path(), &out, &ExportOptions::default(), &|_, _| {}).unwrap();
    let case = json!({"exported": out, "sources": inputs, "join": join_name(options.join.var)});
    let sentences = report.warnings.into_iter().map(|warning| warning.sentence);
    (case, sentences.collect())
}

fn join_name(join: VarJoin) -> &'static str {
    match join {
        VarJoin::Outer => "outer",
        _ => "inner",
    }
}

fn join_of(var: VarJoin) -> JoinOptions {
    JoinOptions::default().var(var)
}

fn options(join: JoinOptions) -> ConvertOptions {
    ConvertOptions {
        join,
        block_size: 64,
        ..ConvertOptions::default()
    }
}

/// Rows in which cell i has a value in gene j where (i + j) % 3 is not 0.
pub(crate) fn write(path: &Path, value_type: ValueType, obs: &RecordBatch, var: &RecordBatch) {
    let spec = MatrixSpec::new(obs.num_rows() as u64, var.num_rows() as u64, value_type);
    samples::write(path, spec, obs, var, 4);
}

fn index(names: impl Iterator<Item = String>) -> ArrayRef {
    Arc::new(names.map(Some).collect::<StringArray>())
}

const INDEX: &[(&str, &str)] = &[("cellring.role", "index")];

/// Genes by number, with a column that all inputs agree on, one that they do not, and one of unique names.
pub(crate) fn genes(numbers: &[u32], input: i64) -> RecordBatch {
    let chromosomes: StringArray = numbers.iter().map(|n| Some(format!("chr{}", n % 5))).collect();
    let counts: Int64Array = numbers.iter().map(|n| Some(i64::from(*n) * input)).collect();
    let ids: StringArray = numbers.iter().map(|n| Some(format!("ENSG{n:05}"))).collect();
    samples::table(vec![
        ("index", index(numbers.iter().map(|n| format!("gene{n}"))), INDEX),
        ("gene_ids", Arc::new(ids), &[]),
        ("chromosome", Arc::new(chromosomes), &[]),
        ("n_cells", Arc::new(counts), &[]),
    ])
}

fn categories(codes: &[Option<i8>], labels: &[&str]) -> ArrayRef {
    let labels: ArrayRef = Arc::new(StringArray::from(labels.to_vec()));
    let codes = Int8Array::from(codes.to_vec());
    Arc::new(DictionaryArray::<Int8Type>::try_new(codes, labels).unwrap())
}

const ORDERED: &[(&str, &str)] = &[("anndata.ordered", "true")];

/// Columns that are some of those of [`samples::columns`], of other types and categories, and one more.
fn other_columns() -> RecordBatch {
    let codes = [Some(1), None, Some(0), Some(1), Some(0)];
    samples::table(vec![
        ("barcode", index((0..5).map(|i| format!("cell-{i}"))), INDEX),
        ("extra", index((0..5).map(|i| format!("only here {i}"))), &[]),
        ("i8", Arc::new(Int64Array::from(vec![1 << 40, -1, 0, 1, 2])), &[]),
        ("u32", Arc::new(Int32Array::from(vec![-1, 5, 6, 7, 8])), &[]),
        (
            "i64",
            Arc::new(Float64Array::from(vec![0.5, 1.5, 2.5, 3.5, 4.5])),
            &[],
        ),
        (
            "f32",
            Arc::new(Float64Array::from(vec![0.1, 0.2, 0.3, 0.4, 0.5])),
            &[],
        ),
        (
            "int_missing",
            Arc::new(Int64Array::from(vec![Some(3), None, Some(5), None, Some(1)])),
            &[],
        ),
        (
            "text",
            Arc::new(StringArray::from(vec![
                Some("a"),
                None,
                Some(""),
                Some("b"),
                Some("c"),
            ])),
            &[],
        ),
        ("category", categories(&codes, &["new", "mid"]), &[]),
        ("level", categories(&codes, &["low", "high"]), ORDERED),
    ])
}
