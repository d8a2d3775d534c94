//! The Python environments: each a version of anndata with the versions of pandas and scipy that go with it.
//!
//! `tests/setup.sh` makes them. One that it cannot make here, as there is no Python that is new enough, is missing, which is said aloud;
//! those that it made it names in `CELLRING_ENVIRONMENTS`, and they must work.

use std::path::PathBuf;
use std::process::Command;

use crate::{aloud, root};

pub(crate) struct Environment {
    pub(crate) name: &'static str,
    pub(crate) python: PathBuf,
}

/// Name, and the directory within the repository.
const ENVIRONMENTS: [(&str, &str); 4] = [
    ("anndata-0.12", ".venv"),
    ("anndata-0.11", ".venv-anndata-0.11"),
    ("anndata-0.12-pandas-3", ".venv-anndata-0.12-pandas-3"),
    ("anndata-0.13", ".venv-anndata-0.13"),
];

fn works(python: &PathBuf) -> bool {
    // Looked for, not imported: scanpy takes seconds.
    let look = "import sys, importlib.util as u; sys.exit(not all(map(u.find_spec, sys.argv[1:])))";
    let output = Command::new(python)
        .args(["-c", look, "anndata", "h5py", "hdf5plugin", "scanpy", "zarr"])
        .output();
    output.is_ok_and(|output| output.status.success())
}

/// Those that are there.
pub(crate) fn environments() -> Vec<Environment> {
    let promised = std::env::var("CELLRING_ENVIRONMENTS").unwrap_or_default();
    let promised: Vec<&str> = promised.split_whitespace().collect();
    let mut found = vec![];
    for (name, folder) in ENVIRONMENTS {
        let python = root().join(folder).join("bin/python");
        if works(&python) {
            found.push(Environment { name, python });
            continue;
        }
        assert!(
            !promised.contains(&name),
            "{} does not run or lacks packages; remove {folder} and run tests/setup.sh",
            python.display()
        );
        aloud(&format!(
            "skipped environment {name}: {folder} is not there or lacks packages; tests/setup.sh makes it"
        ));
    }
    assert!(!found.is_empty(), "no Python environment; run tests/setup.sh");
    found
}
