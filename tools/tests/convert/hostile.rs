//! Inputs that claim much, never end or hold the wrong bytes: refused at once, in one sentence, in little memory.

use std::path::Path;
use std::process::Command;

use cellring_tools::synth::Synth;

use crate::{made_by, scratch};

/// Memory for data, of which a conversion of such small inputs needs a tenth.
const LIMIT_KIB: u64 = 1536 << 10;

/// For what would else never end; nothing is measured.
const LIMIT_SECONDS: u64 = 120;

/// Converts within limits: exit code and what was written to standard error.
fn convert_within_limits(input: &Path, store: &Path) -> (Option<i32>, String) {
    let script = format!(
        "ulimit -d {LIMIT_KIB} && exec timeout {LIMIT_SECONDS} \"$0\" convert \"$1\" -o \"$2\" --force"
    );
    let output = Command::new("sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_cellring")])
        .args([input, store])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said)
}

fn check(input: &Path, part: &str, store: &Path) {
    let (code, said) = convert_within_limits(input, store);
    let shown = input.display();
    assert_eq!(code, Some(1), "{shown}: {said}");
    let line = said.strip_suffix('\n').unwrap();
    assert!(
        line.starts_with("error: ") && !line.contains('\n') && !line.contains(". "),
        "{shown}: one sentence: {said}"
    );
    // Not the path, which may have this word too.
    let told = line.replace(input.to_str().unwrap(), "");
    assert!(told.contains(part), "{shown}: {part:?} in {line}");
    assert!(!store.exists(), "{shown}");
}

#[test]
fn hostile_inputs_are_refused_within_limits() {
    let (directory, made) = made_by("make_hostile.py");
    assert!(made.lines().count() >= 50, "{made}");
    let store = directory.path().join("x.cellring");
    for line in made.lines() {
        let (input, part) = line.split_once('\t').unwrap();
        check(Path::new(input), part, &store);
    }
}

/// Those that were found by trying.
#[test]
fn faults_that_were_found_are_refused() {
    let faults = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/faults/inputs"));
    if !faults.is_dir() {
        println!(
            "skipped faults that were found: {} does not exist",
            faults.display()
        );
        return;
    }
    let directory = scratch();
    let store = directory.path().join("x.cellring");
    for (name, part) in [
        ("bitflip.zarr.zip", "have the CRC-32"),
        ("deflate_endless_1.zarr.zip", "of the zip file"),
        ("deflate_endless_2.zarr.zip", "of the zip file"),
        ("vlen_huge_length.zarr", "bytes, but"),
    ] {
        check(&faults.join(name), part, &store);
    }
    let (code, said) = convert_within_limits(&faults.join("good.zarr.zip"), &store);
    assert_eq!(code, Some(0), "{said}");
}

/// Lists of genes and cells: from a pipe, but not from one that never ends.
#[test]
fn lists_come_from_pipes_that_end() {
    let directory = scratch();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (input, store) = (at("a.h5ad"), at("s"));
    Synth::new(200, 50, 3)
        .write_h5ad(Path::new(&input), |_| {})
        .unwrap();
    let run = |command: &str| {
        let output = Command::new("timeout")
            .args([
                &LIMIT_SECONDS.to_string(),
                "sh",
                "-c",
                &format!("ulimit -d {LIMIT_KIB}; {command}"),
            ])
            .env("C", env!("CARGO_BIN_EXE_cellring"))
            .env("IN", &input)
            .env("OUT", &store)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let genes = "\"$C\" convert \"$IN\" -o \"$OUT\" --force --genes";
    let listed = run(&format!(
        "printf 'ENSG00000000003\\nENSG00000000007\\n' | {genes} /dev/stdin"
    ));
    assert_eq!(listed.0, Some(0), "{}", listed.1);
    let info = run("\"$C\" info \"$OUT\" --json | grep -q '\"n_vars\": *2'");
    assert_eq!(info.0, Some(0), "{}", info.1);
    let epoch = "\"$C\" epoch \"$OUT\" --strategy custom --order";
    for (command, part) in [
        (format!("{genes} /dev/zero"), "line 1 is longer than"),
        (format!("yes | {genes} /dev/stdin"), "it is longer than 64 MiB"),
        (format!("{genes} ."), "directory"),
        (format!("{epoch} /dev/zero"), "line 1 is longer than"),
        (format!("{epoch} ."), "directory"),
    ] {
        let (code, said) = run(&command);
        assert_eq!(code, Some(1), "{command}: {said}");
        assert!(said.contains(part), "{command}: {said}");
        assert!(said.trim_end().lines().count() == 1, "{command}: {said}");
    }
}
