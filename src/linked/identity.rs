//! Whether a file is still the one that was linked: by its length, the time of its last modification, and samples of its bytes.

use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};

use crc_fast::{CrcAlgorithm, Digest};

use crate::format::linked::{LinkedFile, MAX_PIECES_BYTES, Piece};

/// Bytes at both ends that are looked at: headers of HDF5 lie at the front, what was added last at the end.
const END_BYTES: u64 = 64 << 10;
/// Samples between them, one in each of as many equal parts of the file.
const N_SAMPLES: u64 = 256;
/// Length of a sample.
const SAMPLE_BYTES: u64 = 4096;
/// Length of the longest file whose samples are all of it.
const SAMPLED_BYTES: u64 = N_SAMPLES * SAMPLE_BYTES;
/// Most pieces of a file.
pub(crate) const MAX_PIECES: usize = (MAX_PIECES_BYTES / SAMPLE_BYTES) as usize;
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

/// The pieces by which it is seen that what is in `ranges` of a file of this length changed: all of it if that is few pieces of not many
/// bytes, else a sample of each of `most` parts of it, the first and the last bytes among them. None of a file that is sampled as a whole.
pub(crate) fn pieces(ranges: &[Range<u64>], bytes: u64, most: usize) -> Vec<Piece> {
    if bytes <= SAMPLED_BYTES {
        return Vec::new();
    }
    let within = ranges.iter().map(|range| range.start..range.end.min(bytes));
    let mut within: Vec<Range<u64>> = within.filter(|range| range.start < range.end).collect();
    within.sort_unstable_by_key(|range| range.start);
    let runs = merged(within);
    let total: u64 = runs.iter().map(|run| run.end - run.start).sum();
    let most = most.clamp(1, MAX_PIECES);
    let chosen = match runs.len() <= most && total <= MAX_PIECES_BYTES {
        true => runs,
        false => merged(samples(&runs, total, most as u64)),
    };
    let piece = |range: Range<u64>| Piece {
        offset_bytes: range.start,
        n_bytes: (range.end - range.start) as u32,
    };
    chosen.into_iter().map(piece).collect()
}

/// Ranges that ascend, those that touch as one.
fn merged(ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// Samples of runs that have `total` bytes together: one in each of `n` equal parts, within one run; the whole of a run that is short.
fn samples(runs: &[Range<u64>], total: u64, n: u64) -> Vec<Range<u64>> {
    let part_at = |k: u64| (u128::from(total) * u128::from(k) / u128::from(n)) as u64;
    let mut run_at = 0;
    let mut runs = runs.iter();
    let mut run = runs.next();
    let sample = |k: u64| {
        let (start, end) = (part_at(k), part_at(k + 1));
        let room = (end - start).saturating_sub(SAMPLE_BYTES);
        let at = match k {
            0 => start,
            _ if k + 1 == n => end - 1,
            _ => start + scattered(total ^ k) % room.max(1),
        };
        while let Some(before) = run.filter(|run| run_at + (run.end - run.start) <= at) {
            run_at += before.end - before.start;
            run = runs.next();
        }
        let run = run?;
        match run.end - run.start <= SAMPLE_BYTES {
            true => Some(run.clone()),
            false => {
                let start = (run.start + (at - run_at)).min(run.end - SAMPLE_BYTES);
                Some(start..start + SAMPLE_BYTES)
            }
        }
    };
    (0..n).map_while(sample).collect()
}

/// The checksum (CRC-64/NVME) of samples of a file of this length, and of pieces of it.
///
/// # Errors
/// If they cannot be read.
pub(crate) fn fingerprint(file: &File, bytes: u64, pieces: &[Piece]) -> io::Result<u64> {
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
    for piece in pieces {
        let end = piece.end().unwrap_or(u64::MAX);
        let mut starts = (piece.offset_bytes..end).step_by(END_BYTES as usize);
        starts.try_for_each(|at| add(at, (end - at).min(END_BYTES)))?;
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
            fingerprint(&File::open(&path).unwrap(), content.len() as u64, &[]).unwrap()
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
            fingerprint(&File::open(&path).unwrap(), content.len() as u64, &[]).unwrap()
        };
        assert_eq!(print(&content), GOLDEN);
        assert_eq!(print(&content[..500_000]), GOLDEN_OF_SHORT);
        let part = content.len() as u64 / N_SAMPLES;
        let within = scattered(content.len() as u64 ^ 100) % (part - SAMPLE_BYTES);
        content[(100 * part + within + 7) as usize] ^= 1;
        assert_ne!(print(&content), GOLDEN);
    }

    #[test]
    fn pieces_are_all_of_little_and_samples_of_much() {
        const LONG: u64 = 1 << 40;
        let range = |piece: &Piece| piece.offset_bytes..piece.end().unwrap();
        let of = |ranges: &[Range<u64>], bytes, most| -> Vec<Range<u64>> {
            pieces(ranges, bytes, most).iter().map(range).collect()
        };
        let some = [9_000_000..9_000_100, 70..90, 80..95, 95..100];
        assert_eq!(of(&some, LONG, 9), [70..100, 9_000_000..9_000_100]);
        assert_eq!(of(&some, SAMPLED_BYTES, 9), []);
        // What the file does not have is not looked for.
        assert_eq!(of(&some, 9_000_010, 9), [70..100, 9_000_000..9_000_010]);
        assert_eq!(of(&[5..5, LONG..u64::MAX], LONG, 9), []);

        // One long run, and many short ones, as those of starts of rows and of nodes of an index.
        let nodes = (0..5000u64).map(|k| (1 << 30) + k * 1_000_000..(1 << 30) + k * 1_000_000 + 2_600);
        let long = std::iter::once(1_000..1_000 + (1 << 30));
        for ranges in [long.collect(), nodes.collect::<Vec<_>>()] {
            let found = of(&ranges, LONG, MAX_PIECES);
            assert!(
                found.len() > MAX_PIECES / 2 && found.len() <= MAX_PIECES,
                "{}",
                found.len()
            );
            assert!(found.iter().map(|range| range.end - range.start).sum::<u64>() <= MAX_PIECES_BYTES);
            assert!(found.windows(2).all(|pair| pair[0].end < pair[1].start));
            let is_within = |found: &Range<u64>| {
                ranges
                    .iter()
                    .any(|range| range.start <= found.start && found.end <= range.end)
            };
            assert!(found.iter().all(is_within));
            assert_eq!(found[0].start, ranges[0].start);
            assert_eq!(found[found.len() - 1].end, ranges[ranges.len() - 1].end);
            // Somewhere in each part.
            let half = found
                .partition_point(|range| range.start < (ranges[0].start + ranges[ranges.len() - 1].end) / 2);
            assert!(half.abs_diff(found.len() / 2) <= 2, "{half} of {}", found.len());
        }
        let one = of(&[0..10_000_000, 20_000_000..20_000_003], LONG, 1);
        assert_eq!((one.len(), one[0].clone()), (1, 0..4096));
    }

    #[test]
    fn a_byte_of_a_piece_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let mut content: Vec<u8> = (0..9_000_000u32).map(|at| (at * 31 / 7 % 253) as u8).collect();
        let watched = [300_000..500_000, 3_000_000..3_000_100];
        let pieces = pieces(&watched, content.len() as u64, MAX_PIECES);
        let print = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            fingerprint(&File::open(&path).unwrap(), content.len() as u64, &pieces).unwrap()
        };
        let before = print(&content);
        for at in [300_000, 365_535, 365_536, 499_999, 3_000_000, 3_000_099] {
            content[at] ^= 1;
            assert_ne!(print(&content), before, "byte {at}");
            content[at] ^= 1;
        }
        assert_eq!(print(&content), before);
    }

    const GOLDEN: u64 = 9_151_133_741_923_391_653;
    /// Made when short files, too, were read sample by sample.
    const GOLDEN_OF_SHORT: u64 = 13_600_110_519_796_159_798;
}
