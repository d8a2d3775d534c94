//! Every form, filter and order of small inputs that a script makes: converted and exported equal, or refused.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use cellring_tools::convert::ConvertOptions;
use cellring_tools::export::{ExportOptions, export};

use crate::linked::{age, check, compare_rows, epoch};
use crate::round_trip::compare;
use crate::{made_by, names, run_convert, scratch, shared_data};

#[test]
fn every_form_comes_back_equal() {
    inputs_of_a_script_come_back_equal("make_forms.py", 90, 10);
}

/// Attributes, numbers and enums of every type, links of every kind, codecs of every name.
#[test]
fn every_way_to_store_a_file_comes_back_equal() {
    inputs_of_a_script_come_back_equal("make_containers.py", 283, 53);
}

/// Converts and exports what a script makes, and compares each with what it says; and those that can be linked with their links.
fn inputs_of_a_script_come_back_equal(script: &str, n_least: usize, n_linked_least: usize) {
    let (directory, made) = made_by(script);
    assert!(made.lines().count() >= n_least, "{made}");
    let mut lines = String::new();
    let mut n_linked = 0;
    for (number, line) in made.lines().enumerate() {
        let (input, expected) = line.split_once('\t').unwrap();
        let store = directory.path().join(format!("{number}.cellring"));
        let mut options = ConvertOptions::default();
        let forced = expected.strip_prefix("--force-read ");
        options.open.force_read = forced.is_some();
        let expected = forced.unwrap_or(expected);
        let converted = run_convert(Path::new(input), &store, &options);
        if let Some(part) = expected.strip_prefix("refused:") {
            let message = converted.unwrap_err().to_string();
            // Not the path, which has this word too.
            let told = message.replace(input, "");
            assert!(
                told.contains(part) && !message.contains(". "),
                "{input}: {message}"
            );
            if input.ends_with("blosc2.h5ad") {
                assert!(
                    message.starts_with("X/data in ") && told.contains("HDF5 filter 32026 (blosc2)"),
                    "{message}"
                );
            }
            assert!(!store.exists());
            continue;
        }
        converted.unwrap_or_else(|error| panic!("{input}: {error}"));
        // A third of them, to be quick, and what is not AnnData; all for whoever asks for that.
        let is_tenx = input.ends_with(".h5");
        let is_tried = number.is_multiple_of(3) || std::env::var_os("CELLRING_EVERYTHING").is_some();
        if forced.is_none() && (is_tried || is_tenx) {
            age(Path::new(input));
            let is_linked = match is_tenx {
                true => check(Path::new(input), directory.path()),
                false => compare_rows(Path::new(input), directory.path())
                    .inspect(|(linked, held)| assert!(epoch(linked) == epoch(held), "{input}"))
                    .is_some(),
            };
            n_linked += usize::from(is_linked);
            assert!(is_linked || !is_tenx, "{input} is not linked");
        }
        let out = directory.path().join(format!("{number}.out.h5ad"));
        export(&store, &out, &ExportOptions::default(), &|_, _| {}).unwrap();
        // The forms differ, the values do not.
        writeln!(lines, "{expected}\t{}\t--any-form", out.display()).unwrap();
    }
    println!("{n_linked} were linked");
    assert!(n_linked >= n_linked_least, "{n_linked} were linked");
    compare(&lines);
}

/// Killed at many moments, also while a matrix is turned: no store, nothing that the next conversion does not remove.
#[test]
fn a_turn_that_is_killed_leaves_nothing() {
    let Some(folder) = shared_data() else { return };
    let directory = scratch();
    let store = directory.path().join("x.cellring");
    let input = folder.join("pbmc3k_csc_gzip_v012.h5ad");
    let convert = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cellring"));
        command.arg("convert").arg(&input).arg("-o").arg(&store);
        // So little that the turn needs its file.
        command.args(["--memory", "160MiB", "--threads", "1", "--block-size", "16"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    for wait_ms in (0..300).step_by(25) {
        let mut child = convert().spawn().unwrap();
        #[allow(
            clippy::disallowed_methods,
            reason = "the kill is to come at any moment, whatever the child does then"
        )]
        std::thread::sleep(Duration::from_millis(wait_ms));
        child.kill().unwrap();
        let finished = child.wait().unwrap().success();
        assert!(store.exists() || !finished, "after {wait_ms} ms");
        let left = names(directory.path());
        assert!(
            left.iter()
                .all(|name| name.starts_with(".x.cellring.tmp-") || name == "x.cellring"),
            "{left:?}"
        );
        // It may be killed after it has given the store its name, which is whole then.
        if store.exists() {
            let whole = cellring::store::verify(&cellring::Store::open(&store).unwrap(), 1, &|_| ());
            assert!(whole.is_ok(), "after {wait_ms} ms: {whole:?}");
            std::fs::remove_dir_all(&store).unwrap();
        }
    }
    assert!(convert().status().unwrap().success());
    assert_eq!(names(directory.path()), ["x.cellring"]);
}

/// Bytes of a zarr hierarchy, of its zip file and of a compressed file are changed or cut off: an error, or other values, but
/// no panic.
#[test]
fn damaged_inputs_never_panic() {
    let Some(folder) = shared_data() else { return };
    let directory = scratch();
    let store = directory.path().join("x.cellring");
    let options = ConvertOptions {
        force: true,
        ..ConvertOptions::default()
    };
    let mut n_errors = 0;
    for name in [
        "zarr/anndata_v0.7.8.zarr.zip",
        "compat/pbmc3k_500_blosc_lz4.h5ad",
        "compat/pbmc3k_500_zstd.h5ad",
        "compat/anndata_v0.5.0_pbmc68k.h5ad",
    ] {
        let whole = std::fs::read(folder.join(name)).unwrap();
        let path = directory.path().join("damaged.h5ad");
        for round in 0..24usize {
            let mut bytes = whole.clone();
            let at = whole.len() / 24 * round + round * 37 % 97;
            if round % 6 == 5 {
                bytes.truncate(at);
            } else {
                let end = (at + 40).min(bytes.len());
                bytes[at..end].iter_mut().for_each(|byte| *byte ^= 0x5a);
            }
            std::fs::write(&path, bytes).unwrap();
            if let Err(error) = run_convert(&path, &store, &options) {
                n_errors += 1;
                assert!(error.to_string().contains("damaged.h5ad"), "{error}");
            }
        }
    }
    assert!(n_errors > 30, "{n_errors} errors");
}
