//! What is under way when a process ends. Alone in its process, which is about to end afterwards.
#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

use std::io::ErrorKind;
use std::sync::mpsc;
use std::{fs, thread};

use cellring_core::unfinished;

/// The end comes while a directory is being made: it waits, and the directory goes. Then nothing more is made.
#[test]
fn nothing_that_is_being_made_stays() {
    let place = tempfile::tempdir().unwrap();
    let made = place.path().join("made");
    let making = unfinished::begin().unwrap();
    let (about_to_end, ends) = mpsc::channel();
    let end = thread::spawn(move || {
        about_to_end.send(()).unwrap();
        unfinished::remove_all();
    });
    ends.recv().unwrap();
    fs::create_dir(&made).unwrap();
    let removed = made.clone();
    let unfinished = making.register(move || fs::remove_dir(removed).unwrap());
    end.join().unwrap();
    assert!(!made.exists());
    assert_eq!(unfinished::begin().unwrap_err().kind(), ErrorKind::Interrupted);
    assert_eq!(
        unfinished.commit(|| ()).unwrap_err().kind(),
        ErrorKind::Interrupted
    );
    // What was there before is removed at once.
    fs::create_dir(&made).unwrap();
    let removed = made.clone();
    drop(unfinished::register(move || fs::remove_dir(removed).unwrap()));
    assert!(!made.exists());
}
