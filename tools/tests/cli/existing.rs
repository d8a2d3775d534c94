//! One rule for what exists under the name of an output: nothing is replaced unasked, nothing is half-written, and what cannot be
//! replaced is known before the work begins.

use std::fs;
use std::path::Path;

use crate::user::{Playground, allow, give_away};
use crate::{TestStore, cellring, fail, run, scratch, succeed};

fn cells() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/mousebrain10k.h5ad");
    path.to_str().unwrap().to_owned()
}

/// `--force` is for the store, not for what somebody keeps in its directory.
#[test]
fn what_does_not_belong_to_a_store_is_not_removed_with_it() {
    let dir = scratch();
    let store = dir.path().join("s.cellring");
    let out = store.to_str().unwrap();
    let synth = ["synth", out, "--n-obs", "100", "--n-vars", "50", "--force"];
    succeed(&synth);
    for foreign in ["notes.txt", "split/thesis.txt"] {
        let path = store.join(foreign);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "mine").unwrap();
        let message = fail(&synth);
        assert!(
            message.contains("does not belong to it") && message.contains(&foreign[..5]),
            "{message}"
        );
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        fs::remove_file(&path).unwrap();
    }
    fs::remove_dir(store.join("split")).unwrap();
    succeed(&synth);
}

/// A store with something else in it is not whole, and cannot be replaced any more.
#[test]
fn nothing_is_written_into_a_store() {
    let dir = scratch();
    let store = dir.path().join("s.cellring");
    let store = store.to_str().unwrap();
    succeed(&["synth", store, "--n-obs", "100", "--n-vars", "50"]);
    let within = |name: &str| format!("{store}/{name}");
    let cells = cells();
    for args in [
        vec!["convert", &cells, "-o", &within("t.cellring")],
        vec!["export", store, &within("x.h5ad")],
        vec!["export", store, &within("x.zarr")],
        vec![
            "epoch",
            store,
            "--minibatches",
            "1",
            "--save-state",
            &within("state.json"),
        ],
    ] {
        let message = fail(&args);
        assert!(
            message.contains("is a store, which holds nothing else"),
            "{message}"
        );
    }
    succeed(&["verify", store]);
}

#[test]
fn nothing_is_replaced_without_force() {
    let store = TestStore::counts(400, 60);
    let dir = scratch();
    let file = dir.path().join("precious");
    let out = file.to_str().unwrap();
    let cells = cells();
    // A run that began before it looked would take a minute.
    let commands = [
        vec!["bench", store.path(), "--seconds", "60", "--report", out],
        vec!["export", store.path(), out, "--container", "h5ad"],
        vec!["convert", &cells, "-o", out],
        vec!["synth", out, "--n-obs", "100", "--n-vars", "50"],
    ];
    for args in &commands {
        fs::write(&file, "mine").unwrap();
        let ran = cellring(args);
        assert_eq!(ran.code, 1, "{args:?}");
        assert!(
            ran.stderr.contains("exists already; give --force"),
            "{args:?}: {}",
            ran.stderr
        );
        assert_eq!(fs::read(&file).unwrap(), b"mine", "{args:?}");
    }
    // What is not a file is not replaced by one, whatever is given.
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    for args in &commands[..2] {
        let message = fail(&[&args[..], &["--force"]].concat());
        assert!(
            message.contains("is a directory; give the name of a file"),
            "{message}"
        );
    }
    for args in &commands[2..] {
        let message = fail(&[&args[..], &["--force"]].concat());
        assert!(
            message.contains("is not a cellring store, so it is not replaced"),
            "{message}"
        );
    }
    let message = fail(&[
        "export",
        store.path(),
        "/dev/null",
        "--container",
        "h5ad",
        "--force",
    ]);
    assert!(message.contains("is not a regular file"), "{message}");
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        1,
        "nothing is left behind"
    );
}

#[test]
fn a_page_is_replaced_by_force() {
    let store = TestStore::counts(400, 60);
    let dir = scratch();
    let page = dir.path().join("page.html");
    fs::write(&page, "old").unwrap();
    let args = [
        "--seconds",
        "0.01",
        "--block-size",
        "16",
        "--report",
        page.to_str().unwrap(),
        "--force",
    ];
    succeed(&[&["bench", store.path()], &args[..]].concat());
    assert!(fs::read_to_string(&page).unwrap().ends_with("</html>\n"));
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        1,
        "nothing is left behind"
    );
    assert_eq!(cellring(&["bench", store.path(), "--force"]).code, 2, "of what?");
}

#[test]
fn a_state_takes_the_place_of_a_state_alone() {
    let store = TestStore::counts(400, 60);
    let dir = scratch();
    let state = dir.path().join("state.json");
    let save = [
        "epoch",
        store.path(),
        "--minibatches",
        "2",
        "--save-state",
        state.to_str().unwrap(),
    ];
    succeed(&save);
    let first = fs::read(&state).unwrap();
    succeed(&[&save[..], &["--epoch", "3"]].concat());
    assert_ne!(fs::read(&state).unwrap(), first);
    for other in ["", "{}", "{\"version\":1}", "my thesis"] {
        fs::write(&state, other).unwrap();
        let message = fail(&save);
        assert!(
            message.contains("is not a state that --save-state wrote, so it is not replaced"),
            "{message}"
        );
        assert_eq!(fs::read_to_string(&state).unwrap(), other);
    }
}

/// A store that nobody may read, and that stands where nobody may write.
fn store_for_everybody(playground: &Playground, name: &str) {
    let store = TestStore::counts(100, 40);
    let copy = playground.path(name);
    fs::create_dir_all(&copy).unwrap();
    for entry in fs::read_dir(&store.path).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_store_that_cannot_be_removed_is_not_replaced() {
    let playground = Playground::new();
    let synth = |name: &str| {
        let args = ["synth", name, "--n-obs", "50", "--n-vars", "20", "--force"];
        run(playground.command(&args))
    };
    // Its files may not be removed.
    store_for_everybody(&playground, "closed.cellring");
    let closed = playground.path("closed.cellring");
    give_away(&closed);
    allow(&closed, 0o555);
    let ran = synth("closed.cellring");
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let expected = "closed.cellring: this store cannot be replaced: \"closed.cellring\" belongs to it and cannot be emptied \
                    (permission denied)";
    assert!(ran.stderr.contains(expected), "{}", ran.stderr);
    // Nothing has been begun, and what was there is whole.
    let store = |name: &str| playground.path(name).to_str().unwrap().to_owned();
    assert!(succeed(&["info", &store("closed.cellring")]).starts_with("100 cells"));
    let hidden = fs::read_dir(playground.path(".")).unwrap();
    let hidden = hidden.filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .file_name()
            .as_encoded_bytes()
            .starts_with(b".")
    });
    assert_eq!(hidden.count(), 0);
    allow(&closed, 0o755);
    // One's own store is replaced, and nothing remains of it.
    let ran = synth("closed.cellring");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(succeed(&["info", &store("closed.cellring")]).starts_with("50 cells"));
    assert_eq!(
        fs::read_dir(playground.path(".")).unwrap().count(),
        2,
        "the command and the store"
    );
}

#[test]
fn in_a_sticky_directory_only_the_owner_replaces() {
    if !Path::new("/proc/self/status").exists() || !is_root() {
        eprintln!("skipped: only root can make a store of somebody else");
        return;
    }
    let playground = Playground::new();
    store_for_everybody(&playground, "shared/theirs.cellring");
    allow(&playground.path("shared"), 0o1777);
    allow(&playground.path("shared/theirs.cellring"), 0o777);
    let args = [
        "synth",
        "shared/theirs.cellring",
        "--n-obs",
        "50",
        "--n-vars",
        "20",
        "--force",
    ];
    let ran = run(playground.command(&args));
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let expected = "it belongs to user 0, and in \"shared\" (sticky bit) only the owner may replace it";
    assert!(ran.stderr.contains(expected), "{}", ran.stderr);
}

fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    uid.is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0"))
}
