//! Files of which every piece of [`CHECKSUM_PIECE_BYTES`] has a checksum.

use std::ops::Range;
use std::path::Path;

use arrow_buffer::Buffer;
use memmap2::MmapOptions;

use super::checksum::crc32c;
use super::constants::CHECKSUM_PIECE_BYTES;
use super::error::FormatError;
use super::file::StoreFile;

/// Reads a file by its pieces, and keeps the last one.
pub(super) struct Pieces<'a> {
    file: &'a StoreFile,
    checksums: &'a [u32],
    content: Vec<u8>,
    loaded: Option<usize>,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(file: &'a StoreFile, checksums: &'a [u32]) -> Self {
        Self {
            file,
            checksums,
            content: Vec::new(),
            loaded: None,
        }
    }

    /// A piece that equals its checksum.
    ///
    /// # Errors
    /// If it cannot be read, or does not.
    pub(super) fn load(&mut self, piece: usize) -> Result<&[u8], FormatError> {
        if self.loaded != Some(piece) {
            self.loaded = None;
            let file = self.file;
            let at = piece * CHECKSUM_PIECE_BYTES;
            self.content.resize(CHECKSUM_PIECE_BYTES.min(file.len() - at), 0);
            file.read_at(&mut self.content, at)?;
            check_piece(file.path(), &self.content, piece, self.checksums[piece])?;
            self.loaded = Some(piece);
        }
        Ok(&self.content)
    }

    /// Copies bytes of the file.
    fn copy(&mut self, range: Range<usize>, into: &mut [u8]) -> Result<(), FormatError> {
        let mut at = range.start;
        while at < range.end {
            let (piece, within) = (at / CHECKSUM_PIECE_BYTES, at % CHECKSUM_PIECE_BYTES);
            let there = &self.load(piece)?[within..];
            let n = there.len().min(range.end - at);
            into[at - range.start..][..n].copy_from_slice(&there[..n]);
            at += n;
        }
        Ok(())
    }

    /// Bytes of the file.
    ///
    /// # Errors
    /// If they cannot be read, or are damaged.
    pub(super) fn bytes(&mut self, range: Range<usize>) -> Result<Vec<u8>, FormatError> {
        let mut bytes = vec![0; range.len()];
        self.copy(range, &mut bytes)?;
        Ok(bytes)
    }

    /// Bytes of the file, of which only these ranges, counted from the first byte, are read. The rest is zero, and takes no memory.
    ///
    /// # Errors
    /// If they cannot be read, or are damaged.
    pub(super) fn sparse(
        &mut self,
        body: Range<usize>,
        ranges: impl Iterator<Item = Range<usize>>,
    ) -> Result<Buffer, FormatError> {
        // Allocated, all of it would be cleared.
        let mut memory = MmapOptions::new()
            .len(body.len().max(1))
            .no_reserve_swap()
            .map_anon()
            .map_err(FormatError::io(self.file.path()))?;
        // In order, and what several name only once.
        let mut ranges: Vec<_> = ranges.collect();
        ranges.sort_unstable_by_key(|range| range.start);
        let mut copied = 0;
        for range in ranges {
            let left = range.start.max(copied)..range.end;
            if !left.is_empty() {
                copied = left.end;
                self.copy(body.start + left.start..body.start + left.end, &mut memory[left])?;
            }
        }
        Ok(Buffer::from(bytes::Bytes::from_owner(memory)).slice_with_length(0, body.len()))
    }
}

/// Compares one piece of a file with its checksum.
pub(crate) fn verify_piece(
    path: &Path,
    bytes: &[u8],
    piece: usize,
    expected: u32,
) -> Result<(), FormatError> {
    let start = piece * CHECKSUM_PIECE_BYTES;
    let end = (start + CHECKSUM_PIECE_BYTES).min(bytes.len());
    check_piece(path, &bytes[start..end], piece, expected)
}

fn check_piece(path: &Path, content: &[u8], piece: usize, expected: u32) -> Result<(), FormatError> {
    let found = crc32c(content);
    if found == expected {
        return Ok(());
    }
    let start = (piece * CHECKSUM_PIECE_BYTES) as u64;
    let end = start + content.len() as u64;
    Err(FormatError::Checksum {
        file: path.to_path_buf(),
        start,
        end,
        expected,
        found,
    })
}
