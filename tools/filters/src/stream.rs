//! Decodes single compressed streams, each into a place of the length that it must have.

use std::cell::RefCell;

use ::zstd::zstd_safe::{DCtx, InBuffer, OutBuffer, ResetDirective, get_frame_content_size};
use libdeflater::Decompressor;

/// Inflates a zlib stream to exactly `place`.
///
/// # Errors
/// In one clause, if it does not decode to so many bytes.
pub fn inflate(stored: &[u8], place: &mut [u8]) -> Result<(), String> {
    thread_local! {
        static DECOMPRESSOR: RefCell<Decompressor> = RefCell::new(Decompressor::new());
    }
    let found_bytes = DECOMPRESSOR
        .with_borrow_mut(|decompressor| decompressor.zlib_decompress(stored, place))
        .map_err(|_| format!("a chunk does not inflate to its {} bytes", place.len()))?;
    if found_bytes != place.len() {
        return Err(format!(
            "a chunk inflates to {found_bytes} bytes, expected {}",
            place.len()
        ));
    }
    Ok(())
}

/// Inflates a gzip stream, if it is one stream, to exactly `place`; otherwise returns `false` and leaves `place` unspecified.
pub fn gunzip(stored: &[u8], place: &mut [u8]) -> bool {
    thread_local! {
        static DECOMPRESSOR: RefCell<Decompressor> = RefCell::new(Decompressor::new());
    }
    let inflated = DECOMPRESSOR.with_borrow_mut(|decompressor| decompressor.gzip_decompress(stored, place));
    // The decoder does not tell where the stream ends: where the checksum and the length of all are.
    let (sum, length) = (libdeflater::crc32(place), place.len() as u32);
    inflated == Ok(place.len()) && stored.ends_with(&[sum.to_le_bytes(), length.to_le_bytes()].concat())
}

/// Decodes zstd frames to exactly `place`.
///
/// # Errors
/// In one clause, if it does not decode to so many bytes.
pub fn zstd(stored: &[u8], place: &mut [u8]) -> Result<(), String> {
    match ::zstd::bulk::decompress_to_buffer(stored, place) {
        Ok(n) if n == place.len() => Ok(()),
        Ok(n) => Err(format!(
            "a zstd chunk decodes to {n} bytes, expected {}",
            place.len()
        )),
        Err(error) => Err(format!(
            "a zstd chunk does not decode to its {} bytes ({error})",
            place.len()
        )),
    }
}

/// Decodes the beginning of a zstd frame of `whole_bytes`, as much as `place` takes. Gives `false`, and leaves `place` unspecified, if it is not
/// a sound frame of that length, or one that ends with a checksum: then it has to be decoded whole. The thread keeps memory for
/// `whole_bytes`, and some 300 KiB, for the next one.
pub fn zstd_beginning(stored: &[u8], whole_bytes: usize, place: &mut [u8]) -> bool {
    /// Of the byte that follows the magic number: whether a checksum follows the frame (RFC 8878, 3.1.1.1.1).
    const HAS_CHECKSUM: u8 = 1 << 2;
    thread_local! {
        static CONTEXT: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
    }
    let has_checksum = stored
        .get(4)
        .is_none_or(|descriptor| descriptor & HAS_CHECKSUM != 0);
    let frame_bytes = get_frame_content_size(stored).ok().flatten();
    if has_checksum || frame_bytes != Some(whole_bytes as u64) {
        return false;
    }
    CONTEXT.with_borrow_mut(|context| {
        let mut input = InBuffer::around(stored);
        let mut output = OutBuffer::around(place);
        let mut is_sound = context.reset(ResetDirective::SessionOnly).is_ok();
        while is_sound && output.pos() < output.capacity() {
            let before = (input.pos(), output.pos());
            let is_decoded = context.decompress_stream(&mut output, &mut input).is_ok();
            is_sound = is_decoded && (input.pos(), output.pos()) != before;
        }
        is_sound
    })
}

/// Decodes one block of lz4 to exactly `place`.
///
/// # Errors
/// In one clause, if it does not decode to so many bytes.
pub fn lz4_block(stored: &[u8], place: &mut [u8]) -> Result<(), String> {
    match lz4_flex::block::decompress_into(stored, place) {
        Ok(n) if n == place.len() => Ok(()),
        Ok(n) => Err(format!(
            "an lz4 block decodes to {n} bytes, expected {}",
            place.len()
        )),
        Err(error) => Err(format!("an lz4 block does not decode ({error})")),
    }
}

/// Undoes the shuffle filter: byte b of element i lies at `b * n + i`. Bytes beyond the last whole element are not moved.
///
/// # Panics
/// If both are not of the same length.
pub fn unshuffle(shuffled: &[u8], plain: &mut [u8], element_bytes: usize) {
    let n = shuffled.len().checked_div(element_bytes).unwrap_or(0);
    if element_bytes < 2 || n < 2 {
        plain.copy_from_slice(shuffled);
        return;
    }
    let (planes, rest) = shuffled.split_at(n * element_bytes);
    let (elements, tail) = plain.split_at_mut(n * element_bytes);
    tail.copy_from_slice(rest);
    match element_bytes {
        2 => unshuffle_width(planes, elements, n, join2),
        4 => unshuffle_width(planes, elements, n, join4),
        8 => unshuffle_width(planes, elements, n, join8),
        _ => {
            // Some elements at a time: what is read of each plane and what is written stay in the cache.
            for (number, tile) in elements.chunks_mut(TILE * element_bytes).enumerate() {
                let n_elements = tile.len() / element_bytes;
                for b in 0..element_bytes {
                    let plane = &planes[b * n + number * TILE..][..n_elements];
                    for (i, &byte) in plane.iter().enumerate() {
                        tile[i * element_bytes + b] = byte;
                    }
                }
            }
        }
    }
}

/// Elements that are put together at a time: their planes stay in vector registers.
const TILE: usize = 64;

/// Undoes the shuffle of elements of `WIDTH` bytes, whole tiles by `join`, which makes one of a byte of each plane.
fn unshuffle_width<const WIDTH: usize>(
    planes: &[u8],
    elements: &mut [u8],
    n: usize,
    join: impl Fn([&[u8; TILE]; WIDTH]) -> [[u8; WIDTH]; TILE],
) {
    let planes: [&[u8]; WIDTH] = std::array::from_fn(|b| &planes[b * n..(b + 1) * n]);
    let tiles: [&[[u8; TILE]]; WIDTH] = planes.map(|plane| plane.as_chunks().0);
    let (elements, _) = elements.as_chunks_mut::<WIDTH>();
    let (places, rest) = elements[..n].as_chunks_mut::<TILE>();
    let n_joined = places.len() * TILE;
    for (number, place) in places.iter_mut().enumerate() {
        *place = join(std::array::from_fn(|b| &tiles[b][number]));
    }
    for (i, element) in rest.iter_mut().enumerate() {
        *element = std::array::from_fn(|b| planes[b][n_joined + i]);
    }
}

// Pairs of pairs, which compilers turn into the interleaving instructions of every vector unit; bytes one by one they do not.

fn join2([a, b]: [&[u8; TILE]; 2]) -> [[u8; 2]; TILE] {
    pairs(a, b).map(u16::to_le_bytes)
}

fn join4([a, b, c, d]: [&[u8; TILE]; 4]) -> [[u8; 4]; TILE] {
    fours(&pairs(a, b), &pairs(c, d)).map(u32::to_le_bytes)
}

fn join8([a, b, c, d, e, f, g, h]: [&[u8; TILE]; 8]) -> [[u8; 8]; TILE] {
    let low = fours(&pairs(a, b), &pairs(c, d));
    let high = fours(&pairs(e, f), &pairs(g, h));
    std::array::from_fn(|i| (u64::from(low[i]) | u64::from(high[i]) << 32).to_le_bytes())
}

fn pairs(low: &[u8; TILE], high: &[u8; TILE]) -> [u16; TILE] {
    std::array::from_fn(|i| u16::from(low[i]) | u16::from(high[i]) << 8)
}

fn fours(low: &[u16; TILE], high: &[u16; TILE]) -> [u32; TILE] {
    std::array::from_fn(|i| u32::from(low[i]) | u32::from(high[i]) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffle_of_every_width_is_undone() {
        for width in [1, 2, 3, 4, 8, 16] {
            for n in [0, 1, 2, 7, 64, 200] {
                for tail in 0..width {
                    let plain: Vec<u8> = (0..n * width + tail).map(|i| (i * 7 + i / 251) as u8).collect();
                    let mut shuffled = plain.clone();
                    for i in 0..n {
                        for b in 0..width {
                            shuffled[b * n + i] = plain[i * width + b];
                        }
                    }
                    let mut found = vec![0; plain.len()];
                    unshuffle(&shuffled, &mut found, width);
                    assert_eq!(found, plain, "width {width}, {n} elements, tail {tail}");
                }
            }
        }
    }
}
