//! Links the files of a linked store again, or tells the store where they are now.

use std::path::{Path, PathBuf};

use cellring::Store;
use cellring::store::LinkTargets;
use cellring::writer::Relocation;
use serde::Serialize;

use super::before::Before;
use super::linking::{LinkOptions, LinkReport, link};
use crate::convert::{ConvertError, Origin};
use crate::message::{Message, MessageKind};

/// Links the inputs that a store leads to again, with the matrices and the group that were linked, joined as they were, and replaces the
/// store. Whether it has other obs, genes or values than before is among the warnings.
///
/// `source_root`: the directory below which the inputs are; `None`: the one that the store is in. `force_read`: as in
/// [`OpenOptions`](cellring_anndata::OpenOptions). `checksum`: whether it gets checksums; one that has them keeps them. `progress`: as in
/// [`link`].
///
/// # Errors
/// [`ConvertError`]; the store is as it was then.
pub fn refresh(
    store: &Path,
    source_root: Option<&Path>,
    force_read: bool,
    checksum: bool,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<LinkReport, ConvertError> {
    let (store, origin) = store_and_origin(store, source_root)?;
    if let Some(gone) = origin.inputs.iter().find(|input| !input.exists()) {
        return Err(ConvertError::Gone {
            file: gone.clone(),
            store,
        });
    }
    let mut selections = origin.selections.into_iter();
    let options = LinkOptions {
        open: origin.open.force_read(force_read),
        join: origin.join,
        obs_columns: origin.obs_columns,
        selection: selections.next().unwrap_or_default(),
        other_matrices: selections.collect(),
        checksum: checksum || origin.checksum,
        source_root: Some(origin.root),
        force: true,
    };
    let before = Before::of(&store);
    let mut report = link(&origin.inputs, &store, &options, progress)?;
    let root = options.source_root.as_deref().unwrap_or(Path::new("."));
    let changes = before.and_then(|before| before.changes(&Store::open_below(&store, root).ok()?));
    report.warnings.extend(
        changes
            .map(|sentence| Message::new(MessageKind::Changes, format!("{}: {sentence}", store.display()))),
    );
    Ok(report)
}

/// What became of a store whose file was moved.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct RelocateReport {
    /// The store.
    pub store: PathBuf,
    /// Its id.
    pub store_id: String,
    /// Whether it had this id before: then states that were saved with it go on.
    pub same_id: bool,
    /// The files that it leads to now.
    pub linked_to: Vec<PathBuf>,
}

/// Has a linked store lead to files where they are now. Each has the length and the fingerprint that it had when it was linked.
///
/// `source_root`: the directory below which the files are; `None`: the one that the store is in.
///
/// # Errors
/// [`ConvertError`]; the store is as it was then.
pub fn relocate(
    store: &Path,
    source_root: Option<&Path>,
    relocations: &[Relocation],
) -> Result<RelocateReport, ConvertError> {
    let (store, origin) = store_and_origin(store, source_root)?;
    let before = LinkTargets::read(&store)?.map(|found| found.manifest.store_id);
    cellring::writer::relocate(&store, &origin.root, relocations)?;
    let now = Store::open_below(&store, &origin.root)?;
    let store_id = now.manifest().store_id.clone();
    Ok(RelocateReport {
        same_id: before.as_ref() == Some(&store_id),
        store_id,
        linked_to: now.shard_paths(),
        store,
    })
}

/// A linked store, without links on the way to it, and what it leads to.
fn store_and_origin(store: &Path, source_root: Option<&Path>) -> Result<(PathBuf, Origin), ConvertError> {
    let real = store.canonicalize().unwrap_or_else(|_| store.to_path_buf());
    let origin = Origin::read(&real, source_root)?;
    let origin = origin.ok_or_else(|| ConvertError::NotLinked {
        path: store.to_path_buf(),
    })?;
    Ok((real, origin))
}
