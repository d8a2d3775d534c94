//! Writes the obs and var tables: Arrow IPC files, in batches (`FORMAT.md`, section 8).

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_ipc::MetadataVersion;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions};
use arrow_schema::{ArrowError, SchemaRef};

use super::arrow::{check_categories, check_schema};
use super::checksum::HashingWriter;
use super::constants::{SECTION_ALIGNMENT, TABLE_BATCH_ROWS};
use super::entries::FileEntry;
use super::error::FormatError;
use super::file::FileName;

/// Writes a table and the checksums of its pieces.
#[allow(missing_debug_implementations, reason = "Arrow's writer has none")]
#[doc(hidden)]
pub struct TableWriter {
    path: PathBuf,
    writer: FileWriter<HashingWriter<BufWriter<File>>>,
    n_rows: u64,
    last_batch_rows: usize,
}

impl TableWriter {
    /// Creates the file. The schema's first field is the index and says so, and columns are of types that `FORMAT.md`, section 8,
    /// allows.
    ///
    /// # Errors
    /// If the file cannot be created or the schema is not one of a store.
    pub fn create(path: &Path, schema: &SchemaRef) -> Result<Self, FormatError> {
        check_schema(schema).map_err(|reason| FormatError::table(path, reason))?;
        let file = File::create_new(path).map_err(FormatError::io(path))?;
        let failed = |error: ArrowError| arrow_error(path, error);
        let options =
            IpcWriteOptions::try_new(SECTION_ALIGNMENT, false, MetadataVersion::V5).map_err(failed)?;
        let writer = HashingWriter::new(BufWriter::new(file));
        let writer = FileWriter::try_new_with_options(writer, schema, options).map_err(failed)?;
        Ok(Self {
            path: path.to_path_buf(),
            writer,
            n_rows: 0,
            last_batch_rows: TABLE_BATCH_ROWS,
        })
    }

    /// Writes the next rows: [`TABLE_BATCH_ROWS`] of them, fewer only in the last batch.
    ///
    /// # Errors
    /// If writing fails.
    ///
    /// # Panics
    /// If a batch follows a shorter one or has too many rows.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), FormatError> {
        assert!(
            self.last_batch_rows == TABLE_BATCH_ROWS && batch.num_rows() <= TABLE_BATCH_ROWS,
            "rows per batch"
        );
        if batch.num_rows() > 0 {
            let failed = |error| arrow_error(&self.path, error);
            let batch = without_empty_nulls(batch).map_err(failed)?;
            for column in batch.columns() {
                check_categories(column.as_ref()).map_err(|reason| FormatError::table(&self.path, reason))?;
            }
            self.writer.write(&batch).map_err(failed)?;
        }
        self.n_rows += batch.num_rows() as u64;
        self.last_batch_rows = batch.num_rows();
        Ok(())
    }

    /// Completes and syncs the file; gives its entry for the manifest, the CRC of the whole and the number of rows.
    ///
    /// # Errors
    /// If writing fails.
    pub fn finish(mut self) -> Result<(FileEntry, u32, u64), FormatError> {
        self.writer
            .finish()
            .map_err(|error| arrow_error(&self.path, error))?;
        let writer = self
            .writer
            .into_inner()
            .map_err(|error| arrow_error(&self.path, error))?;
        let (mut writer, hasher) = writer.into_parts();
        writer.flush().map_err(FormatError::io(&self.path))?;
        writer.get_ref().sync_all().map_err(FormatError::io(&self.path))?;
        let (bytes, whole) = (hasher.bytes(), hasher.whole());
        let file = self.path.file_name().unwrap_or_default().to_string_lossy();
        let file = FileName::new(file)
            .ok_or_else(|| FormatError::table(&self.path, "no file of a store is called so"))?;
        Ok((
            FileEntry {
                file,
                bytes,
                crc32c: hasher.finish().into(),
            },
            whole,
            self.n_rows,
        ))
    }
}

/// The batch as it is when it is read back: where nothing is missing, nothing says so bit by bit. So a table that is read and
/// written again has the same bytes.
fn without_empty_nulls(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let strip = |column: &ArrayRef| match column.nulls() {
        Some(nulls) if nulls.null_count() == 0 => {
            let data = column.to_data().into_builder().nulls(None).build()?;
            Ok(arrow_array::make_array(data))
        }
        _ => Ok(Arc::clone(column)),
    };
    let columns = batch
        .columns()
        .iter()
        .map(strip)
        .collect::<Result<_, ArrowError>>()?;
    RecordBatch::try_new(batch.schema(), columns)
}

/// A full disk is an I/O error, not a damaged table.
fn arrow_error(path: &Path, error: ArrowError) -> FormatError {
    match error {
        ArrowError::IoError(_, error) => FormatError::Io {
            file: path.to_path_buf(),
            error,
        },
        error => FormatError::table(path, error),
    }
}
