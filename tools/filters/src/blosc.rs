//! Decodes blosc (version 1): blocks of shuffled elements, each cut into streams that are compressed one by one.
//!
//! In Rust, because the C library would bring a C++ compiler into the build (by way of its snappy).

use std::ops::Range;

use super::bitshuffle::untranspose;
use super::stream::{self, unshuffle};

/// Version, version of the compressor, flags, bytes of an element; then three 32-bit numbers, little-endian.
const HEADER_BYTES: usize = 16;
/// Versions of the frame that blosc 1 writes, and of what its compressors write into it.
const VERSIONS: std::ops::RangeInclusive<u8> = 1..=2;
const COMPRESSOR_VERSION: u8 = 1;
/// Streams of a block are one for each byte of an element up to this width,
const MAX_STREAMS: usize = 16;
/// where a block has at least this many elements.
const MIN_SPLIT_ELEMENTS: usize = 128;

const SHUFFLED: u8 = 1;
const STORED: u8 = 1 << 1;
const BIT_SHUFFLED: u8 = 1 << 2;
const NOT_SPLIT: u8 = 1 << 4;
const COMPRESSOR_SHIFT: u32 = 5;

/// Matches of blosclz farther back than this are written in a form of their own.
const BLOSCLZ_NEAR_BYTES: usize = 8191;

#[derive(Clone, Copy, Debug)]
enum Compressor {
    Blosclz,
    /// Also that of LZ4HC.
    Lz4,
    Snappy,
    Zlib,
    Zstd,
}

/// The header of a frame.
struct Header {
    flags: u8,
    element_bytes: usize,
    decoded_bytes: usize,
    block_bytes: usize,
}

impl Header {
    /// The header of a frame, and the frame without what follows it.
    fn parse(frame: &[u8]) -> Result<(Self, &[u8]), String> {
        let Some((header, _)) = frame.split_first_chunk::<HEADER_BYTES>() else {
            return Err(format!(
                "a blosc chunk has {} bytes, fewer than its header",
                frame.len()
            ));
        };
        if !VERSIONS.contains(&header[0]) || header[1] != COMPRESSOR_VERSION {
            return Err(format!(
                "a blosc chunk is of version {}, its compressor of version {}; versions 1 and 2 are read, of version {COMPRESSOR_VERSION}",
                header[0], header[1]
            ));
        }
        let number = |at: usize| u32_at(header, at).unwrap_or(0) as usize;
        let found = Self {
            flags: header[2],
            element_bytes: usize::from(header[3]).max(1),
            decoded_bytes: number(4),
            block_bytes: number(8),
        };
        match frame.get(..number(12)) {
            Some(frame) if frame.len() >= HEADER_BYTES => Ok((found, frame)),
            _ => Err(format!(
                "a blosc chunk has {} bytes, and its header says {}",
                frame.len(),
                number(12)
            )),
        }
    }

    fn compressor(&self) -> Result<Compressor, String> {
        Ok(match self.flags >> COMPRESSOR_SHIFT {
            0 => Compressor::Blosclz,
            1 => Compressor::Lz4,
            2 => Compressor::Snappy,
            3 => Compressor::Zlib,
            4 => Compressor::Zstd,
            other => {
                return Err(format!(
                    "a blosc chunk is compressed in way {other}, which is not known"
                ));
            }
        })
    }
}

/// The length that a frame decodes to, by its header.
///
/// # Errors
/// In one clause, if it is shorter than its header, or than that says.
pub fn decoded_bytes(frame: &[u8]) -> Result<usize, String> {
    Ok(Header::parse(frame)?.0.decoded_bytes)
}

/// Decodes a frame to exactly `place`.
///
/// # Errors
/// In one clause, if it does not decode to so many bytes.
pub fn decode(frame: &[u8], place: &mut [u8]) -> Result<(), String> {
    let whole = 0..place.len();
    decode_parts(frame, place, std::iter::once(whole))
}

/// Decodes the blocks of a frame that hold the bytes `wanted` of `place`, in any order. The others are left as they are, and damage in them is
/// not found.
///
/// # Errors
/// In one clause, if the frame does not say that it decodes to exactly `place`, or a block does not decode.
///
/// # Panics
/// If bytes beyond `place` are wanted.
pub fn decode_parts(
    frame: &[u8],
    place: &mut [u8],
    wanted: impl Iterator<Item = Range<usize>>,
) -> Result<(), String> {
    let (header, frame) = Header::parse(frame)?;
    if header.decoded_bytes != place.len() {
        return Err(format!(
            "a blosc chunk decodes to {} bytes, expected {}",
            header.decoded_bytes,
            place.len()
        ));
    }
    if place.is_empty() {
        return Ok(());
    }
    if header.flags & STORED != 0 {
        let body = &frame[HEADER_BYTES..];
        if body.len() != place.len() {
            return Err(format!(
                "a blosc chunk stores {} bytes, expected {}",
                body.len(),
                place.len()
            ));
        }
        for range in wanted {
            place[range.clone()].copy_from_slice(&body[range]);
        }
        return Ok(());
    }
    let compressor = header.compressor()?;
    let block_bytes = header.block_bytes;
    if block_bytes == 0 || block_bytes > place.len().max(1) {
        return Err(format!(
            "a blosc chunk has blocks of {block_bytes} bytes, and decodes to {}",
            place.len()
        ));
    }
    // The places of all blocks are in the frame: what is allowed for the one is enough for the other.
    let n_blocks = place.len().div_ceil(block_bytes);
    if (frame.len() - HEADER_BYTES) / 4 < n_blocks {
        return Err(format!(
            "a blosc chunk has no room for the places of its {n_blocks} blocks"
        ));
    }
    let mut is_decoded = vec![false; n_blocks];
    let mut shuffled = Vec::new();
    for range in wanted.filter(|range| !range.is_empty()) {
        let numbers = range.start / block_bytes..range.end.div_ceil(block_bytes);
        for (number, is_decoded) in numbers.clone().zip(&mut is_decoded[numbers]) {
            if std::mem::replace(is_decoded, true) {
                continue;
            }
            let begin = number * block_bytes;
            let end = place.len().min(begin + block_bytes);
            let block = &mut place[begin..end];
            decode_block(frame, number, block, &header, compressor, &mut shuffled)?;
        }
    }
    Ok(())
}

/// Decodes a block, and undoes the shuffle of its elements or bits.
fn decode_block(
    frame: &[u8],
    number: usize,
    block: &mut [u8],
    header: &Header,
    compressor: Compressor,
    shuffled: &mut Vec<u8>,
) -> Result<(), String> {
    let start = u32_at(frame, HEADER_BYTES + 4 * number).map(|start| start as usize);
    let Some(streams) = start.and_then(|start| frame.get(start..)) else {
        return Err(format!("block {number} of a blosc chunk lies beyond it"));
    };
    let is_shuffled = header.flags & SHUFFLED != 0 && header.element_bytes > 1;
    let is_bit_shuffled = header.flags & BIT_SHUFFLED != 0 && block.len() >= header.element_bytes;
    if !is_shuffled && !is_bit_shuffled {
        return decode_streams(streams, block, header, compressor);
    }
    shuffled.resize(block.len(), 0);
    decode_streams(streams, shuffled, header, compressor)?;
    if is_shuffled {
        unshuffle(shuffled, block, header.element_bytes);
    } else {
        unshuffle_bits(shuffled, block, header.element_bytes);
    }
    Ok(())
}

/// Decodes the streams of one block, each after its length.
fn decode_streams(
    mut rest: &[u8],
    block: &mut [u8],
    header: &Header,
    compressor: Compressor,
) -> Result<(), String> {
    let width = header.element_bytes;
    // The last block is never split where it is shorter than the others.
    let is_split = header.flags & NOT_SPLIT == 0
        && width <= MAX_STREAMS
        && block.len() / width >= MIN_SPLIT_ELEMENTS
        && block.len() == header.block_bytes;
    let n_streams = if is_split { width } else { 1 };
    if !block.len().is_multiple_of(n_streams) {
        return Err(format!(
            "a blosc block of {} bytes is cut into {n_streams} streams",
            block.len()
        ));
    }
    for place in block.chunks_exact_mut(block.len() / n_streams) {
        let cut = || "a blosc chunk ends early".to_owned();
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let (stored, after) = after
            .split_at_checked(u32::from_le_bytes(*length) as usize)
            .ok_or_else(cut)?;
        rest = after;
        if stored.len() == place.len() {
            place.copy_from_slice(stored);
            continue;
        }
        match compressor {
            Compressor::Blosclz => decode_blosclz(stored, place)?,
            Compressor::Lz4 => stream::lz4_block(stored, place)?,
            Compressor::Snappy => decode_snappy(stored, place)?,
            Compressor::Zlib => stream::inflate(stored, place)?,
            Compressor::Zstd => stream::zstd(stored, place)?,
        }
    }
    Ok(())
}

/// Undoes the shuffle of bits; blosc leaves a block as it is where its elements are no multiple of 8.
fn unshuffle_bits(shuffled: &[u8], block: &mut [u8], element_bytes: usize) {
    let n_elements = block.len() / element_bytes;
    let n_bytes = if n_elements.is_multiple_of(8) {
        n_elements * element_bytes
    } else {
        0
    };
    untranspose(&shuffled[..n_bytes], &mut block[..n_bytes], element_bytes);
    block[n_bytes..].copy_from_slice(&shuffled[n_bytes..]);
}

fn decode_snappy(stored: &[u8], place: &mut [u8]) -> Result<(), String> {
    match snap::raw::Decoder::new().decompress(stored, place) {
        Ok(n) if n == place.len() => Ok(()),
        Ok(n) => Err(format!(
            "a snappy stream decodes to {n} bytes, expected {}",
            place.len()
        )),
        Err(error) => Err(format!("a snappy stream does not decode ({error})")),
    }
}

/// Decodes blosclz (after FastLZ): a control byte below 32 starts a run of literals, any other a copy of earlier output.
fn decode_blosclz(stored: &[u8], place: &mut [u8]) -> Result<(), String> {
    let cut = || "a blosclz stream ends early".to_owned();
    let full = || "a blosclz stream decodes to more than its place".to_owned();
    let mut at = 0;
    let next = |at: &mut usize| {
        let byte = stored.get(*at).copied();
        *at += 1;
        byte.map(usize::from).ok_or_else(cut)
    };
    let mut n_done = 0;
    // The first byte begins literals, whatever its upper bits say.
    let mut control = next(&mut at)? & 31;
    loop {
        if control < 32 {
            let n = control + 1;
            let literals = stored.get(at..at + n).ok_or_else(cut)?;
            place
                .get_mut(n_done..n_done + n)
                .ok_or_else(full)?
                .copy_from_slice(literals);
            (at, n_done) = (at + n, n_done + n);
        } else {
            let mut n = (control >> 5) - 1;
            if n == 6 {
                loop {
                    let more = next(&mut at)?;
                    n += more;
                    if more != 255 {
                        break;
                    }
                }
            }
            n += 3;
            let high = (control & 31) << 8;
            let low = next(&mut at)?;
            let mut distance = high + low;
            if low == 255 && high == 31 << 8 {
                distance = BLOSCLZ_NEAR_BYTES + (next(&mut at)? << 8) + next(&mut at)?;
            }
            let distance = distance + 1;
            let start = n_done
                .checked_sub(distance)
                .ok_or_else(|| format!("a blosclz stream refers {distance} bytes back from byte {n_done}"))?;
            if n > place.len() - n_done {
                return Err(full());
            }
            if distance >= n {
                place.copy_within(start..start + n, n_done);
            } else if distance == 1 {
                let byte = place[start];
                place[n_done..n_done + n].fill(byte);
            } else {
                // The copy overlaps what it writes: the last `distance` bytes repeat.
                for i in 0..n {
                    place[n_done + i] = place[start + i];
                }
            }
            n_done += n;
        }
        if at >= stored.len() {
            break;
        }
        control = next(&mut at)?;
    }
    if n_done != place.len() {
        return Err(format!(
            "a blosclz stream decodes to {n_done} bytes, expected {}",
            place.len()
        ));
    }
    Ok(())
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of one block that is one stream.
    fn frame(flags: u8, element_bytes: u8, decoded_bytes: u32, stream: &[u8]) -> Vec<u8> {
        let mut frame = vec![2, 1, flags | NOT_SPLIT, element_bytes];
        let start = HEADER_BYTES as u32 + 4;
        let total = start + 4 + stream.len() as u32;
        for number in [decoded_bytes, decoded_bytes, total, start, stream.len() as u32] {
            frame.extend(number.to_le_bytes());
        }
        frame.extend(stream);
        frame
    }

    /// Three literals, then copies: overlapping, of a run, and of more bytes than three bits say.
    const BLOSCLZ: &[u8] = &[2, b'a', b'b', b'c', 3 << 5, 2, 7 << 5, 1, 0, 0, b'x'];
    const PLAIN: &[u8] = b"abcabcabbbbbbbbbbbx";

    #[test]
    fn blosclz_decodes_literals_and_copies_and_refuses_damage() {
        let sound = frame(0, 1, PLAIN.len() as u32, BLOSCLZ);
        let mut place = vec![0; PLAIN.len()];
        decode(&sound, &mut place).unwrap();
        assert_eq!(place, PLAIN);
        for n in [PLAIN.len() - 1, PLAIN.len() + 1] {
            assert!(
                decode(&frame(0, 1, n as u32, BLOSCLZ), &mut vec![0; n]).is_err(),
                "{n}"
            );
        }
        for cut in 0..sound.len() {
            assert!(decode(&sound[..cut], &mut place).is_err(), "cut at {cut}");
        }
        // Whatever is wrong with it, it is an error or other bytes.
        for at in 0..sound.len() {
            for value in [0, 1, 31, 32, 127, 128, 255] {
                let mut damaged = sound.clone();
                damaged[at] = value;
                let _ = decode(&damaged, &mut place);
            }
        }
    }

    #[test]
    fn other_versions_are_refused() {
        let sound = frame(STORED, 1, 3, &[1, 2, 3]);
        for (at, version) in [(0, 0), (0, 3), (0, 255), (1, 0), (1, 2)] {
            let mut other = sound.clone();
            other[at] = version;
            let error = decode(&other, &mut [0; 3]).unwrap_err();
            assert!(error.contains("versions 1 and 2"), "{error}");
            assert_eq!(decoded_bytes(&other), Err(error));
        }
    }

    #[test]
    fn a_copy_from_before_the_start_is_refused() {
        let error = decode(&frame(0, 1, 9, &[0, b'a', 1 << 5, 5, 0, b'x']), &mut [0; 9]).unwrap_err();
        assert!(error.contains("6 bytes back from byte 1"), "{error}");
    }

    #[test]
    fn parts_are_those_of_the_whole() {
        // Five blocks of lz4, the last of them shorter, of shuffled elements of 4 bytes.
        const BLOCK_BYTES: usize = 256;
        let plain: Vec<u8> = (0..BLOCK_BYTES * 4 + 40).map(|i| (i * i / 300) as u8).collect();
        let n_blocks = plain.len().div_ceil(BLOCK_BYTES);
        let (mut starts, mut streams) = (Vec::new(), Vec::new());
        for block in plain.chunks(BLOCK_BYTES) {
            let n = block.len() / 4;
            let shuffled: Vec<u8> = (0..block.len()).map(|i| block[i % n * 4 + i / n]).collect();
            let stream = lz4_flex::block::compress(&shuffled);
            starts.push((HEADER_BYTES + 4 * n_blocks + streams.len()) as u32);
            streams.extend((stream.len() as u32).to_le_bytes());
            streams.extend(stream);
        }
        let mut frame = vec![2, 1, SHUFFLED | NOT_SPLIT | 1 << COMPRESSOR_SHIFT, 4];
        let total = HEADER_BYTES + 4 * n_blocks + streams.len();
        for number in [plain.len(), BLOCK_BYTES, total] {
            frame.extend((number as u32).to_le_bytes());
        }
        frame.extend(starts.iter().flat_map(|start| start.to_le_bytes()));
        frame.extend(&streams);
        let parts = |frame: &[u8], wanted: &[(usize, usize)]| {
            let mut place = vec![0xEE; plain.len()];
            decode_parts(frame, &mut place, wanted.iter().map(|&(from, to)| from..to)).map(|()| place)
        };
        let mut whole = vec![0; plain.len()];
        decode(&frame, &mut whole).unwrap();
        assert_eq!(whole, plain);
        let end = plain.len();
        for wanted in [
            vec![(0, end)],
            vec![(0, 1)],
            vec![(255, 256)],
            vec![(255, 257)],
            vec![(end - 1, end)],
            vec![(900, 1_000), (10, 20), (12, 300)],
        ] {
            let found = parts(&frame, &wanted).unwrap();
            for number in 0..n_blocks {
                let block = number * BLOCK_BYTES..end.min((number + 1) * BLOCK_BYTES);
                let is_wanted = wanted
                    .iter()
                    .any(|&(from, to)| from < block.end && block.start < to);
                let expected = if is_wanted {
                    plain[block.clone()].to_vec()
                } else {
                    vec![0xEE; block.len()]
                };
                assert_eq!(found[block], expected, "{wanted:?}, block {number}");
            }
        }
        // Nothing is wanted of nothing, nor of any block by an empty part.
        assert_eq!(parts(&frame, &[]).unwrap(), vec![0xEE; end]);
        assert_eq!(parts(&frame, &[(300, 300)]).unwrap(), vec![0xEE; end]);
        // Damage of a block is found if that is wanted.
        let mut damaged = frame.clone();
        damaged[HEADER_BYTES + 4..HEADER_BYTES + 8].fill(0xFF);
        assert_eq!(
            parts(&damaged, &[(0, 10), (600, 700)]).unwrap()[..10],
            plain[..10]
        );
        assert!(parts(&damaged, &[(0, 257)]).unwrap_err().contains("block 1"));
    }

    #[test]
    fn stored_and_shuffled_blocks_are_undone() {
        let mut place = [0; 4];
        let mut stored = vec![2, 1, STORED, 2];
        for number in [4u32, 4, 20] {
            stored.extend(number.to_le_bytes());
        }
        stored.extend([1, 2, 3, 4]);
        decode(&stored, &mut place).unwrap();
        assert_eq!(place, [1, 2, 3, 4]);
        // A stream as long as its block is not compressed.
        decode(&frame(SHUFFLED, 2, 4, &[1, 3, 2, 4]), &mut place).unwrap();
        assert_eq!(place, [1, 2, 3, 4]);
        // Two elements are no multiple of 8: their bits are not shuffled.
        decode(&frame(BIT_SHUFFLED, 2, 4, &[1, 2, 3, 4]), &mut place).unwrap();
        assert_eq!(place, [1, 2, 3, 4]);
        let mut bytes = [0; 8];
        decode(
            &frame(BIT_SHUFFLED, 1, 8, &[1, 0, 0, 0, 0, 0, 0, 0x80]),
            &mut bytes,
        )
        .unwrap();
        assert_eq!(bytes, [1, 0, 0, 0, 0, 0, 0, 0x80]);
    }
}
