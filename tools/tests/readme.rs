//! Every line of the README's tour of the command is run as it stands.
#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

use std::path::Path;
use std::process::Command;

/// The commands of a block that is marked as tested.
fn blocks(readme: &str) -> Vec<Vec<&str>> {
    let marked = readme.split("<!-- tested:").skip(1);
    marked
        .map(|text| {
            let (_, block) = text.split_once("```sh\n").unwrap();
            let (block, _) = block.split_once("```").unwrap();
            block.lines().filter(|line| !line.trim().is_empty()).collect()
        })
        .collect()
}

#[test]
fn the_commands_of_the_readme_work() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(
        root.join("tools/data/mousebrain10k.h5ad"),
        dir.path().join("cells.h5ad"),
    )
    .unwrap();
    let bin = Path::new(env!("CARGO_BIN_EXE_cellring")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let blocks = blocks(&readme);
    assert_eq!(blocks.len(), 2, "a tour of the command, and a table");
    let mut printed = String::new();
    let mut commands = 0;
    for line in blocks.into_iter().flatten() {
        assert!(line.starts_with("cellring "), "{line}");
        let output = Command::new("bash")
            .args(["-c", line])
            .current_dir(dir.path())
            .env("PATH", &path)
            .output()
            .unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}\n{message}");
        printed = String::from_utf8(output.stdout).unwrap();
        commands += 1;
    }
    assert!(commands >= 20, "{commands} commands");

    // The last one printed the table that follows it.
    let rows: Vec<&str> = readme
        .lines()
        .skip_while(|line| !line.starts_with("| 1 (true random)"))
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert_eq!(rows.len(), 7, "six block sizes, and streaming");
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).skip(1).collect();
        let cells = cells.join("  ");
        assert!(printed.contains(&cells), "{cells} is not in\n{printed}");
    }
}
