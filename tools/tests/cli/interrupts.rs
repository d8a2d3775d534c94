//! Ctrl-C: with `--save-state` the run goes on later with the very next minibatch, without it the run just ends.
#![allow(unsafe_code, reason = "signals are sent by system calls")]
#![allow(
    clippy::disallowed_methods,
    reason = "another process is given time to begin, and to come as far as it may"
)]

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::epochs::digest_of;
use crate::plans::{obs, plan};
use crate::{TestStore, cellring, command, json, scratch};

const SAMPLER: [&str; 8] = [
    "--batch-size",
    "4",
    "--fetch-factor",
    "2",
    "--block-size",
    "4",
    "--seed",
    "7",
];

fn send(child: &Child, signal: i32) {
    // SAFETY: it takes numbers alone; the child has not been waited for, so the number is its own.
    assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
}

/// A run that goes on for an hour unless it is stopped, once it catches signals, or uses time if it does not.
fn start(args: &[&str]) -> Child {
    let mut command = command(args);
    let heed = || {
        for signal in [libc::SIGINT, libc::SIGTERM] {
            // SAFETY: signal is async-signal-safe, and the default action is a valid handler.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        Ok(())
    };
    // What a shell runs in the background ignores Ctrl-C, and so do its children unless they are told otherwise.
    // SAFETY: the closure makes no other call between fork and exec.
    unsafe { command.pre_exec(heed) };
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    let caught = |signal: i32| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let mask = status
            .lines()
            .find_map(|line| line.strip_prefix("SigCgt:"))
            .unwrap();
        u64::from_str_radix(mask.trim(), 16).unwrap() >> (signal - 1) & 1 == 1
    };
    let is_saving = args.contains(&"--save-state");
    // Threads of the loader are there when the epoch runs, beside one that waits for signals.
    let runs = || {
        std::fs::read_dir(format!("/proc/{}/task", child.id()))
            .unwrap()
            .count()
            > 2
    };
    while (is_saving && !caught(libc::SIGINT)) || !runs() {
        assert!(Instant::now() < until, "the run did not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

#[test]
fn a_run_that_is_interrupted_goes_on_with_the_very_next_minibatch() {
    let store = TestStore::counts(2000, 60);
    let dir = scratch();
    for (signal, code) in [(libc::SIGINT, 130), (libc::SIGTERM, 143)] {
        let state = dir.path().join("state.json");
        let state = state.to_str().unwrap();
        let saving = ["--seconds", "3600", "--digest", "--json", "--save-state", state];
        let child = start(&[&["epoch", store.path()], &SAMPLER[..], &saving].concat());
        std::thread::sleep(Duration::from_millis(100));
        send(&child, signal);
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        let error: Value = serde_json::from_str(stderr.lines().last().unwrap()).unwrap();
        assert_eq!(error["error"]["kind"], "interrupted");
        assert!(
            error["error"]["message"].as_str().unwrap().contains("--resume"),
            "{error}"
        );
        let first: Value = serde_json::from_slice(&output.stdout).unwrap();
        let n = first["minibatches"].as_u64().unwrap() as usize;

        // Both runs together are the epochs one behind the other.
        let rest = json(
            &[
                &[
                    "epoch",
                    store.path(),
                    "--resume",
                    state,
                    "--seconds",
                    "3600",
                    "--minibatches",
                    "600",
                ],
                &SAMPLER[..],
                &["--digest", "--json"],
            ]
            .concat(),
        );
        assert_eq!(rest["minibatches"], 600, "over the end of epochs");
        let mut planned = Vec::new();
        for epoch in 0.. {
            planned.extend(plan(
                &store,
                &[&SAMPLER[..], &["--epoch", &epoch.to_string()]].concat(),
            ));
            if planned.len() >= n + 600 {
                break;
            }
        }
        assert!(obs(&planned[0]).len() == 4);
        assert_eq!(
            first["digest"],
            digest_of(&store.rows, &planned[..n]),
            "after {n}"
        );
        assert_eq!(
            rest["digest"],
            digest_of(&store.rows, &planned[n..n + 600]),
            "after {n}"
        );
    }
}

#[test]
fn without_a_file_for_the_state_it_ends_at_once() {
    let store = TestStore::counts(500, 60);
    let child = start(&["epoch", store.path(), "--seconds", "3600"]);
    send(&child, libc::SIGINT);
    let output = child.wait_with_output().unwrap();
    // By the signal, which shells report as 130.
    assert_eq!(output.status.signal(), Some(libc::SIGINT));
    assert!(output.stdout.is_empty());
}

#[test]
fn behind_the_end_of_an_epoch_there_is_nothing_left_of_it() {
    let store = TestStore::counts(200, 60);
    let dir = scratch();
    let state = dir.path().join("state.json");
    let state = state.to_str().unwrap();
    json(&[
        "epoch",
        store.path(),
        "--epoch",
        "4",
        "--save-state",
        state,
        "--json",
    ]);
    let ran = cellring(&["epoch", store.path(), "--resume", state]);
    assert_eq!(ran.code, 0);
    assert!(
        ran.stderr.contains("start the next one with --epoch 5"),
        "{}",
        ran.stderr
    );
    // With a time to fill, the next epochs follow.
    let next = ["--seconds", "3600", "--minibatches", "3", "--digest", "--json"];
    let next = json(&[&["epoch", store.path(), "--resume", state], &next[..]].concat());
    let planned = plan(&store, &["--epoch", "5"]);
    assert_eq!(next["digest"], digest_of(&store.rows, &planned[..3]));
}
