//! The obs and var tables: Arrow IPC files, written in batches and read through a map (`FORMAT.md`, section 8).

use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow_data::ArrayData;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions};
use arrow_ipc::{Block, MetadataVersion};
use arrow_schema::{ArrowError, FieldRef, SchemaRef};

use super::arrow::{Batch, Dictionaries, Layout, check_schema, read_dictionary, read_footer};
use super::checksum::HashingWriter;
use super::constants::{
    CHECKSUM_PIECE_BYTES, ROLE_INDEX, ROLE_KEY, ROLE_SOURCE_POSITION, SECTION_ALIGNMENT, TABLE_BATCH_ROWS,
};
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

/// A mapped table. Pieces of the file are compared with their checksums before anything in them is used.
#[derive(Debug)]
pub struct Table {
    path: PathBuf,
    map: Buffer,
    checksums: Arc<[u32]>,
    verified: Vec<AtomicBool>,
    n_rows: u64,
    layout: OnceLock<Layout>,
    dictionaries: OnceLock<Dictionaries>,
}

/// A copy of an array, its children copied by `child`.
fn copy_of(data: &ArrayData, child: &mut dyn FnMut(&ArrayData) -> ArrayData) -> ArrayData {
    let copy = |buffer: &Buffer| Buffer::from_slice_ref(buffer.as_slice());
    let nulls = data.nulls().map(|nulls| {
        NullBuffer::new(BooleanBuffer::new(
            copy(nulls.buffer()),
            nulls.offset(),
            nulls.len(),
        ))
    });
    let children = data.child_data().iter().map(child).collect();
    let copied = data.clone().into_builder();
    let copied = copied.buffers(data.buffers().iter().map(copy).collect());
    // What was read is valid, and so is its copy; were it not, what was read has to do.
    copied
        .nulls(nulls)
        .child_data(children)
        .build()
        .unwrap_or_else(|_| data.clone())
}

fn copy_all(data: &ArrayData) -> ArrayData {
    copy_of(data, &mut copy_all)
}

/// One column of a table, in batches of [`TABLE_BATCH_ROWS`] rows that point into the map.
#[derive(Clone, Debug)]
pub struct Column {
    field: FieldRef,
    batches: Vec<ArrayRef>,
}

impl Column {
    /// The same column in memory of its own, out of the map: whatever happens to the file, it stays as it was verified.
    pub(crate) fn detached(&self) -> Self {
        // All batches have the same categories.
        let mut categories: Option<(ArrayData, ArrayData)> = None;
        let mut child = |data: &ArrayData| match &categories {
            Some((source, copy)) if source.ptr_eq(data) => copy.clone(),
            _ => {
                let copy = copy_of(data, &mut copy_all);
                categories = Some((data.clone(), copy.clone()));
                copy
            }
        };
        let batches = self.batches.iter();
        Self {
            field: self.field.clone(),
            batches: batches
                .map(|batch| arrow_array::make_array(copy_of(&batch.to_data(), &mut child)))
                .collect(),
        }
    }

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
    /// Maps a table of `n_rows` rows. Nothing but its length is checked yet.
    ///
    /// # Errors
    /// If the file cannot be mapped or has another length than its entry says.
    pub(crate) fn open(path: PathBuf, entry: &FileEntry, n_rows: u64) -> Result<Self, FormatError> {
        let map = super::map::map_file(&path, entry.bytes)?;
        Ok(Self {
            path,
            map: Buffer::from(bytes::Bytes::from_owner(map)),
            checksums: entry.crc32c.clone(),
            verified: entry.crc32c.iter().map(|_| AtomicBool::new(false)).collect(),
            n_rows,
            layout: OnceLock::new(),
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
        Ok(&self.layout()?.schema)
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
            let (file, column) = (self.path.clone(), name.to_string());
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

    /// CRC of the whole file.
    pub(crate) fn crc(&self) -> u32 {
        super::checksum::crc32c(self.map.as_slice())
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
        let missing = || FormatError::table(&self.path, format!("no field has the role {role}"));
        self.column_at(place.ok_or_else(missing)?)
    }

    fn column_at(&self, place: usize) -> Result<Column, crate::Error> {
        let batches = self.read(Some(place), 0..self.layout()?.batches.len())?;
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
        Ok(self.layout()?.batches.len())
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
            .ok_or_else(|| FormatError::table(&self.path, format!("batch {i} is missing")))?)
    }

    fn read(&self, column: Option<usize>, range: Range<usize>) -> Result<Vec<RecordBatch>, FormatError> {
        let layout = self.layout()?;
        let dictionaries = self.dictionaries(layout)?;
        let mut batches = Vec::with_capacity(range.len());
        for i in range {
            let failed = |reason: String| FormatError::table(&self.path, format!("batch {i}: {reason}"));
            let rows = self
                .n_rows
                .saturating_sub((i * TABLE_BATCH_ROWS) as u64)
                .min(TABLE_BATCH_ROWS as u64);
            let (head, body) = self.block(&layout.batches[i])?;
            let batch =
                Batch::of(&self.map.as_slice()[head], body.len(), &layout.schema, rows).map_err(failed)?;
            // The body may be large, and only one column of it wanted.
            for part in batch.ranges(column) {
                self.verify(body.start + part.start, body.start + part.end)?;
            }
            let body = self.map.slice_with_length(body.start, body.len());
            let schema = layout.schema.clone();
            batches.push(
                batch
                    .decode(&body, schema, dictionaries, column)
                    .map_err(failed)?,
            );
        }
        Ok(batches)
    }

    /// The categories of all columns, which point into the map.
    fn dictionaries(&self, layout: &Layout) -> Result<&Dictionaries, FormatError> {
        if let Some(dictionaries) = self.dictionaries.get() {
            return Ok(dictionaries);
        }
        let mut dictionaries = Dictionaries::new();
        for block in &layout.dictionaries {
            let (head, body) = self.block(block)?;
            self.verify(body.start, body.end)?;
            let body = self.map.slice_with_length(body.start, body.len());
            read_dictionary(
                &self.map.as_slice()[head],
                &body,
                &layout.schema,
                &mut dictionaries,
            )
            .map_err(|reason| FormatError::table(&self.path, reason))?;
        }
        Ok(self.dictionaries.get_or_init(|| dictionaries))
    }

    /// Where a block is: what is said of its body, which is verified, and the body.
    fn block(&self, block: &Block) -> Result<(Range<usize>, Range<usize>), FormatError> {
        let place = || {
            let start = usize::try_from(block.offset()).ok()?;
            let body = start.checked_add(usize::try_from(block.metaDataLength()).ok()?)?;
            let end = body.checked_add(usize::try_from(block.bodyLength()).ok()?)?;
            (end <= self.map.len()).then_some((start..body, body..end))
        };
        let (head, body) =
            place().ok_or_else(|| FormatError::table(&self.path, "a block lies outside the file"))?;
        self.verify(head.start, head.end)?;
        Ok((head, body))
    }

    fn layout(&self) -> Result<&Layout, FormatError> {
        if let Some(layout) = self.layout.get() {
            return Ok(layout);
        }
        let layout = self.read_layout()?;
        Ok(self.layout.get_or_init(|| layout))
    }

    fn read_layout(&self) -> Result<Layout, FormatError> {
        let failed = |reason: String| FormatError::table(&self.path, reason);
        let bytes = self.map.as_slice();
        let tail_at = bytes
            .len()
            .checked_sub(10)
            .ok_or_else(|| failed("the file is not an Arrow file".into()))?;
        self.verify(tail_at, bytes.len())?;
        let tail: [u8; 10] = bytes[tail_at..].try_into().unwrap_or_default();
        let footer_bytes = arrow_ipc::reader::read_footer_length(tail).map_err(|e| failed(e.to_string()))?;
        let footer_at = tail_at
            .checked_sub(footer_bytes)
            .ok_or_else(|| failed("the footer is cut off".into()))?;
        self.verify(footer_at, tail_at)?;
        let layout = read_footer(&bytes[footer_at..tail_at]).map_err(failed)?;
        let expected = self.n_rows.div_ceil(TABLE_BATCH_ROWS as u64);
        if layout.batches.len() as u64 != expected {
            return Err(failed(format!(
                "the table has {} batches, expected {expected}",
                layout.batches.len()
            )));
        }
        Ok(layout)
    }

    /// Compares the pieces that hold these bytes with their checksums, each once in the table's life.
    fn verify(&self, start: usize, end: usize) -> Result<(), FormatError> {
        if start >= end {
            return Ok(());
        }
        for piece in start / CHECKSUM_PIECE_BYTES..end.div_ceil(CHECKSUM_PIECE_BYTES) {
            if !self.verified[piece].load(Ordering::Relaxed) {
                verify_piece(&self.path, self.map.as_slice(), piece, self.checksums[piece])?;
                self.verified[piece].store(true, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Compares every byte with its checksum and reads every batch.
    ///
    /// # Errors
    /// The first damage found.
    pub fn verify_all(&self) -> Result<(), crate::Error> {
        self.verify(0, self.map.len())?;
        // Its end is looked at when it is opened.
        if !self.map.starts_with(MAGIC) {
            let reason = "it does not begin as an Arrow file does".to_owned();
            return Err(FormatError::table(&self.path, reason).into());
        }
        (0..self.n_batches()?).try_for_each(|i| self.batch(i).map(drop))
    }
}

/// Compares one piece of a file with its checksum.
pub(crate) fn verify_piece(
    path: &Path,
    bytes: &[u8],
    piece: usize,
    expected: u32,
) -> Result<(), FormatError> {
    let start = piece * CHECKSUM_PIECE_BYTES;
    let end = (start + CHECKSUM_PIECE_BYTES).min(bytes.len());
    let found = super::checksum::crc32c(&bytes[start..end]);
    if found == expected {
        return Ok(());
    }
    let (start, end) = (start as u64, end as u64);
    Err(FormatError::Checksum {
        file: path.to_path_buf(),
        start,
        end,
        expected,
        found,
    })
}
