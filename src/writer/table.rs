//! Writes the tables of a store.

use std::path::Path;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use super::complete::WrittenTable;
use super::error::WriteError;
use crate::Error;
use crate::format::FormatError;
use crate::format::constants::{OBS_FILE, VAR_FILE};
use crate::format::table_writer::TableWriter;

/// Which table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    /// The rows' table.
    Obs,
    /// The columns' table.
    Var,
}

impl TableKind {
    /// The name of its file in a store.
    fn file(self) -> &'static str {
        match self {
            Self::Obs => OBS_FILE,
            Self::Var => VAR_FILE,
        }
    }
}

/// The tables of a store that were written so far.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) obs: Option<WrittenTable>,
    pub(super) var: Option<WrittenTable>,
}

impl Tables {
    /// Writes one of them in the directory of the store.
    pub(super) fn write<E: From<Error>>(
        &mut self,
        directory: &Path,
        kind: TableKind,
        schema: &SchemaRef,
        batches: impl IntoIterator<Item = Result<RecordBatch, E>>,
    ) -> Result<(), E> {
        let written = write_table(&directory.join(kind.file()), schema, batches)?;
        match kind {
            TableKind::Obs => self.obs = Some(written),
            TableKind::Var => self.var = Some(written),
        }
        Ok(())
    }

    /// Those of another matrix of the same obs.
    pub(super) fn of_other_matrix(&self) -> Self {
        Self {
            obs: self.obs.clone(),
            var: None,
        }
    }
}

/// Writes a table as this file.
pub(super) fn write_table<E: From<Error>>(
    path: &Path,
    schema: &SchemaRef,
    batches: impl IntoIterator<Item = Result<RecordBatch, E>>,
) -> Result<WrittenTable, E> {
    let convert = |error: FormatError| E::from(WriteError::from(error).into());
    let mut writer = TableWriter::create(path, schema).map_err(convert)?;
    for batch in batches {
        writer.write(&batch?).map_err(convert)?;
    }
    let (entry, crc, n_rows) = writer.finish().map_err(convert)?;
    Ok(WrittenTable { entry, crc, n_rows })
}
