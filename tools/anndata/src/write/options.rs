//! How a data set is written.

use std::path::Path;

use super::compress::Compression;

/// What holds the data set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Container {
    /// One HDF5 file, `.h5ad`.
    #[default]
    Hdf5,
    /// A directory of zarr.
    Zarr(ZarrFormat),
}

impl Container {
    /// The endings of names that say what holds a data set, the usual ones first.
    pub const ENDINGS: [&'static str; 5] = ["h5ad", "zarr", "h5", "hdf5", "hdf"];

    /// The one that files of this name are, in upper or lower case: a directory of zarr for `.zarr`, an HDF5 file for the other
    /// [`ENDINGS`](Self::ENDINGS), and none for another name.
    pub fn of_path(path: &Path, format: ZarrFormat) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "zarr" => Some(Self::Zarr(format)),
            ending if Self::ENDINGS.contains(&ending) => Some(Self::Hdf5),
            _ => None,
        }
    }
}

/// Version of the zarr format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ZarrFormat {
    /// Version 2, which every anndata reads.
    V2,
    /// Version 3, which anndata reads from 0.12 on.
    #[default]
    V3,
}

/// How a data set is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriteOptions {
    /// What holds it.
    pub container: Container,
    /// Compression of all arrays. `None`: as the container's usual writer does it, which is none for HDF5 and zstd for zarr.
    pub compression: Option<Compression>,
    /// Elements of a chunk of an array of one dimension; chunks of a dense matrix are as many whole rows as hold that many
    /// elements, at least one. `None`: by the length of the array.
    pub chunk_len: Option<u32>,
}

impl WriteOptions {
    /// The same in another container.
    #[must_use]
    pub fn in_container(self, container: Container) -> Self {
        Self { container, ..self }
    }

    /// The same with another compression.
    #[must_use]
    pub fn with_compression(self, compression: Option<Compression>) -> Self {
        Self { compression, ..self }
    }

    /// The same with other chunks.
    #[must_use]
    pub fn with_chunk_len(self, chunk_len: Option<u32>) -> Self {
        Self { chunk_len, ..self }
    }

    /// The compression in use.
    pub fn compression(&self) -> Compression {
        self.compression.unwrap_or(match self.container {
            Container::Hdf5 => Compression::None,
            Container::Zarr(_) => Compression::Zstd(3),
        })
    }
}
