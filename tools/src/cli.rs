//! The command line of `cellring`.

use std::ffi::OsString;

use clap::{ArgAction, CommandFactory, Parser, Subcommand};

use crate::{commands, failure, output, process, warnings};

/// Feeds single-cell data from NVMe to a training loop.
///
/// Every command that reports something takes --json; errors and warnings are then lines of JSON on standard error. Exit codes: 0
/// done, 1 failed, 2 wrong usage, 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "cellring", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Convert(commands::convert::Args),
    Link(commands::link::Args),
    Merge(commands::merge::Args),
    Append(commands::append::Args),
    Info(commands::info::Args),
    Obs(commands::table::ObsArgs),
    Var(commands::table::VarArgs),
    Verify(commands::verify::Args),
    Plan(commands::plan::Args),
    Epoch(commands::epoch::Args),
    Bench(commands::bench::Args),
    Export(commands::export::Args),
    Synth(commands::synth::Args),
    Demo(commands::demo::Args),
    Tune(commands::tune::Args),
    Completions(commands::completions::Args),
    Man(commands::man::Args),
}

/// Runs the command with these arguments, the first of which is its name, and returns the exit code.
///
/// It sees to the whole process: signals end it in order, its limit on open files is raised, and messages go to standard error.
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    let args: Vec<OsString> = args.into_iter().collect();
    output::set_json_messages(asks_for_json(args.iter()));
    // A store may have thousands of shards, and the usual limit is 1024.
    cellring::__internal::allow_most_descriptors();
    warnings::show();
    if let Err(error) = process::clean_up_on_signals() {
        output::warning(&format!("signals end the process without cleaning up: {error}"));
    }
    let command = match Cli::try_parse_from(args) {
        Ok(cli) => cli.command,
        // Help and version are no errors.
        Err(error) if error.use_stderr() && output::has_json_messages() => {
            return process::report(&failure::from_parser(&error));
        }
        Err(error) => {
            // Nothing is lost if it cannot be printed.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(2);
        }
    };
    let result = match command {
        Command::Convert(args) => commands::convert::run(args),
        Command::Link(args) => commands::link::run(args),
        Command::Merge(args) => commands::merge::run(args),
        Command::Append(args) => commands::append::run(args),
        Command::Info(args) => commands::info::run(args),
        Command::Obs(args) => commands::table::obs(args),
        Command::Var(args) => commands::table::var(args),
        Command::Verify(args) => commands::verify::run(args),
        Command::Plan(args) => commands::plan::run(args),
        Command::Epoch(args) => commands::epoch::run(args),
        Command::Bench(args) => commands::bench::run(args),
        Command::Export(args) => process::start_threads().and_then(|()| commands::export::run(args)),
        Command::Synth(args) => process::start_threads().and_then(|()| commands::synth::run(args)),
        Command::Demo(args) => commands::demo::run(args),
        Command::Tune(args) => commands::tune::run(args),
        Command::Completions(args) => commands::completions::run(args, Cli::command()),
        Command::Man(args) => commands::man::run(args, Cli::command()),
    };
    process::wait_if_ending();
    match result {
        Ok(()) => 0,
        Err(failure) => process::report(&failure),
    }
}

/// An option of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandOption {
    /// Its long name, without the hyphens before it.
    pub name: String,
    /// Whether it takes a value; otherwise it is given or not.
    pub takes_value: bool,
    /// Whether it may be given several times.
    pub takes_several: bool,
}

/// The options of a command, without `--help`; `None` if there is no such command.
pub fn options(command: &str) -> Option<Vec<CommandOption>> {
    let cli = Cli::command();
    let arguments = cli.find_subcommand(command)?.get_arguments();
    let options = arguments.filter_map(|argument| {
        let name = argument.get_long().filter(|name| *name != "help")?.to_owned();
        let action = argument.get_action();
        Some(CommandOption {
            name,
            takes_value: action.takes_values(),
            takes_several: matches!(action, ArgAction::Append),
        })
    });
    Some(options.collect())
}

/// Whether `--json` is among the arguments, so that what the parser has to say is JSON, too.
fn asks_for_json<'a>(args: impl Iterator<Item = &'a OsString>) -> bool {
    args.take_while(|arg| *arg != "--").any(|arg| arg == "--json")
}
