//! Every real file is converted with all its matrices and exported, and then used in each environment: some eighty operations of scipy,
//! anndata and scanpy give on the export what they give on the file itself.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use cellring::Store;

use crate::environments::{Environment, environments};
use crate::{aloud, cellring, root, scratch, shared, two_at_a_time};

/// Cells of the part that is exported of a file that has more.
const PART: u64 = 50;

/// Files that are exported as zarr too: sparse, dense, with layers and raw, missing values, repeated names.
const AS_ZARR: [&str; 6] = [
    "anndataR_example.h5ad",
    "anndata_v0.7.8.h5ad",
    "cellrank_100_raw_layers.h5ad",
    "pbmc3k_100_nullable_strings.h5ad",
    "pbmc3k_600_raw_layers_denseX.h5ad",
    "scp_dup_cell.h5ad",
];

/// Set it to have every export used in every environment.
const EVERYTHING: &str = "CELLRING_EVERYTHING";

/// What one environment is to use: lines of source, export and range of cells, separated by tabs.
struct Exports {
    h5ad: Vec<String>,
    zarr2: Vec<String>,
    zarr3: Vec<String>,
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = ["", "compat", "multi", "zarr"]
        .iter()
        .flat_map(|part| std::fs::read_dir(folder.join(part)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.to_str().unwrap();
            [".h5ad", ".zarr", ".zarr.zip"]
                .iter()
                .any(|end| name.ends_with(end))
        })
        .collect();
    found.sort();
    found
}

/// Each source that has an X, and the options that convert all its matrices.
fn matrices(python: &Path, sources: &[PathBuf]) -> Vec<Vec<String>> {
    let script = root().join("tests/python/list_matrices.py");
    let output = Command::new(python).arg(script).args(sources).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines = String::from_utf8(output.stdout).unwrap();
    lines
        .lines()
        .map(|line| line.split('\t').map(str::to_owned).collect())
        .collect()
}

/// Converts one file with all its matrices, and exports it: whole, in part if it has many cells, and as zarr if it is one of those.
fn export(source: &[String], directory: &Path, exports: &Mutex<Exports>) {
    let at = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let input = source[0].as_str();
    let store = at("x.cellring");
    let mut convert = vec!["convert", input, "-o", &store, "--force"];
    convert.extend(source[1..].iter().map(String::as_str));
    cellring(&convert).unwrap_or_else(|error| panic!("{convert:?}: {error}"));

    let export = |name: &str, options: &[&str], cells: Option<&str>| {
        let out = at(name);
        let range = cells.map_or(vec![], |cells| vec!["--obs-range", cells]);
        let args = [&["export", &store, &out], options, &range].concat();
        cellring(&args).unwrap_or_else(|error| panic!("{args:?} of {input}: {error}"));
        let cells = cells.map(|cells| format!("\t{cells}")).unwrap_or_default();
        format!("{input}\t{out}{cells}")
    };
    let range = format!("0..{PART}");
    let part = (Store::open(&store).unwrap().n_obs() > PART).then_some(range.as_str());
    let mut lines = vec![export("whole.h5ad", &[], None)];
    if part.is_some() {
        lines.push(export("part.h5ad", &[], part));
    }
    exports.lock().unwrap().h5ad.extend(lines);
    if AS_ZARR.iter().any(|name| input.ends_with(name)) {
        let two = export("two.zarr", &["--zarr-format", "2"], part);
        let three = export("three.zarr", &[], part);
        let mut exports = exports.lock().unwrap();
        exports.zarr2.push(two);
        exports.zarr3.push(three);
    }
    std::fs::remove_dir_all(store).unwrap();
}

/// Runs all operations in one environment. Gives what it says, and whether all went well.
fn use_in(environment: &Environment, lines: &[String]) -> (bool, String) {
    let mut child = Command::new(&environment.python)
        .arg(root().join("tests/python/use_exports.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    (
        output.status.success(),
        if said.is_empty() {
            errors.into_owned()
        } else {
            said
        },
    )
}

/// Whether an environment uses an export: each is used in two, with other versions from one to the next. In all of them it takes twice as
/// long, for whoever asks for that.
fn is_used(export: usize, environment: usize, n_environments: usize) -> bool {
    let turn = (export + n_environments - environment) % n_environments;
    turn < 2 || std::env::var_os(EVERYTHING).is_some()
}

#[test]
fn exports_of_real_files_can_be_used_like_their_sources() {
    let Some(folder) = shared("data") else { return };
    let environments = environments();
    let directory = scratch();
    let sources = matrices(&environments[0].python, &sources(&folder));
    assert!(sources.len() >= 58, "{} files with an X", sources.len());
    let exports = Mutex::new(Exports {
        h5ad: vec![],
        zarr2: vec![],
        zarr3: vec![],
    });
    two_at_a_time(&sources, |number, source| {
        let directory = directory.path().join(number.to_string());
        std::fs::create_dir(&directory).unwrap();
        export(source, &directory, &exports);
    });
    let mut exports = exports.into_inner().unwrap();
    assert_eq!(exports.zarr3.len(), AS_ZARR.len());
    // What is synthesised has no source: everything must work on it.
    let synthetic = directory.path().join("synthetic.h5ad");
    let synth = ["--n-obs", "60", "--n-vars", "700", "--seed", "3"];
    cellring(&[&["synth", synthetic.to_str().unwrap()], &synth[..]].concat()).unwrap();
    exports.h5ad.push(format!("-\t{}", synthetic.display()));
    exports.h5ad.sort();

    let short = Mutex::new(String::new());
    two_at_a_time(&environments, |number, environment| {
        // zarr before 3, and so anndata 0.11, reads only version 2.
        let zarr = match environment.name {
            "anndata-0.11" => &exports.zarr2,
            _ => &exports.zarr3,
        };
        let lines = exports.h5ad.iter().chain(zarr).enumerate();
        let taken = lines.filter(|&(line, _)| is_used(line, number, environments.len()));
        let taken: Vec<String> = taken.map(|(_, line)| line.clone()).collect();
        let (fine, said) = use_in(environment, &taken);
        match fine {
            true => aloud(&format!("{}: {}", environment.name, said.trim_end())),
            false => *short.lock().unwrap() += &format!("{}:\n{said}", environment.name),
        }
    });
    let short = short.into_inner().unwrap();
    assert!(short.is_empty(), "{short}");
}
