//! What is exported, and into what.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use cellring_anndata::write::{Compression, Container, ZarrFormat};

use super::error::ExportError;
use super::form::FormChoice;

/// What is exported.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// Which obs; all where `None`.
    pub obs_range: Option<Range<u64>>,
    /// The directory below which the files are that a linked store leads to. `None`: the one that the store is in.
    pub source_root: Option<PathBuf>,
    /// Whether an existing file is replaced.
    pub force: bool,
    /// Memory, in bytes, by which temporary files are cut where the obs of the store are in another order than the source's, or a
    /// matrix is written by columns.
    pub memory_bytes: u64,
    /// What holds the output. `None`: what its name says, by its ending.
    pub container: Option<ContainerChoice>,
    /// Form of X, the layers and raw.
    pub form: FormChoice,
    /// Compression of all arrays. `None`: none in `.h5ad`, zstd in zarr.
    pub compression: Option<Compression>,
    /// Elements of a chunk of an array of one dimension; see [`chunk_len`](cellring_anndata::write::WriteOptions::chunk_len).
    pub chunk_len: Option<u32>,
    /// Version of the format, where the output is zarr.
    pub zarr_format: ZarrFormat,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self {
            obs_range: None,
            source_root: None,
            force: false,
            memory_bytes: 1 << 30,
            container: None,
            form: FormChoice::default(),
            compression: None,
            chunk_len: None,
            zarr_format: ZarrFormat::default(),
        }
    }
}

/// An HDF5 file or a directory of zarr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as the formats are")]
pub enum ContainerChoice {
    Hdf5,
    Zarr,
}

impl FromStr for ContainerChoice {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "h5ad" => Ok(Self::Hdf5),
            "zarr" => Ok(Self::Zarr),
            _ => Err("expected h5ad or zarr".to_owned()),
        }
    }
}

impl ExportOptions {
    /// What holds an output of this name.
    ///
    /// # Errors
    /// [`ExportError::Ending`] where neither the options nor the name say so, [`ExportError::Zip`] for a zip file.
    pub fn container_of(&self, output: &Path) -> Result<Container, ExportError> {
        let named = Container::of_path(output, self.zarr_format);
        match (self.container, named) {
            (Some(ContainerChoice::Hdf5), _) => return Ok(Container::Hdf5),
            (Some(ContainerChoice::Zarr), _) => return Ok(Container::Zarr(self.zarr_format)),
            (None, Some(container)) => return Ok(container),
            (None, None) => {}
        }
        let path = output.to_path_buf();
        let ending = output
            .extension()
            .map(|ending| ending.to_string_lossy().into_owned());
        if ending
            .as_ref()
            .is_some_and(|ending| ending.eq_ignore_ascii_case("zip"))
        {
            return Err(ExportError::Zip { path });
        }
        let found = ending.map_or_else(
            || "has no ending".to_owned(),
            |ending| format!("ends in .{ending}"),
        );
        Err(ExportError::Ending { path, found })
    }
}
