//! What a terminal shows while an epoch runs.
#![allow(unsafe_code, reason = "a terminal is opened by a system call")]

use std::fs::File;
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::Stdio;

use crate::{TestStore, command};

/// Both ends of a terminal.
fn terminal() -> (File, OwnedFd) {
    let (mut ours, mut theirs) = (-1, -1);
    let null = std::ptr::null_mut();
    let size = libc::winsize {
        ws_row: 24,
        ws_col: 120,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the numbers are written to two that live until the call returns; the size is only read.
    let result = unsafe { libc::openpty(&mut ours, &mut theirs, null, std::ptr::null(), &size) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: both were just opened and belong to nobody else.
    unsafe { (File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) }
}

/// Everything that a run shows on its terminal.
fn shown(args: &[&str]) -> String {
    let (mut ours, theirs) = terminal();
    let mut command = command(args);
    command
        .env("TERM", "xterm")
        .stdout(Stdio::null())
        .stderr(Stdio::from(theirs));
    let mut child = command.spawn().unwrap();
    // The last one to hold the other end is the child.
    drop(command);
    let mut bytes = Vec::new();
    // Ends with an error when the other end is closed.
    let _ = ours.read_to_end(&mut bytes);
    assert!(child.wait().unwrap().success());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Epoch, position and length of every state of the bar.
fn states(shown: &str) -> Vec<(u64, u64, u64)> {
    let number = |text: &str| text.replace(',', "").parse::<u64>().ok();
    let frames = shown.split("epoch ").skip(1).filter_map(|frame| {
        let mut words = frame.split_whitespace();
        let epoch = number(words.next()?)?;
        let words: Vec<&str> = words.collect();
        let of = words.iter().position(|word| *word == "of")?;
        Some((epoch, number(words[of - 1])?, number(words[of + 1])?))
    });
    frames.collect()
}

#[test]
fn each_epoch_is_counted_by_itself() {
    // 500 minibatches in an epoch.
    let store = TestStore::counts(2000, 60);
    let sampler = ["--batch-size", "4", "--fetch-factor", "4"];
    let several = shown(&[&["epoch", store.path(), "--seconds", "1.5"], &sampler[..]].concat());
    let found = states(&several);
    assert!(found.len() > 3, "{several}");
    assert!(
        found.iter().all(|&(_, done, all)| done <= all && all == 500),
        "{found:?}"
    );
    assert!(found.last().unwrap().0 > found[0].0, "epochs go on: {found:?}");
    assert!(several.contains("of 1.50 s"), "{several}");

    // What is left, where it is limited.
    let limited = shown(&[&["epoch", store.path(), "--minibatches", "30"], &sampler[..]].concat());
    assert!(
        states(&limited)
            .iter()
            .all(|&(epoch, _, all)| (epoch, all) == (0, 30)),
        "{limited}"
    );
}
