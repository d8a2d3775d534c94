//! What the index says of a file that it leads to: where it is, and how it is recognised.

use super::bytes::{Reader, put_text};

/// Most bytes of the pieces of a file: they are read whenever a store is opened.
pub(crate) const MAX_PIECES_BYTES: u64 = 4 << 20;

/// A file of the source, and how it is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkedFile {
    /// From the root below which all of them are: plain components, one after the other.
    pub(crate) path: String,
    /// Length.
    pub(crate) bytes: u64,
    /// When it was last modified: seconds since 1970, and nanoseconds.
    pub(crate) modified: (i64, u32),
    /// Checksum of samples of its bytes, and of the pieces.
    pub(crate) fingerprint: u64,
    /// What says where values are: the indexes of chunks, and the starts of rows, or samples of them.
    pub(crate) pieces: Vec<Piece>,
}

/// A few bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Where they begin.
    pub(crate) offset_bytes: u64,
    /// How many they are.
    pub(crate) n_bytes: u32,
}

impl Piece {
    /// Where they end; `None` at 2^64 or after it.
    pub(crate) fn end(&self) -> Option<u64> {
        self.offset_bytes.checked_add(u64::from(self.n_bytes))
    }
}

impl LinkedFile {
    /// Appends its bytes.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_text(&self.path, out);
        out.extend(self.bytes.to_le_bytes());
        out.extend(self.modified.0.to_le_bytes());
        out.extend(self.modified.1.to_le_bytes());
        out.extend(self.fingerprint.to_le_bytes());
        out.extend((self.pieces.len() as u32).to_le_bytes());
        for piece in &self.pieces {
            out.extend(piece.offset_bytes.to_le_bytes());
            out.extend(piece.n_bytes.to_le_bytes());
        }
    }

    /// Takes it from the front; `None` if it ends early, or a text in it is none.
    pub(super) fn take(reader: &mut Reader<'_>) -> Option<Self> {
        let (path, bytes) = (reader.text()?, reader.u64()?);
        let (modified, fingerprint) = ((reader.i64()?, reader.u32()?), reader.u64()?);
        let n_pieces = reader.u32()?;
        let mut piece = || {
            Some(Piece {
                offset_bytes: reader.u64()?,
                n_bytes: reader.u32()?,
            })
        };
        Some(Self {
            path,
            bytes,
            modified,
            fingerprint,
            pieces: (0..n_pieces).map(|_| piece()).collect::<Option<_>>()?,
        })
    }

    /// Whether its pieces are few bytes of it, in order.
    ///
    /// # Errors
    /// The rule that is broken.
    pub(super) fn check_pieces(&self) -> Result<(), String> {
        let (mut end, mut n_bytes) = (0, 0);
        for piece in &self.pieces {
            let piece_end = piece.end().filter(|&end| end <= self.bytes);
            let (true, Some(piece_end)) = (piece.offset_bytes >= end && piece.n_bytes > 0, piece_end) else {
                return Err(format!(
                    "the pieces of {:?} do not ascend within its {} bytes",
                    self.path, self.bytes
                ));
            };
            (end, n_bytes) = (piece_end, n_bytes + u64::from(piece.n_bytes));
        }
        match n_bytes <= MAX_PIECES_BYTES {
            true => Ok(()),
            false => Err(format!(
                "the pieces of {:?} have {n_bytes} bytes, expected at most {MAX_PIECES_BYTES}",
                self.path
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_few_bytes_of_their_file_in_order() {
        let check = |pieces: &[(u64, u32)]| {
            let piece = |&(offset_bytes, n_bytes): &(u64, u32)| Piece {
                offset_bytes,
                n_bytes,
            };
            let file = LinkedFile {
                path: "a".to_owned(),
                bytes: 8 << 20,
                modified: (0, 0),
                fingerprint: 0,
                pieces: pieces.iter().map(piece).collect(),
            };
            file.check_pieces()
        };
        for sound in [&[][..], &[(0, 1), (1, 5)], &[(7, 4 << 20)], &[((8 << 20) - 1, 1)]] {
            check(sound).unwrap();
        }
        for (wrong, rule) in [
            (&[(3, 0)][..], "ascend"),
            (&[(5, 2), (6, 1)], "ascend"),
            (&[(8 << 20, 1)], "ascend"),
            (&[(u64::MAX, 7)], "ascend"),
            (&[(0, 4 << 20), (5 << 20, 1)], "4194305 bytes"),
        ] {
            assert!(check(wrong).unwrap_err().contains(rule), "{wrong:?}");
        }
    }
}
