//! Orders of the columns.

use serde::{Deserialize, Serialize};

/// How the writer ordered the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VarOrder {
    /// As in the source.
    Source,
    /// By the number of obs in which they occur, most frequent first.
    Detection,
}

impl VarOrder {
    /// The name in the manifest.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Detection => "detection",
        }
    }
}
