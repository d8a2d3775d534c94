//! Warnings: the sentences that the library returns with a result, and their kinds.

use std::fmt;

use serde::Serialize;

use crate::advice::with_options;

/// Something about a request or an input that a user may want to know or change. The library returns it, the command prints its
/// sentence on standard error, and `--json` has it among `warnings`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub struct Message {
    /// What it is about.
    pub kind: MessageKind,
    /// One sentence. In JSON it is called `message`, as in errors.
    #[serde(rename = "message")]
    pub sentence: String,
}

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum MessageKind {
    /// Columns of obs that were skipped, changed or are missing, and names of obs.
    Obs,
    /// Columns of var that were skipped or changed.
    Var,
    /// Genes that were asked for and are not there, or that inputs hardly share.
    Genes,
    /// A filter, or what else selects obs.
    Selection,
    /// Counts that the input has beside what was converted.
    Counts,
    /// What of an input is not what it was.
    Changes,
    /// Values that a file does not have, and which are read as others.
    Values,
    /// How the command runs here.
    Run,
}

impl Message {
    /// A message of this kind. A sentence of a library is put into the words of the command.
    pub fn new(kind: MessageKind, sentence: impl Into<String>) -> Self {
        Self {
            kind,
            sentence: with_options(&sentence.into()),
        }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}
