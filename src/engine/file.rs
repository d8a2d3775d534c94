//! The files of an engine: opened once, with or without O_DIRECT, and never reopened.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::direct::{self, DirectSupport};
use super::error::EngineError;

/// One open file and what was true of it when it was opened.
#[derive(Debug)]
struct OpenedFile {
    file: File,
    path: PathBuf,
    len_bytes: u64,
    device: u64,
    inode: u64,
}

/// The files that an engine reads from, all opened in the same way.
#[derive(Debug)]
pub(super) struct FileSet {
    files: Vec<OpenedFile>,
    alignment: u32,
    direct: bool,
}

impl FileSet {
    /// Opens every file for reading through the page cache.
    pub(super) fn open_buffered(paths: &[PathBuf]) -> Result<FileSet, EngineError> {
        let files = paths.iter().map(|path| open(path, 0)).collect::<Result<_, _>>()?;
        Ok(FileSet {
            files,
            alignment: 1,
            direct: false,
        })
    }

    /// Opens every file for reading past the page cache. The inner error says in one sentence why that cannot
    /// be done; `insist` takes the word of a filesystem that accepts O_DIRECT but does not tell its
    /// alignment.
    pub(super) fn open_direct(
        paths: &[PathBuf],
        insist: bool,
    ) -> Result<Result<FileSet, String>, EngineError> {
        let mut alignment = 1;
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            // First without, so that a file that cannot be opened at all is not taken for one without
            // O_DIRECT.
            let buffered = open(path, 0)?;
            match direct::support(&buffered.file, insist) {
                DirectSupport::Alignment(bytes) => alignment = alignment.max(bytes),
                DirectSupport::None(why) => return Ok(Err(format!("{}: {why}", path.display()))),
            }
            match open(path, libc::O_DIRECT) {
                Ok(file) => files.push(file),
                // A limit on open files is not the filesystem's.
                Err(EngineError::Open { path, source }) if source.raw_os_error().is_some() => {
                    let why = super::error::name_errno(&source);
                    let path = path.display();
                    return Ok(Err(format!(
                        "{path}: its filesystem refused to open it with O_DIRECT, {why}"
                    )));
                }
                Err(other) => return Err(other),
            }
        }
        Ok(Ok(FileSet {
            files,
            alignment,
            direct: true,
        }))
    }

    /// The same files, with reads held to `alignment` although the page cache does not ask for it.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn with_alignment(self, alignment: u32) -> FileSet {
        assert!(alignment.is_power_of_two(), "alignment {alignment}");
        FileSet { alignment, ..self }
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// What offsets, lengths and addresses of reads are multiples of; a power of two.
    pub(super) fn alignment(&self) -> u32 {
        self.alignment
    }

    pub(super) fn is_direct(&self) -> bool {
        self.direct
    }

    /// Size of a file when it was opened; `None` if there is no such file.
    pub(super) fn len_bytes(&self, file: u32) -> Option<u64> {
        self.files.get(file as usize).map(|opened| opened.len_bytes)
    }

    /// An open file; the index has been checked with its submission.
    pub(super) fn file(&self, file: u32) -> &File {
        &self.files[file as usize].file
    }

    pub(super) fn path(&self, file: u32) -> &Path {
        &self.files[file as usize].path
    }

    /// The device that holds a file: `st_dev`, which also differs between the partitions of a disk and between
    /// subvolumes of btrfs.
    pub(super) fn device(&self, file: u32) -> u64 {
        self.files[file as usize].device
    }

    /// What tells a file from others: its device and its inode.
    pub(super) fn id(&self, file: u32) -> (u64, u64) {
        let opened = &self.files[file as usize];
        (opened.device, opened.inode)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &File> {
        self.files.iter().map(|opened| &opened.file)
    }
}

fn open(path: &Path, flags: i32) -> Result<OpenedFile, EngineError> {
    let attempt = || -> io::Result<OpenedFile> {
        // Opening a pipe would wait for its other end.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags | libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        // io_uring would give up reads of such a file instead of waiting for them.
        fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
        direct::cache_extents(&file);
        Ok(OpenedFile {
            file,
            path: path.to_owned(),
            len_bytes: metadata.len(),
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    };
    cellring_core::with_descriptors(attempt).map_err(|source| EngineError::Open {
        path: path.to_owned(),
        source: cellring_core::explain_limit(source),
    })
}
