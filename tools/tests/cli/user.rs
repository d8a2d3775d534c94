//! Running the command as a user who may not do everything, also where the tests run as root.
#![allow(unsafe_code, reason = "the user is changed between fork and exec")]

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// nobody, on every Linux.
const NOBODY: u32 = 65534;

/// A directory that everybody may enter and write to, and the command in it: the one that was built may lie where other users may
/// not go.
pub(crate) struct Playground {
    dir: TempDir,
}

impl Playground {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        allow(dir.path(), 0o777);
        let binary = dir.path().join("cellring");
        std::fs::copy(env!("CARGO_BIN_EXE_cellring"), &binary).unwrap();
        allow(&binary, 0o755);
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The command, run by nobody if this is root, else by whoever runs the tests.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.path("cellring"));
        command.args(args).current_dir(self.dir.path());
        if is_root() {
            // SAFETY: between fork and exec the closure makes system calls that take numbers alone.
            unsafe { command.pre_exec(become_nobody) };
        }
        command
    }
}

fn is_root() -> bool {
    // SAFETY: it takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

fn become_nobody() -> io::Result<()> {
    // SAFETY: the calls take numbers, and an empty list of groups.
    let refused = unsafe {
        libc::setgroups(0, std::ptr::null()) != 0 || libc::setgid(NOBODY) != 0 || libc::setuid(NOBODY) != 0
    };
    if refused {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Sets the permissions of a path.
pub(crate) fn allow(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Gives a tree to nobody if this is root.
pub(crate) fn give_away(path: &Path) {
    if !is_root() {
        return;
    }
    std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            give_away(&entry.unwrap().path());
        }
    }
}
