//! The `cellring` command, run as a user runs it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may unwrap, and says what it skips"
)]

mod aloud;
#[path = "../../../tests/common/mod.rs"]
mod common;
mod damage;
mod entropy;
mod epochs;
mod existing;
mod filters;
mod interrupts;
mod manual;
mod messages;
mod output_forms;
mod paths;
mod plans;
mod reading;
mod reports;
mod resuming;
mod sampling;
mod seccomp;
mod small;
mod stopping;
mod tables;
mod terminal;
mod user;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cellring::format::{CsrRows, Encoding};
use cellring::writer::WriterOptions;
use common::{Kind, matrix, value_type, write_store};
use serde_json::Value;
use tempfile::TempDir;

/// A directory beside the test binary: the one for temporary files is often tmpfs, which knows no direct I/O.
fn scratch() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// What a run of the command left behind.
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cellring"));
    command.args(args);
    command
}

fn run(mut command: Command) -> Ran {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    Ran {
        code: status.code().unwrap_or_else(|| panic!("ended by {status}")),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}

/// Runs `cellring` with these arguments, the last of which may be a path.
fn cellring(args: &[&str]) -> Ran {
    run(command(args))
}

/// The output of a run that succeeds. It may warn, but says nothing else on standard error.
fn succeed(args: &[&str]) -> String {
    let ran = cellring(args);
    assert_eq!(ran.code, 0, "{args:?}: {}", ran.stderr);
    let is_warning = |line: &str| match args.contains(&"--json") {
        true => line.starts_with("{\"warning\":"),
        false => line.starts_with("warning: "),
    };
    assert!(ran.stderr.lines().all(is_warning), "{args:?}: {}", ran.stderr);
    ran.stdout
}

/// The one JSON object that a run prints.
fn json(args: &[&str]) -> Value {
    let stdout = succeed(args);
    assert_eq!(stdout.lines().count(), 1, "one line: {stdout}");
    serde_json::from_str(&stdout).unwrap()
}

/// The message of a run that fails, which is one line, and all that there is.
fn fail(args: &[&str]) -> String {
    let ran = cellring(args);
    assert_eq!(ran.code, 1, "{args:?}: {}{}", ran.stdout, ran.stderr);
    assert_eq!(ran.stdout, "", "{args:?}");
    let line = ran.stderr.strip_suffix('\n').unwrap();
    assert!(!line.contains('\n'), "one line: {line}");
    line.strip_prefix("error: ").unwrap().to_owned()
}

/// A store of this matrix, in several shards, in a directory of its own.
struct TestStore {
    rows: CsrRows,
    path: PathBuf,
    _dir: TempDir,
}

impl TestStore {
    fn new(n_obs: usize, n_vars: u64, kind: Kind, encoding: Encoding) -> Self {
        let dir = scratch();
        let path = dir.path().join("test.cellring");
        let rows = matrix(n_obs, n_vars, kind, 5);
        let mut options = WriterOptions::new(n_vars, value_type(kind));
        options.encoding = encoding;
        options.block_size = 16;
        options.shard_bytes = 60_000;
        write_store(&path, &rows, options, None).unwrap();
        Self {
            rows,
            path,
            _dir: dir,
        }
    }

    /// Counts, packed.
    fn counts(n_obs: usize, n_vars: u64) -> Self {
        Self::new(n_obs, n_vars, Kind::Counts, Encoding::Packed)
    }

    fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// Runs `cellring COMMAND STORE ARGS --json`.
    fn json(&self, command: &str, args: &[&str]) -> Value {
        json(&[&[command, self.path()], args, &["--json"]].concat())
    }

    fn digest(&self, args: &[&str]) -> String {
        let report = self.json("epoch", &[&["--digest"], args].concat());
        report["digest"].as_str().unwrap().to_owned()
    }
}

/// The keys of a JSON object.
fn keys(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

fn assert_keys(object: &Value, expected: &[&str]) {
    for key in expected {
        assert!(object.get(key).is_some(), "no {key} among {:?}", keys(object));
    }
}

fn shards(store: &Path) -> Vec<PathBuf> {
    let mut shards: Vec<_> = std::fs::read_dir(store)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "bin"))
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("shard-"))
        .collect();
    shards.sort();
    shards
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let store = TestStore::counts(20, 30);
    for args in [
        &["epoch"][..],
        &["frobnicate"],
        &["info", store.path(), "--frobnicate"],
        &["epoch", store.path(), "--strategy", "random"],
        &["epoch", store.path(), "--strategy", "user"],
        // Its weights would be an option, which only the commands that sample have.
        &["bench", store.path(), "--strategy", "weighted"],
        &["epoch", store.path(), "--backend", "aio"],
        &["epoch", store.path(), "--batch-size", "0"],
        &["epoch", store.path(), "--memory", "1XB"],
        &["epoch", store.path(), "--seconds", "0"],
        &["plan", store.path(), "--rank", "2", "--world-size", "2"],
        &["bench", store.path(), "--block-size", "1,0"],
        &["synth", "out.h5ad", "--n-obs", "5"],
    ] {
        let ran = cellring(args);
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (2, ""),
            "{args:?}: {}",
            ran.stderr
        );
        assert!(ran.stderr.starts_with("error: "), "{args:?}: {}", ran.stderr);
    }
    assert_eq!(cellring(&["--help"]).code, 0);
    assert_eq!(cellring(&["--version"]).code, 0);
}

#[test]
fn what_cannot_be_done_is_exit_code_1_and_one_sentence() {
    let dir = scratch();
    let none = dir.path().join("none");
    let file = dir.path().join("file");
    std::fs::write(&file, "no store").unwrap();
    for command in ["info", "verify", "plan", "epoch", "bench"] {
        let message = fail(&[command, none.to_str().unwrap()]);
        assert!(message.contains("no such file or directory"), "{message}");
        for no_store in [&file, dir.path()] {
            let message = fail(&[command, no_store.to_str().unwrap()]);
            assert!(message.contains("not a cellring store"), "{message}");
        }
    }
    let store = TestStore::new(40, 30, Kind::Anything, Encoding::Packed);
    let message = fail(&["epoch", store.path()]);
    assert!(message.contains("--allow-rounding"), "{message}");
    succeed(&["epoch", store.path(), "--allow-rounding"]);
    let message = fail(&["epoch", store.path(), "--allow-rounding", "--obs-columns", "plat"]);
    assert!(
        message.contains("\"plat\"") && message.contains("plate, score, number"),
        "{message}"
    );
    let message = fail(&[
        "epoch",
        store.path(),
        "--allow-rounding",
        "--backend",
        "mmap",
        "--direct",
        "on",
    ]);
    assert!(message.contains("is not available"), "{message}");
}
