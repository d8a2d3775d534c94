//! Checksums that follow a chunk.

/// Bytes of the checksum that fletcher32 appends; that of crc32c is as long.
pub const FLETCHER32_BYTES: usize = 4;

/// Verifies and removes the CRC-32C that follows the chunk.
///
/// # Errors
/// In one clause, if the checksum differs.
pub fn strip_crc32c(stored: &mut Vec<u8>) -> Result<(), String> {
    let Some((body, tail)) = stored.split_last_chunk::<FLETCHER32_BYTES>() else {
        return Err(format!(
            "a chunk of {} bytes is too short for its checksum",
            stored.len()
        ));
    };
    let found = u32::from_le_bytes(*tail);
    let expected = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, body) as u32;
    if found != expected {
        return Err(format!(
            "the CRC-32C of a chunk is {found:#010x}, expected {expected:#010x}"
        ));
    }
    let body_bytes = body.len();
    stored.truncate(body_bytes);
    Ok(())
}

/// Verifies and removes the checksum that follows the chunk.
///
/// # Errors
/// In one clause, if the checksum differs.
pub fn strip_fletcher32(stored: &mut Vec<u8>) -> Result<(), String> {
    let Some((body, tail)) = stored.split_last_chunk::<FLETCHER32_BYTES>() else {
        return Err(format!(
            "a chunk of {} bytes is too short for its checksum",
            stored.len()
        ));
    };
    let found = u32::from_le_bytes(*tail);
    let expected = fletcher32(body);
    // HDF5 before 1.6.3 swapped the bytes of each half on little-endian machines; the library accepts both.
    let swapped = (expected & 0x00ff_00ff) << 8 | (expected & 0xff00_ff00) >> 8;
    if found != expected && found != swapped {
        return Err(format!(
            "the fletcher32 checksum of a chunk is {found:#010x}, expected {expected:#010x}"
        ));
    }
    let body_bytes = body.len();
    stored.truncate(body_bytes);
    Ok(())
}

/// Fletcher's checksum over big-endian 16-bit words, as HDF5 computes it (sums folded with end-around carry).
fn fletcher32(bytes: &[u8]) -> u32 {
    /// The most words whose sums cannot overflow 32 bits.
    const WORDS_PER_FOLD: usize = 360;
    let fold = |sum: u32| (sum & 0xffff) + (sum >> 16);
    let (mut low, mut high) = (0u32, 0u32);
    for run in bytes.chunks(2 * WORDS_PER_FOLD) {
        for word in run.chunks(2) {
            low += u32::from(word[0]) << 8 | u32::from(word.get(1).copied().unwrap_or(0));
            high += low;
        }
        low = fold(low);
        high = fold(high);
    }
    fold(high) << 16 | fold(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fletcher32_equals_known_values_and_detects_a_flip() {
        // Words 0x0102, 0x0304: low = 0x0406, high = 0x0102 + 0x0406 = 0x0508. An odd last byte is a word's high half.
        assert_eq!(fletcher32(&[1, 2, 3, 4]), 0x0508_0406);
        assert_eq!(fletcher32(&[1, 2, 3]), 0x0504_0402);
        let body: Vec<u8> = (0..5000).map(|i| (i % 251) as u8).collect();
        let mut stored = body.clone();
        stored.extend(fletcher32(&body).to_le_bytes());
        stored[17] ^= 4;
        assert!(strip_fletcher32(&mut stored.clone()).is_err());
        stored[17] ^= 4;
        strip_fletcher32(&mut stored).unwrap();
        assert_eq!(stored, body);
    }
}
