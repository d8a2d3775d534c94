//! The `cellring` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(cellring_tools::cli::run(std::env::args_os()))
}
