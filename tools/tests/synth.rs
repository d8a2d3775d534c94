//! Statistics and determinism of the synthetic data set.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Int8Type, Int16Type};
use arrow_array::{Array, RecordBatch};
use cellring::Store;
use cellring::format::{CsrRows, Encoding, ValueBuffer, ValueType};
use cellring_tools::convert::{ConvertOptions, convert};
use cellring_tools::synth::{StoreOptions, Synth};
use hdf5_reader::Hdf5File;

#[path = "../../tests/common/seccomp.rs"]
mod seccomp;

use seccomp::{Threads, refuse_calls};

fn counts(rows: &CsrRows) -> &[f32] {
    let ValueBuffer::F32(values) = &rows.values else {
        panic!("counts are float32")
    };
    values
}

fn nnz_per_row(rows: &CsrRows) -> Vec<u64> {
    rows.indptr.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

fn blocks(synth: &Synth, block_rows: u64, threads: usize) -> CsrRows {
    let mut all = CsrRows {
        indptr: vec![0],
        indices: vec![],
        values: ValueBuffer::F32(vec![]),
    };
    let take = |rows: CsrRows| {
        let nnz = all.indices.len() as u64;
        all.indptr.extend(rows.indptr[1..].iter().map(|end| nnz + end));
        all.indices.extend(&rows.indices);
        let ValueBuffer::F32(values) = &mut all.values else {
            panic!("counts are float32")
        };
        values.extend(counts(&rows));
        Ok::<(), Infallible>(())
    };
    synth
        .for_each_block(
            0..synth.n_obs(),
            block_rows,
            NonZeroUsize::new(threads).unwrap(),
            take,
        )
        .unwrap();
    all
}

fn labels(batch: &RecordBatch, name: &str) -> Vec<i64> {
    let column = batch.column_by_name(name).unwrap();
    let keys = column.as_any_dictionary().keys();
    match keys.as_primitive_opt::<Int8Type>() {
        Some(keys) => keys.values().iter().map(|&key| i64::from(key)).collect(),
        None => keys
            .as_primitive::<Int16Type>()
            .values()
            .iter()
            .map(|&key| i64::from(key))
            .collect(),
    }
}

#[test]
fn counts_are_shaped_like_those_of_real_cells() {
    let rows = Synth::new(2_000, 62_710, 7).rows(0..2_000);
    let mut nnz = nnz_per_row(&rows);
    nnz.sort_unstable();
    assert!((1_300..1_550).contains(&nnz[1_000]), "median {}", nnz[1_000]);
    // The reference set: 5 % below 476, 95 % below 4,818.
    assert!((380..600).contains(&nnz[100]), "5 % {}", nnz[100]);
    assert!((3_900..5_800).contains(&nnz[1_900]), "95 % {}", nnz[1_900]);
    let ones = counts(&rows).iter().filter(|&&count| count == 1.0).count() as f64 / rows.nnz() as f64;
    assert!((0.5..0.65).contains(&ones), "share of ones {ones}");
    let largest = counts(&rows).iter().copied().fold(0.0, f32::max);
    assert!((100.0..20_000.0).contains(&largest), "largest count {largest}");
}

#[test]
fn rows_are_canonical_csr_of_positive_integers() {
    for n_vars in [1, 2, 63, 64, 65, 1_000, 70_000] {
        let rows = Synth::new(60, n_vars, 3).rows(5..60);
        assert_eq!(rows.n_rows(), 55);
        assert_eq!((rows.indptr[0], rows.indptr[55]), (0, rows.nnz() as u64));
        assert!(rows.nnz() > 0, "{n_vars} genes");
        for pair in rows.indptr.windows(2) {
            let row = &rows.indices[pair[0] as usize..pair[1] as usize];
            assert!(row.is_sorted_by(|a, b| a < b) && row.iter().all(|&gene| gene < n_vars));
        }
        assert!(
            counts(&rows)
                .iter()
                .all(|&count| count >= 1.0 && count.fract() == 0.0)
        );
    }
    let none = Synth::new(4, 0, 3).rows(0..4);
    assert_eq!((none.indptr, none.indices.len()), (vec![0; 5], 0));
}

#[test]
fn smaller_panels_show_fewer_genes_but_a_larger_share() {
    let median = |n_vars| {
        let mut nnz = nnz_per_row(&Synth::new(500, n_vars, 1).rows(0..500));
        nnz.sort_unstable();
        nnz[250] as f64
    };
    let (small, middle, large) = (median(500), median(5_000), median(50_000));
    assert!(small < middle && middle < large, "{small} {middle} {large}");
    assert!(
        small / 500.0 > middle / 5_000.0 && middle / 5_000.0 > large / 50_000.0,
        "{small} {middle} {large}"
    );
}

#[test]
fn rows_depend_on_seed_and_cell_only() {
    let synth = Synth::new(300, 2_000, 11);
    let all = synth.rows(0..300);
    for (threads, block_rows) in [(1, 300), (1, 7), (2, 64), (3, 7), (5, 1), (8, 1_000)] {
        assert_eq!(
            blocks(&synth, block_rows, threads),
            all,
            "{threads} threads, blocks of {block_rows}"
        );
    }
    assert_eq!(Synth::new(300, 2_000, 11).rows(0..300), all);
    assert_ne!(Synth::new(300, 2_000, 12).rows(0..300), all);
    assert_eq!(
        synth.rows(300..300),
        CsrRows {
            indptr: vec![0],
            indices: vec![],
            values: ValueBuffer::F32(vec![])
        }
    );
}

/// FNV-1a over the bytes of the numbers.
fn digest(numbers: impl Iterator<Item = u32>) -> u64 {
    let bytes = numbers.flat_map(u32::to_le_bytes);
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[test]
fn a_data_set_never_changes() {
    // Results measured on one version must be comparable with those of another, on whatever machine.
    let synth = Synth::new(50, 300, 1);
    let rows = synth.rows(0..50);
    assert_eq!(rows.nnz(), 2643);
    let values = counts(&rows).iter().map(|&count| count as u32);
    assert_eq!(
        digest(rows.indices.iter().copied().chain(values)),
        4011533012217937046
    );
    let obs = synth.obs(0..50);
    let numbers = ["plate", "cell_line", "drug"]
        .into_iter()
        .flat_map(|name| labels(&obs, name))
        .map(|n| n as u32);
    let mito = obs
        .column_by_name("pct_mito")
        .unwrap()
        .as_primitive::<Float32Type>()
        .values()
        .iter();
    assert_eq!(
        digest(numbers.chain(mito.map(|m| m.to_bits()))),
        5951871524423311395
    );
}

#[test]
fn an_error_of_the_consumer_ends_the_work() {
    let synth = Synth::new(10_000, 500, 1);
    let mut left = 3;
    let result = synth.for_each_block(0..10_000, 10, NonZeroUsize::new(2).unwrap(), |_| {
        left -= 1;
        if left == 0 { Err("full") } else { Ok(()) }
    });
    assert_eq!((result, left), (Err("full"), 0));
}

#[test]
fn labels_lie_in_runs() {
    let synth = Synth::new(20_000, 100, 5);
    let obs = synth.obs(0..20_000);
    assert_eq!(obs.schema(), synth.obs_schema());
    let plates = labels(&obs, "plate");
    assert!(plates.is_sorted() && plates[0] == 0 && plates[19_999] == 13);
    let lines = labels(&obs, "cell_line");
    let pairs: Vec<_> = plates.iter().zip(&lines).collect();
    let runs = 1 + pairs.windows(2).filter(|pair| pair[0] != pair[1]).count();
    // 14 plates of 50 lines, each pair of labels in one run.
    assert!((650..=700).contains(&runs), "{runs} runs");
    let distinct: std::collections::HashSet<_> = pairs.iter().collect();
    assert_eq!(distinct.len(), runs);
    // Drugs change from cell to cell, 95 on a plate.
    let drugs = labels(&obs, "drug");
    let on_plate_0: std::collections::HashSet<_> = drugs
        .iter()
        .zip(&plates)
        .filter(|(_, plate)| **plate == 0)
        .map(|(drug, _)| drug)
        .collect();
    assert!((90..=95).contains(&on_plate_0.len()), "{}", on_plate_0.len());
    let mito = obs
        .column_by_name("pct_mito")
        .unwrap()
        .as_primitive::<Float32Type>()
        .values();
    let mean = mito.iter().sum::<f32>() / 20_000.0;
    assert!(
        (mean - 0.0625).abs() < 0.002 && mito.iter().all(|m| (0.0..1.0).contains(m)),
        "{mean}"
    );
}

#[test]
fn any_part_of_obs_is_the_same_as_in_the_whole() {
    let synth = Synth::new(1_000, 100, 5);
    let all = synth.obs(0..1_000);
    for range in [0..1, 17..400, 999..1_000, 500..500] {
        let (start, len) = (range.start as usize, (range.end - range.start) as usize);
        assert_eq!(synth.obs(range), all.slice(start, len));
    }
    let names = all.column(0).as_string::<i32>();
    assert_eq!(
        (names.value(0), names.value(999)),
        ("cell_000000000", "cell_000000999")
    );
    let drugs = all
        .column_by_name("drug")
        .unwrap()
        .as_any_dictionary()
        .values()
        .clone();
    assert_eq!(
        (drugs.len(), drugs.as_string::<i32>().value(379)),
        (380, "drug_379")
    );
    let var = synth.var();
    assert_eq!(var.num_columns(), 1);
    assert_eq!(var.column(0).as_string::<i32>().value(99), "ENSG00000000099");
}

/// Every file of a store but the manifest, which tells where the data came from.
fn files(store: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(store).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                std::fs::read(entry.path()).unwrap(),
            )
        })
        .filter(|(name, _)| name != "manifest.json")
        .collect()
}

#[test]
fn a_store_is_what_convert_makes_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let synth = Synth::new(1_500, 700, 9);
    let nnz = synth.write_h5ad(path("file.h5ad"), |_| ()).unwrap();
    for (encoding, block_size) in [(Encoding::Packed, 256), (Encoding::Raw, 100)] {
        let (made, converted) = (
            path(encoding.name()),
            path(&format!("converted-{}", encoding.name())),
        );
        let options = StoreOptions {
            encoding,
            block_size,
            ..StoreOptions::default()
        };
        let mut told = vec![];
        let manifest = synth
            .write_store(&made, &options, |done, work| told.push((done, work)))
            .unwrap();
        assert_eq!((manifest.n_obs, manifest.n_vars, manifest.nnz), (1_500, 700, nnz));
        assert!(
            told.is_sorted() && told.last() == Some(&(3_000, 3_000)),
            "{told:?}"
        );
        let options = ConvertOptions {
            encoding,
            block_size,
            ..ConvertOptions::default()
        };
        convert(&[path("file.h5ad")], &converted, &options, &|_, _| ()).unwrap();
        assert!(
            files(&made) == files(&converted),
            "the {} stores differ",
            encoding.name()
        );
    }
}

#[test]
fn a_large_store_holds_the_rows_whatever_the_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    // More cells than the order of the genes is estimated from.
    let synth = Synth::new(20_000, 150, 4);
    let stores = [1, 2, 5].map(|threads| {
        let path = dir.path().join(threads.to_string());
        let options = StoreOptions {
            block_size: 48,
            threads: NonZeroUsize::new(threads).unwrap(),
            ..StoreOptions::default()
        };
        synth.write_store(&path, &options, |_, _| ()).unwrap();
        path
    });
    let first = files(&stores[0]);
    assert!(stores.iter().all(|store| files(store) == first));

    let store = Store::open(&stores[0]).unwrap();
    assert_eq!(store.manifest().value_type, ValueType::F32);
    cellring::store::verify(&store, 2, &|_| ()).unwrap();
    let positions = store.source_positions().unwrap();
    let (stored, made) = (store.rows(9_000..9_500).unwrap(), synth.rows(9_000..9_500));
    let row = |rows: &CsrRows, row: usize, gene: &dyn Fn(u32) -> u32| {
        let range = rows.indptr[row] as usize..rows.indptr[row + 1] as usize;
        let genes = rows.indices[range.clone()].iter().map(|&column| gene(column));
        genes
            .zip(counts(rows)[range].iter().map(|count| *count as u32))
            .collect::<BTreeMap<_, _>>()
    };
    for k in 0..500 {
        assert_eq!(
            row(&stored, k, &|column| positions[column as usize]),
            row(&made, k, &|gene| gene),
            "row {k}"
        );
    }
    // The order is that of all cells but for the noise of the sample.
    let mut cells = vec![0u32; 150];
    let all = store.rows(0..20_000).unwrap();
    all.indices.iter().for_each(|&column| cells[column as usize] += 1);
    assert!(
        cells
            .windows(2)
            .all(|pair| f64::from(pair[0]) > 0.85 * f64::from(pair[1]) - 30.0),
        "{cells:?}"
    );
    assert!(cells[0] > 20 * cells[149].max(1), "{cells:?}");
}

#[test]
fn a_store_without_cells_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("empty");
    let synth = Synth::new(0, 10, 1);
    synth
        .write_store(&path, &StoreOptions::default(), |_, _| ())
        .unwrap();
    let store = Store::open(&path).unwrap();
    cellring::store::verify(&store, 1, &|_| ()).unwrap();
    assert_eq!((store.n_obs(), store.n_vars()), (0, 10));
    // Nothing is replaced unasked.
    let error = synth
        .write_store(&path, &StoreOptions::default(), |_, _| ())
        .unwrap_err();
    assert!(error.to_string().contains("exists already"), "{error}");
}

fn integers(file: &Hdf5File, path: &str) -> Vec<i64> {
    let dataset = file.dataset(path).unwrap();
    let width = dataset.raw_element_size().unwrap();
    let bytes = dataset.read_raw_bytes().unwrap();
    assert_eq!(bytes.len(), width * dataset.num_elements().unwrap() as usize);
    bytes
        .chunks_exact(width)
        .map(|value| {
            let mut wide = if value[width - 1] & 0x80 != 0 {
                [0xff; 8]
            } else {
                [0; 8]
            };
            wide[..width].copy_from_slice(value);
            i64::from_le_bytes(wide)
        })
        .collect()
}

fn texts(file: &Hdf5File, path: &str) -> Vec<String> {
    file.dataset(path).unwrap().read_strings().unwrap()
}

fn files_in(directory: &Path) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}

#[test]
fn a_synthetic_data_set_reads_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.h5ad");
    let synth = Synth::new(700, 3_000, 2);
    let mut rows_told = 0;
    let nnz = synth.write_h5ad(&path, |rows| rows_told = rows).unwrap();
    let expected = synth.rows(0..700);
    assert_eq!((rows_told, nnz), (700, expected.nnz() as u64));
    let file = Hdf5File::open(&path).unwrap();
    assert_eq!(
        integers(&file, "X/indices"),
        expected.indices.iter().map(|&i| i64::from(i)).collect::<Vec<_>>()
    );
    let ValueBuffer::F32(values) = &expected.values else {
        panic!("counts are float32")
    };
    assert_eq!(
        file.dataset("X/data")
            .unwrap()
            .read_array::<f32>()
            .unwrap()
            .into_raw_vec_and_offset()
            .0,
        *values
    );
    assert_eq!(texts(&file, "obs/drug/categories").len(), 380);
    assert_eq!(texts(&file, "var/gene_id").len(), 3_000);
    assert_eq!(files_in(directory.path()), 1);
}

/// Runs a part of a test in a thread that can start no other.
fn without_threads<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            refuse_calls(&[libc::SYS_clone, libc::SYS_clone3], libc::EAGAIN, Threads::This);
            work()
        });
        worker.join().unwrap()
    })
}

#[test]
fn synthetic_cells_are_made_without_threads() {
    let synth = Synth::new(1000, 300, 5);
    let all = |threads| {
        let mut rows = Vec::new();
        let threads = NonZeroUsize::new(threads).unwrap();
        synth
            .for_each_block(10..990, 64, threads, |block| {
                rows.push((block.indptr, block.indices));
                Ok::<(), ()>(())
            })
            .unwrap();
        rows
    };
    let expected = all(3);
    assert_eq!(expected.len(), 16);
    assert!(without_threads(|| all(3)) == expected);
}
