//! Why a path cannot be reached: which part of it is missing, is not what it should be, or may not be entered.

use std::io;
use std::path::{Path, PathBuf};

/// The error of an operation on `path`, with a sentence that says which part of the path is to blame, and why, in place of the
/// system's words. Errors that are not about the path stay as they are; the kind is kept.
///
/// ```
/// use std::path::Path;
///
/// let path = Path::new("/no such directory/atlas.cellring");
/// let error = cellring_core::explain(path, std::fs::read(path).unwrap_err());
/// assert_eq!(error.to_string(), "the directory \"/no such directory\" does not exist");
/// ```
pub fn explain(path: &Path, error: io::Error) -> io::Error {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    let kind = error.kind();
    match kind {
        NotFound | PermissionDenied | NotADirectory => {}
        _ if is_loop(&error) => {}
        _ => return explain_limit(error),
    }
    match obstacle(path) {
        Some(sentence) => io::Error::new(kind, sentence),
        None => unnamed(path, error),
    }
}

/// The process has as many files open as it may.
#[derive(Debug)]
struct OutOfFiles;

impl std::fmt::Display for OutOfFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("this process may not open more files; raise the limit, for example with ulimit -n 65536")
    }
}

impl std::error::Error for OutOfFiles {}

/// The error, with a remedy if the process has as many files open as it may.
pub fn explain_limit(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::EMFILE) => io::Error::other(OutOfFiles),
        _ => error,
    }
}

/// Whether an error that was [explained](explain_limit) says that the process has as many files open as it may.
pub fn is_out_of_files(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|error| error.is::<OutOfFiles>())
}

/// What stands between the start of a path and what it names; `None` if it can be looked at.
pub fn obstacle(path: &Path) -> Option<String> {
    let mut reached = PathBuf::new();
    let mut components = path.components().peekable();
    while let Some(component) = components.next() {
        let parent = match reached.as_os_str().is_empty() {
            true => PathBuf::from("."),
            false => reached.clone(),
        };
        reached.push(component);
        let is_last = components.peek().is_none();
        match reached.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Some(format!(
                    "the directory {parent:?} cannot be entered (permission denied)"
                ));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_last => {
                return Some("no such file or directory".to_owned());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Some(format!("the directory {reached:?} does not exist"));
            }
            Err(_) => return None,
            Ok(metadata) => {
                let mut is_directory = metadata.is_dir();
                if metadata.is_symlink() {
                    match reached.metadata() {
                        Ok(target) => is_directory = target.is_dir(),
                        Err(error) => return Some(bad_link(&reached, &error)),
                    }
                }
                if !is_directory && !is_last {
                    return Some(format!("{reached:?} is a file, not a directory"));
                }
            }
        }
    }
    None
}

fn bad_link(link: &Path, error: &io::Error) -> String {
    let target = link.read_link().unwrap_or_default();
    let why = match error.kind() {
        io::ErrorKind::NotFound => "which does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "which cannot be reached (permission denied)".to_owned(),
        _ if is_loop(error) => "which leads back to it".to_owned(),
        _ => format!("which cannot be reached ({error})"),
    };
    format!("{link:?} is a link to {target:?}, {why}")
}

fn is_loop(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ELOOP)
}

/// The path can be looked at, but not be opened.
fn unnamed(path: &Path, error: io::Error) -> io::Error {
    let what = match path.is_dir() {
        true => "the directory",
        false => "the file",
    };
    match error.kind() {
        kind @ io::ErrorKind::PermissionDenied if path.exists() => {
            io::Error::new(kind, format!("{what} cannot be opened (permission denied)"))
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_first_part_that_is_wrong_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("there")).unwrap();
        fs::write(at("there/file"), "").unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        symlink("circle", at("circle")).unwrap();
        let said = |name: &str| {
            let path = at(name);
            let said = explain(&path, fs::read(&path).unwrap_err()).to_string();
            said.replace(dir.path().to_str().unwrap(), "DIR")
        };
        assert_eq!(said("none"), "no such file or directory");
        assert_eq!(said("there/none"), "no such file or directory");
        assert_eq!(said("none/of/these"), "the directory \"DIR/none\" does not exist");
        assert_eq!(
            said("there/none/of"),
            "the directory \"DIR/there/none\" does not exist"
        );
        assert_eq!(
            said("there/file/below"),
            "\"DIR/there/file\" is a file, not a directory"
        );
        let dangling = "\"DIR/dangling\" is a link to \"nowhere\", which does not exist";
        assert_eq!(said("dangling"), dangling);
        assert_eq!(said("dangling/below"), dangling);
        assert_eq!(
            said("circle/below"),
            "\"DIR/circle\" is a link to \"circle\", which leads back to it"
        );
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(explain(&at("none"), full).kind(), io::ErrorKind::StorageFull);
    }
}
