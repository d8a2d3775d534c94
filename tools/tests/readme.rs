//! Every line of the README's tour of the command is run as it stands.
#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

use std::path::Path;
use std::process::Command;

#[test]
fn the_commands_of_the_readme_work() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let marked = readme
        .split("<!-- tested:")
        .nth(1)
        .expect("the README marks the block that is tested");
    let block = marked
        .split("```sh\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(
        root.join("tools/data/mousebrain10k.h5ad"),
        dir.path().join("cells.h5ad"),
    )
    .unwrap();
    let bin = Path::new(env!("CARGO_BIN_EXE_cellring")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut commands = 0;
    for line in block.lines().filter(|line| !line.trim().is_empty()) {
        assert!(line.starts_with("cellring "), "{line}");
        let output = Command::new("bash")
            .args(["-c", line])
            .current_dir(dir.path())
            .env("PATH", &path)
            .output()
            .unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}\n{message}");
        commands += 1;
    }
    assert!(commands >= 8, "{commands} commands");
}
