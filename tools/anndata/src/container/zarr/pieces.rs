//! Files that are read in pieces.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// A file of which pieces are read.
pub(super) struct Pieces {
    from: From,
    n_bytes: u64,
}

enum From {
    /// From this offset of a file on.
    File(Arc<File>, u64),
    Memory(Vec<u8>),
}

impl Pieces {
    pub(super) fn of_file(file: Arc<File>, offset_bytes: u64, n_bytes: u64) -> Self {
        Self {
            from: From::File(file, offset_bytes),
            n_bytes,
        }
    }

    pub(super) fn held(bytes: Vec<u8>) -> Self {
        Self {
            n_bytes: bytes.len() as u64,
            from: From::Memory(bytes),
        }
    }

    pub(super) fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// Some of its bytes, which must be at most `most_bytes` and lie within it.
    pub(super) fn read(&self, offset_bytes: u64, n_bytes: u64, most_bytes: u64) -> Result<Vec<u8>, String> {
        let end = offset_bytes
            .checked_add(n_bytes)
            .filter(|&end| end <= self.n_bytes);
        let Some(end) = end else {
            return Err(format!(
                "{n_bytes} bytes at offset {offset_bytes} lie beyond its {}",
                self.n_bytes
            ));
        };
        if n_bytes > most_bytes {
            return Err(format!(
                "it has a piece of {n_bytes} bytes at offset {offset_bytes}, expected at most {most_bytes}"
            ));
        }
        match &self.from {
            From::Memory(bytes) => Ok(bytes[offset_bytes as usize..end as usize].to_vec()),
            From::File(file, start) => {
                let mut piece = vec![0; n_bytes as usize];
                file.read_exact_at(&mut piece, start + offset_bytes)
                    .map_err(|error| error.to_string())?;
                Ok(piece)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_lie_within_their_file() {
        let pieces = Pieces::held((0..10).collect());
        assert_eq!(pieces.read(2, 3, 3).unwrap(), [2, 3, 4]);
        assert!(pieces.read(10, 0, 3).unwrap().is_empty());
        for (offset, n) in [(8, 3), (u64::MAX, 1), (1, u64::MAX), (11, 0)] {
            assert!(
                pieces
                    .read(offset, n, u64::MAX)
                    .unwrap_err()
                    .contains("beyond its 10")
            );
        }
        assert!(pieces.read(0, 5, 4).unwrap_err().contains("expected at most 4"));
    }
}
