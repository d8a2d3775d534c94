//! Why nothing can be selected.

use crate::format::FormatError;
use crate::plan::PlanError;

/// Why a selection cannot be made. Every message is one sentence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// The obs table is damaged, or lacks a column.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The plan's own functions refuse what they were asked for.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A filter is not understood, or does not fit the columns.
    #[error("in the filter at character {at}, {what}: {filter}")]
    Filter {
        /// The filter.
        filter: String,
        /// Where, in characters from 1.
        at: usize,
        /// What is wrong there, with what was expected and found.
        what: String,
    },
    /// A filter names a column that does not exist.
    #[error("in the filter at character {at}, {what}: {filter}")]
    FilterColumn {
        /// The filter.
        filter: String,
        /// Where, in characters from 1.
        at: usize,
        /// What is wrong there, with the columns that there are.
        what: String,
    },
    /// A filter takes no obs.
    #[error("the filter matches none of the {n_obs} obs: {why}: {filter}")]
    NothingTaken {
        /// The filter.
        filter: String,
        /// How many obs there are.
        n_obs: u64,
        /// What its columns hold: the values nearest to those that no obs has, and ranges.
        why: String,
    },
    /// A column has a type that cannot be used so.
    #[error("the obs column {column:?} has the type {data_type}, {expected}; choose another column")]
    ColumnType {
        /// The column.
        column: String,
        /// Its Arrow type.
        data_type: String,
        /// What was expected of it.
        expected: &'static str,
    },
    /// A weight is missing.
    #[error(
        "the obs column {column:?} has no value for obs {obs}, and each obs needs a weight; fill in 0 or choose another column"
    )]
    MissingWeight {
        /// The column.
        column: String,
        /// The first obs without a value.
        obs: u64,
    },
    /// A weight is none.
    #[error(
        "the obs column {column:?} has {found} for obs {obs}: weights must be finite as 32-bit floats and not negative"
    )]
    BadWeight {
        /// The column.
        column: String,
        /// The first obs with such a value.
        obs: u64,
        /// The value.
        found: String,
    },
    /// The parts of a split are not understood.
    #[error("the split {spec:?} {what}; write it as train=0.8,val=0.1,test=0.1")]
    Split {
        /// What was asked for.
        spec: String,
        /// What is wrong.
        what: String,
    },
}
