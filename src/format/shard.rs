//! The header of a shard (`FORMAT.md`, section 3).

use std::path::Path;

use super::constants::{SHARD_MAGIC, VERSION};
use super::error::FormatError;

/// Bytes of the header of shard `number`, `alignment` of them.
pub fn encode_header(number: u32, store_id: [u8; 16], alignment: u32) -> Vec<u8> {
    let mut header = Vec::with_capacity(alignment as usize);
    header.extend_from_slice(&SHARD_MAGIC);
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&number.to_le_bytes());
    header.extend_from_slice(&store_id);
    header.resize(alignment as usize - 4, 0);
    let crc = super::checksum::crc32c(&header);
    header.extend_from_slice(&crc.to_le_bytes());
    header
}

/// Whether what stands at the front of a shard may be written over: it is free, or a header that an earlier try has written.
pub(crate) fn may_be_written(found: &[u8]) -> bool {
    if found.iter().all(|&byte| byte == 0) {
        return true;
    }
    let number = found
        .get(12..16)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u32::from_le_bytes);
    let store_id = found.get(16..32).and_then(|bytes| bytes.try_into().ok());
    number
        .zip(store_id)
        .is_some_and(|(number, id)| encode_header(number, id, found.len() as u32) == found)
}

/// Compares a header with the one that belongs there.
pub(crate) fn check_header(
    found: &[u8],
    file: &Path,
    number: u32,
    store_id: [u8; 16],
    alignment: u32,
) -> Result<(), FormatError> {
    let expected = encode_header(number, store_id, alignment);
    match expected.iter().zip(found).position(|(a, b)| a != b) {
        None => Ok(()),
        Some(at) => Err(FormatError::invalid(
            file,
            at as u64,
            format!("the shard's header is not that of shard {number} of this store"),
        )),
    }
}
