//! Why a path cannot be opened: which part of it is at fault.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::error::SourceError;

/// The error of the operating system for a path, with the part that is missing, is no directory, or may not be read.
pub(super) fn explain(path: &Path, source: io::Error) -> SourceError {
    let detail = match source.kind() {
        ErrorKind::NotFound => missing(path),
        ErrorKind::NotADirectory => not_a_directory(path),
        ErrorKind::PermissionDenied => forbidden(path),
        _ => None,
    };
    match detail {
        Some(detail) => SourceError::Path {
            file: path.to_owned(),
            detail,
            source,
        },
        None => SourceError::Io {
            file: path.to_owned(),
            source,
        },
    }
}

/// The paths that lead to this one, the shortest first.
fn steps(path: &Path) -> Vec<&Path> {
    let mut steps: Vec<&Path> = path.ancestors().filter(|step| *step != Path::new("")).collect();
    steps.reverse();
    steps
}

fn missing(path: &Path) -> Option<String> {
    for step in steps(path) {
        if step.exists() {
            continue;
        }
        if let Ok(target) = step.read_link() {
            return Some(format!(
                "No such file or directory: {} is a symbolic link to {}, which does not exist",
                step.display(),
                target.display()
            ));
        }
        let parent = match step.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            // A relative path: say from where.
            _ => std::env::current_dir().unwrap_or_else(|_| PathBuf::from("the current directory")),
        };
        let name = step.file_name().unwrap_or_default().to_string_lossy();
        let what = match step == path {
            true => String::new(),
            false => "directory ".to_owned(),
        };
        return Some(format!(
            "No such file or directory: there is no {what}{name} in {}",
            parent.display()
        ));
    }
    None
}

fn not_a_directory(path: &Path) -> Option<String> {
    let file = steps(path).into_iter().find(|step| step.is_file())?;
    Some(format!("Not a directory: {} is a file", file.display()))
}

fn forbidden(path: &Path) -> Option<String> {
    let steps = steps(path);
    // The first that cannot be seen lies in a directory that may not be searched.
    let (at, what) = match steps.iter().position(|step| step.symlink_metadata().is_err()) {
        Some(0) | None => (path, "may not be read"),
        Some(number) => (steps[number - 1], "may not be searched"),
    };
    Some(format!(
        "Permission denied: {} {what} by this user; see ls -ld {}",
        at.display(),
        at.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(path: &Path) -> String {
        explain(path, std::fs::File::open(path).unwrap_err()).to_string()
    }

    #[test]
    fn the_part_at_fault_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::fs::write(root.join("file"), "x").unwrap();
        std::os::unix::fs::symlink("nowhere/at all", root.join("link")).unwrap();
        let shown = root.display();
        for (path, part) in [
            ("a.h5ad", format!("there is no a.h5ad in {shown}")),
            ("a/b/c.h5ad", format!("there is no directory a in {shown}")),
            ("file/c.h5ad", format!("Not a directory: {shown}/file is a file")),
            (
                "link",
                format!("{shown}/link is a symbolic link to nowhere/at all, which does not exist"),
            ),
            (
                "link/x.h5ad",
                format!("{shown}/link is a symbolic link to nowhere/at all"),
            ),
        ] {
            let message = told(&root.join(path));
            assert!(message.contains(&part), "{message}");
            assert!(
                message.starts_with(&format!("cannot open {shown}/{path}: ")),
                "{message}"
            );
        }
        let here = std::env::current_dir().unwrap();
        let message = told(Path::new("no such/x.h5ad"));
        let part = format!("there is no directory no such in {}", here.display());
        assert!(message.contains(&part), "{message}");
    }

    #[test]
    fn what_is_forbidden_is_named() {
        // Not by permissions, which do not bind root.
        let source = || io::Error::from(ErrorKind::PermissionDenied);
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("x.h5ad");
        std::fs::write(&file, "x").unwrap();
        let message = explain(&file, source()).to_string();
        assert!(
            message.contains("x.h5ad may not be read by this user"),
            "{message}"
        );
        let below = directory.path().join("closed/x.h5ad");
        std::fs::create_dir(directory.path().join("closed")).unwrap();
        let message = explain(&below, source()).to_string();
        assert!(
            message.contains("closed may not be searched by this user"),
            "{message}"
        );
    }
}
