//! Signals and limits: they end every command in order, and leave nothing behind.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests; the settings for tests do not reach helper functions"
)]

#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "cli/seccomp.rs"]
mod seccomp;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cellring::format::ValueType;
use cellring::writer::WriterOptions;
use cellring_tools::synth::Synth;
use common::{Kind, matrix, write_store};
use tempfile::TempDir;

/// For what would else wait for ever; nothing is measured.
const LIMIT: Duration = Duration::from_secs(120);

/// What is run, in a directory beside which the inputs lie and in which `one` stands for another disk, and how the names begin of what
/// it has under way.
const COMMANDS: [(&str, &str); 7] = [
    ("convert ../a.h5ad -o t", ".t.tmp-"),
    ("convert ../a.h5ad -o t --stripe one", ".t.tmp-"),
    ("convert ../a.h5ad -o s --force", ".s.tmp-"),
    ("convert ../a.h5ad -o t --part 1/2", ".t.part-"),
    ("export s x.h5ad", ".x.h5ad."),
    ("append s ../a.h5ad", ".append"),
    ("export s x.zarr --chunk 100", ".x.zarr."),
];

struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let input = dir.path().join("a.h5ad");
        Synth::new(2_500, 2_000, 3).write_h5ad(input, |_| {}).unwrap();
        let place = Self { dir };
        fs::create_dir_all(place.work().join("one")).unwrap();
        let made = place.command("convert ../a.h5ad -o s").status().unwrap();
        assert!(made.success());
        place
    }

    fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    fn command(&self, command: &str) -> Command {
        // What a shell runs in the background ignores SIGINT, and so do its children unless they are told otherwise.
        let mut child = Command::new("env");
        child.args(["--default-signal", env!("CARGO_BIN_EXE_cellring")]);
        child.args(command.split(' ')).current_dir(self.work());
        child.stdout(Stdio::null()).stderr(Stdio::piped());
        child
    }

    /// Names and lengths of all that lies there.
    fn content(&self) -> BTreeMap<PathBuf, u64> {
        fn add(path: &Path, all: &mut BTreeMap<PathBuf, u64>) {
            for entry in fs::read_dir(path).unwrap().map(Result::unwrap) {
                let about = entry.metadata().unwrap();
                match about.is_dir() {
                    true => add(&entry.path(), all),
                    false => drop(all.insert(entry.path(), about.len())),
                }
                all.entry(entry.path()).or_default();
            }
        }
        let mut all = BTreeMap::new();
        add(&self.work(), &mut all);
        all
    }

    fn is_under_way(&self, prefix: &str) -> bool {
        let in_directory = |directory: PathBuf| {
            let names = fs::read_dir(directory).into_iter().flatten().flatten();
            names
                .map(|entry| entry.file_name())
                .any(|name| name.to_str().is_some_and(|name| name.starts_with(prefix)))
        };
        in_directory(self.work()) || in_directory(self.work().join("s"))
    }
}

fn send(child: &Child, signal: i32) {
    let sent = Command::new("kill")
        .args([format!("-{signal}"), child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

/// The exit status and what was written to standard error.
fn wait(mut child: Child) -> (std::process::ExitStatus, String) {
    let since = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(since.elapsed() < LIMIT, "it does not end");
        pause();
    }
    let output = child.wait_with_output().unwrap();
    (output.status, String::from_utf8(output.stderr).unwrap())
}

fn pause() {
    #[allow(clippy::disallowed_methods, reason = "nobody announces what is waited for")]
    std::thread::sleep(Duration::from_millis(1));
}

#[test]
fn a_signal_ends_every_command_and_leaves_nothing() {
    let place = Place::new();
    let before = place.content();
    for (number, (command, prefix)) in COMMANDS.iter().enumerate() {
        let signal = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP][number % 3];
        let mut child = place.command(command).spawn().unwrap();
        while !place.is_under_way(prefix) {
            assert!(
                child.try_wait().unwrap().is_none(),
                "{command}: nothing was under way"
            );
            pause();
        }
        send(&child, signal);
        let (status, said) = wait(child);
        assert_eq!(status.signal(), Some(signal), "{command}: {said}");
        assert_eq!(said, "", "{command}");
        assert_eq!(place.content(), before, "{command}");
    }
}

/// A directory that grows while it is removed would stay.
#[test]
fn a_signal_while_a_zarr_grows_leaves_nothing() {
    let place = Place::new();
    let before = place.content();
    for n_pauses in 0..20 {
        let mut child = place.command("export s x.zarr --chunk 100").spawn().unwrap();
        while !place.is_under_way(".x.zarr.") {
            assert!(child.try_wait().unwrap().is_none(), "nothing was under way");
            pause();
        }
        (0..n_pauses).for_each(|_| pause());
        send(&child, libc::SIGTERM);
        let (status, said) = wait(child);
        if status.success() {
            fs::remove_dir_all(place.work().join("x.zarr")).unwrap(); // it was done before
        }
        assert_eq!(place.content(), before, "after {n_pauses}: {status} {said}");
    }
}

#[test]
fn a_demo_that_is_interrupted_leaves_no_directory() {
    let place = Place::new();
    let temporary = place.dir.path().join("temporary");
    fs::create_dir(&temporary).unwrap();
    let n_entries = || fs::read_dir(&temporary).unwrap().count();
    let mut child = place.command("demo").env("TMPDIR", &temporary).spawn().unwrap();
    while n_entries() == 0 {
        assert!(child.try_wait().unwrap().is_none());
        pause();
    }
    send(&child, libc::SIGTERM);
    assert_eq!(wait(child).0.signal(), Some(libc::SIGTERM));
    assert_eq!(n_entries(), 0);
}

/// Runs a command in a shell that sets something before.
fn under(place: &Place, setting: &str, command: &str) -> Command {
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("{setting}; exec \"$0\" {command}"))
        .arg(env!("CARGO_BIN_EXE_cellring"))
        .current_dir(place.work())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    shell
}

#[test]
fn a_signal_that_is_ignored_stays_so() {
    let place = Place::new();
    let mut child = under(&place, "trap '' HUP", "convert ../a.h5ad -o t")
        .spawn()
        .unwrap();
    while !place.is_under_way(".t.tmp-") {
        assert!(child.try_wait().unwrap().is_none());
        pause();
    }
    send(&child, libc::SIGHUP);
    let (status, said) = wait(child);
    assert!(status.success(), "{status}: {said}");
}

#[test]
fn a_limit_on_the_length_of_files_is_named_and_leaves_nothing() {
    let place = Place::new();
    let before = place.content();
    for command in ["convert ../a.h5ad -o t", "export s x.h5ad", "append s ../a.h5ad"] {
        let (status, said) = wait(under(&place, "ulimit -f 64", command).spawn().unwrap());
        // By the signal, or where the kernel wrote for the process and had nobody to send it to, by the error.
        assert!(
            status.signal() == Some(libc::SIGXFSZ) || status.code() == Some(1),
            "{command}: {status}: {said}"
        );
        assert!(said.contains("ulimit -f"), "{command}: {said}");
        assert_eq!(place.content(), before, "{command}");
    }
}

#[test]
fn descriptors_are_as_many_as_may_be_and_their_limit_is_named() {
    let place = Place::new();
    let mut options = WriterOptions::new(300, ValueType::F32);
    (options.block_size, options.shard_bytes) = (16, 4096);
    let rows = matrix(2_000, 300, Kind::Counts, 1);
    let manifest = write_store(&place.work().join("many"), &rows, options, None).unwrap();
    assert!(manifest.shards.len() > 60, "{} shards", manifest.shards.len());
    let (status, said) = wait(under(&place, "ulimit -S -n 40", "epoch many").spawn().unwrap());
    assert!(status.success(), "{status}: {said}");
    let (status, said) = wait(under(&place, "ulimit -n 40", "epoch many").spawn().unwrap());
    assert_eq!(status.code(), Some(1), "{status}: {said}");
    assert!(said.contains("ulimit -n"), "{said}");
}

#[test]
fn io_uring_that_may_be_set_up_but_not_used_is_warned_of_once() {
    let place = Place::new();
    let mut command = place.command("convert ../a.h5ad -o t");
    seccomp::refuse(&mut command, &[426], libc::EPERM);
    let (status, said) = wait(command.spawn().unwrap());
    assert!(status.success(), "{status}: {said}");
    assert_eq!(
        said.matches("warning: shards are written without io_uring")
            .count(),
        1,
        "{said}"
    );
    assert!(said.contains("io_uring_enter was refused with EPERM"), "{said}");
}

#[test]
fn threads_that_cannot_be_started_are_no_panic() {
    let place = Place::new();
    let before = place.content();
    for command in [
        "convert ../a.h5ad -o t",
        "export s x.h5ad",
        "epoch s",
        "synth y.h5ad --n-obs 50 --n-vars 20",
    ] {
        let mut command = place.command(command);
        // clone3 and clone.
        seccomp::refuse(
            &mut command,
            &[libc::SYS_clone3 as u32, libc::SYS_clone as u32],
            libc::EAGAIN,
        );
        let (status, said) = wait(command.spawn().unwrap());
        assert!(
            status.success() || status.code() == Some(1),
            "{command:?}: {status}: {said}"
        );
        assert!(!said.contains("panicked"), "{command:?}: {said}");
        fs::remove_dir_all(place.work().join("t")).ok();
        fs::remove_file(place.work().join("x.h5ad")).ok();
        assert_eq!(place.content(), before);
    }
}
