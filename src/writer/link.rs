//! A second name for a file, or a copy where the filesystem gives it none.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Once;

/// How a file came to its second name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Linked {
    /// Both names are of the same file.
    Shared,
    /// The new name is of a copy.
    Copied,
}

/// Gives a file a second name, or copies it where the filesystem refuses hard links; a warning says so once. Nothing is replaced.
///
/// # Errors
/// What the system says: `AlreadyExists` where something has the name, `CrossesDevices` if it is on another filesystem.
pub(super) fn link_or_copy(from: &Path, to: &Path) -> io::Result<Linked> {
    static SAID: Once = Once::new();
    match fs::hard_link(from, to) {
        Ok(()) => Ok(Linked::Shared),
        Err(error) if is_refusal(&error) => {
            SAID.call_once(|| {
                let from = from.display();
                tracing::warn!(
                    "{from}: shards are copied, because the filesystem refuses hard links ({error})"
                );
            });
            let (mut source, mut copy) = (File::open(from)?, File::create_new(to)?);
            io::copy(&mut source, &mut copy).map(|_| Linked::Copied)
        }
        Err(error) => Err(error),
    }
}

/// What filesystems say that know no hard links, or no more of a file; and kernels that protect the files of other users.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EPERM | libc::EOPNOTSUPP | libc::ENOSYS | libc::EMLINK)
    )
}
