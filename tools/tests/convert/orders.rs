//! Stores in another order than their source, and of a part of it.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use cellring::Store;
use cellring::format::Encoding;
use cellring::store::verify;
use cellring_anndata::{Input, Selection};
use cellring_tools::convert::{ConvertOptions, ObsOrder};
use cellring_tools::export::{ExportOptions, export};

use crate::command::untidy;
use crate::round_trip::compare;
use crate::{fail, python, run_convert, samples, scratch, synthetic};

/// For each obs of the store its place in the source.
fn positions(store: &Store) -> Vec<u32> {
    let n = store.obs().n_batches().unwrap();
    let batches = (0..n).map(|batch| store.obs().batch(batch).unwrap());
    let last = |batch: arrow_array::RecordBatch| {
        let column = batch.column(batch.num_columns() - 1);
        column.as_primitive::<UInt32Type>().values().to_vec()
    };
    batches.flat_map(last).collect()
}

/// The store's rows are those of the source, each at its place.
fn check_rows(source: &Path, store: &Store) {
    let matrix = Input::open(source).unwrap().matrix(&Selection::X).unwrap();
    for (obs, &place) in positions(store).iter().enumerate().step_by(97) {
        let place = u64::from(place);
        let expected = matrix
            .rows(place..place + 1, 1 << 20)
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        let found = store.rows(obs as u64..obs as u64 + 1).unwrap();
        assert_eq!(found.nnz(), expected.nnz(), "obs {obs}");
    }
}

/// The same matrix by columns, with every zero and duplicate, in the order in which they are summed.
const BY_COLUMNS: &str = "
import shutil, sys
import h5py, numpy as np
shutil.copy(*sys.argv[1:3])
with h5py.File(sys.argv[2], 'a') as file:
    x = file['X']
    columns, rows = x['indices'][:], np.repeat(np.arange(x.attrs['shape'][0]), np.diff(x['indptr'][:]))
    order = np.lexsort((np.arange(len(columns)), columns))
    counts = np.bincount(columns, minlength=x.attrs['shape'][1])
    new = {'data': x['data'][:][order], 'indices': rows[order].astype('i4'), 'indptr': np.append(0, np.cumsum(counts)).astype('i4')}
    for name, values in new.items():
        del x[name]
        x[name] = values
    x.attrs['encoding-type'] = 'csc_matrix'
";

/// How often a column occurs is found before the rows are read, from what is stored: explicit zeros and duplicates must not count,
/// whichever way the rows come.
#[test]
fn columns_are_ordered_by_what_the_rows_hold() {
    let directory = scratch();
    let at = |name: &str| directory.path().join(name);
    let (rows, columns) = (at("rows.h5ad"), at("columns.h5ad"));
    untidy(&rows, 3_000, 400);
    let turned = Command::new(python())
        .args(["-c", BY_COLUMNS])
        .args([&rows, &columns])
        .status();
    assert!(turned.unwrap().success());
    let convert = |input: &Path, order: Option<ObsOrder>, encoding| {
        let store = at("store.cellring");
        let options = ConvertOptions {
            obs_order: order,
            encoding,
            force: true,
            ..ConvertOptions::default()
        };
        let report = run_convert(input, &store, &options).unwrap();
        let changed = (report.duplicates_summed, report.explicit_zeros_dropped);
        assert!(changed.0 > 0 && changed.1 > 0, "{changed:?}");
        let var = std::fs::read(store.join("var.arrow")).unwrap();
        (changed, var, Store::open(&store).unwrap().manifest().store_id())
    };
    for encoding in [Encoding::Packed, Encoding::Raw] {
        let shuffled = || Some(ObsOrder::Shuffled { seed: 3 });
        let by_rows = convert(&rows, None, encoding);
        assert_eq!(convert(&columns, None, encoding), by_rows);
        let by_rows_shuffled = convert(&rows, shuffled(), encoding);
        assert_eq!(by_rows_shuffled.0, by_rows.0);
        assert_eq!(by_rows_shuffled.1, by_rows.1, "the columns have another order");
        assert_eq!(convert(&columns, shuffled(), encoding), by_rows_shuffled);
    }
}

#[test]
fn other_orders_come_back_as_they_were() {
    let directory = scratch();
    let source = synthetic(directory.path());
    let small = directory.path().join("small.h5ad");
    let spec = cellring_anndata::write::MatrixSpec::new(7, 9, cellring::format::ValueType::F64);
    samples::write(&small, spec, &samples::columns(), &samples::names("gene", 9), 3);
    let by = |names: &[&str]| ObsOrder::SortedBy(names.iter().map(|name| name.to_string()).collect());
    let mut lines = String::new();
    let mut orders = vec![];
    for (number, (input, order, memory_mib)) in [
        (&source, ObsOrder::Shuffled { seed: 1 }, 1024),
        (&source, ObsOrder::Shuffled { seed: 1 }, 160),
        (&source, ObsOrder::Shuffled { seed: 2 }, 1024),
        (&source, by(&["drug", "plate"]), 1024),
        (&small, ObsOrder::Shuffled { seed: 3 }, 1024),
        (&small, by(&["category", "text_missing"]), 1024),
        (&small, by(&["flag_missing", "f64_missing"]), 1024),
    ]
    .into_iter()
    .enumerate()
    {
        let store = directory.path().join(format!("{number}.cellring"));
        let options = ConvertOptions {
            obs_order: Some(order),
            memory_bytes: memory_mib << 20,
            encoding: if number % 2 == 0 {
                Encoding::Packed
            } else {
                Encoding::Raw
            },
            block_size: 32,
            ..ConvertOptions::default()
        };
        run_convert(input, &store, &options).unwrap();
        let store = Store::open(&store).unwrap();
        verify(&store, 2, &|_| {}).unwrap();
        let places = positions(&store);
        let mut sorted = places.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..store.n_obs() as u32).collect::<Vec<_>>());
        assert_ne!(sorted, places, "order {number}");
        assert!(
            !store
                .obs()
                .column_names()
                .unwrap()
                .iter()
                .any(|name| name.contains("position"))
        );
        check_rows(input, &store);
        let out = directory.path().join(format!("{number}.out.h5ad"));
        export(store.path(), &out, &ExportOptions::default(), &|_, _| {}).unwrap();
        writeln!(lines, "{}\t{}", input.display(), out.display()).unwrap();
        orders.push(places);
    }
    compare(&lines);
    assert_eq!(orders[0], orders[1], "equal seeds");
    assert_ne!(orders[0], orders[2]);
    let message = fail(&[
        "convert",
        small.to_str().unwrap(),
        "-o",
        directory.path().join("x").to_str().unwrap(),
        "--sort-by",
        "typo",
    ]);
    assert!(
        message.contains("no column typo") && message.contains("f64_missing"),
        "{message}"
    );
}

#[test]
fn parts_are_those_of_the_source() {
    let directory = scratch();
    let source = synthetic(directory.path());
    let var = Input::open(&source).unwrap().var(&Selection::X).unwrap();
    let names = var.read(0..var.n_rows()).unwrap();
    let names = names.column(0).as_string::<i32>();
    let list = directory.path().join("genes.txt");
    let chosen = [7_999, 3, 500, 41].map(|place| names.value(place));
    std::fs::write(&list, chosen.join("\n") + "\n\n").unwrap();
    let mut lines = String::new();
    for (number, order) in [None, Some(ObsOrder::Shuffled { seed: 4 })]
        .into_iter()
        .enumerate()
    {
        let store = directory.path().join(format!("{number}.cellring"));
        let options = ConvertOptions {
            genes: Some(list.clone()),
            max_obs: Some(1_000),
            obs_columns: Some(vec!["plate".to_owned()]),
            obs_order: order,
            ..ConvertOptions::default()
        };
        let report = run_convert(&source, &store, &options).unwrap();
        assert_eq!((report.n_obs, report.n_vars), (1_000, 4));
        let out = directory.path().join(format!("{number}.out.h5ad"));
        export(&store, &out, &ExportOptions::default(), &|_, _| {}).unwrap();
        let (source, out, list) = (source.display(), out.display(), list.display());
        writeln!(
            lines,
            "{source}\t{out}\t--obs-range\t0..1000\t--genes\t{list}\t--obs-columns\tplate"
        )
        .unwrap();
    }
    compare(&lines);
    std::fs::write(&list, "no such gene\nneither this\n").unwrap();
    let store = directory.path().join("x.cellring");
    let args = ["convert", source.to_str().unwrap(), "-o", store.to_str().unwrap()];
    let message = fail(&[&args[..], &["--genes", list.to_str().unwrap()]].concat());
    assert!(
        message.contains("none of the 2 genes")
            && message.contains("(no such gene, neither this)")
            && message.contains(&format!("names such as {}, ", names.value(0))),
        "{message}"
    );
    let message = fail(&[&args[..], &["--obs-columns", "plate,typo"]].concat());
    assert!(message.contains("no column typo;"), "{message}");
}
