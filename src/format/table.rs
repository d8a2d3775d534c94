//! The obs and var tables: Arrow IPC files, written and read in batches (`FORMAT.md`, section 8).

use std::fs::File;
use std::io::{BufWriter, Write};
use std::iter;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_ipc::writer::{FileWriter, IpcWriteOptions};
use arrow_ipc::{Block, MetadataVersion};
use arrow_schema::{ArrowError, FieldRef, SchemaRef};

use super::arrow::{
    Batch, Dictionaries, Footer, check_metadata_length, check_schema, read_dictionary, read_footer,
};
use super::checksum::{HashingWriter, crc32c_append};
use super::constants::{ROLE_INDEX, ROLE_KEY, ROLE_SOURCE_POSITION, SECTION_ALIGNMENT, TABLE_BATCH_ROWS};
use super::entries::FileEntry;
use super::error::FormatError;
use super::file::{FileName, StoreFile};
use super::pieces::Pieces;

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

/// What an Arrow file begins and ends with.
const MAGIC: &[u8] = b"ARROW1";

/// A table in a file. What is asked for is read, compared with its checksums, and belongs to whoever asked: what happens to the file
/// afterwards does not change it.
#[derive(Debug)]
pub struct Table {
    file: StoreFile,
    checksums: Arc<[u32]>,
    n_rows: u64,
    footer: OnceLock<Footer>,
    dictionaries: OnceLock<Dictionaries>,
}

/// One column of a table, in batches of [`TABLE_BATCH_ROWS`] rows.
#[derive(Clone, Debug)]
pub struct Column {
    field: FieldRef,
    batches: Vec<ArrayRef>,
}

impl Column {
    /// Name, type and metadata.
    pub fn field(&self) -> &FieldRef {
        &self.field
    }

    /// The batches, in order.
    pub fn batches(&self) -> &[ArrayRef] {
        &self.batches
    }

    /// The batch that holds `row`, and the row's place in it.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline]
    pub fn at(&self, row: u64) -> (&dyn Array, usize) {
        let row = row as usize;
        (
            self.batches[row / TABLE_BATCH_ROWS].as_ref(),
            row % TABLE_BATCH_ROWS,
        )
    }
}

impl Table {
    /// Opens a table of `n_rows` rows. Nothing but its length is checked yet.
    ///
    /// # Errors
    /// If the file cannot be opened or has another length than its entry says.
    pub(crate) fn open(path: PathBuf, entry: &FileEntry, n_rows: u64) -> Result<Self, FormatError> {
        Ok(Self {
            file: StoreFile::open(path, entry.bytes)?,
            checksums: entry.crc32c.clone(),
            n_rows,
            footer: OnceLock::new(),
            dictionaries: OnceLock::new(),
        })
    }

    /// Number of rows.
    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// Fields of the table, the index first.
    ///
    /// # Errors
    /// If the file is damaged.
    pub fn schema(&self) -> Result<&SchemaRef, crate::Error> {
        Ok(&self.footer()?.schema)
    }

    /// Names of the columns, without the index and without those that the format adds.
    ///
    /// # Errors
    /// If the file is damaged.
    pub fn column_names(&self) -> Result<Vec<String>, crate::Error> {
        let fields = self.schema()?.fields();
        Ok(fields
            .iter()
            .filter(|f| !f.metadata().contains_key(ROLE_KEY))
            .map(|f| f.name().clone())
            .collect())
    }

    /// The column of this name.
    ///
    /// # Errors
    /// If there is none, or its bytes are damaged.
    pub fn column(&self, name: &str) -> Result<Column, crate::Error> {
        let fields = self.schema()?.fields();
        let place = fields
            .iter()
            .position(|f| f.name() == name && !f.metadata().contains_key(ROLE_KEY));
        let Some(place) = place else {
            let (file, column) = (self.file.path().to_path_buf(), name.to_string());
            let mut columns = self.column_names()?.join(", ");
            if columns.is_empty() {
                columns = "only the names of its rows".to_owned();
            }
            // What AnnData calls the index of a table.
            if name == "_index" || fields.iter().any(|f| f.name() == name) {
                columns += "; the index, which holds the names of the rows, is not a column";
            }
            return Err(FormatError::NoColumn {
                file,
                column,
                columns,
            }
            .into());
        };
        self.column_at(place)
    }

    /// The names of the rows.
    ///
    /// # Errors
    /// If its bytes are damaged.
    pub fn names(&self) -> Result<Column, crate::Error> {
        self.role(ROLE_INDEX)
    }

    /// Whether the rows have positions in the source.
    ///
    /// # Errors
    /// If the file is damaged.
    pub(crate) fn has_positions(&self) -> Result<bool, crate::Error> {
        let fields = self.schema()?.fields();
        let role = |field: &FieldRef| {
            field.metadata().get(ROLE_KEY).map(String::as_str) == Some(ROLE_SOURCE_POSITION)
        };
        Ok(fields.last().is_some_and(role))
    }

    /// CRC of the whole file, which is compared with its checksums on the way.
    ///
    /// # Errors
    /// The first damage found.
    pub(crate) fn crc(&self) -> Result<u32, FormatError> {
        let mut pieces = self.pieces();
        let mut crc = 0;
        for piece in 0..self.checksums.len() {
            crc = crc32c_append(crc, pieces.load(piece)?);
        }
        Ok(crc)
    }

    /// The column with this role ([`ROLE_KEY`]).
    ///
    /// # Errors
    /// If there is none or its bytes are damaged.
    pub(crate) fn role(&self, role: &str) -> Result<Column, crate::Error> {
        let fields = self.schema()?.fields();
        let place = fields
            .iter()
            .position(|f| f.metadata().get(ROLE_KEY).is_some_and(|r| r == role));
        let missing = || FormatError::table(self.file.path(), format!("no field has the role {role}"));
        self.column_at(place.ok_or_else(missing)?)
    }

    fn column_at(&self, place: usize) -> Result<Column, crate::Error> {
        let batches = self.read(Some(place), 0..self.footer()?.batches.len())?;
        let field = self.schema()?.fields()[place].clone();
        Ok(Column {
            field,
            batches: batches.into_iter().map(|batch| batch.column(0).clone()).collect(),
        })
    }

    /// Number of record batches.
    ///
    /// # Errors
    /// If the file is damaged.
    pub fn n_batches(&self) -> Result<usize, crate::Error> {
        Ok(self.footer()?.batches.len())
    }

    /// Batch `i` with all its columns.
    ///
    /// # Errors
    /// If its bytes are damaged.
    ///
    /// # Panics
    /// If there is no such batch.
    pub fn batch(&self, i: usize) -> Result<RecordBatch, crate::Error> {
        Ok(self
            .read(None, i..i + 1)?
            .pop()
            .ok_or_else(|| FormatError::table(self.file.path(), format!("batch {i} is missing")))?)
    }

    fn read(&self, column: Option<usize>, range: Range<usize>) -> Result<Vec<RecordBatch>, FormatError> {
        let footer = self.footer()?;
        let dictionaries = self.dictionaries(footer)?;
        let mut pieces = self.pieces();
        let mut batches = Vec::with_capacity(range.len());
        for i in range {
            let failed = |reason: String| self.damaged(format!("batch {i}: {reason}"));
            let rows = self
                .n_rows
                .saturating_sub((i * TABLE_BATCH_ROWS) as u64)
                .min(TABLE_BATCH_ROWS as u64);
            let (head, body) = self.block(&footer.batches[i])?;
            let head = pieces.bytes(head)?;
            let batch = Batch::of(&head, body.len(), &footer.schema, rows).map_err(failed)?;
            // The body may be large, and only one column of it wanted.
            let body = pieces.sparse(body, batch.ranges(column))?;
            let schema = footer.schema.clone();
            batches.push(
                batch
                    .decode(&body, schema, dictionaries, column)
                    .map_err(failed)?,
            );
        }
        Ok(batches)
    }

    /// The categories of all columns.
    fn dictionaries(&self, footer: &Footer) -> Result<&Dictionaries, FormatError> {
        if let Some(dictionaries) = self.dictionaries.get() {
            return Ok(dictionaries);
        }
        let mut pieces = self.pieces();
        let mut dictionaries = Dictionaries::new();
        for block in &footer.dictionaries {
            let (head, body) = self.block(block)?;
            let head = pieces.bytes(head)?;
            let all = iter::once(0..body.len());
            let body = pieces.sparse(body, all)?;
            read_dictionary(&head, &body, &footer.schema, &mut dictionaries)
                .map_err(|reason| self.damaged(reason))?;
        }
        Ok(self.dictionaries.get_or_init(|| dictionaries))
    }

    /// Where a block is: what is said of its body, and the body.
    fn block(&self, block: &Block) -> Result<(Range<usize>, Range<usize>), FormatError> {
        let place = || {
            let start = usize::try_from(block.offset()).ok()?;
            let body = start.checked_add(usize::try_from(block.metaDataLength()).ok()?)?;
            let end = body.checked_add(usize::try_from(block.bodyLength()).ok()?)?;
            (end <= self.file.len()).then_some((start..body, body..end))
        };
        let (head, body) = place().ok_or_else(|| self.damaged("a block lies outside the file".to_owned()))?;
        check_metadata_length(head.len()).map_err(|reason| self.damaged(reason))?;
        Ok((head, body))
    }

    fn footer(&self) -> Result<&Footer, FormatError> {
        if let Some(footer) = self.footer.get() {
            return Ok(footer);
        }
        let footer = self.find_footer()?;
        Ok(self.footer.get_or_init(|| footer))
    }

    fn find_footer(&self) -> Result<Footer, FormatError> {
        let mut pieces = self.pieces();
        let tail_at = { self.file.len().checked_sub(10) }
            .ok_or_else(|| self.damaged("the file is not an Arrow file".to_owned()))?;
        let tail = pieces.bytes(tail_at..self.file.len())?;
        let tail: [u8; 10] = tail[..].try_into().unwrap_or_default();
        let footer_bytes =
            arrow_ipc::reader::read_footer_length(tail).map_err(|error| self.damaged(error.to_string()))?;
        let footer_at = tail_at
            .checked_sub(footer_bytes)
            .ok_or_else(|| self.damaged("the footer is cut off".to_owned()))?;
        check_metadata_length(footer_bytes).map_err(|reason| self.damaged(reason))?;
        let footer =
            read_footer(&pieces.bytes(footer_at..tail_at)?).map_err(|reason| self.damaged(reason))?;
        let expected = self.n_rows.div_ceil(TABLE_BATCH_ROWS as u64);
        if footer.batches.len() as u64 != expected {
            return Err(self.damaged(format!(
                "the table has {} batches, expected {expected}",
                footer.batches.len()
            )));
        }
        Ok(footer)
    }

    fn pieces(&self) -> Pieces<'_> {
        Pieces::new(&self.file, &self.checksums)
    }

    fn damaged(&self, reason: String) -> FormatError {
        FormatError::table(self.file.path(), reason)
    }

    /// Compares every byte with its checksum and reads every batch.
    ///
    /// # Errors
    /// The first damage found.
    pub fn verify_all(&self) -> Result<(), crate::Error> {
        self.crc()?;
        // Its end is looked at when it is opened.
        if self.file.len() < MAGIC.len() || !self.pieces().load(0)?.starts_with(MAGIC) {
            let reason = "it does not begin as an Arrow file does".to_owned();
            return Err(self.damaged(reason).into());
        }
        (0..self.n_batches()?).try_for_each(|i| self.batch(i).map(drop))
    }
}
