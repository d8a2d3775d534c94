//! Whether a file is still the one that was linked: by its length, the time of its last modification, and samples of its bytes.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use crc_fast::{CrcAlgorithm, Digest};

use crate::format::linked::LinkedFile;

/// Bytes at both ends that are looked at: headers of HDF5 lie at the front, what was added last at the end.
const END_BYTES: u64 = 64 << 10;
/// Samples between them, one in each of as many equal parts of the file.
const N_SAMPLES: u64 = 256;
/// Length of a sample.
const SAMPLE_BYTES: u64 = 4096;
/// Length of the longest file that is read as a whole for its samples.
const WHOLE_BYTES: u64 = 2 * END_BYTES + N_SAMPLES * SAMPLE_BYTES;

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Length.
    pub(crate) bytes: u64,
    /// Last modification: seconds since 1970, and nanoseconds.
    pub(crate) modified: (i64, u32),
}

impl Stamp {
    /// That of an open file.
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        Ok(Self::of_metadata(&file.metadata()?))
    }

    /// That of a file with these metadata.
    pub(super) fn of_metadata(metadata: &Metadata) -> Self {
        Self {
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec() as u32),
        }
    }

    /// In what a file differs from the one that was linked, in one clause.
    pub(crate) fn difference(&self, linked: &LinkedFile) -> Option<String> {
        if self.bytes != linked.bytes {
            return Some(format!("it has {} bytes, and had {}", self.bytes, linked.bytes));
        }
        let seconds = |(seconds, nanos): (i64, u32)| format!("{seconds}.{nanos:09}");
        (self.modified != linked.modified).then(|| {
            format!(
                "it was modified at {}, before at {} (seconds since 1970)",
                seconds(self.modified),
                seconds(linked.modified)
            )
        })
    }
}

/// The checksum (CRC-64/NVME) of samples of a file of this length.
///
/// # Errors
/// If they cannot be read.
pub(crate) fn fingerprint(file: &File, bytes: u64) -> io::Result<u64> {
    // Of a short file the samples are most of it, and some bytes are in several: it is read once. A zarr may have tens of thousands.
    let mut whole = Vec::new();
    if bytes <= WHOLE_BYTES {
        whole.resize(bytes as usize, 0);
        file.read_exact_at(&mut whole, 0)?;
    }
    let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
    digest.update(&bytes.to_le_bytes());
    let mut sample = vec![0; END_BYTES as usize];
    let mut add = |at: u64, most: u64| {
        let len = most.min(bytes - at) as usize;
        match whole.get(at as usize..at as usize + len) {
            Some(sample) => digest.update(sample),
            None => {
                let sample = &mut sample[..len];
                file.read_exact_at(sample, at)?;
                digest.update(sample);
            }
        }
        io::Result::Ok(())
    };
    add(0, END_BYTES)?;
    if bytes > END_BYTES {
        add(bytes - END_BYTES, END_BYTES)?;
        let part = bytes / N_SAMPLES;
        for number in 0..N_SAMPLES {
            // Somewhere in its part, the same place for every file of this length.
            let within = scattered(bytes ^ number) % part.saturating_sub(SAMPLE_BYTES).max(1);
            add(number * part + within, SAMPLE_BYTES)?;
        }
    }
    Ok(digest.finalize())
}

/// A number with nothing to do with `seed` (the finaliser of SplitMix64, Steele et al. 2014).
fn scattered(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_differ_where_ends_or_length_do() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let print = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            fingerprint(&File::open(&path).unwrap(), content.len() as u64).unwrap()
        };
        for len in [0, 1, 100, 65_536, 65_537, 300_000, 5_000_000] {
            let mut content: Vec<u8> = (0..len).map(|at: u32| (at * 7 + at / 251) as u8).collect();
            let before = print(&content);
            assert_eq!(before, print(&content), "{len} bytes");
            for at in [0, len as usize / 3, (len as usize).saturating_sub(1)] {
                let is_seen = at < 65_536 || at + 65_536 >= len as usize;
                if let Some(byte) = content.get_mut(at).filter(|_| is_seen) {
                    *byte ^= 1;
                    assert_ne!(before, print(&content), "{len} bytes, byte {at}");
                    content[at] ^= 1;
                }
            }
            content.push(0);
            assert_ne!(before, print(&content), "{len} bytes and one more");
        }
    }

    /// It is in stores, so it never changes; and it sees what lies between the ends.
    #[test]
    fn the_fingerprint_of_a_file_is_that_of_the_format() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let mut content: Vec<u8> = (0..3_000_000u32).map(|at| (at * 31 / 7 % 253) as u8).collect();
        let print = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            fingerprint(&File::open(&path).unwrap(), content.len() as u64).unwrap()
        };
        assert_eq!(print(&content), GOLDEN);
        assert_eq!(print(&content[..500_000]), GOLDEN_OF_SHORT);
        let part = content.len() as u64 / N_SAMPLES;
        let within = scattered(content.len() as u64 ^ 100) % (part - SAMPLE_BYTES);
        content[(100 * part + within + 7) as usize] ^= 1;
        assert_ne!(print(&content), GOLDEN);
    }

    const GOLDEN: u64 = 9_151_133_741_923_391_653;
    /// Made when short files, too, were read sample by sample.
    const GOLDEN_OF_SHORT: u64 = 13_600_110_519_796_159_798;
}
