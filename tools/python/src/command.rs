//! The command line, for the script `cellring` of the package and for the functions that run it.

use std::ffi::OsString;

use pyo3::prelude::*;

/// Runs the command with these arguments, the first of which is its name, and gives the exit code.
#[pyfunction]
pub(crate) fn main(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    py.detach(|| cellring_tools::cli::run(arguments))
}

/// The options of a command: name (with hyphens), whether it takes a value, whether it takes several. None if there is no such command.
#[pyfunction]
pub(crate) fn command_options(command: &str) -> Option<Vec<(String, bool, bool)>> {
    let options = cellring_tools::cli::options(command)?;
    Some(
        options
            .into_iter()
            .map(|option| (option.name, option.takes_value, option.takes_several))
            .collect(),
    )
}
