//! `cellring man`: the help texts as pages for `man`.

use std::io;
use std::path::PathBuf;

use crate::paths::{check_file, write_file};
use clap_mangen::Man;

use crate::failure::Failure;
use crate::output::Lines;

/// Print the man page of cellring, or write those of all commands
///
/// Without DIR the page of cellring itself is printed, for `cellring man | man -l -`. With DIR, such as ~/.local/share/man/man1,
/// one page for each command is written to it: cellring.1, cellring-convert.1 and so on.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A directory that exists
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Replace pages that exist
    #[arg(long, requires = "dir")]
    force: bool,
}

/// Prints or writes the pages of `command`, which is the whole command line.
pub(crate) fn run(args: Args, command: clap::Command) -> Result<(), Failure> {
    let pages = pages(command)?;
    let Some(dir) = args.dir else {
        let mut lines = Lines::new();
        for (_, page) in pages.iter().take(1) {
            lines.text(page.trim_end_matches('\n'))?;
        }
        return lines.finish();
    };
    // Either all pages can be written, or none is.
    for (name, _) in &pages {
        check_file(&dir.join(name), args.force)?;
    }
    for (name, page) in &pages {
        write_file(&dir.join(name), page.as_bytes(), args.force)?;
    }
    Ok(())
}

/// The file name and text of every page, that of the whole first.
fn pages(command: clap::Command) -> io::Result<Vec<(String, String)>> {
    let mut command = command.disable_help_subcommand(true);
    // Gives subcommands their full names.
    command.build();
    std::iter::once(&command)
        .chain(command.get_subcommands())
        .map(|command| {
            let version = concat!("cellring ", env!("CARGO_PKG_VERSION"));
            let man = Man::new(command.clone()).source(version);
            let mut page = Vec::new();
            man.render(&mut page)?;
            Ok((man.get_filename(), String::from_utf8_lossy(&page).into_owned()))
        })
        .collect()
}
