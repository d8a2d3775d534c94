//! Undoes the lz4 of HDF5, and that of numcodecs.

use super::stream;

/// Decodes the lz4 filter's format: the length and that of a block, big-endian, then each block after its length. A block
/// that did not shrink is stored as it is.
pub(crate) fn decode(stored: &[u8], place: &mut [u8]) -> Result<(), String> {
    let cut = || "an lz4 chunk ends early".to_owned();
    let (total, rest) = stored.split_first_chunk::<8>().ok_or_else(cut)?;
    let (block, mut rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
    let total_bytes = u64::from_be_bytes(*total);
    if total_bytes != place.len() as u64 {
        return Err(format!(
            "an lz4 chunk decodes to {total_bytes} bytes, expected {}",
            place.len()
        ));
    }
    let block_bytes = (u32::from_be_bytes(*block) as usize).max(1);
    for place in place.chunks_mut(block_bytes) {
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let (now, after) = after
            .split_at_checked(u32::from_be_bytes(*length) as usize)
            .ok_or_else(cut)?;
        rest = after;
        if now.len() == place.len() {
            place.copy_from_slice(now);
            continue;
        }
        stream::lz4_block(now, place)?;
    }
    Ok(())
}

/// Decodes what numcodecs makes of lz4: the length, little-endian, and one block.
pub(crate) fn decode_sized(stored: &[u8], place: &mut [u8]) -> Result<(), String> {
    let Some((length, block)) = stored.split_first_chunk::<4>() else {
        return Err("an lz4 chunk ends early".to_owned());
    };
    let length = u32::from_le_bytes(*length);
    if length as usize != place.len() {
        return Err(format!(
            "an lz4 chunk decodes to {length} bytes, expected {}",
            place.len()
        ));
    }
    stream::lz4_block(block, place)
}
