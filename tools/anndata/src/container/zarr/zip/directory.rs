//! The directory of a zip file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use super::entry::Entry;
use crate::container::Fault;

const END_SIGNATURE: [u8; 4] = *b"PK\x05\x06";
const ENTRY_SIGNATURE: [u8; 4] = *b"PK\x01\x02";
const LOCAL_SIGNATURE: [u8; 4] = *b"PK\x03\x04";
/// Of Zip64, whose numbers have 64 bits: the record before the end, which gives the place of the larger end, and that end.
const LOCATOR_SIGNATURE: [u8; 4] = *b"PK\x06\x07";
const LARGE_END_SIGNATURE: [u8; 4] = *b"PK\x06\x06";
/// The extra field of an entry that holds those of its numbers that are all ones.
const LARGE_NUMBERS: u16 = 1;
/// Bytes of the records without their variable parts.
const END_BYTES: usize = 22;
const ENTRY_BYTES: usize = 46;
const LOCAL_BYTES: usize = 30;
const LOCATOR_BYTES: usize = 20;
const LARGE_END_BYTES: usize = 56;
/// The longest comment after the end record.
const MAX_COMMENT_BYTES: u64 = 1 << 16;
/// The largest directory, which has some 80 bytes for each entry. It is held in memory.
const MAX_DIRECTORY_BYTES: u64 = 1 << 28;

/// Flags of an entry: whether it is encrypted, and whether its lengths follow its bytes instead of preceding them.
const ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;
const LENGTHS_FOLLOW: u16 = 1 << 3;

/// The most bytes that one byte of a deflate stream can stand for.
const MAX_EXPANSION: u64 = 1032;

/// What is wrong with a file, or that it could not be read.
pub(super) enum OpenFault {
    Io(io::Error),
    Unusable(Fault),
}

impl From<io::Error> for OpenFault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn damaged<T>(what: impl Into<String>) -> Result<T, OpenFault> {
    Err(OpenFault::Unusable(Fault::Damaged(what.into())))
}

fn unsupported<T>(detail: String) -> Result<T, OpenFault> {
    Err(OpenFault::Unusable(Fault::Unsupported {
        detail,
        remedy: "unpack it with unzip, and convert the directory".to_owned(),
    }))
}

/// Where the directory is.
pub(super) struct Directory {
    start: u64,
    n_bytes: u64,
    /// Number of entries, and how many bits of it are known.
    n_entries: u64,
    n_entries_mask: u64,
}

impl Directory {
    /// Its bytes.
    pub(super) fn range(&self) -> Range<u64> {
        self.start..self.start.saturating_add(self.n_bytes)
    }
}

pub(super) fn find(file: &File) -> Result<Directory, OpenFault> {
    let len = file.metadata()?.len();
    let tail_bytes = len.min(MAX_COMMENT_BYTES + END_BYTES as u64);
    let mut tail = vec![0; tail_bytes as usize];
    file.read_exact_at(&mut tail, len - tail_bytes)?;
    let end = tail
        .windows(END_BYTES)
        .rposition(|window| window[..4] == END_SIGNATURE);
    let Some(at) = end else {
        return damaged("it is a zip file without an end: it is truncated");
    };
    let (end, end_at) = (&tail[at..], len - tail_bytes + at as u64);
    let small = Directory {
        start: u32_at(end, 16).into(),
        n_bytes: u32_at(end, 12).into(),
        n_entries: u16_at(end, 10).into(),
        n_entries_mask: u16::MAX.into(),
    };
    let (directory, limit) = match find_large(file, end_at)? {
        Some((large, large_at)) => {
            // Numbers that fit stand in both ends.
            let agrees = |small: u64, large: u64, ones: u64| small == ones || small == large;
            if !agrees(small.start, large.start, u32::MAX.into())
                || !agrees(small.n_bytes, large.n_bytes, u32::MAX.into())
                || !agrees(small.n_entries, large.n_entries, u16::MAX.into())
            {
                return damaged("the two ends of the zip file contradict each other");
            }
            (large, large_at)
        }
        None if small.start == u64::from(u32::MAX) || small.n_bytes == u64::from(u32::MAX) => {
            return damaged("the end of the zip file points to a Zip64 one, which is not there");
        }
        None => (small, end_at),
    };
    match directory.start.checked_add(directory.n_bytes) {
        Some(until) if until <= limit => Ok(directory),
        _ => damaged("the directory of the zip file lies beyond its end"),
    }
}

/// What the end record of Zip64 says, and where it is, if there is one.
fn find_large(file: &File, end_at: u64) -> Result<Option<(Directory, u64)>, OpenFault> {
    let Some(locator_at) = end_at.checked_sub(LOCATOR_BYTES as u64) else {
        return Ok(None);
    };
    let mut locator = [0; LOCATOR_BYTES];
    file.read_exact_at(&mut locator, locator_at)?;
    if locator[..4] != LOCATOR_SIGNATURE {
        return Ok(None);
    }
    let at = u64_at(&locator, 8);
    let mut end = [0; LARGE_END_BYTES];
    let is_before = |at: u64, n_bytes: u64| at.checked_add(n_bytes).is_some_and(|end| end <= locator_at);
    if is_before(at, LARGE_END_BYTES as u64) {
        file.read_exact_at(&mut end, at)?;
    }
    // What follows its first two members is counted.
    let n_bytes = u64_at(&end, 4).saturating_add(12);
    if end[..4] != LARGE_END_SIGNATURE || n_bytes < LARGE_END_BYTES as u64 || !is_before(at, n_bytes) {
        return damaged(format!("the Zip64 end of the zip file at offset {at} is damaged"));
    }
    let directory = Directory {
        start: u64_at(&end, 48),
        n_bytes: u64_at(&end, 40),
        n_entries: u64_at(&end, 32),
        n_entries_mask: u64::MAX,
    };
    Ok(Some((directory, at)))
}

pub(super) fn read_entries(
    file: &File,
    directory: &Directory,
) -> Result<BTreeMap<Box<str>, Entry>, OpenFault> {
    if directory.n_bytes > MAX_DIRECTORY_BYTES {
        return unsupported(format!(
            "the directory of the zip file has {} bytes, and at most {MAX_DIRECTORY_BYTES} are read",
            directory.n_bytes
        ));
    }
    let mut reader = BufReader::with_capacity(1 << 18, file);
    reader.seek(SeekFrom::Start(directory.start))?;
    let (mut left, mut n_entries) = (directory.n_bytes, 0u64);
    let mut variable = Vec::new();
    let mut entries = BTreeMap::new();
    while left > 0 {
        let mut entry = [0; ENTRY_BYTES];
        if left >= ENTRY_BYTES as u64 {
            reader.read_exact(&mut entry)?;
        }
        if entry[..4] != ENTRY_SIGNATURE {
            return damaged("the directory of the zip file is damaged");
        }
        let lengths = [28, 30, 32].map(|at| usize::from(u16_at(&entry, at)));
        variable.resize(lengths.iter().sum(), 0);
        left = match left.checked_sub((ENTRY_BYTES + variable.len()) as u64) {
            Some(left) => left,
            None => return damaged("the directory of the zip file is cut off"),
        };
        reader.read_exact(&mut variable)?;
        let (name, extra) = variable[..lengths[0] + lengths[1]].split_at(lengths[0]);
        let found = entry_of(file, &entry, name, extra, directory.start)?;
        n_entries += 1;
        // Names of directories end with a slash, and nothing is read of them.
        if !name.ends_with(b"/") {
            entries.insert(String::from_utf8_lossy(name).into(), found);
        }
    }
    if n_entries & directory.n_entries_mask != directory.n_entries {
        return damaged(format!(
            "the directory of the zip file has {n_entries} entries, and its end says {}",
            directory.n_entries
        ));
    }
    Ok(entries)
}

/// An entry of the directory, which begins at `limit`, as far as its local header agrees.
fn entry_of(file: &File, entry: &[u8], name: &[u8], extra: &[u8], limit: u64) -> Result<Entry, OpenFault> {
    let Some([n_bytes, stored_bytes, offset]) = place_of(entry, extra) else {
        return damaged("the directory of the zip file has an entry without its Zip64 numbers");
    };
    let mut local = vec![0; LOCAL_BYTES + name.len()];
    if offset
        .checked_add(local.len() as u64)
        .is_some_and(|end| end <= limit)
    {
        file.read_exact_at(&mut local, offset)?;
    }
    let header_bytes = LOCAL_BYTES as u64 + u64::from(u16_at(&local, 26)) + u64::from(u16_at(&local, 28));
    let data = offset.checked_add(header_bytes);
    let end = data.and_then(|data| data.checked_add(stored_bytes));
    let same = |here: usize, there: usize| u32_at(&local, here) == u32_at(entry, there);
    // CRC-32 and lengths follow the bytes where they were not known before.
    let has_same_numbers = u16_at(&local, 6) & LENGTHS_FOLLOW != 0
        || (same(14, 16) && (same(18, 20) || u32_at(&local, 18) == u32::MAX))
            && (same(22, 24) || u32_at(&local, 22) == u32::MAX);
    let agrees = local[..4] == LOCAL_SIGNATURE
        && u16_at(&local, 8) == u16_at(entry, 10)
        && usize::from(u16_at(&local, 26)) == name.len()
        && local[LOCAL_BYTES..] == *name
        && has_same_numbers
        && end.is_some_and(|end| end <= limit);
    let Some(data) = data.filter(|_| agrees) else {
        return damaged(format!("the entry of the zip file at offset {offset} is damaged"));
    };
    let shown = String::from_utf8_lossy(name);
    if u16_at(entry, 8) & ENCRYPTED != 0 {
        return unsupported(format!("entry {shown} of the zip file is encrypted"));
    }
    let is_deflated = match u16_at(entry, 10) {
        0 => false,
        8 => true,
        method => {
            return unsupported(format!(
                "entry {shown} of the zip file is compressed with {}, and only stored and deflated entries are read",
                name_of(method)
            ));
        }
    };
    // Whatever deflate writes is hardly longer than what it was given.
    let can_be = match is_deflated {
        false => n_bytes == stored_bytes,
        true => {
            n_bytes <= stored_bytes.saturating_mul(MAX_EXPANSION)
                && stored_bytes <= n_bytes.saturating_add(n_bytes / 8).saturating_add(1 << 10)
        }
    };
    if !can_be {
        return damaged(format!(
            "entry {shown} of the zip file claims {n_bytes} bytes in {stored_bytes} stored ones"
        ));
    }
    Ok(Entry {
        offset_bytes: data,
        stored_bytes,
        n_bytes,
        crc32: u32_at(entry, 16),
        is_deflated,
        checked: OnceLock::new(),
    })
}

fn name_of(method: u16) -> String {
    let known = match method {
        9 => "deflate64",
        12 => "bzip2",
        14 => "lzma",
        93 => "zstd",
        95 => "xz",
        _ => return format!("method {method}"),
    };
    known.to_owned()
}

/// How many bytes an entry holds, how many are stored, and where its local header is. Numbers that are all ones stand in an extra
/// field, in this order: the length as it was, that as it is stored, the offset.
fn place_of(entry: &[u8], mut extra: &[u8]) -> Option<[u64; 3]> {
    let mut numbers = [24, 20, 42].map(|at| u64::from(u32_at(entry, at)));
    let is_large = |number: &u64| *number == u64::from(u32::MAX);
    if !numbers.iter().any(is_large) {
        return Some(numbers);
    }
    loop {
        let (head, rest) = extra.split_first_chunk::<4>()?;
        let (field, rest) = rest.split_at_checked(u16_at(head, 2).into())?;
        if u16_at(head, 0) == LARGE_NUMBERS {
            let mut large = field.as_chunks::<8>().0.iter();
            for number in numbers.iter_mut().filter(|number| is_large(number)) {
                *number = u64::from_le_bytes(*large.next()?);
            }
            return Some(numbers);
        }
        extra = rest;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
