//! A directory under a temporary name, until it gets its final one.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::names::{MAX_NAMESAKES, old_name, temporary_name};
use super::remains::{recover, removal, remove_remains};
use super::target::{check_replaceable, check_target};
use crate::Error;
use crate::format::file::FileName;
use crate::writer::error::WriteError;
use crate::writer::lock::{self, LOCK_FILE, StoreLock};
use crate::writer::paths::{absolute, parent_of};
use crate::writer::rename::{self, Ability};
use crate::writer::stripe::{self, Stripe};
use crate::writer::sync::sync;
use cellring_core::unfinished::{self, Unfinished};

/// A directory that exists under a temporary name until it is published; dropped before that, it is removed.
///
/// It holds a lock while its process lives, so that a later run can tell the remains of a killed one from the work of
/// another that is still going on.
#[derive(Debug)]
pub(in crate::writer) struct Staging {
    path: PathBuf,
    target: PathBuf,
    /// The path from the root of the store that this will be, or be a part of.
    owner: PathBuf,
    stripe: Stripe,
    replace: bool,
    ability: Ability,
    lock: File,
    published: bool,
    unfinished: Unfinished,
}

impl Staging {
    /// Creates the temporary directory beside `target`, after removing what killed runs for the same target left, and a
    /// directory for shards in each of `stripe`.
    /// The store that it is for is `owner`, from the root, or `target` itself.
    pub(in crate::writer) fn create(
        target: &Path,
        replace: bool,
        stripe: &[PathBuf],
        owner: Option<&Path>,
    ) -> Result<Self, Error> {
        let name = target.file_name().ok_or_else(|| WriteError::NoName {
            path: target.to_path_buf(),
        })?;
        recover(target);
        check_target(target, replace)?;
        if replace {
            StoreLock::check(target)?;
        }
        let parent = parent_of(target);
        let owner = match owner {
            Some(owner) => owner.to_path_buf(),
            None => absolute(target).map_err(WriteError::io(parent))?,
        };
        remove_remains(target, &owner);
        let making = unfinished::begin().map_err(WriteError::io(parent))?;
        let path = create_temporary(parent, name)?;
        let unfinished = making.register(removal(&path, &owner));
        let lock = lock::claim(&path).map_err(|error| {
            let _ = fs::remove_dir_all(&path);
            WriteError::io(&path)(error)
        })?;
        // Now, and not when the store is complete.
        let ability = Ability::probe(&path).map_err(|error| WriteError::NoRename {
            path: target.to_path_buf(),
            error,
        });
        let mut staging = Self {
            stripe: Stripe::create(&path, &owner, &[])?,
            path,
            target: target.to_path_buf(),
            owner,
            replace,
            ability: Ability::Move,
            lock,
            published: false,
            unfinished,
        };
        staging.ability = ability?;
        // Where one of these cannot be made, what was made before it is removed with `staging`.
        staging.stripe = Stripe::create(&staging.path, &staging.owner, stripe)?;
        Ok(staging)
    }

    /// Where to write shard `number`.
    pub(in crate::writer) fn new_shard(&mut self, number: u32) -> Result<PathBuf, Error> {
        self.stripe.new_shard(number)
    }

    /// Takes a shard of a part on the same filesystem as shard `number`, without copying it.
    pub(in crate::writer) fn adopt(
        &mut self,
        part: &Path,
        name: &FileName,
        number: u32,
        header_bytes: u32,
    ) -> Result<(), Error> {
        self.stripe.adopt(part, name, number, header_bytes)
    }

    /// The temporary directory.
    pub(in crate::writer) fn path(&self) -> &Path {
        &self.path
    }

    /// The path from the root of the store that this will be, or be a part of.
    pub(in crate::writer) fn owner(&self) -> &Path {
        &self.owner
    }

    /// Its final name.
    pub(in crate::writer) fn target(&self) -> &Path {
        &self.target
    }

    /// Syncs the directory and everything in it, and renames it to its final name.
    pub(in crate::writer) fn publish(mut self) -> Result<(), Error> {
        for entry in fs::read_dir(&self.path).map_err(WriteError::io(&self.path))? {
            let path = entry.map_err(WriteError::io(&self.path))?.path();
            sync(&path)?;
        }
        self.stripe.publish()?;
        // Whoever appends to the store that is replaced is waited for, not cut off.
        let mut replaced = match self.replace && fs::symlink_metadata(&self.target).is_ok() {
            true => Some(StoreLock::wait(&self.target)?),
            false => None,
        };
        sync(&self.path)?;
        // The lock goes along, and is removed behind the new name: without it another process would take the directory for what a
        // killed one left.
        let mut is_replacing = false;
        let move_there = || rename::move_to(&self.path, &self.target);
        let renamed = self.unfinished.commit(move_there).and_then(|renamed| renamed);
        match renamed {
            Ok(()) => self.published = true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.replace => {
                // Something else may have come to lie there since `create`.
                check_replaceable(&self.target)?;
                let replace = || self.take_the_place();
                let old = self.unfinished.commit(replace).and_then(|old| old);
                let old = old.map_err(WriteError::io(&self.target))?;
                if let Some(lock) = &mut replaced {
                    lock.moved(&old);
                }
                // What was the old store is removed when `self` is dropped.
                self.unfinished = unfinished::register(removal(&old, &self.owner));
                self.path = old;
                is_replacing = true;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(WriteError::Exists {
                    path: self.target.clone(),
                }
                .into());
            }
            Err(error) => return Err(WriteError::io(&self.target)(error).into()),
        }
        drop(replaced);
        // Readers ignore it: where this fails nothing is lost.
        let _ = fs::remove_file(self.target.join(LOCK_FILE));
        sync(parent_of(&self.target))?;
        if is_replacing {
            self.published = true;
            stripe::remove(&self.path, &self.owner).map_err(|(remains, error)| WriteError::Remains {
                path: self.target.clone(),
                remains,
                error,
            })?;
        }
        Ok(())
    }

    /// Gives this the name of the store that is replaced, and tells where that is then.
    fn take_the_place(&self) -> io::Result<PathBuf> {
        if self.ability == Ability::Exchange {
            // Both names exist at every moment.
            match rename::exchange(&self.path, &self.target) {
                Ok(()) => return Ok(self.path.clone()),
                // The directory may have become another mount since it was probed.
                Err(error) if rename::is_unknown(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let old = self.move_away()?;
        if let Err(error) = rename::move_to(&self.path, &self.target) {
            // Else the next run does that.
            let _ = rename::move_to(&old, &self.target);
            return Err(error);
        }
        Ok(old)
    }

    /// Renames the store that is replaced, and tells how it is called then.
    fn move_away(&self) -> io::Result<PathBuf> {
        let mut number = 0;
        loop {
            let old = parent_of(&self.target).join(old_name(&self.target, number));
            match rename::move_to(&self.target, &old) {
                Ok(()) => return Ok(old),
                // What an earlier process of this number left, and no process could remove.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < MAX_NAMESAKES => {
                    number += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.published {
            // Nothing can be done about a failure here; the next run for the same target tries again.
            let _ = stripe::remove(&self.path, &self.owner);
        }
        let _ = self.lock.unlock();
    }
}

/// Makes the temporary directory for a target of this name. A process on another host may have the same number.
fn create_temporary(parent: &Path, name: &OsStr) -> Result<PathBuf, Error> {
    let mut number = 0;
    loop {
        let path = parent.join(temporary_name(name, number));
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < MAX_NAMESAKES => {
                number += 1;
            }
            Err(error) => return Err(WriteError::io(&path)(error).into()),
        }
    }
}
