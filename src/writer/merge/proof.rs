//! Proves that parts make a sound store, before it gets its name and they are removed.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::thread::available_parallelism;

use super::found::FoundPart;
use crate::Error;
use crate::error::Cause;
use crate::format::file::{FileName, Links, open};
use crate::format::shard::encode_header;
use crate::format::{FormatError, Manifest};
use crate::store::{Store, verify as verify_store};
use crate::writer::complete::new_shards;
use crate::writer::error::WriteError;

/// The parts make a store that `verify` finds whole.
pub(super) fn check_store(
    staging: &Path,
    parts: &[FoundPart],
    target: &Path,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<(), Error> {
    let threads = available_parallelism().map_or(1, |n| n.get());
    let found = Store::open_unfinished(staging).and_then(|store| {
        let n_blocks = store.index().n_blocks();
        verify_store(&store, threads, &|done| progress(done, n_blocks))
    });
    let Err(error) = found else {
        return Ok(());
    };
    // What is in the way of verifying, such as a limit of the system, says nothing of the parts.
    let error = match error.into_cause() {
        Cause::Format(FormatError::Io { file, error }) => return Err(WriteError::Io { file, error }.into()),
        cause => Error::from(cause),
    };
    // The directory will be gone: what is wrong is told of the part that it comes from.
    let shards = parts.iter().flat_map(|part| {
        let own = part.manifest.shards.iter();
        own.map(|shard| part.path.join(&shard.file))
    });
    let mut text = error.to_string();
    for (number, shard) in shards.enumerate() {
        let shown = staging.join(FileName::shard(number as u32)).display().to_string();
        text = text.replace(&format!("{shown}:"), &format!("{}:", shard.display()));
    }
    let text = text.replace(&staging.display().to_string(), "the merged store");
    Err(WriteError::Part {
        path: target.to_path_buf(),
        problem: format!("the parts do not make a sound store ({text}); convert them again and replace them"),
    }
    .into())
}

/// No shard is that of another store too, under whose name its header would be changed.
pub(super) fn check_headers(staging: &Path, manifest: &Manifest, target: &Path) -> Result<(), Error> {
    for (number, path) in new_shards(staging, manifest) {
        let mut found = vec![0; manifest.alignment as usize];
        let file = open(&path, Links::Refused).map_err(WriteError::io(&path))?;
        file.read_exact_at(&mut found, 0).map_err(WriteError::io(&path))?;
        let is_own = found == encode_header(number, manifest.store_id(), manifest.alignment);
        let is_free = found.iter().all(|&byte| byte == 0);
        // One name is that of the part, one was given to it here.
        let n_names = file.metadata().map_err(WriteError::io(&path))?.nlink();
        if n_names > 2 && !is_own && !is_free {
            let problem = format!(
                "shard {number} of the parts is also a shard of another store (by a hard link), which would be damaged; copy the parts, \
                 or convert them again and replace them"
            );
            return Err(WriteError::Part {
                path: target.to_path_buf(),
                problem,
            }
            .into());
        }
    }
    Ok(())
}
