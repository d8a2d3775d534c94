//! Matrices of inputs, by the way in which they are stored.

mod available;
mod canonical;
mod compressed;
mod csc;
mod csr;
mod dense;
mod frame;
mod frame_column;
mod joined;
mod looks;
pub(crate) mod market;
mod matrix_source;
mod number;
mod open;
mod permuted;
mod picked;
mod pieces;
mod row_ranges;
mod row_sorted;
mod selected;
mod selection;
mod source;
mod spill;
mod stored;
mod stream;
mod transposed;
mod value;

pub use canonical::Canonicalised;
pub use frame::type_of_numpy_name;
pub use frame_column::FrameColumn;
pub use looks::Looks;
pub use matrix_source::MatrixSource;
pub use selection::Selection;
pub use source::{MAX_WINDOW_ROWS, RowSource, decoding_pool};
pub use stored::{NotStored, StoredRows};
pub use stream::{CountMode, Rows};

pub(crate) use available::is_none;
pub(crate) use compressed::{Compressed, shape_dataset};
pub(crate) use csr::Csr;
pub(crate) use joined::JoinedMatrices;
pub(crate) use looks::sample as sample_of;
pub(crate) use open::{frame_names, is_matrix, open};
pub(crate) use row_sorted::RowSorted;
