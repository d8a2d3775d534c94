use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::file::{LOCK_FILE, LONGEST_SILENCE, claim, is_abandoned, take_over as take_over_from};
use super::owner::{Owner, OwnerState};
use super::store_lock::StoreLock;
use crate::error::Cause;
use crate::writer::error::WriteError;

/// A process that one test starts has, until it is another program, the locks that the others hold.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn store() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn write(directory: &Path, owner: &Owner) {
    owner
        .write(&mut File::create(directory.join(LOCK_FILE)).unwrap())
        .unwrap();
}

/// A process that has ended.
fn gone() -> Owner {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    Owner {
        pid,
        started: Some(1),
        ..Owner::me()
    }
}

#[test]
fn a_process_is_judged_by_machine_start_namespace_number_and_start() {
    let _alone = alone();
    let me = Owner::me();
    assert_eq!(me.state(&me), OwnerState::Alive);
    assert_eq!(gone().state(&me), OwnerState::Gone);
    let other = |change: fn(&mut Owner)| {
        let mut owner = me.clone();
        change(&mut owner);
        owner.state(&me)
    };
    // Another process has got its number.
    assert_eq!(other(|owner| owner.started = Some(1)), OwnerState::Gone);
    assert_eq!(
        other(|owner| owner.pid_namespace = "pid:[1]".into()),
        OwnerState::Unknown
    );
    let elsewhere = |owner: &mut Owner| (owner.host, owner.boot_id) = ("other".into(), "b".into());
    assert_eq!(other(elsewhere), OwnerState::Unknown);
    let mut named = me.clone();
    named.host = "node7".into();
    let before = Owner {
        boot_id: "before".into(),
        ..named.clone()
    };
    assert_eq!(before.state(&named), OwnerState::Gone);
    named.host = "localhost".into();
    assert_eq!(before.state(&named), OwnerState::Unknown);
}

#[test]
fn a_lock_is_held_once_and_let_go() {
    let _alone = alone();
    let store = store();
    let lock = StoreLock::acquire(store.path()).unwrap();
    assert!(matches!(
        StoreLock::acquire(store.path()),
        Err(error) if matches!(error.cause(), Cause::Write(WriteError::Busy { .. }))
    ));
    drop(lock);
    drop(StoreLock::acquire(store.path()).unwrap());
    assert_eq!(fs::read_dir(store.path()).unwrap().count(), 0);
}

#[test]
fn a_lock_file_is_taken_over_only_from_a_process_that_is_gone() {
    let _alone = alone();
    let store = store();
    write(store.path(), &gone());
    drop(StoreLock::acquire(store.path()).unwrap());
    // flock knows nothing of another host.
    let other = Owner {
        host: "node8".into(),
        boot_id: "b".into(),
        ..Owner::me()
    };
    write(store.path(), &other);
    let error = StoreLock::acquire(store.path()).unwrap_err().to_string();
    assert!(
        error.contains("on host node8") && error.contains("/.lock"),
        "{error}"
    );
    assert!(StoreLock::check(store.path()).is_err());
    fs::remove_file(store.path().join(LOCK_FILE)).unwrap();
    assert!(StoreLock::check(store.path()).is_ok());
    // Half a lock file may be one that is being made: that is waited for where flock works, and else refused at first.
    let file = File::create(store.path().join(LOCK_FILE)).unwrap();
    let take_over = |is_locked| {
        let lock = store.path().join(LOCK_FILE);
        take_over_from(store.path(), &lock, &Owner::me(), is_locked)
    };
    assert!(
        matches!(take_over(false), Err(error) if matches!(error.cause(), Cause::Write(WriteError::Held { .. })))
    );
    assert_eq!(file.metadata().unwrap().nlink(), 1);
    file.set_modified(SystemTime::now() - 2 * LONGEST_SILENCE)
        .unwrap();
    take_over(false).unwrap();
    File::create(store.path().join(LOCK_FILE)).unwrap();
    drop(StoreLock::acquire(store.path()).unwrap());
    assert_eq!(fs::read_dir(store.path()).unwrap().count(), 0);
}

#[test]
fn remains_are_those_of_processes_that_are_gone() {
    let _alone = alone();
    let dir = store();
    let lock = dir.path().join(LOCK_FILE);
    assert!(is_abandoned(&lock), "no lock file");
    let held = claim(dir.path()).unwrap();
    assert!(!is_abandoned(&lock));
    drop(held);
    // Not locked, but it lives: as where flock is refused.
    assert!(!is_abandoned(&lock));
    write(dir.path(), &gone());
    assert!(is_abandoned(&lock));
    write(
        dir.path(),
        &Owner {
            boot_id: "b".into(),
            host: "node8".into(),
            ..gone()
        },
    );
    assert!(!is_abandoned(&lock));
    File::create(&lock).unwrap();
    assert!(is_abandoned(&lock), "as earlier versions made it");
}

/// A process that is killed right after it made a draft has written nothing to it: the name tells whose it was.
#[test]
fn empty_drafts_of_processes_that_are_gone_are_removed() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let me = Owner::me();
    let name = |pid: u32| {
        let draft = super::file::draft(&dir.path().join(".lock"), &Owner { pid, ..me.clone() });
        std::fs::write(&draft, "").unwrap();
        draft
    };
    // Larger than any process id of Linux.
    let (gone, mine) = (name(1 << 23), name(me.pid));
    super::file::remove_drafts(dir.path(), &me);
    assert!(!gone.exists() && mine.exists());
}
