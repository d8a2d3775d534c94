//! Several inputs as one store, and parts of them.

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
    JoinOptions {
        var,
        ..JoinOptions::default()
    }
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

#[test]
fn real_files_of_different_genes_become_one() {
    let Some(shared) = shared_data() else { return };
    let directory = scratch();
    let names = [
        "sc_celseq2",
        "sc_celseq2_5cl_p1",
        "sc_celseq2_5cl_p3",
        "sc_dropseq",
    ];
    let inputs = names.map(|name| shared.join("multi").join(format!("{name}.h5ad")));
    let mut cases = vec![];
    for (number, var) in [VarJoin::Inner, VarJoin::Outer].into_iter().enumerate() {
        let join = JoinOptions {
            label_column: Some("file".to_owned()),
            index_unique: (number == 1).then(|| "-".to_owned()),
            ..join_of(var)
        };
        let orders = [None, Some(ObsOrder::Shuffled { seed: 5 })];
        let by = Some(ObsOrder::SortedBy(vec!["file".to_owned(), "outliers".to_owned()]));
        for (place, obs_order) in orders.into_iter().chain([by]).enumerate() {
            let options = ConvertOptions {
                obs_order,
                ..options(join.clone())
            };
            let name = directory.path().join(format!("{number}-{place}"));
            let (mut case, warnings) = case(&name, &inputs, &options);
            case["label"] = "file".into();
            case["labels"] = names.to_vec().into();
            if number == 1 {
                case["unique"] = "-".into();
            }
            // The barcodes of two plates are the same.
            assert_eq!(warnings.len(), 1 - number, "{warnings:?}");
            cases.push(case);
        }
        let manifest = Store::open(directory.path().join(format!("{number}-0.cellring"))).unwrap();
        let source = &manifest.manifest().source;
        assert_eq!(source["files"][3], "sc_dropseq.h5ad");
        assert_eq!(source["join"], join_name(var));
    }
    compare(&cases);
    let paths = inputs.each_ref().map(|path| path.to_str().unwrap());
    let store = directory.path().join("x");
    let out = ["-o", store.to_str().unwrap()];
    let message = fail(&[&["convert"], &paths[..], &out].concat());
    assert!(
        message.contains("12866 of the first are not in the second, 226 of the second not in the first"),
        "{message}"
    );
}

/// One matrix in all forms: the same genes in the same order, as CSR, CSC, dense, zarr and Matrix Market do not differ.
#[test]
fn inputs_of_different_forms_become_one() {
    let Some(shared) = shared_data() else { return };
    let directory = scratch();
    let inputs = [
        "pbmc3k_csc_gzip_v012.h5ad",
        "pbmc3k_1000_unsorted_u16.h5ad",
        "zarr/pbmc3k_1200_v3_csc_sharded.zarr",
        "compat/pbmc3k_300_bool.h5ad",
        "zarr/pbmc3k_1200_v2_blosc.zarr",
        "pbmc3k_csr_int64idx_lzf.h5ad",
    ]
    .map(|name| shared.join(name));
    // So little that the columns pass through files.
    let options = ConvertOptions {
        memory_bytes: 200 << 20,
        ..options(JoinOptions::default())
    };
    compare(&[case(&directory.path().join("all"), &inputs, &options).0]);
}

#[test]
fn columns_and_values_of_other_types_are_united() {
    let directory = scratch();
    let path = |name: &str| directory.path().join(name);
    let first: Vec<u32> = (0..9).collect();
    write(
        &path("a.h5ad"),
        ValueType::F32,
        &samples::columns(),
        &genes(&first, 1),
    );
    write(
        &path("b.h5ad"),
        ValueType::I32,
        &other_columns(),
        &genes(&[12, 3, 8, 5, 20, 0, 4], 2),
    );
    let third: Vec<u32> = (3..9).rev().chain(30..33).collect();
    write(
        &path("c.h5ad"),
        ValueType::U16,
        &samples::names("cell", 6),
        &genes(&third, 3),
    );
    let inputs = [path("a.h5ad"), path("b.h5ad"), path("c.h5ad")];
    let mut cases = vec![];
    for (number, (var, key)) in [
        (VarJoin::Inner, None),
        (VarJoin::Outer, None),
        (VarJoin::Outer, Some("gene_ids")),
    ]
    .into_iter()
    .enumerate()
    {
        let join = JoinOptions {
            var_key: key.map(str::to_owned),
            index_unique: Some("/".to_owned()),
            labels: Some(vec!["x".to_owned(), "y".to_owned(), "z".to_owned()]),
            ..join_of(var)
        };
        let (mut case, warnings) = case(&path(&number.to_string()), &inputs, &options(join));
        case["left_out"] = json!(["n_cells"]);
        case["unique"] = "/".into();
        case["labels"] = json!(["x", "y", "z"]);
        if let Some(key) = key {
            case["key"] = key.into();
        }
        assert!(
            warnings.len() == 1 && warnings[0].contains("var columns n_cells"),
            "{warnings:?}"
        );
        cases.push(case);
    }
    compare(&cases);
    // Ordered categories that agree stay so: "low" < "high" are two of "low" < "mid" < "high" < "unused".
    let store = Store::open(path("1.cellring")).unwrap();
    let level = store.obs().column("level").unwrap();
    assert_eq!(level.field().metadata()["anndata.ordered"], "true");
    let i8 = store.obs().column("i8").unwrap();
    assert_eq!(i8.field().metadata()["anndata.encoding"], "nullable-integer");
    assert_eq!(i8.field().data_type(), &arrow_schema::DataType::Int64);
}

/// Names that are numbers or booleans in some inputs become texts, as anndata makes them, also where they are appended.
#[test]
fn names_of_different_kinds_become_texts() {
    let directory = scratch();
    let path = |name: &str| directory.path().join(name);
    let names: [(&str, ArrayRef); 4] = [
        (
            "texts.h5ad",
            index(["c0", "c1", "7"].map(str::to_owned).into_iter()),
        ),
        (
            "integers.h5ad",
            Arc::new(Int64Array::from(vec![-3, 0, 10_000_000_000])),
        ),
        ("floats.h5ad", Arc::new(Float64Array::from(vec![1.5, 3.0, 1e16]))),
        (
            "booleans.h5ad",
            Arc::new(BooleanArray::from(vec![true, false, true])),
        ),
    ];
    for (name, names) in names {
        let obs = samples::table(vec![("index", names, INDEX)]);
        write(&path(name), ValueType::F32, &obs, &genes(&[0, 1, 2], 1));
    }
    let all = ["integers.h5ad", "texts.h5ad", "floats.h5ad", "booleans.h5ad"].map(path);
    let (plain, warnings) = case(&path("plain"), &all, &options(JoinOptions::default()));
    let of_index: Vec<&String> = warnings
        .iter()
        .filter(|warning| warning.contains("the index of obs holds "))
        .collect();
    assert_eq!(of_index.len(), 1, "{warnings:?}");
    assert!(
        of_index[0].ends_with("; all become texts, as in anndata"),
        "{warnings:?}"
    );
    let unique = JoinOptions {
        index_unique: Some("-".to_owned()),
        labels: Some(["i", "t", "f", "b"].map(str::to_owned).to_vec()),
        ..JoinOptions::default()
    };
    let (mut with_labels, _) = case(&path("unique"), &all, &options(unique));
    with_labels["unique"] = "-".into();
    with_labels["labels"] = json!(["i", "t", "f", "b"]);
    // Numbers of one kind stay numbers.
    let (_, warnings) = case(
        &path("numbers"),
        &[all[0].clone(), all[0].clone()],
        &options(JoinOptions::default()),
    );
    assert!(
        !warnings
            .iter()
            .any(|warning| warning.contains("the index of obs holds ")),
        "{warnings:?}"
    );

    let store = path("appended.cellring");
    run(&all[1..2], &store, &options(JoinOptions::default()));
    let more = ["integers.h5ad", "floats.h5ad", "booleans.h5ad"].map(|name| path(name).display().to_string());
    let at = store.display().to_string();
    let args: Vec<&str> = ["append", &at]
        .into_iter()
        .chain(more.iter().map(String::as_str))
        .collect();
    let (code, _, stderr) = cellring(&args);
    assert_eq!(code, 0, "{stderr}");
    let out = path("appended.out.h5ad");
    export(&store, &out, &ExportOptions::default(), &|_, _| {}).unwrap();
    let in_order = ["texts.h5ad", "integers.h5ad", "floats.h5ad", "booleans.h5ad"].map(path);
    let appended = json!({"exported": out, "sources": in_order, "join": "inner"});
    compare(&[plain, with_labels, appended]);
}

/// Values that the type of all does not hold are refused by their place; others pass.
#[test]
fn wide_integers_beside_floats_are_exact_or_refused() {
    let directory = scratch();
    let path = |name: &str| directory.path().join(name);
    write(
        &path("f.h5ad"),
        ValueType::F32,
        &samples::names("cell", 4),
        &samples::names("gene", 3),
    );
    write(
        &path("i.h5ad"),
        ValueType::I64,
        &samples::names("cell", 6),
        &samples::names("gene", 3),
    );
    let inputs = [path("f.h5ad"), path("i.h5ad")];
    let (fits, _) = case(&path("fits"), &inputs, &options(JoinOptions::default()));
    compare(&[fits]);

    let rows = CsrRows {
        indptr: vec![0, 1, 2],
        indices: vec![0, 2],
        values: ValueBuffer::I64(vec![1, (1 << 53) + 1]),
    };
    let mut writer =
        AnnDataWriter::create(path("large.h5ad"), MatrixSpec::new(2, 3, ValueType::I64)).unwrap();
    writer.push_rows(&rows).unwrap();
    for (axis, table) in [
        (Axis::Obs, samples::names("cell", 2)),
        (Axis::Var, samples::names("gene", 3)),
    ] {
        writer.write_table(axis, &table.schema(), [table]).unwrap();
    }
    writer.finish().unwrap();
    let store = path("x.cellring");
    let inputs = [path("f.h5ad"), path("large.h5ad")];
    let error = convert(&inputs, &store, &options(JoinOptions::default()), &|_, _| {}).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("large.h5ad has the value 9007199254740993 in row 1, which float64"),
        "{message}"
    );
    assert!(!store.exists());
}

#[test]
fn what_cannot_be_joined_is_refused_by_name() {
    let directory = scratch();
    let path = |name: &str| directory.path().join(name);
    let plain = samples::names("cell", 5);
    write(
        &path("a.h5ad"),
        ValueType::F32,
        &other_columns(),
        &genes(&[0, 1, 2], 1),
    );
    write(&path("b.h5ad"), ValueType::F32, &plain, &genes(&[7, 8, 9], 1));
    write(&path("c.h5ad"), ValueType::F32, &plain, &genes(&[1, 2, 3], 1));
    write(&path("d.h5ad"), ValueType::F32, &plain, &genes(&[3, 4, 5], 1));
    std::fs::create_dir(path("other")).unwrap();
    std::fs::copy(path("a.h5ad"), path("other/a.h5ad")).unwrap();
    let repeated = samples::table(vec![
        (
            "index",
            index(["gene0", "gene1", "gene0"].map(str::to_owned).into_iter()),
            INDEX,
        ),
        ("gene_ids", index((0..3).map(|i| format!("ENSG{i:05}"))), &[]),
    ]);
    write(&path("repeated.h5ad"), ValueType::F32, &plain, &repeated);
    let texts = samples::table(vec![
        ("index", index((0..5).map(|i| format!("cell{i}"))), INDEX),
        ("i8", index((0..5).map(|i| i.to_string())), &[]),
    ]);
    write(&path("texts.h5ad"), ValueType::F32, &texts, &genes(&[0, 1, 2], 1));
    let refused = |names: &[&str], more: &[&str]| {
        let inputs: Vec<String> = names
            .iter()
            .map(|name| path(name).display().to_string())
            .collect();
        let out = path("x.cellring").display().to_string();
        let mut args = vec!["convert", "-o", &out];
        args.extend(inputs.iter().map(String::as_str));
        args.extend(more);
        let message = fail(&args);
        assert!(!path("x.cellring").exists(), "{message}");
        message
    };
    for (inputs, more, parts) in [
        (
            &["a.h5ad", "b.h5ad"][..],
            &["--join", "inner"][..],
            &[
                "a.h5ad has no gene of another input",
                "gene7, gene8, gene9",
                "--var-key COLUMN",
            ][..],
        ),
        // Another way to join these would not help.
        (
            &["a.h5ad", "b.h5ad"],
            &[],
            &["no gene of another input", "gene7, gene8, gene9"],
        ),
        (
            &["a.h5ad", "c.h5ad"],
            &[],
            &["1 of the first are not in the second", "--join outer"],
        ),
        (
            &["a.h5ad", "c.h5ad", "d.h5ad"],
            &["--join", "inner"],
            &["the 3 inputs have no gene in common", "d.h5ad", "--join outer"],
        ),
        (
            &["a.h5ad", "repeated.h5ad"],
            &["--join", "outer"],
            &["repeated.h5ad has 1 genes", "gene0", "--var-key"],
        ),
        (
            &["a.h5ad", "repeated.h5ad"],
            &["--var-key", "ids"],
            &["no column ids", "gene_ids"],
        ),
        (
            &["a.h5ad", "c.h5ad"],
            &[
                "--var-key",
                "n_cells",
                "--join",
                "outer",
                "--label-column",
                "text",
            ],
            &["obs column text already"],
        ),
        (
            &["a.h5ad"],
            &["--label-column", "_index"],
            &[
                "\"_index\" cannot be the name of an obs column, since AnnData calls the index so; choose another name for --label-column",
            ],
        ),
        (
            &["a.h5ad"],
            &["--label-column", "a//b"],
            &["\"a//b\" cannot be the name of an obs column; choose another"],
        ),
        (
            &["a.h5ad", "texts.h5ad"],
            &[],
            &[
                "the obs column i8 holds numbers (int64)",
                "texts.h5ad",
                "--obs-columns",
            ],
        ),
        (
            &["a.h5ad", "other/a.h5ad"],
            &["--label-column", "source"],
            &["labelled \"a\"", "--label-values"],
        ),
        (
            &["a.h5ad", "other/a.h5ad"],
            &["--label-values", "a,b,c"],
            &["3 labels were given for 2 inputs"],
        ),
        (
            &["a.h5ad"],
            &["--obs-filter", "typo > 1"],
            &["no obs column \"typo\"", "extra, i8"],
        ),
        (
            &["a.h5ad"],
            &["--obs-filter", "i8 == 77"],
            &["matches none of the 5 obs", "i8 == 77"],
        ),
        (
            &["a.h5ad", "b.h5ad"],
            &["--join", "outer", "--layer", "counts"],
            &["a.h5ad has no layers/counts"],
        ),
    ] {
        let message = refused(inputs, more);
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
    }
    // A column that nobody wants may hold what it will, unless it is asked about.
    let some = |columns: &[&str], filter: Option<&str>| ConvertOptions {
        obs_columns: Some(columns.iter().map(|name| name.to_string()).collect()),
        obs_filter: filter.map(str::to_owned),
        ..options(JoinOptions::default())
    };
    let inputs = [path("a.h5ad"), path("texts.h5ad")];
    run(&inputs, &path("some.cellring"), &some(&["category"], None));
    for clash in [some(&["i8"], None), some(&["category"], Some("i8 == 1"))] {
        let error = convert(&inputs, &path("x.cellring"), &clash, &|_, _| {}).unwrap_err();
        assert!(error.to_string().contains("the obs column i8 holds"), "{error}");
    }
    // Ids tell the repeated genes apart.
    let key = JoinOptions {
        var_key: Some("gene_ids".to_owned()),
        ..JoinOptions::default()
    };
    run(
        &[path("a.h5ad"), path("repeated.h5ad")],
        &path("ids.cellring"),
        &options(key),
    );
}

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
            let join = JoinOptions {
                label_column: Some("source".to_owned()),
                ..JoinOptions::default()
            };
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
        join: JoinOptions {
            label_column: Some("source".to_owned()),
            ..JoinOptions::default()
        },
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
        // What is needed grows with what there is, a little: temporary files are cut by it.
        let (mut limit_mib, mut rounds) = (1, 0);
        let report: Value = loop {
            let limit = format!("{limit_mib}MiB");
            let args = with(&[order, &["--memory", &limit]].concat());
            let (code, stdout, stderr) = cellring(&args.iter().map(String::as_str).collect::<Vec<_>>());
            if code == 0 {
                assert_eq!(stderr.lines().count(), 1, "repeated names, said once: {stderr}");
                break serde_json::from_str(&stdout).unwrap();
            }
            let more = stderr.split("give --memory ").nth(1).unwrap();
            let more: u64 = more.split("MiB").next().unwrap().parse().unwrap();
            assert!(more > limit_mib && rounds < 9, "{stderr}");
            (limit_mib, rounds) = (more, rounds + 1);
        };
        let peak = report["peak_rss_bytes"].as_u64().unwrap();
        println!("{} MiB of {limit_mib}, {rounds} refusals", peak >> 20);
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
