//! A full disk, and a conversion that is killed.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cellring_anndata::{Input, ReadError, Selection, Workspace};
use cellring_tools::convert::{ConvertOptions, convert};
use tempfile::TempDir;

use crate::{cellring, fail, names, run_convert, scratch, shared_data, synthetic};

/// A tmpfs of 2 MiB, where the tests may mount one.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let directory = scratch();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
            .arg(directory.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(directory)),
            Ok(output) => {
                println!(
                    "skipped: a small tmpfs cannot be mounted: {}",
                    String::from_utf8_lossy(&output.stderr)
                );
                None
            }
            Err(error) => {
                println!("skipped: mount does not run: {error}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[test]
fn a_full_disk_leaves_nothing() {
    let Some(disk) = SmallDisk::mount() else { return };
    let directory = scratch();
    let input = synthetic(directory.path());
    let input = input.to_str().unwrap();
    let store = disk.path().join("x.cellring");
    for encoding in ["packed", "raw"] {
        // One value takes more than two bytes in a raw store; a packed one fits no more than half of its disk.
        let rest = disk.path().join("rest");
        if encoding == "packed" {
            std::fs::write(&rest, vec![0; 1_600_000]).unwrap();
        }
        let message = fail(&[
            "convert",
            input,
            "-o",
            store.to_str().unwrap(),
            "--encoding",
            encoding,
        ]);
        assert!(
            message.contains("No space left") && message.contains("free some space"),
            "{message}"
        );
        assert!(message.contains("x.cellring"), "{message}");
        let _ = std::fs::remove_file(rest);
        assert_eq!(names(disk.path()), [""; 0]);
    }

    let whole = directory.path().join("x.cellring");
    run_convert(Path::new(input), &whole, &ConvertOptions::default()).unwrap();
    let out = disk.path().join("out.h5ad");
    let message = fail(&["export", whole.to_str().unwrap(), out.to_str().unwrap()]);
    assert!(
        message.contains("No space left") && message.contains("out.h5ad"),
        "{message}"
    );
    assert_eq!(names(disk.path()), [""; 0]);
}

/// A temporary file that does not fit is refused before it is begun; one that cannot be made is named.
#[test]
fn a_matrix_is_not_turned_where_there_is_no_room() {
    let Some(folder) = shared_data() else { return };
    let Some(disk) = SmallDisk::mount() else { return };
    let file = Input::open(folder.join("pbmc3k_csc_gzip_v012.h5ad")).unwrap();
    let turn = |directory: &Path| {
        let workspace = Workspace {
            directory: directory.to_path_buf(),
            memory_bytes: 1 << 20,
        };
        let matrix = file.matrix_in(&Selection::X, &workspace).unwrap();
        let error = matrix.rows(0..1, 1 << 16).unwrap_err();
        assert!(!error.to_string().contains(". "), "{error}");
        error
    };
    let error = turn(disk.path());
    assert!(
        matches!(error, ReadError::NoRoom { needed_bytes, free_bytes, .. } if needed_bytes == 2_286_884 * 2 && free_bytes <= 2 << 20),
        "{error}"
    );
    assert_eq!(names(disk.path()), [""; 0]);
    let error = turn(&disk.path().join("no/such"));
    assert!(matches!(error, ReadError::Spill { .. }), "{error}");
}

const CHILD: &str = "CELLRING_TEST_CONVERT";

/// Not a test of its own: what the next one kills. Stops half-way, says so, and waits.
#[test]
#[ignore = "run by another test as a process of its own"]
fn conversion_that_waits() {
    let Some(directory) = std::env::var_os(CHILD) else {
        return;
    };
    let directory = PathBuf::from(directory);
    let wait = |done: u64, total: u64| {
        if 2 * done > total {
            println!("half-way");
            let _ = std::io::stdin().read(&mut [0]);
        }
    };
    // Little memory, so that there are many windows.
    let options = ConvertOptions {
        memory_bytes: 128 << 20,
        ..ConvertOptions::default()
    };
    convert(
        &[directory.join("synthetic.h5ad")],
        &directory.join("x.cellring"),
        &options,
        &wait,
    )
    .unwrap();
}

#[test]
fn a_killed_conversion_leaves_no_store_and_is_cleaned_up_after() {
    let directory = scratch();
    let input = synthetic(directory.path());
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "interruption::conversion_that_waits",
            "--ignored",
            "--nocapture",
        ])
        .env(CHILD, directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap)
        .find(|line| line.contains("half-way"));
    assert!(said.is_some(), "the child ended early");
    // While it lives, another conversion to the same name does not touch its work.
    let temporary = |directory: &Path| -> Vec<String> {
        names(directory)
            .into_iter()
            .filter(|name| name.starts_with(".x.cellring.tmp-"))
            .collect()
    };
    let of_child = temporary(directory.path());
    assert_eq!(of_child.len(), 1);
    let store = directory.path().join("x.cellring");
    let args = ["convert", input.to_str().unwrap(), "-o", store.to_str().unwrap()];
    fail(&[&args[..], &["--layer", "none"]].concat());
    assert_eq!(temporary(directory.path()), of_child);

    // SIGKILL.
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!store.exists());
    assert_eq!(temporary(directory.path()), of_child);
    assert_eq!(cellring(&args).0, 0);
    assert_eq!(names(directory.path()), ["synthetic.h5ad", "x.cellring"]);
}
