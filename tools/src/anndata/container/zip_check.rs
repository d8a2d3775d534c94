//! Looks over a zip file before a library reads it: one whose entries contradict its directory can keep that busy for ever.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

const END_SIGNATURE: [u8; 4] = *b"PK\x05\x06";
const ENTRY_SIGNATURE: [u8; 4] = *b"PK\x01\x02";
const LOCAL_SIGNATURE: [u8; 4] = *b"PK\x03\x04";
/// Of Zip64, whose numbers have 64 bits: what stands before the end and tells where the larger end lies, and that.
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

/// What is wrong with a file, or that it could not be read.
enum Fault {
    Io(io::Error),
    Damaged(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn damaged<T>(what: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Damaged(what.into()))
}

/// Where the directory lies.
struct Directory {
    start: u64,
    n_bytes: u64,
    /// Number of entries, and how many bits of it are known.
    n_entries: u64,
    n_entries_mask: u64,
}

/// Checks that every entry of the directory has a local header that says the same, and lies within the file.
pub(super) fn check(path: &Path) -> io::Result<Result<(), String>> {
    let file = File::open(path)?;
    match find(&file).and_then(|directory| check_entries(&file, &directory)) {
        Ok(()) => Ok(Ok(())),
        Err(Fault::Damaged(what)) => Ok(Err(what)),
        Err(Fault::Io(error)) => Err(error),
    }
}

fn find(file: &File) -> Result<Directory, Fault> {
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

/// What the end record of Zip64 says, and where it lies, if there is one.
fn find_large(file: &File, end_at: u64) -> Result<Option<(Directory, u64)>, Fault> {
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

fn check_entries(file: &File, directory: &Directory) -> Result<(), Fault> {
    let mut reader = BufReader::with_capacity(1 << 18, file);
    reader.seek(SeekFrom::Start(directory.start))?;
    let (mut left, mut n_entries) = (directory.n_bytes, 0u64);
    let mut variable = Vec::new();
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
        let extra = &variable[lengths[0]..lengths[0] + lengths[1]];
        check_local(file, &entry, extra, directory.start)?;
        n_entries += 1;
    }
    if n_entries & directory.n_entries_mask != directory.n_entries {
        return damaged(format!(
            "the directory of the zip file has {n_entries} entries, and its end says {}",
            directory.n_entries
        ));
    }
    Ok(())
}

/// Compares an entry of the directory, which begins at `limit`, with its local header.
fn check_local(file: &File, entry: &[u8], extra: &[u8], limit: u64) -> Result<(), Fault> {
    let Some([stored, offset]) = place_of(entry, extra) else {
        return damaged("the directory of the zip file has an entry without its Zip64 numbers");
    };
    let mut local = [0; LOCAL_BYTES];
    if offset
        .checked_add(LOCAL_BYTES as u64)
        .is_some_and(|end| end <= limit)
    {
        file.read_exact_at(&mut local, offset)?;
    }
    let header_bytes = LOCAL_BYTES as u64 + u64::from(u16_at(&local, 26)) + u64::from(u16_at(&local, 28));
    let end = offset
        .checked_add(header_bytes)
        .and_then(|data| data.checked_add(stored));
    let agrees = local[..4] == LOCAL_SIGNATURE
        && u16_at(&local, 8) == u16_at(entry, 10)
        && u16_at(&local, 26) == u16_at(entry, 28)
        && end.is_some_and(|end| end <= limit);
    match agrees {
        true => Ok(()),
        false => damaged(format!("the entry of the zip file at offset {offset} is damaged")),
    }
}

/// How many bytes an entry has as it is stored, and where its local header lies. Numbers that are all ones stand in an extra
/// field, in this order: the length as it was, that as it is stored, the offset.
fn place_of(entry: &[u8], mut extra: &[u8]) -> Option<[u64; 2]> {
    let mut numbers = [24, 20, 42].map(|at| u64::from(u32_at(entry, at)));
    let is_large = |number: &u64| *number == u64::from(u32::MAX);
    if !numbers.iter().any(is_large) {
        return Some([numbers[1], numbers[2]]);
    }
    loop {
        let (head, rest) = extra.split_first_chunk::<4>()?;
        let (field, rest) = rest.split_at_checked(u16_at(head, 2).into())?;
        if u16_at(head, 0) == LARGE_NUMBERS {
            let mut large = field.as_chunks::<8>().0.iter();
            for number in numbers.iter_mut().filter(|number| is_large(number)) {
                *number = u64::from_le_bytes(*large.next()?);
            }
            return Some([numbers[1], numbers[2]]);
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
