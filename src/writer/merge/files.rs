//! Files of parts, compared with their checksums.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use crate::Error;
use crate::format::FormatError;
use crate::format::checksum::{HashingWriter, crc32c};
use crate::format::constants::CHECKSUM_PIECE_BYTES;
use crate::format::file::{Links, open};
use crate::format::manifest::FileEntry;
use crate::writer::complete::WrittenTable;
use crate::writer::error::WriteError;

/// Compares a file with its checksums.
pub(super) fn verify_file(path: &Path, entry: &FileEntry) -> Result<(), Error> {
    let mut file = open(path, Links::Refused).map_err(WriteError::io(path))?;
    let mut left = entry.bytes;
    for (piece, &expected) in entry.crc32c.iter().enumerate() {
        let mut bytes = vec![0; left.min(CHECKSUM_PIECE_BYTES as u64) as usize];
        file.read_exact(&mut bytes).map_err(WriteError::io(path))?;
        left -= bytes.len() as u64;
        let found = crc32c(&bytes);
        if found != expected {
            let start = (piece * CHECKSUM_PIECE_BYTES) as u64;
            return Err(WriteError::Format(FormatError::Checksum {
                file: path.to_path_buf(),
                start,
                end: start + bytes.len() as u64,
                expected,
                found,
            })
            .into());
        }
    }
    Ok(())
}

/// Copies a table after comparing it with its checksums.
pub(super) fn copy_table(
    from: &Path,
    to: &Path,
    entry: &FileEntry,
    n_rows: u64,
) -> Result<WrittenTable, Error> {
    verify_file(from, entry)?;
    let write = || -> std::io::Result<u32> {
        let mut out = HashingWriter::new(BufWriter::new(File::create_new(to)?));
        std::io::copy(&mut open(from, Links::Refused)?.take(entry.bytes), &mut out)?;
        let (mut file, hasher) = out.into_parts();
        file.flush()?;
        Ok(hasher.whole())
    };
    Ok(WrittenTable {
        entry: entry.clone(),
        crc: write().map_err(WriteError::io(to))?,
        n_rows,
    })
}
