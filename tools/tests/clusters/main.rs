//! Publishing where filesystems of clusters (NFS, Lustre, FUSE, BeeGFS) refuse what it needs: a library that stands before the C library
//! refuses each of these, one at a time and together.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests; the settings for tests do not reach helper functions"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use cellring::Store;
use cellring::store::verify;
use cellring_tools::synth::Synth;
use tempfile::TempDir;

/// What filesystems refuse, one at a time and together; see `refuse.c`.
const REFUSALS: [&str; 12] = [
    "flags",
    "exchange",
    "enosys",
    "nolock",
    "noflock",
    "readonly",
    "local",
    "dirsync",
    "nolink",
    "emlink",
    // Lustre without flock, and NFS.
    "flags,noflock,dirsync,nolink",
    "flags,readonly,dirsync",
];

/// The library, compiled once.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clusters/refuse.c");
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("librefuse.so");
        // Under a name of its own first: another test binary may be running with it.
        let made = library.with_extension(format!("{}.so", std::process::id()));
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .args([&made, &source])
            .arg("-ldl")
            .status();
        assert!(
            compiled.unwrap().success(),
            "cc, which links Rust programs, compiles C"
        );
        fs::rename(&made, &library).unwrap();
        library
    })
}

/// Two inputs, `a.h5ad` and `b.h5ad`, and a directory in which commands are run.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for (name, n_obs, seed) in [("a", 300, 3), ("b", 200, 4)] {
            let path = dir.path().join(format!("{name}.h5ad"));
            Synth::new(n_obs, 500, seed).write_h5ad(path, |_| {}).unwrap();
        }
        fs::create_dir(dir.path().join("work")).unwrap();
        Self { dir }
    }

    fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    fn command(&self, refuse: &str, command: &str) -> Command {
        let mut child = Command::new(env!("CARGO_BIN_EXE_cellring"));
        child.args(command.split(' ')).current_dir(self.work());
        if !refuse.is_empty() {
            child.env("LD_PRELOAD", library()).env("REFUSE", refuse);
        }
        child
    }

    fn run(&self, refuse: &str, command: &str) -> Output {
        self.command(refuse, command).output().unwrap()
    }

    fn succeed(&self, refuse: &str, command: &str) -> String {
        let output = self.run(refuse, command);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{refuse}: {command}: {text}");
        text
    }

    fn fail(&self, refuse: &str, command: &str) -> String {
        let output = self.run(refuse, command);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{refuse}: {command}: {text}");
        text
    }

    /// Kills the command right before the `at`-th rename of the store `s` or to its name.
    fn kill_at(&self, refuse: &str, at: u32, command: &str) {
        let mut command = self.command(refuse, command);
        command
            .env("LD_PRELOAD", library())
            .env("KILL_AT", at.to_string());
        let output = command.env("KILL_PATH", "s").output().unwrap();
        assert_eq!(output.status.code(), None, "it was killed");
    }

    /// Obs of the store, which is whole; `None` where there is none.
    fn n_obs(&self) -> Option<u64> {
        let path = self.work().join("s");
        path.exists().then(|| {
            let store = Store::open(path).unwrap();
            verify(&store, 1, &|_| ()).unwrap();
            store.n_obs()
        })
    }

    /// What lies there, but for the store: nothing, or names that begin with a dot.
    fn others(&self) -> Vec<String> {
        let names = fs::read_dir(self.work()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name != "s").collect();
        names.sort();
        names
    }

    fn clear(&self) {
        fs::remove_dir_all(self.work()).unwrap();
        fs::create_dir(self.work()).unwrap();
    }
}

#[test]
fn every_command_that_writes_does_so_whatever_is_refused() {
    let place = Place::new();
    for refuse in REFUSALS {
        place.clear();
        place.succeed(refuse, "convert ../b.h5ad -o s");
        assert_eq!((place.n_obs(), place.others()), (Some(200), vec![]), "{refuse}");
        let refused = place.fail(refuse, "convert ../a.h5ad -o s");
        assert!(refused.contains("exists already"), "{refuse}: {refused}");
        place.succeed(refuse, "convert ../a.h5ad -o s --force");
        assert_eq!((place.n_obs(), place.others()), (Some(300), vec![]), "{refuse}");
        place.succeed(refuse, "append s ../b.h5ad");
        assert_eq!((place.n_obs(), place.others()), (Some(500), vec![]), "{refuse}");
        assert!(!place.work().join("s/.lock").exists(), "{refuse}");
        place.succeed(refuse, "export s x.h5ad");
        assert_eq!(place.others(), ["x.h5ad"], "{refuse}");

        place.clear();
        for part in ["1/2", "2/2"] {
            place.succeed(refuse, &format!("convert ../a.h5ad -o s --part {part}"));
        }
        let said = place.succeed(refuse, "merge -o s");
        assert_eq!((place.n_obs(), place.others()), (Some(300), vec![]), "{refuse}");
        assert_eq!(
            said.contains("shards are copied"),
            refuse.contains("nolink") || refuse == "emlink",
            "{said}"
        );
    }
}

#[test]
fn a_kill_between_the_steps_of_a_replacement_loses_no_store() {
    let place = Place::new();
    // The old store is moved away, and the new one takes its place: two renames. Where only the exchange is refused, there is a
    // first try to give the new store a name that nothing has.
    for (refuse, n_renames) in [
        ("flags", 2),
        ("exchange", 3),
        ("flags,noflock,dirsync", 2),
        ("flags,readonly", 2),
    ] {
        for at in 1..=n_renames {
            place.clear();
            place.succeed("", "convert ../b.h5ad -o s");
            place.kill_at(refuse, at, "convert ../a.h5ad -o s --force");
            let aside = place.others().iter().any(|name| name.starts_with(".s.old-"));
            let (found, is_there) = (place.n_obs(), place.work().join("s").exists());
            assert!(
                found == Some(200) || (aside && !is_there),
                "{refuse} {at}: {found:?}"
            );
            // Whatever comes next puts the old store back.
            let refused = place.fail(refuse, "convert ../a.h5ad -o s");
            assert!(refused.contains("exists already"), "{refused}");
            assert_eq!(place.n_obs(), Some(200), "{refuse} {at}");
            place.succeed(refuse, "convert ../a.h5ad -o s --force");
            assert_eq!(
                (place.n_obs(), place.others()),
                (Some(300), vec![]),
                "{refuse} {at}"
            );
        }
    }
}

#[test]
fn an_append_puts_a_store_back_that_a_killed_replacement_moved_away() {
    let place = Place::new();
    place.succeed("", "convert ../b.h5ad -o s");
    place.kill_at("flags", 2, "convert ../a.h5ad -o s --force");
    assert_eq!(place.n_obs(), None);
    place.succeed("flags", "append s ../a.h5ad");
    assert_eq!(place.n_obs(), Some(500));
}

#[test]
fn what_is_left_of_a_replacement_that_was_done_goes() {
    let place = Place::new();
    place.succeed("", "convert ../b.h5ad -o s");
    fs::rename(place.work().join("s"), place.work().join(".s.old-1")).unwrap();
    place.succeed("", "convert ../a.h5ad -o t");
    fs::rename(place.work().join("t"), place.work().join("s")).unwrap();
    place.succeed("", "append s ../b.h5ad");
    assert_eq!((place.n_obs(), place.others()), (Some(500), vec![]));
}

#[test]
fn a_filesystem_that_moves_no_directory_is_refused_before_anything_is_read() {
    let place = Place::new();
    let refused = place.fail("nomove", "convert ../a.h5ad -o s");
    assert!(refused.contains("cannot rename a directory"), "{refused}");
    assert_eq!(place.others(), [""; 0]);
}

#[test]
fn a_lock_file_of_another_host_is_respected_and_named() {
    let place = Place::new();
    place.succeed("", "convert ../b.h5ad -o s");
    let owner = r#"{"host":"node8","boot_id":"b","pid_namespace":"pid:[1]","pid":7,"started":1,"time":1}"#;
    for refuse in ["", "noflock", "local"] {
        fs::write(place.work().join("s/.lock"), owner).unwrap();
        for command in ["append s ../a.h5ad", "convert ../a.h5ad -o s --force"] {
            let refused = place.fail(refuse, command);
            assert!(
                refused.contains("process 7 on host node8") && refused.contains("s/.lock"),
                "{refused}"
            );
        }
        // The remedy that the message names works.
        fs::remove_file(place.work().join("s/.lock")).unwrap();
        place.succeed(refuse, "convert ../b.h5ad -o s --force");
    }
}

#[test]
fn a_killed_append_holds_nobody_off() {
    let place = Place::new();
    for refuse in ["", "noflock", "readonly", "local"] {
        place.clear();
        place.succeed("", "convert ../b.h5ad -o s");
        let mut command = place.command(refuse, "append s ../b.h5ad");
        let mut child = command
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Wherever it is killed.
        while !place.work().join("s/.lock").exists() && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let before = place.n_obs().unwrap();
        place.succeed(refuse, "append s ../a.h5ad");
        assert_eq!(place.n_obs(), Some(before + 300), "{refuse}");
        assert!(!place.work().join("s/.lock").exists());
    }
}

#[test]
fn an_append_that_is_killed_as_it_locks_holds_nobody_off() {
    let place = Place::new();
    for refuse in ["", "noflock"] {
        place.clear();
        place.succeed("", "convert ../b.h5ad -o s");
        let mut killed = place.command(refuse, "append s ../a.h5ad");
        killed.env("LD_PRELOAD", library()).env("KILL_LINK", "s/.lock");
        assert_eq!(killed.output().unwrap().status.code(), None, "it was killed");
        // Its lock file was not complete and had another name.
        let locks = || {
            let names = fs::read_dir(place.work().join("s")).unwrap();
            let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.filter(|name| name.starts_with(".lock")).count()
        };
        assert!(locks() == 1 && !place.work().join("s/.lock").exists());
        place.succeed(refuse, "append s ../a.h5ad");
        assert_eq!((place.n_obs(), locks()), (Some(500), 0), "{refuse}");
    }
}

#[test]
fn what_is_not_a_lock_file_holds_the_store_and_is_not_moved() {
    let place = Place::new();
    place.succeed("", "convert ../b.h5ad -o s");
    let lock = place.work().join("s/.lock");
    fs::create_dir(&lock).unwrap();
    assert!(place.fail("", "append s ../a.h5ad").contains("s/.lock"));
    assert!(lock.is_dir());
    fs::remove_dir(&lock).unwrap();
    std::os::unix::fs::symlink("nowhere", &lock).unwrap();
    assert!(place.fail("", "append s ../a.h5ad").contains("s/.lock"));
    fs::remove_file(&lock).unwrap();
    place.succeed("", "append s ../a.h5ad");
}
