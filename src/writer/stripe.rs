//! Shards on several disks: directories elsewhere that hold them, and links to them in the store.
//!
//! Such a directory belongs to one store and says so in a file of its own, [`MARKER`], which names the path that the store
//! is published under. Nothing is ever removed from a directory that does not say so, and only shards are.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::error::WriteError;
use super::link::{Linked, link_or_copy};
use super::paths::absolute;
use super::sync::sync;
use crate::Error;
use crate::format::constants::shard_file;
use crate::format::file::{FileName, Links, open, read_whole};
use crate::format::names::shard_number;
use crate::format::shard::may_be_written;
use cellring_core::explain;

/// The file that tells to which store a directory of shards belongs.
pub(super) const MARKER: &str = "cellring-stripe";
const MARKER_HEAD: &[u8] = b"shards of the cellring store that the next line names; removed with it\n";

/// In a temporary directory: the directories elsewhere that belong to it, each followed by a zero byte. It is written
/// before they are made, so that the remains of a killed process are found.
pub(super) const LIST: &str = ".stripe";

/// Most bytes of these files: a longer file in their place is not read.
const MAX_LIST_BYTES: u64 = 1 << 22;

/// The directories of one store.
#[derive(Debug)]
pub(super) struct Stripe {
    /// The temporary directory that links to the shards.
    staging: PathBuf,
    /// Where the store will be published, from the root.
    target: PathBuf,
    /// The directories that were asked for, and those made in them.
    made: Vec<(PathBuf, PathBuf)>,
    /// Whether directories were asked for; else shards lie in the store itself.
    n_wanted: usize,
}

impl Stripe {
    /// Makes a directory in each of `parents` for the store that is built in `staging`.
    pub(super) fn create(staging: &Path, target: &Path, parents: &[PathBuf]) -> Result<Self, Error> {
        let mut stripe = Self {
            staging: staging.to_path_buf(),
            target: target.to_path_buf(),
            made: Vec::new(),
            n_wanted: parents.len(),
        };
        for parent in parents {
            stripe.make_in(parent)?;
        }
        Ok(stripe)
    }

    /// Where to write shard `number`; where that is not in the store, the store has a link to it.
    pub(super) fn new_shard(&mut self, number: u32) -> Result<PathBuf, Error> {
        let link = self.staging.join(shard_file(number));
        if self.n_wanted == 0 {
            return Ok(link);
        }
        let shard = self.made[number as usize % self.n_wanted]
            .1
            .join(shard_file(number));
        symlink(&shard, &link).map_err(WriteError::io(&link))?;
        Ok(shard)
    }

    /// Takes file `name` of a part as shard `number`: by a hard link, or as a copy on filesystems without them. Its header of
    /// `header_bytes` must be one that may be overwritten; that is not done here.
    pub(super) fn adopt(
        &mut self,
        part: &Path,
        name: &FileName,
        number: u32,
        header_bytes: u32,
    ) -> Result<(), Error> {
        let shard = part.join(name);
        let refuse = |problem: &str| WriteError::Part {
            path: part.to_path_buf(),
            problem: format!("{name} {problem}"),
        };
        let link = self.staging.join(shard_file(number));
        let is_link = fs::symlink_metadata(&shard)
            .map_err(WriteError::io(&shard))?
            .is_symlink();
        let file = match is_link {
            true => fs::canonicalize(&shard).map_err(WriteError::io(&shard))?,
            false => shard.clone(),
        };
        let directory = file.parent().unwrap_or(Path::new("/"));
        let owner = absolute(part).map_err(WriteError::io(part))?;
        if is_link && !(belongs_to(directory, &owner) && file.file_name().is_some_and(is_shard)) {
            return Err(refuse(
                "is a link to a file outside this part, which would be written to; replace the link with a copy of that file",
            ).into());
        }
        let opened = open(&file, Links::Refused).map_err(WriteError::io(&file))?;
        let about = opened.metadata().map_err(WriteError::io(&file))?;
        let mut header = vec![0; header_bytes as usize];
        opened
            .read_exact_at(&mut header, 0)
            .map_err(WriteError::io(&file))?;
        if !may_be_written(&header) {
            return Err(refuse("is not a shard of a part; convert the part again and replace it").into());
        }
        let own = match is_link {
            false => link.clone(),
            true => {
                let parent = directory.parent().unwrap_or(Path::new("/"));
                let known = self.made.iter().find(|(wanted, _)| wanted == parent);
                let directory = match known {
                    Some((_, made)) => made.clone(),
                    None => self.make_in(parent)?,
                };
                directory.join(shard_file(number))
            }
        };
        let linked = link_or_copy(&file, &own).map_err(WriteError::io(&file))?;
        let taken = fs::symlink_metadata(&own).map_err(WriteError::io(&own))?;
        if linked == Linked::Shared && (taken.dev(), taken.ino()) != (about.dev(), about.ino()) {
            return Err(refuse("was changed while it was being taken; run the merge again").into());
        }
        match is_link {
            false => Ok(()),
            true => Ok(symlink(&own, &link).map_err(WriteError::io(&link))?),
        }
    }

    fn make_in(&mut self, parent: &Path) -> Result<PathBuf, Error> {
        let failed = |error| WriteError::Stripe {
            path: parent.to_path_buf(),
            error: explain(parent, error),
        };
        let parent = fs::canonicalize(parent).map_err(failed)?;
        let mut name = prefix(&self.target);
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let nanos = since.unwrap_or_default().as_nanos() as u64;
        name.push(format!("{:x}-{nanos:x}-{}", std::process::id(), self.made.len()));
        let directory = parent.join(name);
        self.list(&directory)?;
        self.made.push((parent.clone(), directory.clone()));
        fs::create_dir(&directory).map_err(failed)?;
        let marker = directory.join(MARKER);
        let text = marker_text(&self.target);
        let write = || {
            let mut file = File::create_new(&marker)?;
            file.write_all(&text)?;
            file.sync_all()
        };
        write().map_err(failed)?;
        Ok(directory)
    }

    /// Appends to the list: what stands there is never written again, so that it is never lost.
    fn list(&self, directory: &Path) -> Result<(), Error> {
        let path = self.staging.join(LIST);
        let write = || {
            let mut file = File::options().append(true).create(true).open(&path)?;
            file.write_all(&[directory.as_os_str().as_bytes(), b"\0"].concat())?;
            file.sync_all()
        };
        Ok(write().map_err(WriteError::io(&path))?)
    }

    /// Syncs the directories; the shards are synced through their links. The list of them is no longer needed: what holds no
    /// shard, and so would be found by no link, goes.
    pub(super) fn publish(&self) -> Result<(), Error> {
        for (parent, directory) in &self.made {
            let mut entries = fs::read_dir(directory).map_err(WriteError::io(directory))?;
            if !entries.any(|entry| entry.is_ok_and(|entry| is_shard(&entry.file_name()))) {
                fs::remove_file(directory.join(MARKER)).map_err(WriteError::io(directory))?;
                fs::remove_dir(directory).map_err(WriteError::io(directory))?;
                continue;
            }
            sync(directory)?;
            sync(parent)?;
        }
        match fs::remove_file(self.staging.join(LIST)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(WriteError::io(&self.staging.join(LIST))(error).into())
            }
            _ => Ok(()),
        }
    }
}

/// How the names of all directories of shards of a store begin.
fn prefix(target: &Path) -> OsString {
    let mut name = target.file_name().unwrap_or(OsStr::new("store")).to_os_string();
    name.push(".stripe-");
    name
}

/// The directories that hold shards of the store in `directory`: those that it links to, and those that its list names; of
/// other matrices, in directories within it, too.
pub(super) fn directories_of(directory: &Path) -> Vec<PathBuf> {
    let list = read_whole(&directory.join(LIST), Links::Refused, MAX_LIST_BYTES).unwrap_or_default();
    // What is not followed by a zero was cut off, and was not made.
    let listed = list
        .split_inclusive(|&byte| byte == 0)
        .filter_map(|path| path.strip_suffix(b"\0"));
    let mut found: Vec<PathBuf> = listed
        .map(|path| PathBuf::from(OsString::from_vec(path.to_vec())))
        .collect();
    let mut links = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        // Of a link this is a link, not what it leads to.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(directories_of(&entry.path()));
        } else if is_shard(&entry.file_name()) {
            links.push(entry.path());
        }
    }
    links.sort();
    let targets = links.iter().filter_map(|link| fs::read_link(link).ok());
    found.extend(targets.filter_map(|shard| Some(shard.parent()?.to_path_buf())));
    let mut seen = HashSet::new();
    found.retain(|path| path.is_absolute() && seen.insert(path.clone()));
    found
}

/// What a directory says that holds shards of this store.
fn marker_text(target: &Path) -> Vec<u8> {
    [MARKER_HEAD, target.as_os_str().as_bytes(), b"\n"].concat()
}

/// Whether a directory says that it holds shards of this store.
pub(super) fn belongs_to(directory: &Path, target: &Path) -> bool {
    read_whole(&directory.join(MARKER), Links::Refused, MAX_LIST_BYTES)
        .is_ok_and(|text| text == marker_text(target))
}

/// Whether a directory was about to say so when the process was killed, and so holds nothing yet.
fn was_about_to(directory: &Path, target: &Path) -> bool {
    let n_entries = fs::read_dir(directory).map_or(0, Iterator::count);
    let text = read_whole(&directory.join(MARKER), Links::Refused, MAX_LIST_BYTES);
    n_entries == 1 && text.is_ok_and(|text| marker_text(target).starts_with(&text))
}

/// Whether this is how a shard is called.
pub(super) fn is_shard(name: &OsStr) -> bool {
    name.to_str().and_then(shard_number).is_some()
}

/// The directories that must be emptied to remove the store in `directory`, published as `target`: its own, those within it,
/// and those elsewhere that hold shards of it.
pub(super) fn directories_to_empty(directory: &Path, target: &Path) -> Vec<PathBuf> {
    let mut found = vec![directory.to_path_buf()];
    let mut next = 0;
    while let Some(path) = found.get(next).cloned() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.push(entry.path());
            }
        }
        next += 1;
    }
    let elsewhere = directories_of(directory).into_iter();
    found.extend(elsewhere.filter(|stripe| belongs_to(stripe, target)));
    found
}

/// Removes a directory of ours that was to be, or was, published as `target`, and before it the shards it has elsewhere. What
/// is not ours stays.
///
/// # Errors
/// The first thing of ours that could not be removed, and why; all else is removed then.
pub(super) fn remove(directory: &Path, target: &Path) -> Result<(), (PathBuf, io::Error)> {
    let prefix = prefix(target);
    let mut failure = None;
    let mut note = |path: &Path, result: io::Result<()>| match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            failure.get_or_insert((path.to_path_buf(), error));
        }
        _ => {}
    };
    for stripe in directories_of(directory) {
        if belongs_to(&stripe, target) || was_about_to(&stripe, target) {
            let entries = fs::read_dir(&stripe).into_iter().flatten().flatten();
            for entry in entries.filter(|entry| is_shard(&entry.file_name())) {
                note(&stripe, fs::remove_file(entry.path()));
            }
            note(&stripe, fs::remove_file(stripe.join(MARKER)));
        }
        let name = stripe.file_name().unwrap_or_default().as_bytes();
        if name.starts_with(prefix.as_bytes()) {
            // Refused by the system where it is not empty.
            let _ = fs::remove_dir(&stripe);
        }
    }
    note(directory, fs::remove_dir_all(directory));
    failure.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_belongs_to_the_store_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (target, other) = (dir.path().join("s"), dir.path().join("t"));
        let (ours, theirs) = (dir.path().join("s.stripe-1"), dir.path().join("s.stripe-2"));
        let plain = dir.path().join("s.stripe-3");
        for (stripe, marked) in [(&ours, Some(&target)), (&theirs, Some(&other)), (&plain, None)] {
            fs::create_dir(stripe).unwrap();
            fs::write(stripe.join("shard-00000.bin"), b"x").unwrap();
            if let Some(marked) = marked {
                fs::write(stripe.join(MARKER), marker_text(marked)).unwrap();
            }
        }
        fs::write(ours.join("precious"), b"x").unwrap();
        fs::create_dir(&target).unwrap();
        // Killed when the file was made, but not written.
        let begun = dir.path().join("s.stripe-4");
        fs::create_dir(&begun).unwrap();
        fs::write(begun.join(MARKER), &MARKER_HEAD[..7]).unwrap();
        fs::write(target.join(LIST), [begun.as_os_str().as_bytes(), b"\0"].concat()).unwrap();
        for (number, stripe) in [&ours, &theirs, &plain].into_iter().enumerate() {
            symlink(
                stripe.join("shard-00000.bin"),
                target.join(shard_file(number as u32)),
            )
            .unwrap();
        }
        remove(&target, &target).unwrap();
        assert!(!target.exists() && !begun.exists());
        assert!(ours.join("precious").exists() && !ours.join("shard-00000.bin").exists());
        assert!(theirs.join("shard-00000.bin").exists() && plain.join("shard-00000.bin").exists());
    }
}
