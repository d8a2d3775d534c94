//! How a command ends when it does not do what it was asked to.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use crate::{output, process};

/// Why a command ends early. Any error becomes one with `?`.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It could not be done: exit code 1.
    Failed(Box<dyn Error + Send + Sync>),
    /// What was asked for makes no sense: exit code 2, as for everything that the command line's parser refuses.
    Usage(String),
    /// Nobody reads the output any more, as with `| head`. Nothing is wrong.
    NoReader,
}

impl Failure {
    /// Fails with a sentence of the command's own.
    pub(crate) fn because(sentence: impl Into<String>) -> Self {
        Self::Failed(sentence.into().into())
    }

    /// Says what went wrong, and returns the exit code for it.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Self::Failed(error) => {
                output::error(&format!("{error}{}", process::remedy(&error.to_string())));
                ExitCode::from(1)
            }
            Self::Usage(sentence) => {
                output::error(sentence);
                ExitCode::from(2)
            }
            Self::NoReader => ExitCode::SUCCESS,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::Usage(sentence) => f.write_str(sentence),
            Self::NoReader => f.write_str("nobody reads the output any more"),
        }
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(Box::new(error))
    }
}
