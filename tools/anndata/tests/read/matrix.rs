//! Matrices: real files, every element type, every way to store an array.

use cellring_anndata::{Canonicalised, CountMode, Input, MatrixSource, ReadError, Selection, Workspace};
use cellring_core::{CsrRows, ValueBuffer, ValueType};

use crate::{Whole, append, expected, fixture, layer, open_and_read, read, real};

/// Name, n_obs, n_vars, stored entries, type of data, type of indices, sum of X.
const KNOWN: &str = "\
baron_human1_csr_i32.h5ad                       1937 20125 3726445   int32 int32 11244731
compat/anndataR_example.h5ad                      50   100    4317 float32 int32 4791.22
compat/anndata_v0.7.0.h5ad                        30    20     228 float32 int32 285
compat/anndata_v0.7.8.h5ad                        30    20     239 float32 int32 302
compat/bpcells_mini_u16_v0.10.9.h5ad               3     5       8  uint16 int32 15
compat/bpcells_mini_v0.7.h5ad                      3     5       8 float32 int32 15
compat/cellrank_100_raw_layers.h5ad              100   278   12602 float32 int32 14644.7
compat/cellxgene_schema_example_valid.h5ad         2     7      14 float32 int64 50.5
compat/pbmc3k_100_nullable_strings.h5ad          100 32738   84735 float32 int32 246062
compat/pbmc3k_300_bool.h5ad                      300 32738  255100    bool int32 255100
compat/pbmc3k_400_emptyrows.h5ad                 400 32738  329603 float32 int32 923410
compat/pbmc3k_500_shuffle_gzip9_fletcher.h5ad    500 32738  429232 float32 int32 1207734
compat/scimilarity_1000x1000.h5ad               1000  1000   90431 float32 int32 106986
compat/scp_indexed_by_gene_id.h5ad               150   123    5974 float32 int32 5956.64
compat/scvelo_dentategyrus_100_layers.h5ad       100 13913  139156 float32 int32 288220
compat/scvelo_pancreas_50_layers.h5ad             50 27998  126494 float32 int32 335512
compat/scvi_brainlarge_70.h5ad                    70   720   15274 float32 int32 38735
compat/squidpy_49.h5ad                            49  1999   22372 float32 int32 30129.6
compat/tiledbsoma_subset_100_100.h5ad            100   100      13 float32 int32 14
mousebrain10k_1000g_csr_gzip.h5ad              10000  1000  691914 float32 int32 1597698
multi/sc_celseq2.h5ad                            274 28204 1954979 float32 int32 10321416
multi/sc_celseq2_5cl_p1.h5ad                     297 15564 1810635 float32 int32 9783530
multi/sc_celseq2_5cl_p3.h5ad                     305 13426 1463083 float32 int32 5546889
multi/sc_dropseq.h5ad                            225 15127 1290921 float32 int32 5830998
pbmc3k_1000_unsorted_u16.h5ad                   1000 32738  846778  uint16 int32 2371539
pbmc3k_csr_gzip_v012.h5ad                       2700 32738 2286884 float32 int32 6390631
pbmc3k_csr_int64idx_lzf.h5ad                    2700 32738 2286884   int32 int64 6390631
scp_118861x19_mostly_empty_rows.h5ad          118861    19   67025 float32 int32 100337
";

#[test]
fn real_files_have_their_known_shape_entries_and_sum() {
    for line in KNOWN.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [name, n_obs, n_vars, nnz, value_type, indices_type, sum] = fields[..] else {
            panic!("{line}")
        };
        let [n_obs, n_vars, nnz] = [n_obs, n_vars, nnz].map(|count| count.parse::<u64>().unwrap());
        let sum: f64 = sum.parse().unwrap();
        let Some(path) = real(name) else { return };
        let source = MatrixSource::open(&path, &Selection::X).unwrap();
        assert_eq!(
            (source.n_obs(), source.n_vars(), source.nnz()),
            (n_obs, n_vars, nnz),
            "{name}"
        );
        assert_eq!(
            (source.value_type().numpy_name(), source.indices_type().as_str()),
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
        Err(ReadError::RowRange { n_rows: 2700, .. })
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
    let file = Input::open(&path).unwrap();
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

/// Whether the rows fit into memory, and whether it is known before how many values they have, or only how many they may have.
#[test]
fn rows_come_in_another_order() {
    let path = fixture("matrices.h5ad");
    for selection in [Selection::X, layer("bool"), layer("dense")] {
        let source = MatrixSource::open(&path, &selection).unwrap();
        let (whole, _) = read(&source, 100).unwrap();
        let order = [4u32, 1, 0, 5, 3, 2];
        let mut reordered = Whole {
            indptr: vec![0],
            indices: vec![],
            values: vec![],
        };
        for &row in &order {
            let entries = whole.indptr[row as usize] as usize..whole.indptr[row as usize + 1] as usize;
            reordered.indices.extend(&whole.indices[entries.clone()]);
            reordered.values.extend(&whole.values[entries]);
            reordered.indptr.push(reordered.indices.len() as u64);
        }
        for memory_bytes in [1, 1 << 14, 1 << 26] {
            let workspace = Workspace {
                memory_bytes,
                ..Workspace::default()
            };
            let turned = source.reordered(&order, &workspace).unwrap();
            for max_nnz in [1, 4, 100] {
                let mut found = Whole {
                    indptr: vec![0],
                    indices: vec![],
                    values: vec![],
                };
                for window in turned.rows(0..turned.n_obs(), max_nnz).unwrap() {
                    append(&mut found, &window.unwrap());
                }
                assert_eq!(found, reordered, "{selection:?} within {memory_bytes} bytes");
            }
            // In any order the columns have the same counts.
            let counts = |of: &MatrixSource| of.detection_counts(0..of.n_obs(), CountMode::Exact).unwrap();
            assert_eq!(counts(&turned.in_any_order()), counts(&turned));
        }
    }
}
