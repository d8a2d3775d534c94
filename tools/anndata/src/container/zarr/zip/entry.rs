//! Entries of a zip file.

use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use libdeflater::{Crc, Decompressor};

/// Bytes of an entry whose checksum is computed at a time.
const CHECKED_BYTES: u64 = 1 << 20;

/// A file within it.
pub(super) struct Entry {
    /// Where its bytes begin in the file.
    pub(super) offset_bytes: u64,
    /// Bytes in the file.
    pub(super) stored_bytes: u64,
    /// Bytes that it holds.
    pub(super) n_bytes: u64,
    pub(super) crc32: u32,
    pub(super) is_deflated: bool,
    /// Set once a stored entry that is read in pieces has been checked and found sound.
    pub(super) checked: OnceLock<()>,
}

impl Entry {
    /// Its bytes, checked.
    pub(super) fn whole(&self, file: &File) -> Result<Vec<u8>, String> {
        thread_local! {
            static DECOMPRESSOR: RefCell<Decompressor> = RefCell::new(Decompressor::new());
        }
        let mut stored = vec![0; self.stored_bytes as usize];
        file.read_exact_at(&mut stored, self.offset_bytes)
            .map_err(|error| error.to_string())?;
        let bytes = if self.is_deflated {
            let mut bytes = vec![0; self.n_bytes as usize];
            let found = DECOMPRESSOR
                .with_borrow_mut(|decompressor| decompressor.deflate_decompress(&stored, &mut bytes))
                .map_err(|_| format!("it does not inflate to its {} bytes", self.n_bytes))?;
            if found as u64 != self.n_bytes {
                return Err(format!("it inflates to {found} bytes, expected {}", self.n_bytes));
            }
            bytes
        } else {
            stored
        };
        self.compare(libdeflater::crc32(&bytes))?;
        Ok(bytes)
    }

    /// Checks a stored entry of any length.
    pub(super) fn check(&self, file: &File) -> Result<(), String> {
        let mut crc = Crc::new();
        let mut piece = vec![0; self.n_bytes.min(CHECKED_BYTES) as usize];
        let end = self.offset_bytes + self.n_bytes;
        let mut at = self.offset_bytes;
        while at < end {
            let piece = &mut piece[..(end - at).min(CHECKED_BYTES) as usize];
            file.read_exact_at(piece, at).map_err(|error| error.to_string())?;
            crc.update(piece);
            at += piece.len() as u64;
        }
        self.compare(crc.sum())
    }

    pub(super) fn compare(&self, found: u32) -> Result<(), String> {
        match found == self.crc32 {
            true => Ok(()),
            false => Err(format!(
                "its bytes have the CRC-32 {found:#010x}, expected {:#010x}",
                self.crc32
            )),
        }
    }
}
