//! The checksums that come with filters.
#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

use cellring_filters::{Filter, Pipeline, zarr};

/// Numbers of filters in HDF5's registry.
const DEFLATE: u16 = 1;
const FLETCHER32: u16 = 3;
const ZSTD: u16 = 32015;

/// Fletcher's checksum as HDF5 has it, of an even number of bytes: sums of big-endian words modulo 2^16 - 1.
fn fletcher32(bytes: &[u8]) -> u32 {
    let (mut low, mut high) = (0u64, 0u64);
    for word in bytes.chunks_exact(2) {
        low = (low + u64::from(u16::from_be_bytes([word[0], word[1]]))) % 0xffff;
        high = (high + low) % 0xffff;
    }
    (high << 16 | low) as u32
}

/// The chunk is whole, and of the checksum that comes with it one bit is another.
#[test]
fn every_checksum_is_compared() {
    let chunk: Vec<u8> = (0..4000u32).map(|at| (at / 7 % 11) as u8).collect();
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &chunk) as u32;
    let deflated = |compress: fn(&mut libdeflater::Compressor, &[u8], &mut [u8]) -> usize| {
        let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
        let mut stored = vec![0; 8000];
        let n = compress(&mut compressor, &chunk, &mut stored);
        stored.truncate(n);
        stored
    };
    let zlib = deflated(|compressor, chunk, stored| compressor.zlib_compress(chunk, stored).unwrap());
    let gzip = deflated(|compressor, chunk, stored| compressor.gzip_compress(chunk, stored).unwrap());
    let mut zstd = zstd::bulk::Compressor::new(3).unwrap();
    zstd.include_checksum(true).unwrap();
    let fletcher = fletcher32(&chunk);
    // Of gzip the length follows the checksum.
    let forms = [
        (DEFLATE, zlib, 4),
        (zarr::GZIP, gzip, 8),
        (ZSTD, zstd.compress(&chunk).unwrap(), 4),
        (
            FLETCHER32,
            [chunk.as_slice(), &fletcher.to_le_bytes()].concat(),
            4,
        ),
        (zarr::CRC32C, [chunk.as_slice(), &crc.to_le_bytes()].concat(), 4),
    ];
    for (id, stored, checksum_bytes) in forms {
        let filter = Filter {
            id,
            name: None,
            client_data: vec![],
        };
        let pipeline = Pipeline::new(&[filter], 4).unwrap();
        let decode = |stored: &[u8]| {
            let mut decoded = Vec::new();
            let outcome = pipeline.decode(&mut stored.to_vec(), 0, &mut decoded, chunk.len());
            let mut place = vec![0; chunk.len()];
            let in_place = pipeline.decode_into(stored, 0, &mut place);
            // Those that are not decoded at once into a place say so.
            assert!(
                in_place
                    .as_ref()
                    .map_or(outcome.is_err(), |&done| !done || outcome.is_ok())
            );
            let mut place = vec![0; chunk.len()];
            let some = std::iter::once(10..3990);
            assert!(
                !pipeline.decode_parts(stored, 0, &mut place, some),
                "{id:#x} in part"
            );
            outcome.map(|()| decoded)
        };
        assert_eq!(decode(&stored).unwrap(), chunk, "{id:#x}");
        for at in stored.len() - checksum_bytes..stored.len() {
            for bit in 0..8 {
                let mut damaged = stored.clone();
                damaged[at] ^= 1 << bit;
                assert!(decode(&damaged).is_err(), "{id:#x}: bit {bit} of byte {at}");
            }
        }
    }
}
