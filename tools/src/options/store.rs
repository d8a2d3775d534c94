//! The store that a command is about.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cellring::Store;

use crate::failure::Failure;
use crate::link;
use crate::message::MessageKind;
use crate::output;

/// The store that a command is about.
#[derive(Debug, clap::Args)]
pub(crate) struct StoreArg {
    /// The store, a directory made by `cellring convert` or `cellring link`; or an .h5ad or zarr, which is linked automatically
    #[arg(value_name = "STORE")]
    path: PathBuf,
    /// The directory below which a linked store looks for its files [default: the one that the store is in]
    #[arg(long, value_name = "DIR")]
    source_root: Option<PathBuf>,
}

impl StoreArg {
    pub(crate) fn new(path: PathBuf, source_root: Option<PathBuf>) -> Self {
        Self { path, source_root }
    }

    /// The directory below which the files are that the store leads to, if it is not the one that the store is in.
    pub(crate) fn source_root(&self) -> Option<PathBuf> {
        match link::is_input(&self.path) {
            // It was linked on the way, and the store is elsewhere.
            true => Some(self.path.canonicalize().ok()?.parent()?.to_path_buf()),
            false => self.source_root.clone(),
        }
    }

    pub(crate) fn open(&self) -> Result<Arc<Store>, Failure> {
        let opened = link::open(&self.path, self.source_root.as_deref())?;
        if let Some(cached) = &opened.cached {
            let sentence = format!(
                "{} is read in place, through the link {}; a converted store (cellring convert) would be faster to read",
                self.path.display(),
                cached.display()
            );
            output::warn(MessageKind::Run, sentence);
        }
        Ok(Arc::new(opened.store))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}
