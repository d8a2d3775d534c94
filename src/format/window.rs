//! Reads a shard from front to back through a small buffer, however long its blocks are.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::FormatError;
use super::file::{Links, open};

/// Bytes that are read at once.
const WINDOW_BYTES: u64 = 4 << 20;

/// An open shard.
#[derive(Debug)]
pub(crate) struct ShardFile {
    path: PathBuf,
    file: File,
}

impl ShardFile {
    pub(crate) fn open(path: PathBuf) -> Result<Self, FormatError> {
        let file = open(&path, Links::Followed).map_err(FormatError::io(&path))?;
        Ok(Self { path, file })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Some consecutive bytes of a shard.
#[derive(Debug, Default)]
pub(crate) struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// The bytes are those of another shard, or have been used.
    pub(crate) fn forget(&mut self) {
        self.bytes.clear();
    }

    /// `len` bytes from `from` on. Where they are not in memory, those that follow are read along, up to `end`.
    pub(crate) fn part(
        &mut self,
        file: &ShardFile,
        from: u64,
        len: usize,
        end: u64,
    ) -> Result<&[u8], FormatError> {
        if len == 0 {
            return Ok(&[]);
        }
        let until = from + len as u64;
        if from < self.start || until > self.start + self.bytes.len() as u64 {
            let ahead = end.min(from + WINDOW_BYTES).max(until);
            self.start = from;
            self.bytes.resize((ahead - from) as usize, 0);
            let read = file.file.read_exact_at(&mut self.bytes, from);
            if read.is_err() {
                self.bytes.clear();
            }
            read.map_err(FormatError::io(&file.path))?;
        }
        let at = (from - self.start) as usize;
        Ok(&self.bytes[at..at + len])
    }

    /// Checks that these bytes are zero.
    pub(crate) fn check_zero(&mut self, file: &ShardFile, range: Range<u64>) -> Result<(), FormatError> {
        let mut from = range.start;
        while from < range.end {
            let len = (range.end - from).min(WINDOW_BYTES) as usize;
            let bytes = self.part(file, from, len, range.end)?;
            if let Some(k) = bytes.iter().position(|&byte| byte != 0) {
                let rule = format!("padding is {}, expected 0", bytes[k]);
                return Err(FormatError::invalid(&file.path, from + k as u64, rule));
            }
            from += len as u64;
        }
        Ok(())
    }
}
