//! The public items of the library are those that are listed in `tests/data/public_api.txt`: a change of them is seen in review.
#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Set it to have the list written again.
const UPDATE: &str = "CELLRING_UPDATE_PUBLIC_API";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_public_items_are_those_that_are_listed() {
    // The pages differ between releases of rustdoc.
    let version = output(Command::new("rustdoc").arg("--version"));
    let version = version.split('.').take(2).collect::<Vec<_>>().join(".");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        // As the contributors' guide has it: what `cargo doc` has made already is not made again.
        .args([
            "doc",
            "--workspace",
            "--no-deps",
            "--all-features",
            "--quiet",
            "--target-dir",
        ])
        .arg(target)
        .current_dir(root());
    output(&mut cargo);
    let pages = target.join("doc/cellring");
    let own = root().join(".venv/bin/python");
    let python = match own.exists() {
        true => own,
        false => "python3".into(),
    };
    let found = output(
        Command::new(python)
            .arg(root().join("tests/python/public_api.py"))
            .arg(pages),
    );
    let path = root().join("tests/data/public_api.txt");
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, format!("{version}\n{found}")).unwrap();
        return;
    }
    let listed = std::fs::read_to_string(&path).unwrap();
    let (of_version, listed) = listed.split_once('\n').unwrap();
    if of_version != version {
        return eprintln!("skipped: the list was made with {of_version}, this is {version}");
    }
    let (listed, found): (BTreeSet<_>, BTreeSet<_>) = (listed.lines().collect(), found.lines().collect());
    let gone: Vec<_> = listed.difference(&found).collect();
    let new: Vec<_> = found.difference(&listed).collect();
    assert!(
        gone.is_empty() && new.is_empty(),
        "public items are gone or changed: {gone:#?}\nand new: {new:#?}\nIf that is meant, run this test with {UPDATE}=1 and commit the list"
    );
}
