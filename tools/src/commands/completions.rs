//! `cellring completions`: what a shell needs to complete commands and options.

use clap_complete::Shell;

use crate::failure::Failure;
use crate::output::Lines;

/// Print the completions of a shell
///
/// For bash: cellring completions bash > ~/.local/share/bash-completion/completions/cellring
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

/// Prints the completions of `command`, which is the whole command line.
pub(crate) fn run(args: Args, mut command: clap::Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    let mut lines = Lines::new();
    lines.text(String::from_utf8_lossy(&script).trim_end_matches('\n'))?;
    lines.finish()
}
