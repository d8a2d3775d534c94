//! Open inputs: one, or several as one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::Result;
use crate::forms::{self, InputForm};
use crate::join::{JoinOptions, Joined};
use crate::matrix::{MatrixSource, Selection};
use crate::open::OpenOptions;
use crate::table::TableSource;
use crate::workspace::Workspace;

/// An open input: AnnData, one of the forms that 10x Genomics writes, or several inputs as one.
#[derive(Clone, Debug)]
pub struct Input {
    pub(crate) kind: InputKind,
}

#[derive(Clone, Debug)]
pub(crate) enum InputKind {
    Single(Arc<dyn InputForm>),
    Joined(Arc<Joined>),
}

impl Input {
    /// Opens an input with [`OpenOptions::default`].
    ///
    /// # Errors
    /// As [`Self::open_with`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, &OpenOptions::default())
    }

    /// Opens an input, finds out what it is, and checks that it is whole as far as that can be seen.
    ///
    /// # Errors
    /// The input is missing, unreadable, of no known kind, or shorter than its header says; it holds several matrices or groups
    /// of AnnData, of which the options choose none; or the options do not apply to it.
    pub fn open_with(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self> {
        Ok(Self {
            kind: InputKind::Single(forms::open(path.as_ref(), options)?),
        })
    }

    /// Opens several inputs, of the same or of different forms, as one: their obs one after the other, over one list of genes.
    /// [`JoinOptions`] and `tools/MANUAL.md` (Several files as one store) say how.
    ///
    /// # Errors
    /// As [`Self::open_with`] for each of them; and [`JoinError`](crate::JoinError), here or where a matrix or table is opened or read.
    ///
    /// # Panics
    /// If there is no input.
    pub fn join(inputs: &[PathBuf], open: &OpenOptions, options: &JoinOptions) -> Result<Self> {
        assert!(!inputs.is_empty(), "an input");
        let joined = Joined::open(inputs, open, options)?;
        Ok(Self {
            kind: InputKind::Joined(Arc::new(joined)),
        })
    }

    /// The labels of the inputs, in order; none if it is one that was not joined.
    pub fn labels(&self) -> &[String] {
        match &self.kind {
            InputKind::Joined(joined) => joined.labels(),
            _ => &[],
        }
    }

    /// Opens one of the matrices, with [`Workspace::default`].
    ///
    /// # Errors
    /// The matrix does not exist, is of a form that is not read, or its parts contradict each other.
    pub fn matrix(&self, selection: &Selection) -> Result<MatrixSource> {
        self.matrix_in(selection, &Workspace::default())
    }

    /// Opens one of the matrices; one that is not stored by rows is rewritten in the workspace when it is first read.
    ///
    /// # Errors
    /// As for [`Self::matrix`].
    pub fn matrix_in(&self, selection: &Selection, workspace: &Workspace) -> Result<MatrixSource> {
        match &self.kind {
            InputKind::Single(input) => input.matrix(selection, workspace),
            InputKind::Joined(joined) => joined.matrix(selection, workspace),
        }
    }

    /// Opens the table of the rows.
    ///
    /// # Errors
    /// The table does not exist, is of an encoding that is not read, or is damaged.
    pub fn obs(&self) -> Result<TableSource> {
        match &self.kind {
            InputKind::Single(input) => input.obs(),
            InputKind::Joined(joined) => joined.obs(),
        }
    }

    /// Opens the table of the columns of the selected matrix: `raw/var` for `raw`, else `var`; for a data frame of `obsm` its columns, for an
    /// array one that numbers its dimensions from 0.
    ///
    /// # Errors
    /// As for [`Self::obs`].
    pub fn var(&self, selection: &Selection) -> Result<TableSource> {
        match &self.kind {
            InputKind::Single(input) => input.var(selection),
            InputKind::Joined(joined) => joined.var(selection),
        }
    }
}
