//! The tables of a data set.

use std::fmt;

use super::spec::MatrixSpec;

/// One of the tables of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// The table of observations (cells), one row for each row of the matrix.
    Obs,
    /// The table of variables (genes), one row for each column of the matrix.
    Var,
    /// The table of the genes of `raw/X`.
    RawVar,
}

impl Axis {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Obs => "obs",
            Self::Var => "var",
            Self::RawVar => "raw/var",
        }
    }

    pub(super) fn rows(self, spec: &MatrixSpec) -> (&'static str, u64) {
        match self {
            Self::Obs => ("rows of obs", spec.n_obs),
            Self::Var => ("rows of var", spec.n_vars),
            Self::RawVar => ("rows of raw/var", spec.n_vars),
        }
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
