//! The data frames of an AnnData file, `obs` and `var`, as Arrow record batches.
//!
//! The first field is the index. What Arrow does not say by itself is kept as metadata of the fields, so that an export
//! can restore the frame as it was:
//!
//! | key | value |
//! |---|---|
//! | `cellring.role` | `index`, on the index |
//! | `anndata.index_name` | on the index: its name in the file (the field is called otherwise if a column has that name) |
//! | `anndata.encoding` | encoding-type of the column: `array`, `string-array`, `categorical`, `nullable-integer`, ... |
//! | `anndata.ordered` | `true` or `false`, on categoricals |
//! | `anndata.na_value` | the attribute na-value of a nullable string column, where it has one |
//! | `anndata.categories_encoding`, `anndata.categories_na_value` | the same of the categories of a categorical, where they are nullable |

mod column;
mod frame;
mod joined;
mod leaf;
mod listing;
mod open_column;
mod picked;
mod reordered;
mod repair;
mod scatter;
mod source;

pub use scatter::{Scatter, ScatterError};
pub use source::TableSource;

pub(crate) use frame::{held, of_strings};
pub(crate) use joined::{JoinedColumn, JoinedInput, JoinedKind, blame, joined};
pub(crate) use listing::{Member, of_members, open};
