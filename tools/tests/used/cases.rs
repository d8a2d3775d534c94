//! Inputs of kinds that people report: each is converted, verified and exported, and equals what is expected of it, or is refused with
//! the words that help.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use crate::environments::environments;
use crate::{cellring, root, scratch, shared, two_at_a_time};

/// What a case wants, as `tests/python/make_cases.py` prints it.
enum Expectation<'a> {
    Refused(&'a str),
    Like(&'a str),
}

struct Case<'a> {
    name: &'a str,
    path: &'a str,
    options: Vec<&'a str>,
    expectation: Expectation<'a>,
}

fn case(line: &str) -> Case<'_> {
    let parts: Vec<&str> = line.split('\t').collect();
    let [name, path, options, expectation] = parts[..] else {
        panic!("{line:?}");
    };
    Case {
        name,
        path,
        options: options.split_whitespace().collect(),
        expectation: match expectation.split_once(' ') {
            Some(("refused", words)) => Expectation::Refused(words),
            Some(("like", path)) => Expectation::Like(path),
            _ => panic!("{line:?}"),
        },
    }
}

/// Whether an error has all of the words, which `;` separates and `|` offers for choice.
fn says(error: &str, words: &str) -> bool {
    let error = error.to_lowercase();
    words
        .to_lowercase()
        .split(';')
        .all(|word| word.split('|').any(|choice| error.contains(choice)))
}

/// Converts, verifies and exports. Gives a line for the comparison, or what falls short.
fn run(case: &Case<'_>, directory: &Path) -> Result<Option<String>, String> {
    let at = |ending: &str| directory.join(format!("{}{ending}", case.name));
    let (store, exported) = (at(".out.cellring"), at(".out.h5ad"));
    let (store, exported) = (store.to_str().unwrap(), exported.to_str().unwrap());
    let converted = cellring(&[&["convert", case.path, "-o", store], &case.options[..]].concat());
    match (&case.expectation, converted) {
        (Expectation::Refused(words), Ok(_)) => Err(format!("converted, but expected an error with {words}")),
        (Expectation::Refused(words), Err(error)) if says(&error, words) => Ok(None),
        (Expectation::Refused(words), Err(error)) => {
            Err(format!("expected an error with {words}, got {error}"))
        }
        (Expectation::Like(_), Err(error)) => Err(format!("refused: {error}")),
        (Expectation::Like(expected), Ok(_)) => {
            cellring(&["verify", store])?;
            cellring(&["export", store, exported])?;
            Ok(Some(format!("{}\t{exported}\t{expected}\n", case.name)))
        }
    }
}

/// Runs a script of `tests/python`; gives what it prints.
fn script(python: &Path, name: &str, argument: Option<&Path>, input: &str) -> String {
    let mut child = Command::new(python)
        .arg(root().join("tests/python").join(name))
        .args(argument)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn inputs_of_every_kind_come_back_or_are_refused_with_a_remedy() {
    let python = &environments()[0].python;
    let directory = scratch();
    let made = script(python, "make_cases.py", Some(directory.path()), "");
    let cases: Vec<Case<'_>> = made.lines().map(case).collect();
    assert!(cases.len() >= 45, "{} cases", cases.len());
    let (short, exports) = (Mutex::new(String::new()), Mutex::new(String::new()));
    two_at_a_time(&cases, |_, case| match run(case, directory.path()) {
        Ok(line) => exports.lock().unwrap().extend(line),
        Err(why) => writeln!(short.lock().unwrap(), "{}: {why}", case.name).unwrap(),
    });
    let mut short = short.into_inner().unwrap();
    short += &script(python, "check_cases.py", None, &exports.into_inner().unwrap());
    assert!(short.is_empty(), "of {} cases fall short:\n{short}", cases.len());
}

/// What falls short there for another reason: anndata itself does not open a file with a link to nowhere, so that there is nothing to
/// compare with. The case `links` of ours has such a link.
const NOT_OURS: [&str; 1] = ["soft_links : KeyError: 'Unable to synchronously open object"];

/// The cases beside the repository, which others add to: their own check says what a user expects of each.
#[test]
fn the_shared_cases_are_as_a_user_expects() {
    let Some(cases) = shared("cases") else { return };
    let directory = scratch();
    let output = Command::new(&environments()[0].python)
        .arg(cases.join("check.py"))
        .args([
            Path::new(env!("CARGO_BIN_EXE_cellring")),
            directory.path(),
            &cases,
        ])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let (short, count) = said.trim_end().rsplit_once('\n').unwrap_or(("", said.trim_end()));
    let short: Vec<&str> = short
        .lines()
        .filter(|line| !NOT_OURS.iter().any(|known| line.starts_with(known)))
        .collect();
    assert!(
        count.contains("as a user expects") && short.is_empty(),
        "{}\n{count}\n{errors}",
        short.join("\n")
    );
}
