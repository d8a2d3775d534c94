//! AnnData files as sources: real ones, every form in the fixtures of `data/`, and damaged ones.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "tests; the settings for tests do not reach helper functions"
)]

use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt64Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use cellring::format::{CsrRows, ValueBuffer, ValueType};
use cellring::with_values;
use cellring_tools::anndata::{
    AnnData, Canonicalised, CountMode, MatrixSource, Selection, SourceError, TableSource,
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

/// A file of the shared collection of real data, or `None` (said aloud) when the collection is not there.
fn real(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("CELLRING_SHARED_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")),
        PathBuf::from,
    );
    if folder.is_dir() {
        return Some(folder.join(name));
    }
    println!(
        "skipped {name}: {} does not exist; set CELLRING_SHARED_DATA",
        folder.display()
    );
    None
}

fn layer(name: &str) -> Selection {
    Selection::Layer(name.to_owned())
}

/// A matrix whole: offsets, columns, and values as f64.
#[derive(Debug, PartialEq)]
struct Whole {
    indptr: Vec<u64>,
    indices: Vec<u32>,
    values: Vec<f64>,
}

trait AsF64: Copy {
    fn as_f64(self) -> f64;
}

macro_rules! as_f64 {
    ($($type:ty),*) => {$(impl AsF64 for $type {
        fn as_f64(self) -> f64 {
            self as f64
        }
    })*};
}

as_f64!(u8, u16, u32, u64, i8, i16, i32, i64, f32, f64);

impl AsF64 for bool {
    fn as_f64(self) -> f64 {
        f64::from(u8::from(self))
    }
}

fn append(whole: &mut Whole, rows: &CsrRows) {
    let base = *whole.indptr.last().unwrap();
    assert_eq!(rows.indptr[0], 0);
    assert_eq!(rows.indptr.last().copied(), Some(rows.indices.len() as u64));
    assert_eq!(rows.indices.len(), rows.values.len());
    whole.indptr.extend(rows.indptr[1..].iter().map(|end| base + end));
    whole.indices.extend(&rows.indices);
    with_values!(&rows.values, values => whole.values.extend(values.iter().map(|value| value.as_f64())));
}

fn read(source: &MatrixSource, max_nnz: usize) -> Result<(Whole, Canonicalised), SourceError> {
    let mut whole = Whole {
        indptr: vec![0],
        indices: Vec::new(),
        values: Vec::new(),
    };
    let mut rows = source.rows(0..source.n_obs(), max_nnz)?;
    while let Some(window) = rows.next() {
        let window = window?;
        assert_eq!(window.values.value_type(), source.value_type());
        assert!(
            window.n_rows() == 1 || window.nnz() <= max_nnz,
            "{} entries in a window",
            window.nnz()
        );
        append(&mut whole, &window);
        rows.recycle(window);
    }
    assert_eq!(whole.indptr.len() as u64, source.n_obs() + 1);
    Ok((whole, rows.report()))
}

fn open_and_read(path: &Path, selection: &Selection) -> Result<(Whole, Canonicalised), SourceError> {
    read(&MatrixSource::open(path, selection)?, 1 << 20)
}

/// The matrix of the fixtures, canonical.
fn expected() -> Whole {
    Whole {
        indptr: vec![0, 0, 2, 4, 4, 7, 7],
        indices: vec![2, 7, 1, 9, 3, 4, 5],
        values: vec![3.0, 11.0, 1.0, 2.0, 9.0, 8.0, 4.0],
    }
}

/// Name, selection, n_obs, n_vars, stored entries, value type, type of indices, sum (exact for whole numbers).
type Known = (
    &'static str,
    Selection,
    u64,
    u64,
    u64,
    ValueType,
    &'static str,
    f64,
);

#[test]
fn real_files_have_their_known_shape_entries_and_sum() {
    use ValueType::{Bool, F32, I32, U16};
    let x = || Selection::X;
    let known: Vec<Known> = vec![
        (
            "baron_human1_csr_i32.h5ad",
            x(),
            1937,
            20125,
            3726445,
            I32,
            "int32",
            11244731.0,
        ),
        (
            "compat/anndataR_example.h5ad",
            x(),
            50,
            100,
            4317,
            F32,
            "int32",
            4791.22,
        ),
        (
            "compat/anndata_v0.7.0.h5ad",
            x(),
            30,
            20,
            228,
            F32,
            "int32",
            285.0,
        ),
        (
            "compat/anndata_v0.7.8.h5ad",
            x(),
            30,
            20,
            239,
            F32,
            "int32",
            302.0,
        ),
        (
            "compat/bpcells_mini_u16_v0.10.9.h5ad",
            x(),
            3,
            5,
            8,
            U16,
            "int32",
            15.0,
        ),
        ("compat/bpcells_mini_v0.7.h5ad", x(), 3, 5, 8, F32, "int32", 15.0),
        (
            "compat/cellrank_100_raw_layers.h5ad",
            x(),
            100,
            278,
            12602,
            F32,
            "int32",
            14644.7,
        ),
        (
            "compat/cellxgene_schema_example_valid.h5ad",
            x(),
            2,
            7,
            14,
            F32,
            "int64",
            50.5,
        ),
        (
            "compat/pbmc3k_100_nullable_strings.h5ad",
            x(),
            100,
            32738,
            84735,
            F32,
            "int32",
            246062.0,
        ),
        (
            "compat/pbmc3k_300_bool.h5ad",
            x(),
            300,
            32738,
            255100,
            Bool,
            "int32",
            255100.0,
        ),
        (
            "compat/pbmc3k_400_emptyrows.h5ad",
            x(),
            400,
            32738,
            329603,
            F32,
            "int32",
            923410.0,
        ),
        (
            "compat/pbmc3k_500_shuffle_gzip9_fletcher.h5ad",
            x(),
            500,
            32738,
            429232,
            F32,
            "int32",
            1207734.0,
        ),
        (
            "compat/scimilarity_1000x1000.h5ad",
            x(),
            1000,
            1000,
            90431,
            F32,
            "int32",
            106986.0,
        ),
        (
            "compat/scp_indexed_by_gene_id.h5ad",
            x(),
            150,
            123,
            5974,
            F32,
            "int32",
            5956.64,
        ),
        (
            "compat/scvelo_dentategyrus_100_layers.h5ad",
            x(),
            100,
            13913,
            139156,
            F32,
            "int32",
            288220.0,
        ),
        (
            "compat/scvelo_pancreas_50_layers.h5ad",
            x(),
            50,
            27998,
            126494,
            F32,
            "int32",
            335512.0,
        ),
        (
            "compat/scvi_brainlarge_70.h5ad",
            x(),
            70,
            720,
            15274,
            F32,
            "int32",
            38735.0,
        ),
        (
            "compat/squidpy_49.h5ad",
            x(),
            49,
            1999,
            22372,
            F32,
            "int32",
            30129.6,
        ),
        (
            "compat/tiledbsoma_subset_100_100.h5ad",
            x(),
            100,
            100,
            13,
            F32,
            "int32",
            14.0,
        ),
        (
            "mousebrain10k_1000g_csr_gzip.h5ad",
            x(),
            10000,
            1000,
            691914,
            F32,
            "int32",
            1597698.0,
        ),
        (
            "multi/sc_celseq2.h5ad",
            x(),
            274,
            28204,
            1954979,
            F32,
            "int32",
            10321416.0,
        ),
        (
            "multi/sc_celseq2_5cl_p1.h5ad",
            x(),
            297,
            15564,
            1810635,
            F32,
            "int32",
            9783530.0,
        ),
        (
            "multi/sc_celseq2_5cl_p3.h5ad",
            x(),
            305,
            13426,
            1463083,
            F32,
            "int32",
            5546889.0,
        ),
        (
            "multi/sc_dropseq.h5ad",
            x(),
            225,
            15127,
            1290921,
            F32,
            "int32",
            5830998.0,
        ),
        (
            "pbmc3k_1000_unsorted_u16.h5ad",
            x(),
            1000,
            32738,
            846778,
            U16,
            "int32",
            2371539.0,
        ),
        (
            "pbmc3k_csr_gzip_v012.h5ad",
            x(),
            2700,
            32738,
            2286884,
            F32,
            "int32",
            6390631.0,
        ),
        (
            "pbmc3k_csr_int64idx_lzf.h5ad",
            x(),
            2700,
            32738,
            2286884,
            I32,
            "int64",
            6390631.0,
        ),
        (
            "scp_118861x19_mostly_empty_rows.h5ad",
            x(),
            118861,
            19,
            67025,
            F32,
            "int32",
            100337.0,
        ),
    ];
    for (name, selection, n_obs, n_vars, nnz, value_type, indices_type, sum) in known {
        let Some(path) = real(name) else { return };
        let source = MatrixSource::open(&path, &selection).unwrap();
        assert_eq!(
            (source.n_obs(), source.n_vars(), source.nnz()),
            (n_obs, n_vars, nnz),
            "{name}"
        );
        assert_eq!(
            (source.value_type(), source.indices_type().as_str()),
            (value_type, indices_type),
            "{name}"
        );
        let (whole, report) = read(&source, 100_000).unwrap();
        let kept = nnz - report.duplicates_summed - report.explicit_zeros_dropped;
        assert_eq!(whole.indices.len() as u64, kept, "{name}: {report:?}");
        let found: f64 = whole.values.iter().sum();
        // The list gives six digits, and anndata summed some of the float32 values in float32.
        assert!(
            (found - sum).abs() <= 1e-5 * sum,
            "{name}: sum {found}, expected {sum}"
        );
        for row in whole.indptr.windows(2) {
            let row = &whole.indices[row[0] as usize..row[1] as usize];
            assert!(row.is_sorted_by(|a, b| a < b) && row.iter().all(|&column| u64::from(column) < n_vars));
        }
        let counts = source.detection_counts(0..n_obs, CountMode::Exact).unwrap();
        let mut expected_counts = vec![0u64; n_vars as usize];
        whole
            .indices
            .iter()
            .for_each(|&column| expected_counts[column as usize] += 1);
        assert_eq!(counts, expected_counts, "{name}");
        let stored = source.detection_counts(0..n_obs, CountMode::Stored).unwrap();
        assert_eq!(stored.iter().sum::<u64>(), nnz, "{name}");
    }
}

#[test]
fn the_same_cells_are_equal_whatever_their_form() {
    let Some(path) = real("pbmc3k_csr_gzip_v012.h5ad") else {
        return;
    };
    let source = MatrixSource::open(&path, &Selection::X).unwrap();
    let (all, report) = read(&source, 1 << 20).unwrap();
    assert_eq!(report, Canonicalised::default());
    for max_nnz in [1, 1000, 12345, usize::MAX] {
        assert_eq!(read(&source, max_nnz).unwrap().0, all, "windows of {max_nnz}");
    }
    let head = |n_rows: usize| {
        let end = all.indptr[n_rows] as usize;
        let (indptr, indices, values) = (
            all.indptr[..=n_rows].to_vec(),
            all.indices[..end].to_vec(),
            all.values[..end].to_vec(),
        );
        Whole {
            indptr,
            indices,
            values,
        }
    };
    let lzf = open_and_read(&real("pbmc3k_csr_int64idx_lzf.h5ad").unwrap(), &Selection::X).unwrap();
    assert!(lzf.0 == all, "int32 values, int64 indices, lzf");
    let unsorted = open_and_read(&real("pbmc3k_1000_unsorted_u16.h5ad").unwrap(), &Selection::X).unwrap();
    assert!(unsorted.0 == head(1000), "uint16 values, unsorted rows");
    assert_eq!(unsorted.1.rows_sorted, 1000);
    let name = "compat/pbmc3k_500_shuffle_gzip9_fletcher.h5ad";
    let filtered = open_and_read(&real(name).unwrap(), &Selection::X).unwrap();
    assert!(filtered.0 == head(500), "shuffle, deflate, fletcher32");

    // A range from the middle, and ranges that do not exist.
    let mut part = Whole {
        indptr: vec![0],
        indices: Vec::new(),
        values: Vec::new(),
    };
    for rows in source.rows(1000..1100, 5000).unwrap() {
        append(&mut part, &rows.unwrap());
    }
    let (start, end) = (all.indptr[1000] as usize, all.indptr[1100] as usize);
    assert_eq!(part.indices, all.indices[start..end]);
    assert_eq!(part.values, all.values[start..end]);
    assert_eq!(source.rows(7..7, 10).unwrap().count(), 0);
    assert!(matches!(
        source.rows(0..2701, 10),
        Err(SourceError::RowRange { n_rows: 2700, .. })
    ));
}

#[test]
fn raw_and_layers_are_read() {
    let Some(path) = real("pbmc3k_600_raw_layers_denseX.h5ad") else {
        return;
    };
    let raw = MatrixSource::open(&path, &Selection::Raw).unwrap();
    assert_eq!((raw.n_obs(), raw.n_vars(), raw.nnz()), (600, 13769, 511781));
    let log = MatrixSource::open(&path, &layer("log1p_csr_f64")).unwrap();
    assert_eq!((log.n_vars(), log.value_type()), (1200, ValueType::F64));
    let file = AnnData::open(&path).unwrap();
    assert_eq!(file.var(&Selection::Raw).unwrap().n_rows(), 13769);
    assert_eq!(file.var(&Selection::X).unwrap().n_rows(), 1200);
}

#[test]
fn every_value_and_index_type_gives_the_same_matrix() {
    let path = fixture("matrices.h5ad");
    let (x, report) = open_and_read(&path, &Selection::X).unwrap();
    assert_eq!(x, expected());
    assert_eq!(
        report,
        Canonicalised {
            rows_sorted: 1,
            duplicates_summed: 1,
            explicit_zeros_dropped: 1
        }
    );
    for name in [
        "uint8", "uint16", "uint32", "uint64", "int8", "int32", "int64", "float32", "float64", "bool",
    ] {
        let source = MatrixSource::open(&path, &layer(name)).unwrap();
        assert_eq!(source.value_type().numpy_name(), name);
        assert_eq!(source.indices_type(), "int64");
        assert_eq!(source.stored_per_row(1..5).collect::<Vec<_>>(), [4, 2, 0, 3]);
        let (whole, found) = read(&source, 3).unwrap();
        let mut expected = expected();
        if name == "bool" {
            expected.values.fill(1.0);
        }
        assert_eq!(whole, expected, "{name}");
        assert_eq!(found, report, "{name}");
    }
    for name in ["uint8", "uint16", "uint32", "uint64", "int8", "int16", "int64"] {
        let source = MatrixSource::open(&path, &layer(&format!("indices_{name}"))).unwrap();
        assert_eq!(source.indices_type(), name);
        assert_eq!(read(&source, 1).unwrap().0, expected(), "indices of {name}");
    }
}

#[test]
fn every_way_to_store_an_array_gives_the_same_matrix() {
    for name in [
        "contiguous",
        "single_chunk",
        "single_chunk_gzip",
        "fixed_array",
        "fixed_array_gzip",
        "extensible_array",
        "extensible_array_lzf",
        "fletcher32",
        "everything",
        "compact",
        "implicit",
        "mixed",
    ] {
        let source = MatrixSource::open(&fixture("storage.h5ad"), &layer(name)).unwrap();
        for max_nnz in [1, 4, 100] {
            assert_eq!(
                read(&source, max_nnz).unwrap().0,
                expected(),
                "{name}, windows of {max_nnz}"
            );
        }
    }
    // Behind a user block, where addresses do not count from the start of the file.
    for name in ["contiguous", "btree", "btree_gzip"] {
        let (whole, _) = open_and_read(&fixture("storage_old.h5ad"), &layer(name)).unwrap();
        assert_eq!(whole, expected(), "{name}");
    }
}

/// The message of the error that the matrix gives on opening or reading.
fn refusal(path: &Path, selection: &Selection) -> String {
    let error = open_and_read(path, selection).expect_err(&format!("{} {selection:?}", path.display()));
    let message = error.to_string();
    assert!(
        !message.contains('\n') && !message.contains(". "),
        "one sentence: {message}"
    );
    message
}

#[test]
fn wrong_matrices_are_refused_with_their_place() {
    let path = fixture("matrices.h5ad");
    for (name, parts) in [
        ("float16", &["layers/float16/data", "float16"][..]),
        ("bigendian_data", &["data", "big-endian float32"]),
        ("bigendian_indices", &["indices", "big-endian int32"]),
        ("float_indices", &["indices", "float32"]),
        ("overflow", &["row 1", "column 7", "uint8"]),
        ("indptr_start", &["indptr", "element 0 is 1", "expected 0"]),
        (
            "indptr_decreasing",
            &["indptr", "element 3 is 4", "expected 6 to 9"],
        ),
        (
            "indptr_negative",
            &["indptr", "element 2 is -4", "expected 0 to 9"],
        ),
        ("indptr_short", &["indptr", "element 6 is 8", "expected 9"]),
        ("indptr_beyond", &["indptr", "element 6 is 12", "expected 9 to 9"]),
        ("indptr_length", &["indptr has 5 elements", "6 rows"]),
        ("data_length", &["data has 8 elements, indices 9"]),
        (
            "index_large",
            &["indices", "element 5", "row 2", "is 10", "0 to 9"],
        ),
        ("index_negative", &["indices", "element 7", "row 4", "is -4"]),
        ("index_negative_i64", &["indices", "element 7", "row 4", "is -4"]),
        ("shape_negative", &["shape is [6, -1]"]),
        ("shape_wide", &["2147483648 columns"]),
        ("no_indices", &["no layers/no_indices/indices"]),
        ("no_shape", &["attribute shape"]),
        ("bomb", &["claims 1099511627776 elements"]),
        ("csc", &["CSC matrix", "only CSR"]),
        ("unknown", &["bsr_matrix"]),
        ("newer", &["csr_matrix", "0.9.0"]),
        ("legacy", &["legacy h5sparse csr"]),
        ("bare", &["without encoding-type"]),
        ("dense", &["dense dataset of 6 x 10 float32"]),
        (
            "absent",
            &["has no layers/absent", "it has X, layers/", "layers/csc"],
        ),
    ] {
        let message = refusal(&path, &layer(name));
        for part in parts {
            assert!(message.contains(part), "{name}: {message:?} lacks {part:?}");
        }
    }
    assert!(refusal(&path, &Selection::Raw).contains("has no raw/X"));
    // The faults of columns are also found where only columns are read.
    let source = MatrixSource::open(&path, &layer("index_negative_i64")).unwrap();
    let error = source.detection_counts(3..6, CountMode::Stored).unwrap_err();
    assert!(
        matches!(
            error,
            SourceError::IndexRange {
                row: 4,
                position: 7,
                found: -4,
                n_vars: 10,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn real_files_of_other_forms_are_refused_by_name() {
    for (name, part) in [
        ("pbmc3k_csc_gzip_v012.h5ad", "CSC matrix"),
        ("pbmc3k_raw_h5sparse06.h5ad", "legacy h5sparse csr"),
        (
            "pbmc3k_600_raw_layers_denseX.h5ad",
            "dense dataset of 600 x 1200 float32",
        ),
        ("compat/anndata_v0.11.4_noX.h5ad", "has no X"),
        (
            "compat/pbmc3k_100_explicit_zeros_bigendian.h5ad",
            "big-endian float32",
        ),
        ("compat/pbmc3k_500_blosc_lz4.h5ad", "filter 32001 (blosc)"),
        ("compat/pbmc3k_500_zstd.h5ad", "filter 32015 (zstd)"),
        (
            "compat/scp_truncated.h5ad",
            "truncated: its header says 243544 bytes, but it has 240602",
        ),
        ("README.md", "not an HDF5 file"),
        ("zarr/10x-10k-subset.zarr", "not an HDF5 file"),
        ("absent.h5ad", "cannot read"),
    ] {
        let Some(path) = real(name) else { return };
        let message = refusal(&path, &Selection::X);
        assert!(message.contains(part), "{name}: {message}");
    }
    let path = real("compat/anndata_v0.5.0_pbmc68k.h5ad").unwrap();
    assert!(refusal(&path, &Selection::Raw).contains("raw.X"));
    for (name, part) in [
        ("compat/anndata_v0.5.0_pbmc68k.h5ad", "compound dataset"),
        ("compat/anndata_v0.7.0.h5ad", "encoding 0.1.0"),
    ] {
        let message = AnnData::open(&real(name).unwrap())
            .unwrap()
            .obs()
            .unwrap_err()
            .to_string();
        assert!(message.contains(part), "{name}: {message}");
    }
}

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
    let table = AnnData::open(&fixture("tables.h5ad")).unwrap().obs().unwrap();
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
                DataType::Float32 => column
                    .as_primitive::<arrow_array::types::Float32Type>()
                    .value(row)
                    .to_string(),
                DataType::Float64 => column
                    .as_primitive::<arrow_array::types::Float64Type>()
                    .value(row)
                    .to_string(),
                DataType::UInt8 => column
                    .as_primitive::<arrow_array::types::UInt8Type>()
                    .value(row)
                    .to_string(),
                DataType::UInt16 => column
                    .as_primitive::<arrow_array::types::UInt16Type>()
                    .value(row)
                    .to_string(),
                _ => column
                    .as_primitive::<arrow_array::types::UInt32Type>()
                    .value(row)
                    .to_string(),
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
        Err(SourceError::RowRange { n_rows: 4, .. })
    ));
}

#[test]
fn damaged_and_older_tables_are_refused() {
    let file = AnnData::open(&fixture("tables.h5ad")).unwrap();
    let error = file.var(&Selection::Raw).unwrap().read(0..4).unwrap_err();
    assert!(
        matches!(
            error,
            SourceError::CategoryCode {
                row: 2,
                found: 2,
                n_categories: 2,
                ..
            }
        ),
        "{error}"
    );
    let message = file.var(&Selection::X).unwrap_err().to_string();
    assert!(message.contains("var") && message.contains("0.1.0"), "{message}");
    let error = AnnData::open(&fixture("storage.h5ad"))
        .unwrap()
        .obs()
        .unwrap_err();
    assert!(matches!(error, SourceError::Missing { .. }), "{error}");
}

#[test]
fn an_empty_column_order_and_long_tables_are_read_in_windows() {
    let Some(path) = real("scp_118861x19_mostly_empty_rows.h5ad") else {
        return;
    };
    let file = AnnData::open(&path).unwrap();
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
    let baron = AnnData::open(&real("baron_human1_csr_i32.h5ad").unwrap()).unwrap();
    let var = baron.var(&Selection::X).unwrap();
    assert_eq!((var.schema().fields().len(), var.n_rows()), (1, 20125));
}

/// Opens and reads everything in a file, whatever comes of it.
fn exercise(path: &Path, selections: &[Selection]) {
    let Ok(file) = AnnData::open(path) else { return };
    for selection in selections {
        if let Ok(source) = file.matrix(selection) {
            // Damage may enlarge what is claimed, never what is held at once.
            let n_obs = source.n_obs().min(1 << 16);
            for rows in source.rows(0..n_obs, 1 << 16).unwrap() {
                let Ok(rows) = rows else { break };
                assert_eq!(rows.indices.len(), rows.values.len());
                assert_eq!(rows.indptr.last().copied(), Some(rows.indices.len() as u64));
                assert!(
                    rows.indices
                        .iter()
                        .all(|&column| u64::from(column) < source.n_vars())
                );
            }
        }
    }
    let tables: [Result<TableSource, SourceError>; 3] =
        [file.obs(), file.var(&Selection::X), file.var(&Selection::Raw)];
    for table in tables.into_iter().flatten() {
        if let Ok(batch) = table.read(0..table.n_rows().min(1 << 16)) {
            assert_eq!(batch.num_columns(), table.schema().fields().len());
        }
    }
}

#[test]
fn truncated_files_are_errors_at_every_length() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.h5ad");
    for name in ["tables.h5ad", "storage_old.h5ad"] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        for len in (0..bytes.len()).step_by(97).chain([bytes.len() - 1]) {
            std::fs::write(&path, &bytes[..len]).unwrap();
            assert!(AnnData::open(&path).is_err(), "{name} cut to {len} bytes");
        }
    }
}

#[test]
fn flipped_bits_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flipped.h5ad");
    let storage = [
        "single_chunk_gzip",
        "fixed_array_gzip",
        "extensible_array_lzf",
        "everything",
        "mixed",
    ]
    .map(layer);
    for (name, selections, step) in [
        ("tables.h5ad", &[][..], 61),
        ("storage.h5ad", &storage[..], 29),
        (
            "storage_old.h5ad",
            &["contiguous", "btree_gzip"].map(layer)[..],
            37,
        ),
    ] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        for position in (0..bytes.len()).step_by(step) {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1 << (position % 8);
            // Every byte of a run may be wrong, as after a bad sector.
            if position % 5 == 0 {
                let end = (position + 64).min(damaged.len());
                damaged[position..end].fill(0xff);
            }
            std::fs::write(&path, &damaged).unwrap();
            exercise(&path, selections);
        }
    }
}

#[test]
fn a_consumer_may_leave_early() {
    let source = MatrixSource::open(&fixture("matrices.h5ad"), &Selection::X).unwrap();
    let mut rows = source.rows(0..6, 1).unwrap();
    assert!(rows.next().is_some());
    drop(rows);
    let empty = ValueBuffer::with_capacity(ValueType::Bool, 0);
    // Recycled memory of another type is not used.
    let mut rows = source.rows(0..6, 100).unwrap();
    rows.recycle(CsrRows {
        indptr: vec![0],
        indices: Vec::new(),
        values: empty,
    });
    assert_eq!(rows.next().unwrap().unwrap().values.value_type(), ValueType::I16);
}
