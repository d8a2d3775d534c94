//! Every form, filter and order of small inputs that a script makes: converted and exported equal, or refused.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use cellring_tools::convert::ConvertOptions;
use cellring_tools::export::{ExportOptions, export};

use crate::round_trip::compare;
use crate::{python, run_convert, scratch};

#[test]
fn every_form_comes_back_equal() {
    let directory = scratch();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/python/make_forms.py");
    let made = Command::new(python())
        .arg(script)
        .arg(directory.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let made = String::from_utf8(made.stdout).unwrap();
    assert!(made.lines().count() > 90, "{made}");
    let mut lines = String::new();
    for (number, line) in made.lines().enumerate() {
        let (input, expected) = line.split_once('\t').unwrap();
        let store = directory.path().join(format!("{number}.cellring"));
        let converted = run_convert(Path::new(input), &store, &ConvertOptions::default());
        if let Some(part) = expected.strip_prefix("refused:") {
            let message = converted.unwrap_err().to_string();
            assert!(
                message.contains(part) && !message.contains(". "),
                "{input}: {message}"
            );
            assert!(!store.exists());
            continue;
        }
        converted.unwrap_or_else(|error| panic!("{input}: {error}"));
        let out = directory.path().join(format!("{number}.out.h5ad"));
        export(&store, &out, &ExportOptions::default(), &|_, _| {}).unwrap();
        writeln!(lines, "{expected}\t{}", out.display()).unwrap();
    }
    compare(&lines);
}
