//! CRC-32C of obs, and of files in pieces.

use crc_fast::{CrcAlgorithm, Digest};

use super::constants::CHECKSUM_PIECE_BYTES;

/// CRC-32C (Castagnoli) of `bytes`.
#[inline]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc32c_append(0, bytes)
}

/// CRC-32C of what `crc` is that of, followed by `bytes`.
#[inline]
pub fn crc32c_append(crc: u32, bytes: &[u8]) -> u32 {
    // The digest takes the state before its final inversion.
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(!crc));
    digest.update(bytes);
    digest.finalize() as u32
}

/// Checksum of one obs: its number and its count of values, then its bytes as they lie in the block.
///
/// Covering the number and the count ties the bytes to the index: a damaged index entry cannot deliver the values of
/// another obs, nor a part of them.
#[inline]
pub fn obs_crc(obs: u64, nnz: u32, parts: &[&[u8]]) -> u32 {
    let mut seed = [0u8; 12];
    seed[..8].copy_from_slice(&obs.to_le_bytes());
    seed[8..].copy_from_slice(&nnz.to_le_bytes());
    parts
        .iter()
        .fold(crc32c(&seed), |crc, part| crc32c_append(crc, part))
}

/// Checksums of consecutive pieces of a file, as the manifest lists them.
#[derive(Clone, Debug, Default)]
pub struct PieceHasher {
    done: Vec<u32>,
    current: u32,
    filled: usize,
    whole: u32,
    bytes: u64,
}

impl PieceHasher {
    /// Takes the next bytes of the file.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.whole = crc32c_append(self.whole, bytes);
        self.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(CHECKSUM_PIECE_BYTES - self.filled));
            self.current = crc32c_append(self.current, now);
            self.filled += now.len();
            if self.filled == CHECKSUM_PIECE_BYTES {
                self.done.push(self.current);
                (self.current, self.filled) = (0, 0);
            }
            bytes = rest;
        }
    }

    /// Number of bytes taken so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// CRC of all bytes taken so far.
    pub fn whole(&self) -> u32 {
        self.whole
    }

    /// The checksums of the pieces.
    pub fn finish(mut self) -> Vec<u32> {
        if self.filled > 0 {
            self.done.push(self.current);
        }
        self.done
    }
}

/// A writer that hashes what passes through it.
#[derive(Debug)]
pub struct HashingWriter<W> {
    inner: W,
    hasher: PieceHasher,
}

impl<W> HashingWriter<W> {
    /// Wraps a writer whose file is empty.
    pub fn new(inner: W) -> Self {
        Self {
            inner,
            hasher: PieceHasher::default(),
        }
    }

    /// As [`new`](Self::new), with a hasher that has seen `before`, which is not written.
    pub fn after(before: &[u8], inner: W) -> Self {
        let mut writer = Self::new(inner);
        writer.hasher.update(before);
        writer
    }

    /// Gives back the writer, and the hasher that has seen every byte.
    pub fn into_parts(self) -> (W, PieceHasher) {
        (self.inner, self.hasher)
    }
}

impl<W: std::io::Write> std::io::Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_value() {
        // The check value of CRC-32C in the catalogue of parametrised CRC algorithms.
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn pieces_do_not_depend_on_how_bytes_arrive() {
        let bytes: Vec<u8> = (0..CHECKSUM_PIECE_BYTES * 2 + 17)
            .map(|i| ((i * 31) >> 3) as u8)
            .collect();
        let mut at_once = PieceHasher::default();
        at_once.update(&bytes);
        let mut in_parts = PieceHasher::default();
        for part in bytes.chunks(999_983) {
            in_parts.update(part);
        }
        assert_eq!(at_once.whole(), crc32c(&bytes));
        let expected: Vec<u32> = bytes.chunks(CHECKSUM_PIECE_BYTES).map(crc32c).collect();
        assert_eq!(at_once.finish(), expected);
        assert_eq!(in_parts.finish(), expected);
    }

    #[test]
    fn obs_crc_covers_number_count_and_bytes() {
        let crc = obs_crc(5, 2, &[b"ab", b"cd"]);
        assert_eq!(crc, obs_crc(5, 2, &[b"abcd"]));
        for other in [
            obs_crc(6, 2, &[b"abcd"]),
            obs_crc(5, 3, &[b"abcd"]),
            obs_crc(5, 2, &[b"abce"]),
        ] {
            assert_ne!(crc, other);
        }
    }
}
