//! What a linked store says of the files that it leads to, which need not be there.

use std::path::Path;

use super::read_manifest;
use crate::Error;
use crate::format::constants::{INDEX_HEADER_BYTES, MANIFEST_FILE};
use crate::format::lazy::Lazy;
use crate::format::linked::{Description, LinkedLayout, count_bytes};
use crate::format::pieces::verify_piece;
use crate::format::table::Table;
use crate::format::{FormatError, Manifest};

/// What a linked store says of the files that it leads to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LinkTargets {
    /// The manifest of the store.
    pub manifest: Manifest,
    /// The files of its first matrix, from the root that it was linked below.
    pub files: Vec<String>,
    /// Of each of the inputs one of its files.
    pub input_files: Vec<String>,
}

impl LinkTargets {
    /// Reads it; `None` if the store holds its values. The files are not opened.
    ///
    /// # Errors
    /// If there is no store, or it is damaged.
    pub fn read(store: &Path) -> Result<Option<Self>, Error> {
        let manifest = Manifest::from_bytes(&read_manifest(store)?, &store.join(MANIFEST_FILE))?;
        if !manifest.is_linked() {
            return Ok(None);
        }
        let index = LinkedIndex::read(store, &manifest)?;
        let description = index.description;
        let input_files = description.input_files().map(str::to_owned).collect();
        let files = description.files.into_iter();
        Ok(Some(Self {
            files: files.map(|file| file.path).collect(),
            input_files,
            manifest,
        }))
    }

    /// The tables of the store: obs, and var of its first matrix.
    ///
    /// # Errors
    /// If one is not there.
    pub fn tables(&self, store: &Path) -> Result<[Table; 2], Error> {
        let Manifest {
            obs,
            var,
            n_obs,
            n_vars,
            ..
        } = &self.manifest;
        Ok([
            Table::open(store.join(&obs.file), obs, *n_obs)?,
            Table::open(store.join(&var.file), var, *n_vars)?,
        ])
    }
}

/// The index of a linked store whose files need not be there.
#[derive(Debug)]
pub(crate) struct LinkedIndex {
    content: Lazy,
    pub(crate) description: Description,
    pub(crate) layout: LinkedLayout,
}

impl LinkedIndex {
    /// Reads the index in `directory`, and compares it with its checksums.
    ///
    /// # Errors
    /// If it is damaged, or cannot be read.
    pub(crate) fn read(directory: &Path, manifest: &Manifest) -> Result<Self, Error> {
        let file = directory.join(&manifest.index.file);
        let content = Lazy::open(&file, manifest.index.bytes)?;
        let damaged =
            || FormatError::invalid(&file, 0, "it is not the index of this linked store".to_owned());
        let bytes = content.bytes(0..content.len())?;
        for (piece, &expected) in manifest.index.crc32c.iter().enumerate() {
            verify_piece(&file, bytes, piece, expected)?;
        }
        LinkedLayout::check_version(bytes, &file)?;
        let n = LinkedLayout::stated_description_bytes(bytes).ok_or_else(damaged)?;
        let description = bytes.get(INDEX_HEADER_BYTES..INDEX_HEADER_BYTES + n as usize);
        let description = Description::from_bytes(description.ok_or_else(damaged)?, &manifest.totals())
            .map_err(|rule| FormatError::invalid(&file, INDEX_HEADER_BYTES as u64, rule))?;
        let n_extents = description.n_extents().ok_or_else(damaged)?;
        let width = count_bytes(manifest.max_obs_nnz);
        let layout = LinkedLayout::new(
            manifest.n_obs,
            manifest.nnz,
            width,
            n,
            n_extents,
            manifest.has_row_checksums(),
        )
        .filter(|layout| layout.file_bytes == bytes.len() as u64)
        .filter(|layout| bytes[..INDEX_HEADER_BYTES] == layout.header(manifest.store_id()))
        .ok_or_else(damaged)?;
        Ok(Self {
            content,
            description,
            layout,
        })
    }

    /// What follows the description: the sections that say where values are.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn sections(&self) -> Result<&[u8], FormatError> {
        self.content
            .bytes(self.layout.starts_at as usize..self.content.len())
    }
}
