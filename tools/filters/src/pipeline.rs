//! Undoes the filters of one chunk.

use std::error::Error;
use std::fmt;
use std::ops::Range;

use super::bitshuffle::Bitshuffle;
use super::blosc;
use super::checksum::{FLETCHER32_BYTES, strip_crc32c, strip_fletcher32};
use super::stream::{self, unshuffle};
use super::{lz4, lzf};

const DEFLATE: u16 = 1;
const SHUFFLE: u16 = 2;
const FLETCHER32: u16 = 3;
const LZF: u16 = 32000;
const BLOSC: u16 = 32001;
const LZ4: u16 = 32004;
const BITSHUFFLE: u16 = 32008;
const ZSTD: u16 = 32015;

/// Numbers for codecs of zarr that HDF5 does not have. They are in stores, so they never change. The registry leaves 32,768 to 65,535 to
/// applications.
pub mod zarr {
    /// A gzip stream.
    pub const GZIP: u16 = 0xCE01;
    /// The chunk, then its CRC-32C in 4 bytes, the lowest first.
    pub const CRC32C: u16 = 0xCE02;
    /// The length of the chunk in 4 bytes, the lowest first, then one block of lz4.
    pub const LZ4: u16 = 0xCE03;
}

/// Filter pipelines have at most this many filters (a chunk's mask has as many bits).
const MAX_FILTERS: usize = 32;

/// One step of a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Deflate,
    Shuffle {
        element_bytes: usize,
    },
    Fletcher32,
    Crc32c,
    Lzf,
    Blosc,
    Lz4,
    Bitshuffle(Bitshuffle),
    Zstd,
    Gzip,
    /// Of numcodecs.
    SizedLz4,
}

impl Step {
    /// Whether it appends a checksum and leaves the rest as it is.
    fn is_checksum(self) -> bool {
        matches!(self, Self::Fletcher32 | Self::Crc32c)
    }
}

/// One filter of a dataset, as the file names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Its number in the registry of the HDF Group, or in [`zarr`].
    pub id: u16,
    /// Its name, where the file has one.
    pub name: Option<String>,
    /// Its parameters.
    pub client_data: Vec<u32>,
}

/// The filters of a dataset, known to be readable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipeline {
    steps: Vec<Step>,
}

/// A filter that cannot be undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// Its number.
    pub id: u16,
    /// Its name, or what is not known of it.
    pub name: String,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "filter {} ({}) is not read", self.id, self.name)
    }
}

impl Error for Unknown {}

impl Pipeline {
    /// The pipeline of these filters, in the order in which they were applied, for elements of `element_bytes` bytes.
    ///
    /// # Errors
    /// If one of them is not known, or a chunk would be compressed twice.
    pub fn new(filters: &[Filter], element_bytes: usize) -> Result<Self, Unknown> {
        let unknown = |id, name: String| Unknown { id, name };
        let mut steps = Vec::with_capacity(filters.len());
        let mut n_compressors = 0;
        for filter in filters {
            let step = match filter.id {
                DEFLATE => Step::Deflate,
                // HDF5 takes no other size in its place.
                SHUFFLE => match filter.client_data.first() {
                    Some(&size) if size > 0 => Step::Shuffle {
                        element_bytes: size as usize,
                    },
                    _ => {
                        return Err(unknown(
                            filter.id,
                            "shuffle without the size of its elements".to_owned(),
                        ));
                    }
                },
                FLETCHER32 => Step::Fletcher32,
                LZF => Step::Lzf,
                BLOSC => Step::Blosc,
                LZ4 => Step::Lz4,
                ZSTD => Step::Zstd,
                zarr::GZIP => Step::Gzip,
                zarr::CRC32C => Step::Crc32c,
                zarr::LZ4 => Step::SizedLz4,
                BITSHUFFLE => match Bitshuffle::from_client_data(&filter.client_data, element_bytes) {
                    Some(bitshuffle) => Step::Bitshuffle(bitshuffle),
                    None => {
                        return Err(unknown(
                            filter.id,
                            "bitshuffle with an unknown compression".to_owned(),
                        ));
                    }
                },
                id => return Err(unknown(id, name_of(id, filter.name.as_deref()))),
            };
            n_compressors += usize::from(!matches!(step, Step::Shuffle { .. }) && !step.is_checksum());
            if n_compressors > 1 || steps.len() == MAX_FILTERS {
                return Err(unknown(
                    filter.id,
                    "a second compression of the same chunk".to_owned(),
                ));
            }
            steps.push(step);
        }
        Ok(Self { steps })
    }

    /// Whether the bytes in the file are the elements themselves. Bit i of the mask: filter i was not applied to this chunk.
    pub fn is_plain(&self, filter_mask: u32) -> bool {
        (0..self.steps.len()).all(|position| filter_mask >> position & 1 == 1)
    }

    /// Decodes `stored` into `decoded`, which will have `decoded_bytes` bytes. Both buffers are clobbered.
    ///
    /// # Errors
    /// In one clause, if `stored` does not decode to so many bytes, or a checksum differs.
    pub fn decode(
        &self,
        stored: &mut Vec<u8>,
        filter_mask: u32,
        decoded: &mut Vec<u8>,
        decoded_bytes: usize,
    ) -> Result<(), String> {
        let is_active = |position: usize| filter_mask >> position & 1 == 0;
        for (position, step) in self.steps.iter().enumerate().rev() {
            if !is_active(position) {
                continue;
            }
            // What this step was given when the chunk was written: the chunk and the checksums appended before it.
            let n_checksums = (0..position)
                .filter(|&before| is_active(before) && self.steps[before].is_checksum())
                .count();
            let expected_bytes = decoded_bytes + n_checksums * FLETCHER32_BYTES;
            match *step {
                Step::Fletcher32 => strip_fletcher32(stored)?,
                Step::Crc32c => strip_crc32c(stored)?,
                Step::Gzip => {
                    decoded.resize(expected_bytes, 0);
                    if !stream::gunzip(stored, decoded) {
                        return Err(format!(
                            "a chunk is not one gzip stream of {expected_bytes} bytes"
                        ));
                    }
                    std::mem::swap(stored, decoded);
                }
                Step::SizedLz4 => {
                    decoded.resize(expected_bytes, 0);
                    lz4::decode_sized(stored, decoded)?;
                    std::mem::swap(stored, decoded);
                }
                Step::Deflate => {
                    decoded.resize(expected_bytes, 0);
                    stream::inflate(stored, decoded)?;
                    std::mem::swap(stored, decoded);
                }
                Step::Lzf => {
                    decoded.clear();
                    decoded.reserve(expected_bytes);
                    lzf::decode(stored, decoded, expected_bytes)?;
                    std::mem::swap(stored, decoded);
                }
                Step::Zstd => {
                    decoded.resize(expected_bytes, 0);
                    stream::zstd(stored, decoded)?;
                    std::mem::swap(stored, decoded);
                }
                Step::Lz4 => {
                    decoded.resize(expected_bytes, 0);
                    lz4::decode(stored, decoded)?;
                    std::mem::swap(stored, decoded);
                }
                Step::Blosc => {
                    decoded.resize(expected_bytes, 0);
                    blosc::decode(stored, decoded)?;
                    std::mem::swap(stored, decoded);
                }
                Step::Bitshuffle(bitshuffle) => {
                    decoded.resize(expected_bytes, 0);
                    bitshuffle.decode(stored, decoded)?;
                    std::mem::swap(stored, decoded);
                }
                Step::Shuffle { element_bytes } => {
                    decoded.resize(stored.len(), 0);
                    unshuffle(stored, decoded, element_bytes);
                    std::mem::swap(stored, decoded);
                }
            }
        }
        if stored.len() != decoded_bytes {
            return Err(format!(
                "a chunk decodes to {} bytes, expected {decoded_bytes}",
                stored.len()
            ));
        }
        std::mem::swap(stored, decoded);
        Ok(())
    }

    /// Decodes a chunk that is only compressed straight into its place; `false` when the pipeline is another one.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_into(&self, stored: &[u8], filter_mask: u32, place: &mut [u8]) -> Result<bool, String> {
        let [step] = self.steps.as_slice() else {
            return Ok(false);
        };
        if filter_mask != 0 {
            return Ok(false);
        }
        match step {
            Step::Deflate => stream::inflate(stored, place)?,
            Step::Zstd => stream::zstd(stored, place)?,
            Step::Blosc => blosc::decode(stored, place)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// A chunk of which only the beginning is wanted: decoding that needs memory for the whole once more, which has to stay small.
const MAX_STREAMED_BYTES: usize = 2 << 20;

impl Pipeline {
    /// Whether [`decode_parts`](Self::decode_parts) may stream chunks of so many bytes: as many bytes more are taken meanwhile.
    pub fn streams(&self, decoded_bytes: usize) -> bool {
        self.steps == [Step::Zstd] && decoded_bytes <= MAX_STREAMED_BYTES
    }

    /// Decodes a chunk into `place`, of its length, at least the bytes `wanted` of it, if that may be less work than decoding all and leaves no
    /// checksum unseen: chunks of blosc by their blocks, those of zstd from their beginning. Otherwise, and where what is wanted is damaged,
    /// gives `false`: then the chunk has to be decoded whole. Damage beyond what is wanted is not found.
    ///
    /// # Panics
    /// If bytes beyond `place` are wanted.
    pub fn decode_parts(
        &self,
        stored: &[u8],
        filter_mask: u32,
        place: &mut [u8],
        wanted: impl Iterator<Item = Range<usize>>,
    ) -> bool {
        if filter_mask != 0 {
            return false;
        }
        match self.steps.as_slice() {
            [Step::Blosc] => blosc::decode_parts(stored, place, wanted).is_ok(),
            [Step::Zstd] => {
                let whole_bytes = place.len();
                let end = wanted.map(|range| range.end).max().unwrap_or(0);
                // To the very end it is faster in one go.
                let is_less = end <= whole_bytes / 8 * 7;
                let beginning = &mut place[..end];
                is_less && self.streams(whole_bytes) && stream::zstd_beginning(stored, whole_bytes, beginning)
            }
            _ => false,
        }
    }
}

fn name_of(id: u16, recorded: Option<&str>) -> String {
    let known = match id {
        4 => "szip",
        5 => "nbit",
        6 => "scaleoffset",
        307 => "bzip2",
        32013 => "zfp",
        32026 => "blosc2",
        _ => recorded.unwrap_or("unknown"),
    };
    known.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_of_zarr_decode_and_refuse_damage() {
        let chunk: Vec<u8> = (0..4000u32).map(|at| (at / 7 % 11) as u8).collect();
        let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &chunk) as u32;
        assert_eq!(
            crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, b"123456789"),
            0xe306_9283,
            "the check value of CRC-32C"
        );
        let mut gzip = vec![0; 8000];
        let n = libdeflater::Compressor::new(libdeflater::CompressionLvl::default())
            .gzip_compress(&chunk, &mut gzip)
            .unwrap();
        gzip.truncate(n);
        let block = lz4_flex::block::compress(&chunk);
        let forms = [
            (zarr::CRC32C, [chunk.as_slice(), &crc.to_le_bytes()].concat()),
            (zarr::GZIP, gzip),
            (zarr::LZ4, [4000u32.to_le_bytes().as_slice(), &block].concat()),
        ];
        for (id, stored) in forms {
            let filter = Filter {
                id,
                name: None,
                client_data: vec![],
            };
            let pipeline = Pipeline::new(&[filter], 4).unwrap();
            let decode = |stored: &[u8], n: usize| {
                let mut decoded = Vec::new();
                let outcome = pipeline.decode(&mut stored.to_vec(), 0, &mut decoded, n);
                outcome.map(|()| decoded)
            };
            assert_eq!(decode(&stored, 4000).unwrap(), chunk, "{id:#x}");
            for wrong in [0, 3999, 4001] {
                assert!(decode(&stored, wrong).is_err(), "{id:#x} as {wrong} bytes");
            }
            for cut in [0, 3, stored.len() / 2, stored.len() - 1] {
                assert!(
                    decode(&stored[..cut], 4000).is_err(),
                    "{id:#x} cut to {cut} bytes"
                );
            }
        }
    }

    #[test]
    fn shuffle_needs_the_size_of_its_elements() {
        let shuffle = |client_data| Filter {
            id: SHUFFLE,
            name: None,
            client_data,
        };
        assert!(Pipeline::new(&[shuffle(vec![8])], 4).is_ok());
        for client_data in [vec![], vec![0]] {
            let unknown = Pipeline::new(&[shuffle(client_data)], 4).unwrap_err();
            assert!(
                unknown.to_string().contains("without the size of its elements"),
                "{unknown}"
            );
        }
    }

    #[test]
    fn beginnings_are_those_of_the_whole() {
        // Several blocks of zstd, of which each has at most 128 KiB.
        let chunk: Vec<u8> = (0..500_000u32)
            .map(|at| (at.wrapping_mul(at) / 977 % 61) as u8)
            .collect();
        let pipeline = |ids: &[u16]| {
            let filter = |&id: &u16| Filter {
                id,
                name: None,
                client_data: vec![4],
            };
            Pipeline::new(&ids.iter().map(filter).collect::<Vec<_>>(), 4).unwrap()
        };
        let zstd_only = pipeline(&[ZSTD]);
        let stored = zstd::bulk::compress(&chunk, 3).unwrap();
        let beginning = |pipeline: &Pipeline, stored: &[u8], mask: u32, n: usize| {
            let mut place = vec![0xEE; chunk.len()];
            let is_decoded = pipeline.decode_parts(stored, mask, &mut place, std::iter::once(n / 2..n));
            is_decoded.then(|| place[..n].to_vec())
        };
        for n in [0, 1, 4_000, 131_072, 131_073, 300_000, 437_500] {
            assert_eq!(
                beginning(&zstd_only, &stored, 0, n).unwrap(),
                chunk[..n],
                "{n} bytes"
            );
        }
        // Damage is found by decoding the whole; what lies beyond is not looked at.
        let cut = &stored[..stored.len() - 10];
        assert_eq!(beginning(&zstd_only, cut, 0, 4_000).unwrap(), chunk[..4_000]);
        assert_eq!(beginning(&zstd_only, &stored[..100], 0, 300_000), None);
        assert_eq!(beginning(&zstd_only, &[], 0, 4_000), None);
        assert_eq!(beginning(&zstd_only, b"no zstd at all", 0, 4_000), None);
        // Of another length, with a checksum, not applied, or not alone.
        let longer = zstd::bulk::compress(&[chunk.as_slice(), &[0]].concat(), 3).unwrap();
        assert_eq!(beginning(&zstd_only, &longer, 0, 4_000), None);
        let mut checked = zstd::bulk::Compressor::new(3).unwrap();
        checked.include_checksum(true).unwrap();
        assert_eq!(
            beginning(&zstd_only, &checked.compress(&chunk).unwrap(), 0, 4_000),
            None
        );
        assert_eq!(beginning(&zstd_only, &stored, 1, 4_000), None);
        assert_eq!(beginning(&pipeline(&[SHUFFLE, ZSTD]), &stored, 0, 4_000), None);
        assert_eq!(
            beginning(&zstd_only, &stored, 0, 499_999),
            None,
            "the whole is faster"
        );
    }
}
