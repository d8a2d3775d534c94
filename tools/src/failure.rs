//! How a command ends when it does not do what it was asked to.

use std::error::Error;
use std::fmt;

use crate::advice::with_options;
use crate::convert::ConvertError;
use crate::export::ExportError;
use crate::paths::PathError;
use cellring::__internal::Cause;
use cellring::format::FormatError;
use cellring::writer::WriteError;

/// Why a command ends early. Any error becomes one with `?`.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It could not be done: exit code 1.
    Failed(Box<dyn Error + Send + Sync>),
    /// What was asked for makes no sense: exit code 2, as for everything that the command line's parser refuses.
    Usage(String),
    /// A signal ended it: exit code 128 and the number of the signal, as a shell reports it. The sentence says what was saved.
    Interrupted {
        /// The signal.
        signal: u8,
        /// What is to be said.
        sentence: String,
    },
    /// The output is not read any more, as with `| head`. Nothing is wrong.
    NoReader,
}

impl Failure {
    /// Fails with a sentence of the command's own.
    pub(crate) fn because(sentence: impl Into<String>) -> Self {
        Self::Failed(sentence.into().into())
    }

    /// The exit code that the process ends with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Interrupted { signal, .. } => 128 + signal,
            Self::NoReader => 0,
        }
    }

    /// What kind of failure it is, for programs; `tools/MANUAL.md` lists all.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Failed(error) => kind_of(error.as_ref()),
            Self::Usage(_) => "usage",
            Self::Interrupted { .. } => "interrupted",
            Self::NoReader => "no-reader",
        }
    }
}

fn kind_of(error: &(dyn Error + Send + Sync + 'static)) -> &'static str {
    if let Some(error) = error.downcast_ref::<ConvertError>() {
        return match error {
            ConvertError::Store(error) => kind_of_library(error),
            _ => "failed",
        };
    }
    if let Some(error) = error.downcast_ref::<ExportError>() {
        return match error {
            ExportError::Exists { .. } => "exists",
            ExportError::Store(error) => kind_of_library(error),
            _ => "failed",
        };
    }
    if let Some(error) = error.downcast_ref::<cellring::Error>() {
        return kind_of_library(error);
    }
    match error.downcast_ref::<PathError>() {
        Some(PathError::Exists { .. } | PathError::NotReplaceable { .. }) => "exists",
        Some(PathError::Output(error)) => kind_of_library(error),
        Some(_) => "path",
        None => "failed",
    }
}

fn kind_of_library(error: &cellring::Error) -> &'static str {
    match error.cause() {
        Cause::Write(
            WriteError::Exists { .. } | WriteError::NotReplaceable { .. } | WriteError::NotRemovable { .. },
        ) => "exists",
        Cause::Write(WriteError::Directory { .. } | WriteError::NoName { .. }) => "path",
        Cause::Format(FormatError::NotAStore { .. }) => "not-a-store",
        _ => "failed",
    }
}

/// What the command line's parser says, without the usage that follows it.
pub(crate) fn from_parser(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let end = ["\n\nUsage:", "\n\nFor more information"]
        .iter()
        .filter_map(|rest| text.find(rest))
        .min();
    let sentence = text[..end.unwrap_or(text.len())].trim();
    Failure::Usage(sentence.strip_prefix("error: ").unwrap_or(sentence).to_owned())
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => f.write_str(&with_options(&error.to_string())),
            Self::Usage(sentence) | Self::Interrupted { sentence, .. } => f.write_str(sentence),
            Self::NoReader => f.write_str("the reader of the output has closed it"),
        }
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(Box::new(error))
    }
}
