//! Options for opening an input: the group, genome and feature types to read.

use std::path::Path;

use cellring_core::setters;

use super::error::{ReadError, Result};

/// How messages name the options: as the fields below.
pub(crate) const GROUP_OPTION: &str = "`group`";
pub(crate) const GENOME_OPTION: &str = "`genome`";
pub(crate) const TYPES_OPTION: &str = "`feature_types`";

/// Which part of an input is read. The default is an AnnData at the root, or all features of a matrix of 10x Genomics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenOptions {
    /// The group that holds the AnnData, as `mod/rna` of MuData or `tables/table` of SpatialData.
    pub group: Option<String>,
    /// Of 10x Genomics and Matrix Market: only the features of this genome.
    pub genome: Option<String>,
    /// Of 10x Genomics and Matrix Market: only features of these types; all where there are none.
    pub feature_types: Vec<String>,
    /// Read an HDF5 file even while a writer has it open, or was killed while it had: what was written last may be missing
    /// or wrong.
    pub force_read: bool,
}

impl OpenOptions {
    setters! {
        group: into Option<String>,
        genome: into Option<String>,
        feature_types: each String,
        force_read: as bool,
    }

    /// Refuses what AnnData does not have.
    pub(super) fn check_anndata(&self, file: &Path) -> Result<()> {
        let option = match (&self.genome, self.feature_types.as_slice()) {
            (Some(_), _) => GENOME_OPTION,
            (None, [_, ..]) => TYPES_OPTION,
            (None, []) => return Ok(()),
        };
        Err(ReadError::Inapplicable {
            file: file.to_owned(),
            option,
            detail: "it is for inputs of 10x Genomics and Matrix Market, and this is AnnData; choose among its genes by their names"
                .to_owned(),
        })
    }
}
