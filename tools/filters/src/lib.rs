//! Undoes the filters of the chunks of HDF5 datasets, and of zarr arrays that use the same compressions.
//!
//! A [`Pipeline`] is made of the filters that a dataset names; one that is not known is refused then, by number and name. What a chunk
//! decodes to has a length that the caller states: nothing is decoded to more, whatever the bytes claim, and nothing panics. The checksums
//! that come with a filter (Adler-32 of deflate, fletcher32, that of zstd) are compared.
//!
//! ```
//! use cellring_filters::{Filter, Pipeline};
//!
//! // What h5py calls `shuffle=True`: the first bytes of all elements, then the second ones.
//! let shuffle = Filter { id: 2, name: None, client_data: vec![4] };
//! let pipeline = Pipeline::new(&[shuffle], 4)?;
//! let mut stored = vec![1, 2, 0, 0, 0, 0, 0, 0];
//! let mut decoded = Vec::new();
//! pipeline.decode(&mut stored, 0, &mut decoded, 8)?;
//! assert_eq!(decoded, [1, 0, 0, 0, 2, 0, 0, 0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bitshuffle;
pub mod blosc;
mod checksum;
mod lz4;
mod lzf;
mod pipeline;
pub mod stream;

pub use checksum::{FLETCHER32_BYTES, strip_crc32c, strip_fletcher32};
pub use pipeline::{Filter, Pipeline, Unknown, zarr};
