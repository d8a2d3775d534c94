//! Files of which every piece of [`CHECKSUM_PIECE_BYTES`] has a checksum.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow_buffer::{Buffer, MutableBuffer};

use super::checksum::crc32c;
use super::constants::CHECKSUM_PIECE_BYTES;
use super::error::FormatError;
use super::file::StoreFile;

/// Reads a file by its pieces, and keeps the last one.
pub(super) struct Pieces<'a> {
    file: Arc<StoreFile>,
    checksums: &'a [u32],
    content: Vec<u8>,
    loaded: Option<usize>,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(file: Arc<StoreFile>, checksums: &'a [u32]) -> Self {
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
            let file = &self.file;
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

    /// As [`Self::bytes`], where Arrow wants them to be.
    pub(super) fn buffer(&mut self, range: Range<usize>) -> Result<Buffer, FormatError> {
        let mut bytes = MutableBuffer::try_from_len_zeroed(range.len())
            .map_err(|_| FormatError::io(self.file.path())(io::ErrorKind::OutOfMemory.into()))?;
        self.copy(range, &mut bytes)?;
        Ok(bytes.into())
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of three pieces and a bit, and its checksums.
    fn file() -> (tempfile::NamedTempFile, Vec<u8>, Vec<u32>) {
        let content: Vec<u8> = (0..3 * CHECKSUM_PIECE_BYTES + 77)
            .map(|at| (at / 7 % 251) as u8)
            .collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &content).unwrap();
        let checksums = content.chunks(CHECKSUM_PIECE_BYTES).map(crc32c).collect();
        (file, content, checksums)
    }

    #[test]
    fn ranges_are_those_of_the_file_across_pieces_too() {
        let (file, content, checksums) = file();
        let opened = StoreFile::open(file.path().to_path_buf(), content.len() as u64).unwrap();
        let mut pieces = Pieces::new(Arc::new(opened), &checksums);
        let end = content.len();
        let piece = CHECKSUM_PIECE_BYTES;
        for range in [
            0..0,
            5..9,
            piece - 3..2 * piece + 4,
            end - 80..end,
            0..end,
            end..end,
        ] {
            assert!(
                pieces.bytes(range.clone()).unwrap() == content[range.clone()],
                "{range:?}"
            );
            assert!(
                pieces.buffer(range.clone()).unwrap().as_slice() == &content[range.clone()],
                "{range:?}"
            );
        }
        assert!(pieces.load(3).unwrap() == &content[3 * piece..]);
    }

    #[test]
    fn damage_is_found_in_what_is_read_and_only_there() {
        let (file, mut content, checksums) = file();
        content[CHECKSUM_PIECE_BYTES + 9] ^= 1;
        std::fs::write(file.path(), &content).unwrap();
        let opened = StoreFile::open(file.path().to_path_buf(), content.len() as u64).unwrap();
        let mut pieces = Pieces::new(Arc::new(opened), &checksums);
        assert!(pieces.bytes(0..100).is_ok());
        let error = pieces.bytes(10..CHECKSUM_PIECE_BYTES + 1).unwrap_err();
        assert!(
            matches!(error, FormatError::Checksum { start, .. } if start == CHECKSUM_PIECE_BYTES as u64),
            "{error}"
        );
        // Nor is it taken when it was loaded before.
        assert!(
            pieces
                .bytes(CHECKSUM_PIECE_BYTES..CHECKSUM_PIECE_BYTES + 1)
                .is_err()
        );
        assert!(pieces.bytes(2 * CHECKSUM_PIECE_BYTES..content.len()).is_ok());
        file.as_file().set_len(CHECKSUM_PIECE_BYTES as u64).unwrap();
        let error = pieces
            .bytes(CHECKSUM_PIECE_BYTES..CHECKSUM_PIECE_BYTES + 1)
            .unwrap_err();
        assert!(matches!(error, FormatError::Length { .. }), "{error}");
    }
}
