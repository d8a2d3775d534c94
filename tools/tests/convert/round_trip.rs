//! Every matrix of the samples, in both encodings and both orders of columns: converted, verified, exported, compared.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use cellring::Store;
use cellring::format::{Encoding, VarOrder};
use cellring::store::verify;
use cellring_anndata::{Input, ReadError, Selection};
use cellring_tools::convert::ConvertOptions;
use cellring_tools::export::{ExportError, ExportOptions, export};

use crate::{fixture, python, run_convert, samples, scratch};

/// Compares all pairs of files with anndata, in one process. A line is what the script takes, separated by tabs.
pub(crate) fn compare(lines: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut child = Command::new(python())
        .arg(root.join("tests/python/compare_h5ad.py"))
        .arg("--list")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{stdout}");
    assert_eq!(stdout, format!("{} equal\n", lines.lines().count()));
}

/// The matrices of a file that can be converted, and why each of the others cannot.
pub(crate) fn selections(path: &Path) -> (Vec<Selection>, Vec<ReadError>) {
    let (mut fit, mut refused) = (vec![], vec![]);
    let Ok(file) = Input::open(path) else {
        return (fit, refused);
    };
    // The message on a matrix that does not exist lists those that do.
    let listed = file
        .matrix(&Selection::Layer("\u{1}".into()))
        .unwrap_err()
        .to_string();
    let layers = listed
        .split(['\u{1}', ' ', ',', ':'])
        .filter_map(|word| word.strip_prefix("layers/"));
    let layers = layers
        .filter(|name| !name.is_empty())
        .map(|name| Selection::Layer(name.to_owned()));
    for selection in [Selection::X, Selection::Raw].into_iter().chain(layers) {
        let opened = file.matrix(&selection).and_then(|matrix| {
            file.obs()?;
            file.var(&selection)?;
            // Faults inside the matrix are for other tests.
            matrix
                .rows(0..matrix.n_obs(), 1 << 20)?
                .try_for_each(|rows| rows.map(drop))
        });
        match opened {
            Ok(()) => fit.push(selection),
            Err(error) => refused.push(error),
        }
    }
    (fit, refused)
}

/// Converts in all four ways, verifies the stores, and exports them: the same file each time. Gives its path.
fn convert_all(path: &Path, selection: &Selection, directory: &Path) -> PathBuf {
    let mut first: Option<PathBuf> = None;
    for encoding in [Encoding::Packed, Encoding::Raw] {
        for var_order in [VarOrder::Detection, VarOrder::Source] {
            let options = ConvertOptions {
                selection: selection.clone(),
                encoding,
                var_order: Some(var_order),
                block_size: 100,
                threads: Some(2),
                force: true,
                ..ConvertOptions::default()
            };
            let store = directory.join("store.cellring");
            let report = run_convert(path, &store, &options).unwrap();
            let store = Store::open(&store).unwrap();
            verify(&store, 2, &|_| {}).unwrap();
            assert_eq!((report.nnz, report.n_obs), (store.manifest().nnz, store.n_obs()));
            assert_eq!(store.manifest().var_order, var_order);

            let name = path.file_name().unwrap().to_string_lossy();
            let matrix = selection.path().replace('/', "-");
            let out = directory.join(format!("{name}.{matrix}.{}.h5ad", first.is_some()));
            let report = export(store.path(), &out, &ExportOptions::default(), &|_, _| {}).unwrap();
            assert_eq!((report.nnz, report.n_obs), (store.manifest().nnz, store.n_obs()));
            match &first {
                None => first = Some(out),
                Some(first) => {
                    let equal = std::fs::read(first).unwrap() == std::fs::read(&out).unwrap();
                    assert!(equal, "{} differs as {encoding:?}, {var_order:?}", out.display());
                    std::fs::remove_file(out).unwrap();
                }
            }
        }
    }
    first.unwrap()
}

/// All four ways for all matrices of these files; gives how many matrices each file had.
///
/// Several files at a time: most of the time goes into syncing small files, which the disk does for many at once.
pub(crate) fn check(files: &[PathBuf]) -> Vec<(String, usize)> {
    let directory = scratch();
    let next = AtomicUsize::new(0);
    let done = Mutex::new(vec![]);
    let work = || {
        while let Some((number, path)) = files.iter().enumerate().nth(next.fetch_add(1, Ordering::Relaxed)) {
            let directory = directory.path().join(number.to_string());
            std::fs::create_dir(&directory).unwrap();
            let (fit, _) = selections(path);
            let mut lines = String::new();
            for selection in &fit {
                let out = convert_all(path, selection, &directory);
                write!(lines, "{}\t{}", path.display(), out.display()).unwrap();
                match selection {
                    Selection::X => {}
                    Selection::Raw => lines += "\t--raw",
                    Selection::Layer(name) => write!(lines, "\t--layer\t{name}").unwrap(),
                    Selection::Obsm(name) => write!(lines, "\t--obsm\t{name}").unwrap(),
                }
                lines.push('\n');
            }
            done.lock().unwrap().push((number, lines, fit.len()));
        }
    };
    std::thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(work))));
    let mut done = done.into_inner().unwrap();
    done.sort();
    compare(
        &done
            .iter()
            .map(|(_, lines, _)| lines.as_str())
            .collect::<String>(),
    );
    let name = |number: usize| files[number].file_name().unwrap().to_string_lossy().into_owned();
    done.into_iter().map(|(number, _, n)| (name(number), n)).collect()
}

/// Every element type, index type, and kind of column, on either axis; more rows than a batch of a table on either axis.
#[test]
fn samples_come_back_equal() {
    let directory = scratch();
    samples::write_all(directory.path());
    let spec = cellring_anndata::write::MatrixSpec::new(7, 70_000, cellring::format::ValueType::U16);
    let wide = directory.path().join("long_var.h5ad");
    samples::write(&wide, spec, &samples::columns(), &samples::long(70_000), 7_000);
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.push(fixture("matrices.h5ad"));
    let converted = check(&files);
    assert!(
        converted.len() > 30 && converted.iter().all(|&(_, n)| n > 0),
        "{converted:?}"
    );
    assert_eq!(converted.last(), Some(&("matrices.h5ad".to_owned(), 21)));
}

#[test]
fn a_range_of_obs_comes_back_equal() {
    let directory = scratch();
    let (source, store) = (
        directory.path().join("a.h5ad"),
        directory.path().join("a.cellring"),
    );
    let spec = cellring_anndata::write::MatrixSpec::new(7, 9, cellring::format::ValueType::I64);
    samples::write(&source, spec, &samples::columns(), &samples::names("gene", 9), 3);
    run_convert(&source, &store, &ConvertOptions::default()).unwrap();
    let mut lines = String::new();
    for (start, end) in [(0, 7), (2, 5), (6, 7), (3, 3)] {
        let out = directory.path().join(format!("{start}.h5ad"));
        let options = ExportOptions {
            obs_range: Some(start..end),
            force: true,
            ..ExportOptions::default()
        };
        let report = export(&store, &out, &options, &|_, _| {}).unwrap();
        assert_eq!(report.n_obs, end - start);
        writeln!(
            lines,
            "{}\t{}\t--obs-range\t{start}..{end}",
            source.display(),
            out.display()
        )
        .unwrap();
    }
    compare(&lines);

    let out = directory.path().join("beyond.h5ad");
    let options = ExportOptions {
        obs_range: Some(5..8),
        force: false,
        ..ExportOptions::default()
    };
    let error = export(&store, &out, &options, &|_, _| {}).unwrap_err();
    assert!(
        error.to_string().contains("obs 5 to 8") && error.to_string().contains("has 7 obs"),
        "{error}"
    );
    assert!(!out.exists());
    std::fs::write(&out, "kept").unwrap();
    let error = export(&store, &out, &ExportOptions::default(), &|_, _| {}).unwrap_err();
    assert!(matches!(error, ExportError::Exists { .. }), "{error}");
    assert_eq!(std::fs::read(&out).unwrap(), b"kept");
    let forced = ExportOptions {
        force: true,
        ..ExportOptions::default()
    };
    export(&store, &out, &forced, &|_, _| {}).unwrap();
    assert_ne!(std::fs::read(&out).unwrap(), b"kept");
}
