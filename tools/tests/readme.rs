//! Every command of the README and of the manual is run as it stands, and the manual's lists are those of the command.
#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use cellring::format::{CsrRows, ValueBuffer, ValueType};
use cellring_anndata::write::{AnnDataWriter, Axis, Form, MatrixSpec, Place};
use serde_json::Value;
use tempfile::TempDir;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// A directory that holds cells.h5ad and layers.h5ad.
fn inputs() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(
        root().join("tools/data/mousebrain10k.h5ad"),
        dir.path().join("cells.h5ad"),
    )
    .unwrap();
    write_layers(&dir.path().join("layers.h5ad"));
    dir
}

/// What a line prints that a user types in this directory.
fn typed(dir: &TempDir, line: &str) -> String {
    let bin = Path::new(env!("CARGO_BIN_EXE_cellring")).parent().unwrap();
    let output = Command::new("bash")
        .args(["-c", line])
        .current_dir(dir.path())
        .env(
            "PATH",
            format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()),
        )
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}\n{message}");
    String::from_utf8(output.stdout).unwrap()
}

/// The commands of the blocks that are marked as tested.
fn blocks(readme: &str) -> Vec<Vec<&str>> {
    let marked = readme.split("<!-- tested:").skip(1);
    marked
        .map(|text| {
            let (_, block) = text.split_once("```sh\n").unwrap();
            let (block, _) = block.split_once("```").unwrap();
            block.lines().filter(|line| !line.trim().is_empty()).collect()
        })
        .collect()
}

/// A file with layers, `raw` and `obsm`.
fn write_layers(path: &Path) {
    const N_OBS: u64 = 40;
    let place = |name: &str| Place::of_path(name).unwrap();
    let spec = |n_vars: u64| MatrixSpec::new(N_OBS, n_vars, ValueType::F32);
    // A value in every third column.
    let rows = |n_vars: u64, step: u32| {
        let columns: Vec<u32> = (0..n_vars as u32).step_by(step as usize).collect();
        CsrRows {
            indptr: (0..=N_OBS).map(|row| row * columns.len() as u64).collect(),
            indices: columns.repeat(N_OBS as usize),
            values: ValueBuffer::F32(
                (0..N_OBS as usize * columns.len())
                    .map(|k| k as f32 + 0.5)
                    .collect(),
            ),
        }
    };
    let names = |axis: &str, n: u64| {
        let names = StringArray::from_iter_values((0..n).map(|k| format!("{axis}_{k}")));
        RecordBatch::try_from_iter([("_index", Arc::new(names) as ArrayRef)]).unwrap()
    };
    let mut writer = AnnDataWriter::create(path, spec(30)).unwrap();
    for (axis, table) in [(Axis::Obs, names("cell", N_OBS)), (Axis::Var, names("gene", 30))] {
        writer
            .write_table(axis, &table.schema(), [table.clone()])
            .unwrap();
    }
    writer.push_rows(&rows(30, 3)).unwrap();
    for layer in ["layers/spliced", "layers/unspliced"] {
        writer.next_matrix(place(layer), spec(30)).unwrap();
        writer.push_rows(&rows(30, 4)).unwrap();
    }
    writer.next_matrix(place("raw/X"), spec(50)).unwrap();
    let genes = names("raw_gene", 50);
    writer
        .write_table(Axis::RawVar, &genes.schema(), [genes.clone()])
        .unwrap();
    writer.push_rows(&rows(50, 2)).unwrap();
    let dense = spec(7).with_form(Form::Dense);
    writer.next_matrix(place("obsm/X_pca"), dense).unwrap();
    writer.push_rows(&rows(7, 1)).unwrap();
    writer.finish().unwrap();
}

#[test]
fn the_commands_of_the_readme_work() {
    let dir = inputs();
    let readme = text("README.md");
    let commands: Vec<&str> = blocks(&readme).into_iter().flatten().collect();
    assert_eq!(commands.len(), 3, "three commands: {commands:?}");
    for line in commands {
        assert!(line.starts_with("cellring "), "{line}");
        typed(&dir, line);
    }
}

#[test]
fn the_commands_of_the_manual_work() {
    let dir = inputs();
    let manual = text("tools/MANUAL.md");
    let blocks = blocks(&manual);
    assert!(
        blocks.len() >= 7,
        "pages, a tour, several matrices, exports, filters, parts, and a table"
    );
    let mut printed = String::new();
    let mut commands = 0;
    for line in blocks.into_iter().flatten() {
        assert!(line.contains("cellring "), "{line}");
        printed = typed(&dir, line);
        commands += 1;
    }
    assert!(commands >= 40, "{commands} commands");

    // The last one printed the table that follows it.
    let rows: Vec<&str> = manual
        .lines()
        .skip_while(|line| !line.starts_with("| 1 (true random)"))
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert_eq!(rows.len(), 7, "six block sizes, and streaming");
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).skip(1).collect();
        let cells = cells.join("  ");
        assert!(printed.contains(&cells), "{cells} is not in\n{printed}");
    }
}

/// The words between backticks.
fn quoted(text: &str) -> BTreeSet<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The rows of the first table after this line, as cells.
fn table(manual: &str, after: &str) -> Vec<Vec<String>> {
    let (_, rest) = manual.split_once(after).unwrap();
    let rows = rest.lines().skip_while(|line| !line.starts_with("|---"));
    rows.skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|row| {
            row.trim_matches('|')
                .split('|')
                .map(|cell| cell.trim().to_owned())
                .collect()
        })
        .collect()
}

#[test]
fn the_manual_lists_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let help = typed(&dir, "cellring help");
    let list = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty());
    let commands: BTreeSet<String> = list
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect();
    let rows = table(&text("tools/MANUAL.md"), "\n## Commands\n");
    let mut listed: BTreeSet<String> = rows.iter().flat_map(|row| quoted(&row[0])).collect();
    listed.insert("help".into());
    assert_eq!(listed, commands);
}

/// What each row of the table of keys is about, and where in what a command prints.
const KEYS: &[(&str, &str, &str)] = &[
    (
        "`convert`",
        "cellring convert cells.h5ad -o cells.cellring --json",
        "",
    ),
    (
        "`convert`, `part`",
        "cellring convert cells.h5ad -o parts.cellring --part 1/1 --json",
        "/part",
    ),
    ("`link`", "cellring link cells.h5ad -o linked.cellring --json", ""),
    ("`info`", "cellring info linked.cellring --json", ""),
    ("`link`", "cellring link --refresh linked.cellring --json", ""),
    (
        "`bench`",
        "cellring bench linked.cellring --seconds 0.02 --block-size 16 --json",
        "",
    ),
    (
        "`bench`, `runs`",
        "cellring bench linked.cellring --seconds 0.02 --block-size 16 --json",
        "/runs/0",
    ),
    (
        "`bench`, `converted`",
        "cellring bench linked.cellring --seconds 0.02 --block-size 16 --json",
        "/converted",
    ),
    (
        "`tune`",
        "cellring tune linked.cellring --seconds 0.02 --json",
        "",
    ),
    (
        "`tune`, `candidates`",
        "cellring tune linked.cellring --seconds 0.02 --json",
        "/candidates/0",
    ),
    (
        "`chunks` of `plan --entropy` and `tune`",
        "cellring tune linked.cellring --seconds 0.02 --json",
        "/chunks",
    ),
    (
        "`link --relocate`",
        "cp -p cells.h5ad moved.h5ad && cellring link --relocate cells.h5ad moved.h5ad linked.cellring --json",
        "",
    ),
    ("`merge`", "cellring merge -o parts.cellring --json", ""),
    ("`append`", "cellring append parts.cellring cells.h5ad --json", ""),
    ("`export`", "cellring export cells.cellring back.h5ad --json", ""),
    (
        "`export`, `matrices`",
        "cellring export cells.cellring back.zarr --json",
        "/matrices/0",
    ),
    ("`info`", "cellring info cells.cellring --json", ""),
    (
        "`synth`",
        "cellring synth some.cellring --n-obs 2000 --n-vars 50 --json",
        "",
    ),
    ("`obs` and `var`", "cellring obs some.cellring --json", ""),
    ("`obs` and `var`", "cellring var some.cellring --json", ""),
    (
        "`obs COLUMN`, and each of `columns`",
        "cellring obs some.cellring plate --json",
        "",
    ),
    (
        "`obs COLUMN`, and each of `columns`",
        "cellring obs some.cellring pct_mito --json",
        "",
    ),
    (
        "`obs COLUMN`, and each of `columns`",
        "cellring obs some.cellring --json",
        "/columns/0",
    ),
    (
        "`obs --head`, each line",
        "cellring obs some.cellring --head 1 --json",
        "",
    ),
    ("`verify`", "cellring verify some.cellring --json", ""),
    (
        "`plan`, each line",
        "cellring plan some.cellring --minibatches 1 --json",
        "",
    ),
    (
        "`plan --entropy`",
        "cellring plan some.cellring --entropy plate --block-sizes 16 --json",
        "",
    ),
    (
        "`plan --entropy`, `table`",
        "cellring plan some.cellring --entropy plate --block-sizes 16 --json",
        "/table/0",
    ),
    ("`epoch`", "cellring epoch some.cellring --digest --json", ""),
    ("`tune`", "cellring tune some.cellring --seconds 0.02 --json", ""),
    (
        "`tune`, `device`",
        "cellring tune some.cellring --seconds 0.02 --json",
        "/device/0",
    ),
    (
        "`tune`, `candidates`",
        "cellring tune some.cellring --seconds 0.02 --json",
        "/candidates/0",
    ),
    (
        "`bench`",
        "cellring bench some.cellring --seconds 0.02 --block-size 16 --json",
        "",
    ),
    (
        "`bench`, `runs`",
        "cellring bench some.cellring --seconds 0.02 --block-size 16 --json",
        "/runs/0",
    ),
    (
        "`bench --raw`",
        "cellring bench --raw some.cellring/shard-00000.bin --read-size 4KiB --seconds 0.02 --json",
        "",
    ),
    ("`demo`", "cellring demo --json", ""),
    ("`demo`, `epochs`", "cellring demo --json", "/epochs/0"),
    (
        "`convert`",
        "cellring convert layers.h5ad -o layers.cellring --x --layer spliced --json",
        "",
    ),
    (
        "`info`, `matrices`",
        "cellring info layers.cellring --json",
        "/matrices/0",
    ),
];

/// Rows whose command needs a GPU.
const NEED_GPU: &[&str] = &[
    "`bench --gpu`",
    "`bench --gpu`, `copies`",
    "`bench --gpu`, `runs`",
];

#[test]
fn the_manual_lists_every_key_of_json() {
    let dir = inputs();
    let rows = table(&text("tools/MANUAL.md"), "\n## JSON\n");
    for (of, line, place) in KEYS {
        let row = rows
            .iter()
            .find(|row| row[0] == *of)
            .unwrap_or_else(|| panic!("no row for {of}"));
        let (always, sometimes) = row[1].split_once("; sometimes").unwrap_or((&row[1], ""));
        let (always, sometimes) = (quoted(always), quoted(sometimes));
        let printed = typed(&dir, line);
        let value: Value = serde_json::from_str(printed.lines().next().unwrap()).unwrap();
        let object = value
            .pointer(place)
            .and_then(Value::as_object)
            .unwrap_or_else(|| panic!("{line}: no object at {place:?} in {printed}"));
        let printed: BTreeSet<String> = object.keys().cloned().collect();
        let missing: Vec<_> = always.difference(&printed).collect();
        assert!(missing.is_empty(), "{line}: does not print {missing:?}");
        let unknown: Vec<_> = printed
            .iter()
            .filter(|key| !always.contains(*key) && !sometimes.contains(*key))
            .collect();
        assert!(unknown.is_empty(), "{line}: the manual lacks {unknown:?}");
    }
    let tested: BTreeSet<&str> = KEYS
        .iter()
        .map(|(of, ..)| *of)
        .chain(NEED_GPU.iter().copied())
        .collect();
    let listed: BTreeSet<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(listed, tested);
}
