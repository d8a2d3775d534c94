//! Obs that are added to a store.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int8Type, Int32Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, DictionaryArray, Float32Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use cellring::format::{CsrRows, ValueBuffer};
use cellring::plan::SamplerConfig;
use cellring::store::verify;
use cellring::{Loader, LoaderConfig, Store};
use cellring_tools::synth::Synth;

use crate::command::{assert_same, json, kill_after, succeed, write_h5ad};
use crate::{fail, names, samples, scratch};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Counts in these rows of a matrix of which each file holds some.
fn synth_rows(path: &Path, rows: std::ops::Range<u64>, n_vars: u32) {
    let synth = Synth::new(1_000, n_vars, 3);
    let (matrix, obs) = (synth.rows(rows.clone()), synth.obs(rows));
    write_h5ad(path, &matrix, n_vars as usize, &obs, &synth.var());
}

/// Whether the store is whole, by the reader and by the one that was written from the specification.
fn check(store: &Path) {
    verify(&Store::open(store).unwrap(), 2, &|_| ()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/spec_reader.py");
    let ran = Command::new(crate::python())
        .arg(script)
        .arg(store)
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

/// Every row with its columns in the order of the source: column, bits of the value.
fn content(store: &Store) -> Vec<Vec<(u32, u64)>> {
    let positions = store.source_positions().unwrap();
    let rows = store.rows(0..store.n_obs()).unwrap();
    let bits: Vec<u64> = match &rows.values {
        ValueBuffer::F32(values) => values.iter().map(|value| value.to_bits().into()).collect(),
        ValueBuffer::I32(values) => values.iter().map(|&value| value as u64).collect(),
        other => panic!("values of type {:?}", other.value_type()),
    };
    let row = |i: usize| {
        let entries = rows.indptr[i] as usize..rows.indptr[i + 1] as usize;
        let mut row: Vec<_> = entries
            .map(|k| (positions[rows.indices[k] as usize], bits[k]))
            .collect();
        row.sort_unstable();
        row
    };
    (0..rows.n_rows()).map(row).collect()
}

/// A column of obs as text.
fn column(store: &Store, name: &str) -> Vec<Option<String>> {
    let column = match name {
        "" => store.obs().names().unwrap(),
        name => store.obs().column(name).unwrap(),
    };
    let shown = |array: &dyn Array, row: usize| -> Option<String> {
        if array.is_null(row) {
            return None;
        }
        if let Some(array) = array.as_any_dictionary_opt() {
            let code = array.normalized_keys()[row];
            return Some(array.values().as_string::<i32>().value(code).to_owned());
        }
        if let Some(array) = array.as_string_opt::<i32>() {
            return Some(array.value(row).to_owned());
        }
        if let Some(array) = array.as_primitive_opt::<Int64Type>() {
            return Some(array.value(row).to_string());
        }
        if let Some(array) = array.as_primitive_opt::<Int32Type>() {
            return Some(array.value(row).to_string());
        }
        Some(format!("{:?}", array.slice(row, 1)))
    };
    (0..store.n_obs())
        .map(|obs| {
            let (array, row) = column.at(obs);
            shown(&array.slice(row, 1), 0)
        })
        .collect()
}

/// Appending some rows after others gives the store of all of them, however many there are in a block.
#[test]
fn what_is_appended_follows_what_was_there() {
    let directory = scratch();
    let path = |name: &str| directory.path().join(name);
    synth_rows(&path("all.h5ad"), 0..900, 700);
    for (name, rows) in [("a", 0..600), ("b", 600..601), ("c", 601..900)] {
        synth_rows(&path(&format!("{name}.h5ad")), rows, 700);
    }
    let [all, a, b, c] = ["all.h5ad", "a.h5ad", "b.h5ad", "c.h5ad"].map(path);
    for options in [
        &["--block-size", "256"][..],
        &["--block-size", "100"],
        &["--block-size", "1000", "--var-order", "source"],
        &["--block-size", "64", "--encoding", "raw"],
        &["--block-size", "64", "--shard-size", "50k"],
    ] {
        let (whole, store) = (path("whole"), path("s"));
        for (input, output) in [(&all, &whole), (&a, &store)] {
            succeed(&[&["convert", text(input), "-o", text(output), "--force"], options].concat());
        }
        succeed(&["append", text(&store), text(&b)]);
        check(&store);
        let report = json(&["append", text(&store), text(&c), text(&b), "--shard-size", "50k"]);
        assert_eq!(
            (&report["n_obs_appended"], &report["n_obs"]),
            (&300.into(), &901.into())
        );
        check(&store);
        let (whole, store) = (Store::open(&whole).unwrap(), Store::open(&store).unwrap());
        assert_eq!(content(&whole), content(&store)[..900]);
        assert_eq!(content(&whole)[600], content(&store)[900]);
        assert_eq!(store.source_positions().unwrap().len(), 700);
        for name in ["", "plate", "cell_line", "drug"] {
            let (whole, store) = (column(&whole, name), column(&store, name));
            assert_eq!((&whole[..], &whole[600]), (&store[..900], &store[900]), "{name}");
        }
        let files = names(store.path());
        assert!(files.contains(&"index-0002.bin".to_owned()) && files.contains(&"obs-0002.arrow".to_owned()));
        assert!(
            !files.contains(&"index.bin".to_owned()) && !files.contains(&"index-0001.bin".to_owned()),
            "{files:?}"
        );
        let appended = &json(&["info", text(store.path())])["source"]["appended"];
        assert_eq!(appended.as_array().unwrap().len(), 3);
        succeed(&["export", text(store.path()), text(&path("back.h5ad")), "--force"]);
    }
    // In another order than the source's, new obs come last in the source too.
    let store = path("shuffled");
    succeed(&["convert", text(&a), "-o", text(&store), "--shuffle", "1"]);
    succeed(&["append", text(&store), text(&c)]);
    check(&store);
    let back = path("back.h5ad");
    succeed(&["export", text(&store), text(&back), "--force"]);
    let (again, joined) = (path("again"), path("joined"));
    succeed(&["convert", text(&back), "-o", text(&again)]);
    succeed(&["convert", text(&a), "-o", text(&joined)]);
    succeed(&["append", text(&joined), text(&c)]);
    assert_eq!(
        content(&Store::open(&again).unwrap()),
        content(&Store::open(&joined).unwrap())
    );
}

/// Tables of several batches, which begin and end within those of the store.
#[test]
fn long_tables_are_joined() {
    let directory = scratch();
    samples::write_all(directory.path());
    let long = directory.path().join("long.h5ad");
    let store = directory.path().join("s");
    succeed(&["convert", text(&long), "-o", text(&store), "--max-obs", "70000"]);
    succeed(&["append", text(&store), text(&long)]);
    succeed(&["verify", text(&store)]);
    let whole = directory.path().join("whole");
    succeed(&["convert", text(&long), "-o", text(&whole)]);
    let (whole, store) = (Store::open(&whole).unwrap(), Store::open(&store).unwrap());
    assert_eq!(store.n_obs(), 220_001);
    for name in ["", "number", "late", "text"] {
        let batches = |store: &Store| match name {
            "" => store.obs().names().unwrap(),
            name => store.obs().column(name).unwrap(),
        };
        let (whole, store) = (batches(&whole), batches(&store));
        for obs in (0..150_001).step_by(997).chain([0, 139_999, 140_001, 150_000]) {
            let (a, i) = whole.at(obs);
            let (b, j) = store.at(70_000 + obs);
            assert_eq!(
                a.slice(i, 1).to_data(),
                b.slice(j, 1).to_data(),
                "{name} of obs {obs}"
            );
        }
    }
}

/// Names and codes of a small table.
fn obs(columns: Vec<(&str, ArrayRef)>, n: usize) -> RecordBatch {
    let index: ArrayRef = Arc::new((0..n).map(|i| Some(format!("c{i}"))).collect::<StringArray>());
    let mut all: Vec<samples::Column<'_>> = vec![("index", index, &[("cellring.role", "index")])];
    all.extend(columns.into_iter().map(|(name, column)| (name, column, &[][..])));
    samples::table(all)
}

fn var(names: &[&str]) -> RecordBatch {
    let index: ArrayRef = Arc::new(StringArray::from(names.to_vec()));
    samples::table(vec![("index", index, &[("cellring.role", "index")])])
}

fn categorical(texts: &[&str]) -> ArrayRef {
    let column: DictionaryArray<Int8Type> = texts.iter().map(|text| Some(*text)).collect();
    Arc::new(column)
}

/// A matrix of these rows: column and value.
fn rows(of: &[&[(u32, f32)]]) -> CsrRows {
    let mut indptr = vec![0];
    let (mut indices, mut values) = (vec![], vec![]);
    for row in of {
        indices.extend(row.iter().map(|entry| entry.0));
        values.extend(row.iter().map(|entry| entry.1));
        indptr.push(indices.len() as u64);
    }
    CsrRows {
        indptr,
        indices,
        values: ValueBuffer::F32(values),
    }
}

/// A store of two obs and the genes a to d.
fn small(directory: &Path) -> PathBuf {
    let input = directory.join("small.h5ad");
    let table = obs(
        vec![
            ("kind", categorical(&["y", "x"])),
            ("count", Arc::new(Int32Array::from(vec![1, 2]))),
            ("note", Arc::new(StringArray::from(vec!["one", "two"]))),
        ],
        2,
    );
    let matrix = rows(&[&[(0, 1.0), (2, 2.0)], &[(1, 3.0), (2, 4.0), (3, 5.0)]]);
    write_h5ad(&input, &matrix, 4, &table, &var(&["a", "b", "c", "d"]));
    let store = directory.join("small");
    succeed(&["convert", text(&input), "-o", text(&store)]);
    store
}

#[test]
fn genes_and_columns_are_found_by_name() {
    let directory = scratch();
    let store = small(directory.path());
    let before: Vec<_> = names(&store)
        .iter()
        .map(|name| (name.clone(), std::fs::read(store.join(name)).unwrap()))
        .collect();
    let more = directory.path().join("more.h5ad");
    // No gene b, another order, a new gene; other types, a new category, a column too many and one too few.
    let table = obs(
        vec![
            ("count", Arc::new(Int64Array::from(vec![7, 8])) as ArrayRef),
            ("other", Arc::new(Float32Array::from(vec![0.5, 0.5]))),
            ("kind", categorical(&["z", "y"])),
        ],
        2,
    );
    let matrix = rows(&[&[(0, 6.0), (1, 7.0), (2, 8.0)], &[(3, 9.0)]]);
    write_h5ad(&more, &matrix, 4, &table, &var(&["d", "new", "a", "c"]));
    let message = fail(&["append", text(&store), text(&more)]);
    assert!(
        message.contains("1 genes") && message.contains("new") && message.contains("--ignore-new-genes"),
        "{message}"
    );
    let after: Vec<_> = names(&store)
        .iter()
        .map(|name| (name.clone(), std::fs::read(store.join(name)).unwrap()))
        .collect();
    assert_eq!(before, after, "a refusal changes nothing");

    let report = json(&["append", text(&store), text(&more), "--ignore-new-genes"]);
    assert_eq!(
        (&report["n_genes_ignored"], &report["n_genes_missing"]),
        (&1.into(), &1.into())
    );
    let warnings = report["warnings"].as_array().unwrap();
    let sentences: Vec<&str> = warnings.iter().map(|w| w["message"].as_str().unwrap()).collect();
    assert!(
        sentences.len() == 3 && sentences[0].contains("other"),
        "{warnings:?}"
    );
    assert!(sentences[1].contains("note"), "{warnings:?}");
    assert!(sentences[2].contains("lacks 1 of the 4 genes"), "{warnings:?}");
    let kinds: Vec<_> = warnings.iter().map(|warning| &warning["kind"]).collect();
    assert_eq!(kinds, ["obs", "obs", "genes"]);
    check(&store);
    let opened = Store::open(&store).unwrap();
    let bits = |value: f32| u64::from(value.to_bits());
    let expected = [
        vec![(0, bits(1.0)), (2, bits(2.0))],
        vec![(1, bits(3.0)), (2, bits(4.0)), (3, bits(5.0))],
        vec![(0, bits(8.0)), (3, bits(6.0))],
        vec![(2, bits(9.0))],
    ];
    assert_eq!(content(&opened), expected);
    let some = |texts: &[&str]| {
        texts
            .iter()
            .map(|text| Some((*text).to_owned()))
            .collect::<Vec<_>>()
    };
    assert_eq!(column(&opened, "kind"), some(&["y", "x", "z", "y"]));
    assert_eq!(column(&opened, "count"), some(&["1", "2", "7", "8"]));
    assert_eq!(
        column(&opened, "note"),
        [some(&["one", "two"]), vec![None, None]].concat()
    );
    assert_eq!(column(&opened, ""), some(&["c0", "c1", "c0", "c1"]));
    assert_eq!(opened.obs().column_names().unwrap(), ["kind", "count", "note"]);
    // AnnData takes what is missing.
    let back = directory.path().join("back.h5ad");
    succeed(&["export", text(&store), text(&back)]);
    let script = "import sys, anndata; o = anndata.read_h5ad(sys.argv[1]).obs; \
                  assert list(o['kind']) == ['y', 'x', 'z', 'y'] and list(o['count']) == [1, 2, 7, 8]; \
                  assert o['note'].isna().tolist() == [False, False, True, True]";
    let ran = Command::new(crate::python())
        .args(["-c", script, text(&back)])
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn what_does_not_fit_is_refused() {
    let directory = scratch();
    let store = small(directory.path());
    let more = directory.path().join("more.h5ad");
    let write = |matrix: &CsrRows, columns: Vec<(&str, ArrayRef)>, genes: &[&str]| {
        write_h5ad(
            &more,
            matrix,
            genes.len(),
            &obs(columns, matrix.n_rows()),
            &var(genes),
        );
    };
    let genes = ["a", "b", "c", "d"];
    let one = rows(&[&[(0, 1.0)]]);
    let refused = |part: &str| {
        let message = fail(&["append", text(&store), text(&more)]);
        assert!(message.contains(part), "{message}");
    };
    write(
        &one,
        vec![("count", Arc::new(StringArray::from(vec!["x"])))],
        &genes,
    );
    refused("obs column count");
    write(
        &one,
        vec![("count", Arc::new(Int64Array::from(vec![1 << 40])))],
        &genes,
    );
    refused("1099511627776");
    write(&one, vec![], &["a", "a", "c", "d"]);
    refused("several genes with the same name");
    refused("among them a");
    let mut fractions = rows(&[&[(1, 0.1)]]);
    fractions.values = ValueBuffer::F64(vec![0.1]);
    write(&fractions, vec![], &["a", "c", "b", "d"]);
    let message = fail(&["append", text(&store), text(&more)]);
    assert!(
        message.contains("holds 0.1 for obs 0 and gene c") && message.contains("float32"),
        "{message}"
    );
    let mut flags = one.clone();
    flags.values = ValueBuffer::Bool(vec![true]);
    write(&flags, vec![], &genes);
    refused("values of type bool");
    // A raw store holds its values in the narrowest type.
    let raw = directory.path().join("raw");
    succeed(&[
        "convert",
        text(&directory.path().join("small.h5ad")),
        "-o",
        text(&raw),
        "--encoding",
        "raw",
    ]);
    write(&rows(&[&[(0, 300.0)]]), vec![], &genes);
    let message = fail(&["append", text(&raw), text(&more)]);
    assert!(
        message.contains("holds 300") && message.contains("uint8"),
        "{message}"
    );
    // Several matrices.
    let several = directory.path().join("several");
    let matrices = Path::new(env!("CARGO_MANIFEST_DIR")).join("anndata/tests/data/matrices.h5ad");
    let made = crate::cellring(&[
        "convert",
        text(&matrices),
        "-o",
        text(&several),
        "--x",
        "--layer",
        "float32",
    ]);
    if made.0 == 0 {
        let message = fail(&["append", text(&several), text(&more)]);
        assert!(message.contains("several matrices"), "{message}");
    } else {
        panic!("{}", made.2);
    }
    let message = fail(&["append", text(directory.path()), text(&more)]);
    assert!(message.contains("not a cellring store"), "{message}");
    check(&store);
    assert_eq!(Store::open(&store).unwrap().n_obs(), 2);
}

/// Whoever has the store open reads on as if nothing had happened.
#[test]
fn an_epoch_that_has_begun_ends_as_it_began() {
    let directory = scratch();
    let (a, b) = (directory.path().join("a.h5ad"), directory.path().join("b.h5ad"));
    synth_rows(&a, 0..500, 400);
    synth_rows(&b, 500..900, 400);
    let store = directory.path().join("s");
    succeed(&[
        "convert",
        text(&a),
        "-o",
        text(&store),
        "--block-size",
        "64",
        "--shard-size",
        "20k",
    ]);
    let config = LoaderConfig::default()
        .sampler(
            SamplerConfig::default()
                .block_size(4)
                .batch_size(16)
                .fetch_factor(2)
                .seed(5),
        )
        .memory_bytes(16 << 20);
    let content = |minibatch: &cellring::Minibatch| {
        (
            minibatch.obs().to_vec(),
            minibatch.indices().to_vec(),
            minibatch.data().to_vec(),
        )
    };
    let open = || Arc::new(Store::open(&store).unwrap());
    let epoch = |store: &Arc<Store>, between: &dyn Fn()| {
        let loader = Loader::new(Arc::clone(store), config.clone()).unwrap();
        let mut seen = Vec::new();
        for (number, minibatch) in loader.epoch(0).unwrap().enumerate() {
            seen.push(content(&minibatch.unwrap()));
            if number == 3 {
                between();
            }
        }
        seen
    };
    let before = open();
    let expected = epoch(&before, &|| ());
    let names_before = column(&before, "");
    let seen = epoch(&before, &|| {
        succeed(&["append", text(&store), text(&b)]);
    });
    assert_eq!(expected, seen);
    // Also what begins now, on the store that was opened before.
    assert_eq!(expected, epoch(&before, &|| ()));
    assert_eq!(names_before, column(&before, ""));
    assert_eq!(before.rows(448..500).unwrap().n_rows(), 52);
    let after = open();
    assert_eq!((before.n_obs(), after.n_obs()), (500, 900));
    assert_eq!(
        epoch(&after, &|| ())
            .iter()
            .map(|minibatch| minibatch.0.len())
            .sum::<usize>(),
        900
    );
}

#[test]
fn one_process_appends_at_a_time() {
    let directory = scratch();
    let store = small(directory.path());
    let lock = std::fs::File::open(&store).unwrap();
    lock.try_lock().unwrap();
    let input = directory.path().join("small.h5ad");
    let message = fail(&["append", text(&store), text(&input)]);
    assert!(message.contains("another process is appending"), "{message}");
    // A conversion that is to replace the store has taken hours, perhaps: it waits for the end of the append.
    let identity = || std::fs::metadata(&store).unwrap().ino();
    let before = identity();
    let mut convert = Command::new(env!("CARGO_BIN_EXE_cellring"))
        .args(["convert", text(&input), "-o", text(&store), "--force"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let made = directory
        .path()
        .join(format!(".small.tmp-{}/manifest.json", convert.id()));
    while !made.exists() {
        assert_eq!(convert.try_wait().unwrap(), None, "it ended without a store");
        std::thread::yield_now();
    }
    assert_eq!((identity(), convert.try_wait().unwrap()), (before, None));
    lock.unlock().unwrap();
    assert!(convert.wait().unwrap().success());
    assert_ne!(identity(), before);
    succeed(&["append", text(&store), text(&input)]);
    check(&store);
}

/// What a killed process may leave is removed by the next one; shards on other disks too.
#[test]
fn remains_are_removed() {
    let directory = scratch();
    let (a, b) = (directory.path().join("a.h5ad"), directory.path().join("b.h5ad"));
    synth_rows(&a, 0..500, 300);
    synth_rows(&b, 500..900, 300);
    let dirs = ["one", "two"].map(|name| directory.path().join(name));
    dirs.iter().for_each(|dir| std::fs::create_dir(dir).unwrap());
    let stripe = format!("{},{}", text(&dirs[0]), text(&dirs[1]));
    let (store, plain) = (directory.path().join("s"), directory.path().join("plain"));
    let convert = ["convert", text(&a), "--shard-size", "8k"];
    succeed(&[&convert[..], &["-o", text(&store), "--stripe", &stripe]].concat());
    succeed(&[&convert[..], &["-o", text(&plain)]].concat());
    let n_shards = |dir: &Path| -> usize {
        let stripe = &names(dir)[0];
        names(&dir.join(stripe))
            .iter()
            .filter(|name| name.starts_with("shard-"))
            .count()
    };
    let before = dirs.each_ref().map(|dir| n_shards(dir));
    let number = before[0] + before[1];
    for path in [&store, &plain] {
        std::fs::create_dir(path.join(".append")).unwrap();
        for name in ["index-0001.bin", "obs-0001.arrow", ".append/index-0001.bin"] {
            std::fs::write(path.join(name), b"half").unwrap();
        }
        let stray = path.join(format!("shard-{number:05}.bin"));
        if *path == store {
            let elsewhere = dirs[1]
                .join(&names(&dirs[1])[0])
                .join(format!("shard-{:05}.bin", number + 1));
            std::fs::write(&elsewhere, b"half").unwrap();
            std::os::unix::fs::symlink(&elsewhere, path.join(".append/shard-00009.bin")).unwrap();
        }
        std::fs::write(stray, b"half").unwrap();
        // Still the store it was.
        assert_eq!(Store::open(path).unwrap().n_obs(), 500);
        check(path);
        succeed(&["append", text(path), text(&b), "--shard-size", "8k"]);
        check(path);
    }
    assert_same(&plain, &store);
    let after = dirs.each_ref().map(|dir| n_shards(dir));
    assert_eq!(
        after[0] + after[1],
        Store::open(&store).unwrap().manifest().shards.len()
    );
    assert!(after[0] > before[0] && after[1] > before[1]);
    // A refused one leaves nothing.
    let files = names(&store);
    fail(&["append", text(&store), text(&directory.path().join("none.h5ad"))]);
    assert_eq!(
        (files, after),
        (names(&store), dirs.each_ref().map(|dir| n_shards(dir)))
    );
    succeed(&["convert", text(&a), "-o", text(&store), "--force"]);
    assert!(dirs.iter().all(|dir| names(dir).is_empty()));
}

/// SIGKILL at any moment leaves the old store or the new one.
#[test]
fn an_append_that_is_killed_leaves_the_old_store_or_the_new_one() {
    let directory = scratch();
    let (a, b) = (directory.path().join("a.h5ad"), directory.path().join("b.h5ad"));
    synth_rows(&a, 0..500, 2_000);
    synth_rows(&b, 500..1_000, 2_000);
    let store = directory.path().join("s");
    succeed(&["convert", text(&a), "-o", text(&store)]);
    let mut killed = 0;
    for delay_ms in (0..20).map(|k| k * k) {
        let n_before = Store::open(&store).unwrap().n_obs();
        killed += u32::from(kill_after(delay_ms, &["append", text(&store), text(&b)]));
        let opened = Store::open(&store).unwrap();
        assert!(opened.n_obs() == n_before || opened.n_obs() == n_before + 500);
        let read = opened.rows(0..opened.n_obs()).unwrap();
        assert_eq!(read.nnz() as u64, opened.manifest().nnz);
    }
    assert!(killed > 0, "the first is killed before it does anything");
    succeed(&["append", text(&store), text(&b)]);
    check(&store);
}
