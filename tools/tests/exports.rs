//! What people get back: the forms, types, attributes, filters and chunks of exports, compared with their sources by
//! `tests/python/export_forms.py`.
#![allow(
    clippy::unwrap_used,
    reason = "tests; the settings for tests do not reach helper functions"
)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cellring_anndata::write::{Compression, ZarrFormat};
use cellring_anndata::{ReadError, Selection};
use cellring_tools::convert::{ConvertError, ConvertOptions, ConvertReport, ObsOrder, convert};
use cellring_tools::export::{ContainerChoice, ExportError, ExportOptions, ExportReport, FormChoice, export};
use tempfile::TempDir;

/// The interpreter: `CELLRING_PYTHON`, else `.venv` of this repository. It must have anndata.
fn python(arguments: &[&str]) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let python =
        std::env::var_os("CELLRING_PYTHON").map_or_else(|| root.join(".venv/bin/python"), PathBuf::from);
    let mut command = Command::new(python);
    command
        .arg(root.join("tests/python/export_forms.py"))
        .args(arguments);
    command
}

/// The sources, which the script makes.
fn sources() -> TempDir {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let made = python(&["make", directory.path().to_str().unwrap()]).status();
    assert!(
        made.unwrap().success(),
        "tests/all.sh sets up a Python that has anndata"
    );
    directory
}

/// Compares exports with their sources: each line is what the script takes.
fn check(lines: &[String]) {
    let mut child = python(&["check"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{stdout}");
    assert_eq!(stdout, format!("{} right\n", lines.len()));
}

fn options(obsm: &[&str]) -> ConvertOptions {
    let layers = ["csr", "csc", "dense"].map(|name| Selection::Layer(name.to_owned()));
    let obsm = obsm.iter().map(|name| Selection::Obsm((*name).to_owned()));
    let mut other_matrices: Vec<Selection> = layers.into_iter().collect();
    other_matrices.push(Selection::Raw);
    other_matrices.extend(obsm);
    ConvertOptions {
        other_matrices,
        ..ConvertOptions::default()
    }
}

fn run_convert(input: &Path, output: &Path, options: &ConvertOptions) -> Result<ConvertReport, ConvertError> {
    convert(&[input.to_path_buf()], output, options, &|_, _| {})
}

fn run_export(store: &Path, output: &Path, options: &ExportOptions) -> Result<ExportReport, ExportError> {
    export(store, output, options, &|done, total| assert!(done <= total))
}

#[test]
fn every_form_comes_back_as_it_was() {
    let directory = sources();
    let source = directory.path().join("forms.h5ad");
    let all = options(&["X_pca", "sparse", "protein"]);
    let mut lines = Vec::new();
    for (name, obs_order) in [
        ("source", None),
        ("shuffled", Some(ObsOrder::Shuffled { seed: 1 })),
    ] {
        let store = directory.path().join(name);
        let convert_options = ConvertOptions {
            obs_order,
            ..all.clone()
        };
        run_convert(&source, &store, &convert_options).unwrap();
        let mut export_as = |output: &str, options: &ExportOptions, expected: &str| {
            let output = directory.path().join(format!("{name}-{output}"));
            let report = run_export(&store, &output, options).unwrap();
            lines.push(format!("{}\t{}{expected}", source.display(), output.display()));
            report
        };
        let default = ExportOptions::default();
        let report = export_as("as-it-was.h5ad", &default, "");
        assert_eq!(report.differences, [""; 0]);
        let forms: Vec<&str> = report
            .matrices
            .iter()
            .map(|matrix| matrix.form.as_str())
            .collect();
        let expected = [
            "array",
            "csr_matrix",
            "csc_matrix",
            "array",
            "csc_matrix",
            "array",
            "csr_matrix",
            "dataframe",
        ];
        assert_eq!(forms, expected);
        for (form, word) in [
            (FormChoice::Csr, "csr"),
            (FormChoice::Csc, "csc"),
            (FormChoice::Dense, "dense"),
        ] {
            let options = ExportOptions {
                form,
                ..default.clone()
            };
            let report = export_as(&format!("{word}.h5ad"), &options, &format!("\tform={word}"));
            // X, three layers and raw, of which one or two are of that form already.
            let n_same = if word == "csr" { 1 } else { 2 };
            assert_eq!(report.differences.len(), 5 - n_same, "{:?}", report.differences);
        }
        for zarr_format in [ZarrFormat::V2, ZarrFormat::V3] {
            let number = if zarr_format == ZarrFormat::V2 { 2 } else { 3 };
            let options = ExportOptions {
                zarr_format,
                ..default.clone()
            };
            let expected = format!("\tzarr={number}\tcompression=zstd");
            export_as(&format!("{number}.zarr"), &options, &expected);
        }
    }
    check(&lines);
}

#[test]
fn all_arrays_have_the_filter_and_the_chunks_that_were_asked_for() {
    let directory = sources();
    let source = directory.path().join("forms.h5ad");
    let store = directory.path().join("store");
    run_convert(&source, &store, &options(&["X_pca", "sparse", "protein"])).unwrap();
    let mut lines = Vec::new();
    for (number, text) in ["none", "gzip", "gzip:9", "lzf", "zstd", "zstd:9"]
        .iter()
        .enumerate()
    {
        let compression: Compression = text.parse().unwrap();
        let name = text.split(':').next().unwrap();
        for chunk_len in [None, Some(1000)] {
            for container in ["h5ad", "2.zarr", "3.zarr"] {
                if container != "h5ad" && compression == Compression::Lzf {
                    continue;
                }
                let output = directory
                    .path()
                    .join(format!("{number}-{}-{container}", chunk_len.is_some()));
                let output = match container {
                    "h5ad" => output.with_extension("h5ad"),
                    _ => output,
                };
                let options = ExportOptions {
                    compression: Some(compression),
                    chunk_len,
                    zarr_format: match container {
                        "2.zarr" => ZarrFormat::V2,
                        _ => ZarrFormat::V3,
                    },
                    ..ExportOptions::default()
                };
                run_export(&store, &output, &options).unwrap();
                let mut line = format!("{}\t{}\tcompression={name}", source.display(), output.display());
                if let Some(chunk_len) = chunk_len {
                    line.push_str(&format!("\tchunk={chunk_len}"));
                }
                lines.push(line);
            }
        }
    }
    check(&lines);
}

#[test]
fn columns_come_by_themselves_too() {
    let directory = sources();
    let source = directory.path().join("csc.h5ad");
    let (store, output) = (directory.path().join("store"), directory.path().join("back.h5ad"));
    run_convert(&source, &store, &ConvertOptions::default()).unwrap();
    let report = run_export(&store, &output, &ExportOptions::default()).unwrap();
    assert_eq!(report.matrices[0].form, "csc_matrix");
    check(&[format!("{}\t{}", source.display(), output.display())]);
    // A part of the obs.
    let part = directory.path().join("part.h5ad");
    let options = ExportOptions {
        obs_range: Some(100..900),
        ..ExportOptions::default()
    };
    assert_eq!(
        run_export(&store, &part, &options).unwrap().matrices[0].form,
        "csc_matrix"
    );
    let script = "import anndata, sys; a, b = map(anndata.read_h5ad, sys.argv[1:]); assert b.X.format == 'csc' and (a.X[100:900] != b.X).nnz == 0";
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let python =
        std::env::var_os("CELLRING_PYTHON").map_or_else(|| root.join(".venv/bin/python"), PathBuf::from);
    let mut command = Command::new(python);
    command.arg("-c").arg(script).arg(&source).arg(&part);
    assert!(command.status().unwrap().success());
}

#[test]
fn what_an_export_would_refuse_is_repaired_when_it_is_converted() {
    let directory = sources();
    let source = directory.path().join("odd.h5ad");
    let (store, output) = (directory.path().join("store"), directory.path().join("back.h5ad"));
    let report = run_convert(&source, &store, &ConvertOptions::default()).unwrap();
    let sentences: Vec<&str> = report.warnings.iter().map(|w| w.sentence.as_str()).collect();
    let warnings = sentences.join("\n");
    for expected in [
        "obs/repeated has 1 repeated categories",
        "obs/missing has 1 categories without a value",
        "obs/_index is the index",
        "var/_index has a name that anndata reserves; the column is renamed to index",
    ] {
        assert!(warnings.contains(expected), "{expected:?} is not in {warnings}");
    }
    run_export(&store, &output, &ExportOptions::default()).unwrap();
    check(&[format!("{}\t{}\todd=1", source.display(), output.display())]);
}

#[test]
fn data_frames_that_are_no_matrices_are_refused_by_column() {
    let directory = sources();
    let source = directory.path().join("frames.h5ad");
    for (name, column, expected) in [
        ("text", "b", "holds text or categories"),
        (
            "wide",
            "a",
            "has the value 9007199254740993 in row 3, which float64, the type",
        ),
        (
            "unsigned",
            "a",
            "has the value 18446744073709551615 in row 5, which int64, the type",
        ),
        ("gap", "a", "has no value in row 7"),
    ] {
        let options = ConvertOptions {
            other_matrices: vec![Selection::Obsm(name.to_owned())],
            ..ConvertOptions::default()
        };
        let error = run_convert(&source, &directory.path().join("store"), &options).unwrap_err();
        let is_of_column = matches!(
            &error,
            ConvertError::Source(ReadError::FrameColumn { column: found, .. }) if found == column
        );
        assert!(is_of_column && error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn a_zarr_directory_is_whole_or_not_there() {
    let directory = sources();
    let source = directory.path().join("csc.h5ad");
    let store = directory.path().join("store");
    run_convert(&source, &store, &ConvertOptions::default()).unwrap();
    let output = directory.path().join("out.zarr");
    run_export(&store, &output, &ExportOptions::default()).unwrap();
    let entries = || {
        let names = std::fs::read_dir(directory.path()).unwrap();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = entries();
    // What is there is replaced only if that is wanted, and only by its like.
    let again = run_export(&store, &output, &ExportOptions::default());
    assert!(matches!(again, Err(ExportError::Exists { .. })));
    let force = ExportOptions {
        force: true,
        ..ExportOptions::default()
    };
    run_export(&store, &output, &force).unwrap();
    assert_eq!(entries(), before);
    let foreign = directory.path().join("foreign.zarr");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("thesis.txt"), "precious").unwrap();
    let error = run_export(&store, &foreign, &force).unwrap_err().to_string();
    assert!(error.contains("is not a zarr directory"), "{error}");
    assert_eq!(
        std::fs::read_to_string(foreign.join("thesis.txt")).unwrap(),
        "precious"
    );
    // What a killed process left is removed.
    std::fs::create_dir(directory.path().join(".out.zarr.AbC123.partial")).unwrap();
    run_export(&store, &output, &force).unwrap();
    assert!(
        !entries()
            .iter()
            .any(|name| name.to_string_lossy().ends_with(".partial"))
    );
    let zip = run_export(&store, &directory.path().join("out.zarr.zip"), &force);
    assert!(matches!(zip, Err(ExportError::Zip { .. })));
    // Nothing is written under a name that does not say what it is, unless that is said.
    for (name, nearest) in [
        ("out.h5da", ".h5ad"),
        ("out.zar", ".zarr"),
        ("out.h5ed", ".h5ad"),
        ("out", ".h5ad"),
    ] {
        let error = run_export(&store, &directory.path().join(name), &force).unwrap_err();
        assert!(
            matches!(error, ExportError::Ending { .. }) && error.to_string().contains(nearest),
            "{error}"
        );
    }
    for (name, container, is_dir) in [
        ("some.name", ContainerChoice::Zarr, true),
        ("other.name", ContainerChoice::Hdf5, false),
    ] {
        let options = ExportOptions {
            container: Some(container),
            ..force.clone()
        };
        run_export(&store, &directory.path().join(name), &options).unwrap();
        assert_eq!(directory.path().join(name).is_dir(), is_dir);
    }
    for (name, is_dir) in [("a.ZARR", true), ("b.H5AD", false), ("c.hdf5", false)] {
        run_export(&store, &directory.path().join(name), &force).unwrap();
        assert_eq!(directory.path().join(name).is_dir(), is_dir);
    }
    let lzf = ExportOptions {
        compression: Some(Compression::Lzf),
        ..force
    };
    let error = run_export(&store, &output, &lzf).unwrap_err().to_string();
    assert!(error.contains("zarr has no lzf"), "{error}");
}
