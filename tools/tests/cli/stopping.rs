//! A run that stops after some minibatches and saves its state goes on with the next one.

use crate::plans::plan;
use crate::{TestStore, cellring, scratch};

#[test]
fn a_run_that_was_stopped_goes_on() {
    let store = TestStore::counts(700, 300);
    let dir = scratch();
    let state = dir.path().join("state.json");
    let state = state.to_str().unwrap();
    for more in [
        &[][..],
        &["--balance", "plate"],
        &["--obs-range", "30..600", "--drop-last"],
    ] {
        let sampler = [
            &[
                "--batch-size",
                "16",
                "--fetch-factor",
                "3",
                "--block-size",
                "4",
                "--epoch",
                "2",
            ],
            more,
        ]
        .concat();
        let resumed: Vec<&str> = sampler
            .iter()
            .filter(|arg| !["--epoch", "2"].contains(arg))
            .copied()
            .collect();
        let whole = plan(&store, &sampler);
        let first = store.json(
            "epoch",
            &[&sampler[..], &["--minibatches", "7", "--save-state", state]].concat(),
        );
        assert_eq!(first["minibatches"], 7);
        // In two more pieces.
        let second = [
            "--resume",
            state,
            "--minibatches",
            "10",
            "--save-state",
            state,
            "--digest",
        ];
        let second = store.json("epoch", &[&resumed[..], &second].concat());
        let third = store.json(
            "epoch",
            &[&resumed[..], &["--resume", state, "--digest"]].concat(),
        );
        let expected = [&whole[7..17], &whole[17..]].map(|part| crate::epochs::digest_of(&store.rows, part));
        assert_eq!(
            [&second["digest"], &third["digest"]],
            [&expected[0], &expected[1]]
        );
        let other = cellring(
            &[
                &["epoch", store.path(), "--resume", state],
                more,
                &["--batch-size", "8"],
            ]
            .concat(),
        );
        assert!(
            other.code == 1 && other.stderr.contains("saved with another sampler config"),
            "{}",
            other.stderr
        );
    }
    std::fs::write(state, "{}").unwrap();
    let ran = cellring(&["epoch", store.path(), "--resume", state]);
    assert!(
        ran.code == 1 && ran.stderr.contains("not a state that --save-state wrote"),
        "{}",
        ran.stderr
    );
}
