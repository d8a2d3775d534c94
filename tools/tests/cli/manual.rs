//! Completions and man pages, which are made of the help texts.

use std::io::Write;
use std::process::{Command, Stdio};

use super::{cellring, scratch, succeed};

/// The commands, as `cellring help` lists them.
fn commands() -> Vec<String> {
    let help = succeed(&["help"]);
    let list = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty());
    list.filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .filter(|command| command != "help")
        .collect()
}

#[test]
fn completions_name_every_command_in_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = succeed(&["completions", shell]);
        for command in commands() {
            assert!(script.contains(&command), "{shell}: {command}");
        }
        assert!(
            script.contains("--obs-filter") || script.contains("obs-filter"),
            "{shell}"
        );
    }
    let ran = cellring(&["completions", "csh"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
}

#[test]
fn bash_completes_a_command_and_an_option() {
    let script = succeed(&["completions", "bash"]);
    let complete = |words: &str, word: usize| {
        let mut bash = Command::new("bash")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let ask = format!(
            "{script}\nCOMP_WORDS=({words}); COMP_CWORD={word}\n\
             _cellring cellring \"${{COMP_WORDS[{word}]}}\" \"${{COMP_WORDS[{word}-1]}}\"\necho \"${{COMPREPLY[@]}}\"\n"
        );
        bash.stdin.take().unwrap().write_all(ask.as_bytes()).unwrap();
        let output = bash.wait_with_output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(complete("cellring conv", 1), "convert");
    assert_eq!(complete("cellring epoch --save", 2), "--save-state");
}

#[test]
fn there_is_a_man_page_for_each_command() {
    let dir = scratch();
    let path = dir.path().to_str().unwrap();
    assert_eq!(succeed(&["man", path]), "");
    let page = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    let whole = page("cellring.1");
    for command in commands() {
        assert!(whole.contains(&format!("cellring\\-{command}(1)")), "{command}");
        let page = page(&format!("cellring-{command}.1"));
        assert!(
            page.contains(&format!(".TH cellring-{command} 1  \"cellring ")),
            "{page}"
        );
    }
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        commands().len() + 1
    );
    assert!(page("cellring-epoch.1").contains("\\-\\-save\\-state"));
    assert_eq!(
        succeed(&["man"]).trim_end(),
        whole.trim_end(),
        "the page of the whole"
    );

    // Nothing is replaced unless that is asked for.
    std::fs::write(dir.path().join("cellring-var.1"), "mine").unwrap();
    let ran = cellring(&["man", path]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("exists already; give --force"),
        "{}",
        ran.stderr
    );
    assert_eq!(page("cellring-var.1"), "mine");
    succeed(&["man", path, "--force"]);
    assert!(
        page("cellring-var.1").starts_with(".ie"),
        "{}",
        page("cellring-var.1")
    );
    let ran = cellring(&["man", &format!("{path}/none")]);
    assert!(
        ran.stderr.contains("does not exist; create it first"),
        "{}",
        ran.stderr
    );
}
