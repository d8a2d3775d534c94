//! Zip files as zarr uses them: a directory of names, and entries that are stored or deflated.
//!
//! The directory is read once, when the file is opened, and every entry compared with its local header. No byte of an entry is
//! used before its CRC-32 has been checked, and what an entry claims to hold is compared with a limit before memory is taken for it.

mod directory;
mod entry;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::{Bound, Range};
use std::sync::Arc;

use super::pieces::Pieces;
use crate::container::Fault;
use directory::{Directory, OpenFault, find, read_entries};
use entry::Entry;

/// An open zip file.
pub(super) struct Zip {
    file: Arc<File>,
    /// By name; of several of one name the last, as in Python.
    entries: BTreeMap<Box<str>, Entry>,
    /// Where the directory is.
    directory: Range<u64>,
}

impl Zip {
    /// Reads the directory, and checks that each of its entries has a local header that says the same and lies within the file.
    pub(super) fn open(file: File) -> io::Result<Result<Self, Fault>> {
        let read = |directory: Directory| Ok((read_entries(&file, &directory)?, directory.range()));
        match find(&file).and_then(read) {
            Ok((entries, directory)) => Ok(Ok(Self {
                file: Arc::new(file),
                entries,
                directory,
            })),
            Err(OpenFault::Unusable(fault)) => Ok(Err(fault)),
            Err(OpenFault::Io(error)) => Err(error),
        }
    }

    /// Where its directory is, which has a checksum of each entry.
    pub(super) fn directory(&self) -> Range<u64> {
        self.directory.clone()
    }

    /// The directory in which all files lie, if there is one.
    pub(super) fn only_directory(&self) -> Option<&str> {
        let first = self.entries.keys().next()?;
        let (top, _) = first.split_once('/')?;
        let (last, _) = self.entries.keys().next_back()?.split_once('/')?;
        // Names are sorted: between two in one directory there is nothing outside it.
        (top == last).then_some(top)
    }

    /// Names of the directories directly below a prefix, which is empty or ends with a slash.
    pub(super) fn directories(&self, prefix: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut from = Bound::Included(prefix.to_owned());
        loop {
            let range = (from.as_ref().map(String::as_str), Bound::Unbounded);
            let Some((name, _)) = self.entries.range::<str, _>(range).next() else {
                return found;
            };
            let Some(rest) = name.strip_prefix(prefix) else {
                return found;
            };
            from = match rest.split_once('/') {
                // What is in the directory is passed over: no name in it comes after this, the slash's successor.
                Some((directory, _)) => {
                    found.push(directory.to_owned());
                    Bound::Included(format!("{prefix}{directory}0"))
                }
                None => Bound::Excluded(name.to_string()),
            };
        }
    }

    /// An entry whole, if there is one of this name and it has at most `most_bytes`.
    pub(super) fn read(&self, name: &str, most_bytes: u64) -> Result<Option<Vec<u8>>, Fault> {
        let Some(entry) = self.entries.get(name) else {
            return Ok(None);
        };
        let about = |fault: Fault| fault.about(&format!("entry {name} of the zip file"));
        if entry.n_bytes > most_bytes {
            let detail = format!("it has {} bytes, expected at most {most_bytes}", entry.n_bytes);
            return Err(about(detail.into()));
        }
        entry
            .whole(&self.file)
            .map(Some)
            .map_err(|detail| about(detail.into()))
    }

    /// Where an entry begins in the file, and its length; `Some(None)` of one that is deflated.
    pub(super) fn place(&self, name: &str) -> Option<Option<(u64, u64)>> {
        let entry = self.entries.get(name)?;
        Some((!entry.is_deflated).then_some((entry.offset_bytes, entry.n_bytes)))
    }

    /// Memory for an entry that is read in pieces: one that is deflated is held whole, and for a while two of them are.
    pub(super) fn held_bytes(&self, name: &str) -> u64 {
        match self.entries.get(name) {
            Some(entry) if entry.is_deflated => 2 * entry.n_bytes,
            _ => 0,
        }
    }

    /// An entry that is to be read in pieces. One that is deflated is inflated once, if it has at most `most_held_bytes`.
    pub(super) fn pieces(&self, name: &str, most_held_bytes: u64) -> Result<Option<Pieces>, Fault> {
        let Some(entry) = self.entries.get(name) else {
            return Ok(None);
        };
        let about = |fault: Fault| fault.about(&format!("entry {name} of the zip file"));
        if !entry.is_deflated {
            if entry.checked.get().is_none() {
                entry.check(&self.file).map_err(|detail| about(detail.into()))?;
                // Another thread may have been here meanwhile.
                let _ = entry.checked.set(());
            }
            return Ok(Some(Pieces::of_file(
                Arc::clone(&self.file),
                entry.offset_bytes,
                entry.n_bytes,
            )));
        }
        if entry.n_bytes > most_held_bytes {
            return Err(about(Fault::Unsupported {
                detail: format!(
                    "it is a deflated shard of {} bytes, and at most {most_held_bytes} are held in memory",
                    entry.n_bytes
                ),
                remedy: "unpack the zip file with unzip, and convert the directory".to_owned(),
            }));
        }
        let bytes = entry.whole(&self.file).map_err(|detail| about(detail.into()))?;
        Ok(Some(Pieces::held(bytes)))
    }
}
