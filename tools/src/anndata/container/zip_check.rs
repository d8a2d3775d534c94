//! Looks over a zip file before a library reads it: one whose entries contradict its directory can keep that busy for ever.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const END_SIGNATURE: [u8; 4] = *b"PK\x05\x06";
const ENTRY_SIGNATURE: [u8; 4] = *b"PK\x01\x02";
const LOCAL_SIGNATURE: [u8; 4] = *b"PK\x03\x04";
/// Bytes of the three records without their variable parts.
const END_BYTES: usize = 22;
const ENTRY_BYTES: usize = 46;
const LOCAL_BYTES: usize = 30;
/// The longest comment after the end record.
const MAX_COMMENT_BYTES: u64 = 1 << 16;

/// Checks that every entry of the directory has a local header that says the same, and lies within the file.
pub(super) fn check(path: &Path) -> io::Result<Result<(), String>> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    let tail_bytes = len.min(MAX_COMMENT_BYTES + END_BYTES as u64);
    let mut tail = vec![0; tail_bytes as usize];
    file.read_exact_at(&mut tail, len - tail_bytes)?;
    let end = tail
        .windows(END_BYTES)
        .rposition(|window| window[..4] == END_SIGNATURE);
    let Some(end) = end.map(|at| &tail[at..]) else {
        return Ok(Err("it is a zip file without an end: it is truncated".to_owned()));
    };
    let (n_bytes, start) = (u64::from(u32_at(end, 12)), u64::from(u32_at(end, 16)));
    if start == u64::from(u32::MAX) || n_bytes == u64::from(u32::MAX) {
        // Of more than 4 GiB: its numbers lie elsewhere.
        return Ok(Ok(()));
    }
    if start + n_bytes > len {
        return Ok(Err("the directory of the zip file lies beyond its end".to_owned()));
    }
    let mut directory = vec![0; n_bytes as usize];
    file.read_exact_at(&mut directory, start)?;
    let mut rest = directory.as_slice();
    while !rest.is_empty() {
        let variable = |at: usize| usize::from(u16_at(rest, at));
        if rest.len() < ENTRY_BYTES || rest[..4] != ENTRY_SIGNATURE {
            return Ok(Err("the directory of the zip file is damaged".to_owned()));
        }
        let (stored, offset) = (u64::from(u32_at(rest, 20)), u64::from(u32_at(rest, 42)));
        let (method, name_bytes) = (u16_at(rest, 10), u16_at(rest, 28));
        let next = ENTRY_BYTES + variable(28) + variable(30) + variable(32);
        if offset != u64::from(u32::MAX) && stored != u64::from(u32::MAX) {
            let mut local = [0; LOCAL_BYTES];
            let is_there = offset + LOCAL_BYTES as u64 <= len;
            if is_there {
                file.read_exact_at(&mut local, offset)?;
            }
            let data =
                offset + LOCAL_BYTES as u64 + u64::from(u16_at(&local, 26)) + u64::from(u16_at(&local, 28));
            let agrees = local[..4] == LOCAL_SIGNATURE
                && u16_at(&local, 8) == method
                && u16_at(&local, 26) == name_bytes
                && data + stored <= start;
            if !is_there || !agrees {
                return Ok(Err(format!(
                    "the entry of the zip file at offset {offset} is damaged"
                )));
            }
        }
        match rest.get(next..) {
            Some(after) => rest = after,
            None => return Ok(Err("the directory of the zip file is cut off".to_owned())),
        }
    }
    Ok(Ok(()))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
