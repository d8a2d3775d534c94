//! From the obs table of a store to what a sampler samples from and by: subsets, splits, weights, classes.
//!
//! Nothing here reads a cell: every function looks at the columns of the [`obs`](crate::Store::obs) table that it is asked
//! about, batch by batch, and gives what the [`Strategy`](crate::plan::Strategy) and [`SamplerData`](crate::plan::SamplerData) take.
//!
//! ```no_run
//! use cellring::plan::{Balanced, SamplerConfig, SamplerData};
//! use cellring::{LoaderConfig, Store, select};
//!
//! let store = Store::open("atlas.cellring")?;
//! let parts = select::split(&store, "train=0.8,val=0.1,test=0.1", 7, Some("donor_id"))?; // whole donors
//! let healthy = select::filter(&store, r#"disease == "normal" and (n_genes >= 200 or not is_doublet)"#)?;
//! let classes = select::codes(&store, &["cell_type"])?;
//! let balanced = Balanced::new(classes.codes);
//! let config = LoaderConfig::default()
//!     .sampler(SamplerConfig::default().strategy(balanced))
//!     .data(SamplerData::default().subset(parts[0].1.intersect(&healthy)?));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Filters
//! A [`Filter`] says which obs to take:
//!
//! ```text
//! cell_type == "B cell" and (n_genes >= 200 or not is_doublet) and donor in ["d1", "d2"]
//! ```
//!
//! ```text
//! filter     = conjunction { "or" conjunction }
//! conjunction = factor { "and" factor }
//! factor     = "not" factor | "(" filter ")" | test
//! test       = column [ operator value | [ "not" ] "in" "[" [ value { "," value } ] "]" | "is" [ "not" ] "missing" ]
//! operator   = "==" | "!=" | "<" | "<=" | ">" | ">="
//! column     = letter or "_", then letters, digits, "_" or "."; any other name between backticks: `donor id`
//! value      = number | text | "true" | "false"
//! number     = as in Rust: 200, -1, 0.05, 1e6
//! text       = "..." or '...', with \" \' \\ \n \t for what cannot stand in it
//! ```
//!
//! - `not` binds closest, then `and`, then `or`. The words of the language are lower case, and no names of columns unless
//!   between backticks.
//! - A column alone is a test of booleans: `is_doublet` is `is_doublet == true`.
//! - A categorical column is compared as what its categories are: texts, numbers or booleans. Texts are equal byte by byte
//!   and ordered by code points (the categories of an ordered categorical are not ordered as texts are, so they are
//!   compared by `==`, `!=` and `in` only). A text, number or boolean is only compared with its like.
//! - Integers are compared exactly, also with fractions; in a column of 32-bit floats the value of the filter is rounded to
//!   32 bits first, so that `x == 0.1` finds what was written as 0.1.
//! - Where a value is missing (or, in a column of floats, NaN), a test is neither true nor false, and so is its `not`;
//!   `unknown or true` is true, `unknown and false` is false, all else of unknown is unknown. What is unknown is not taken:
//!   `x != 3` and `not x == 3` both leave out what is missing; `x != 3 or x is missing` takes it.
//! - A value that no obs has equals nothing. It is a warning, with the nearest values that there are; and a filter that takes
//!   no obs at all is an error. [`Filter::apply`] reports warnings through `tracing`;
//!   [`Filter::matches`] returns them, and takes an empty result for what it is, so that one filter serves many stores.
//!   Numbers are looked for in lists of up to 64.
//! - Parentheses and `not` nest at most 100 deep.
//!
//! [`Filter::bind`] applies a filter to batches of any other table, such as one that is not a store yet.
//!
//! Tests of a categorical column look at each category once, then at codes. Memory is a few bytes for each obs of a batch of
//! 65,536, for each level of nesting.
//!
//! # Splits
//! [`split()`] divides at random, [`Subset::split`] and [`Subset::split_by_group`] being what it calls: by fractions, obs by
//! obs, or by whole groups of a column, so that no donor, say, is in two parts. A split that is already in a column needs
//! none of this: `split == "train"` is a filter.

mod codes;
mod compare;
mod error;
mod eval;
mod parse;
mod profile;
mod quote;
mod review;
mod sought;
mod split;
mod token;
mod weights;

pub use codes::{Codes, codes};
#[doc(hidden)]
pub use error::SelectError;
pub use eval::BatchFilter;
pub use eval::Filter;
#[doc(hidden)]
pub use profile::{N_NEAREST, nearest};
#[doc(hidden)]
pub use quote::{quote_column, quote_text};
pub use review::{Matches, SelectWarning};
pub use split::{SplitSpec, split};
pub use weights::weights;

use crate::Error;
use crate::plan::Subset;
use crate::store::Store;

/// The obs that a filter takes: parses it and applies it.
///
/// # Errors
/// As [`Filter::parse`] and [`Filter::apply`].
pub fn filter(store: &Store, text: &str) -> Result<Subset, Error> {
    Filter::parse(text)?.apply(store)
}
