//! The store that a command is about.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cellring::Store;

use crate::failure::Failure;

/// The store that a command is about.
#[derive(Debug, clap::Args)]
pub(crate) struct StoreArg {
    /// The store, a directory made by `cellring convert`
    #[arg(value_name = "STORE")]
    path: PathBuf,
}

impl StoreArg {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(crate) fn open(&self) -> Result<Arc<Store>, Failure> {
        Ok(Arc::new(Store::open(&self.path)?))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}
