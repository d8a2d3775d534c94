//! Names of directories that do not have their final name: of new stores, and of those that are being replaced.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// Most processes of the same number, each on a host of its own, that have the same target.
pub(super) const MAX_NAMESAKES: u32 = 100;

/// The name of a temporary directory for the target of this name.
pub(super) fn temporary_name(name: &OsStr, number: u32) -> OsString {
    let mut temporary = temporary_prefix(name);
    temporary.push(process_name(number));
    temporary
}

pub(super) fn temporary_prefix(name: &OsStr) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".tmp-");
    prefix
}

/// In the name of a store that is being replaced, where that takes several steps.
const OLD: &str = ".old-";

/// How the names of stores that were `target`, and are being replaced, begin.
pub(super) fn old_prefix(target: &Path) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(target.file_name().unwrap_or_default());
    prefix.push(OLD);
    prefix
}

pub(super) fn old_name(target: &Path, number: u32) -> OsString {
    let mut name = old_prefix(target);
    name.push(process_name(number));
    name
}

/// What tells this process in a name, and one try of it from another.
fn process_name(number: u32) -> String {
    match number {
        0 => std::process::id().to_string(),
        number => format!("{}-{number}", std::process::id()),
    }
}
