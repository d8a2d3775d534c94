//! Why an export failed.

use std::path::PathBuf;

use arrow_schema::ArrowError;
use cellring_anndata::ReadError;
use cellring_anndata::write::WriteError;

/// Why an export failed. Nothing is left under the file's name then. Every message is one sentence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] cellring::Error),
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// There is something under the file's name.
    #[error("{}: exists already; give --force to replace it, or another name", path.display())]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// The output would replace the file that the values of a linked store are in.
    #[error(
        "{}: the values of the linked store {} are in it, and it may hold more than they, so it is not replaced; give another name", path.display(),
        store.display()
    )]
    OwnSource {
        /// The store.
        store: PathBuf,
        /// The output.
        path: PathBuf,
    },
    /// Obs that do not exist were asked for.
    #[error("obs {start} to {end} of {} were asked for, but it has {n_obs} obs; give a range A..B with A <= B <= {n_obs}", store.display())]
    ObsRange {
        /// The store.
        store: PathBuf,
        /// First obs.
        start: u64,
        /// Obs after the last.
        end: u64,
        /// Number of obs.
        n_obs: u64,
    },
    /// The obs cannot be brought back into the source's order.
    #[error(transparent)]
    Source(#[from] ReadError),
    /// A zip file was asked for.
    #[error("{}: zarr is written as a directory, not as a zip file; export to a name that ends in .zarr and zip that", path.display())]
    Zip {
        /// The path.
        path: PathBuf,
    },
    /// The name does not say whether the output is HDF5 or zarr.
    #[error(
        "{}: the name {found}, so it does not say whether to write HDF5 or zarr; give one that ends in .h5ad or .zarr, or say what to write with \
         --container h5ad or --container zarr", path.display()
    )]
    Ending {
        /// The path.
        path: PathBuf,
        /// How it ends, as words.
        found: String,
    },
    /// A matrix has a name that has no place in AnnData.
    #[error("{} has a matrix called {name:?}, which is not a path in AnnData (X, raw/X, layers/NAME or obsm/NAME); convert the source again", store.display())]
    Name {
        /// The store.
        store: PathBuf,
        /// The name.
        name: String,
    },
    /// The positions of the obs in the source are no permutation.
    #[error("{} has source positions of obs that are missing, repeated or out of range; convert the source again", store.display())]
    Positions {
        /// The store.
        store: PathBuf,
    },
    /// A table cannot be brought back into the source's order.
    #[error("{} has a table that cannot be brought into the source's order ({error}); convert the source again", store.display())]
    Table {
        /// The store.
        store: PathBuf,
        /// Why not.
        error: ArrowError,
    },
}
