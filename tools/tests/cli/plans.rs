//! `plan`: the minibatches that an epoch delivers, without reading cells.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::{TestStore, command, succeed};

/// The lines of `plan --json`.
pub(crate) fn plan(store: &TestStore, args: &[&str]) -> Vec<Value> {
    let stdout = succeed(&[&["plan", store.path(), "--json"], args].concat());
    stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The obs ids of a line.
pub(crate) fn obs(line: &Value) -> Vec<u64> {
    line["obs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|obs| obs.as_u64().unwrap())
        .collect()
}

#[test]
fn every_obs_once_in_minibatches_that_count_up() {
    let store = TestStore::counts(333, 40);
    let options = ["--batch-size", "8", "--fetch-factor", "4", "--block-size", "2"];
    let lines = plan(&store, &options);
    assert_eq!(lines.len(), 42);
    let mut all = Vec::new();
    for (k, line) in lines.iter().enumerate() {
        assert_eq!((&line["minibatch"], &line["global"]), (&k.into(), &k.into()));
        assert!(line.get("padding").is_none());
        all.extend(obs(line));
    }
    assert_ne!(all, (0..333).collect::<Vec<_>>());
    all.sort_unstable();
    assert_eq!(all, (0..333).collect::<Vec<_>>());

    let sequential = plan(&store, &[&options[..], &["--strategy", "sequential"]].concat());
    assert_eq!(
        sequential.iter().flat_map(obs).collect::<Vec<_>>(),
        (0..333).collect::<Vec<_>>()
    );
    let text = succeed(&[&["plan", store.path()], &options[..]].concat());
    assert!(
        text.contains("epoch 0 of 333 cells") && text.contains("42 of 42"),
        "{text}"
    );
    // The first minibatches, or as many as are asked for.
    for (more, n) in [
        (&[][..], 3),
        (&["--minibatches", "1"], 1),
        (&["--minibatches", "50"], 42),
    ] {
        let text = succeed(&[&["plan", store.path()], &options[..], more].concat());
        let shown: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("  minibatch "))
            .collect();
        assert_eq!(shown.len(), n, "{text}");
        for (number, (line, json)) in shown.iter().zip(&lines).enumerate() {
            let obs: Vec<String> = obs(json).iter().map(u64::to_string).collect();
            let (label, cells) = line.trim().split_once("  ").unwrap();
            assert_eq!(label.trim(), format!("minibatch {number}"));
            assert_eq!(cells.trim(), format!("{} cells: {}", obs.len(), obs.join(", ")));
        }
    }
    let text = succeed(&["plan", store.path(), "--strategy", "sequential"]);
    assert!(text.contains("64 cells: 0, 1, 2, 3, 4, 5, 6, 7, ...\n"), "{text}");
}

#[test]
fn cells_are_not_read() {
    let store = TestStore::counts(333, 40);
    let expected = plan(&store, &[]);
    // Past the header of each shard nothing but noise.
    for shard in crate::shards(&store.path) {
        let mut bytes = std::fs::read(&shard).unwrap();
        bytes[4096..].fill(0xA5);
        std::fs::write(&shard, bytes).unwrap();
    }
    assert_eq!(plan(&store, &[]), expected);
}

#[test]
fn ranks_are_disjoint_complete_and_equal_in_number() {
    let store = TestStore::counts(333, 40);
    for drop_last in [&[][..], &["--drop-last"]] {
        let options = [
            &["--batch-size", "8", "--fetch-factor", "2", "--world-size", "3"],
            drop_last,
        ]
        .concat();
        let mut seen = vec![0; 333];
        let mut lengths = Vec::new();
        for rank in ["0", "1", "2"] {
            let lines = plan(&store, &[&options[..], &["--rank", rank]].concat());
            lengths.push(lines.len());
            for line in lines.iter().filter(|line| line.get("padding").is_none()) {
                obs(line).iter().for_each(|&obs| seen[obs as usize] += 1);
            }
            assert!(
                lines
                    .iter()
                    .all(|line| line.get("padding").is_none_or(|padding| padding == true))
            );
        }
        assert!(
            lengths.iter().all(|&length| length == lengths[0] && length > 0),
            "{lengths:?}"
        );
        assert!(seen.iter().all(|&n| n <= 1), "disjoint");
        let dropped = seen.iter().filter(|&&n| n == 0).count();
        match drop_last {
            [] => assert_eq!(dropped, 0, "complete"),
            _ => assert_eq!(333 - dropped, lengths[0] * 3 * 8),
        }
    }
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let store = TestStore::counts(40_000, 2);
    let mut child = command(&["plan", store.path(), "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    // More than fits the pipe is still to come.
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert!(line.starts_with("{\"minibatch\":0,"), "{line}");
}
