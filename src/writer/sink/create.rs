//! Creates shards.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A shard that was created.
#[derive(Debug)]
pub(super) struct OpenShard {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) is_direct: bool,
}

impl OpenShard {
    /// Creates a shard, with `direct` for direct writes where the filesystem takes the flag.
    pub(super) fn create(path: &Path, direct: bool) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        let path = path.to_path_buf();
        if direct && let Ok(file) = options.clone().custom_flags(libc::O_DIRECT).open(&path) {
            return Ok(Self {
                file,
                path,
                is_direct: true,
            });
        }
        // A refused O_DIRECT may still have created the file.
        let file = options
            .create_new(false)
            .create(true)
            .truncate(true)
            .open(&path)?;
        Ok(Self {
            file,
            path,
            is_direct: false,
        })
    }
}
