//! Reads the obs and var tables: Arrow IPC files, in batches (`FORMAT.md`, section 8).

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::Block;
use arrow_schema::{Field, FieldRef, SchemaRef};

use super::arrow::{Batch, Dictionary, Footer, check_metadata_length, dictionary_id, in_pieces, read_footer};
use super::checksum::crc32c_append;
use super::constants::{ROLE_INDEX, ROLE_KEY, ROLE_SOURCE_POSITION, TABLE_BATCH_ROWS};
use super::entries::FileEntry;
use super::error::FormatError;
use super::file::StoreFile;
use super::pieces::Pieces;

/// What an Arrow file begins and ends with.
const MAGIC: &[u8] = b"ARROW1";

/// A table in a file. What is asked for is read, compared with its checksums, and belongs to whoever asked: what happens to the file
/// afterwards does not change it.
#[derive(Debug)]
pub struct Table {
    path: PathBuf,
    len_bytes: u64,
    /// The file, if it is kept open.
    held: Option<Arc<StoreFile>>,
    checksums: Arc<[u32]>,
    n_rows: u64,
    footer: OnceLock<Footer>,
    /// By their ids; looked for when the first column needs one.
    dictionaries: Mutex<Option<HashMap<i64, Categories>>>,
}

/// The categories of a column, which are kept for the next one who asks.
#[derive(Debug)]
enum Categories {
    Unread(Block),
    Read(ArrayRef),
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
        StoreFile::open(path.clone(), entry.bytes)?;
        Ok(Self {
            path,
            len_bytes: entry.bytes,
            held: None,
            checksums: entry.crc32c.clone(),
            n_rows,
            footer: OnceLock::new(),
            dictionaries: Mutex::default(),
        })
    }

    /// Keeps the file open, so that it may be removed, as those who append to a store do, or moved. Otherwise it is open only while it is
    /// read.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub(crate) fn kept_open(mut self) -> Result<Self, FormatError> {
        self.held = Some(self.open_again()?);
        Ok(self)
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
        self.column_at(self.place_of(name)?)
    }

    /// The place of the column of this name among the fields. Nothing of it is read.
    ///
    /// # Errors
    /// If there is none, or the file is damaged.
    #[doc(hidden)]
    pub fn place_of(&self, name: &str) -> Result<usize, crate::Error> {
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
        Ok(place)
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
        let mut pieces = self.pieces()?;
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
        let missing = || FormatError::table(&self.path, format!("no field has the role {role}"));
        self.column_at(place.ok_or_else(missing)?)
    }

    /// The column in this place among the fields.
    ///
    /// # Errors
    /// If its bytes are damaged.
    ///
    /// # Panics
    /// If there is no such field.
    #[doc(hidden)]
    pub fn column_at(&self, place: usize) -> Result<Column, crate::Error> {
        let footer = self.footer()?;
        let mut pieces = self.pieces()?;
        let batches = 0..footer.batches.len();
        let batches = batches.map(|i| Ok(self.read(&mut pieces, i, place..place + 1)?.remove(0)));
        Ok(Column {
            field: footer.schema.fields()[place].clone(),
            batches: batches.collect::<Result<_, FormatError>>()?,
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
        let schema = &self.footer()?.schema;
        let columns = self.read(&mut self.pieces()?, i, 0..schema.fields().len())?;
        let batch = RecordBatch::try_new(schema.clone(), columns);
        Ok(batch.map_err(|error| self.damaged(format!("batch {i}: {error}")))?)
    }

    /// Some columns of batch `i`.
    fn read(
        &self,
        pieces: &mut Pieces<'_>,
        i: usize,
        places: Range<usize>,
    ) -> Result<Vec<ArrayRef>, FormatError> {
        let footer = self.footer()?;
        let failed = |reason: String| self.damaged(format!("batch {i}: {reason}"));
        let rows = self
            .n_rows
            .saturating_sub((i * TABLE_BATCH_ROWS) as u64)
            .min(TABLE_BATCH_ROWS as u64);
        let (head, body) = self.block(&footer.batches[i])?;
        let head = pieces.bytes(head)?;
        let batch = Batch::read(&head, body.len(), &footer.schema, rows).map_err(failed)?;
        let column = |place: usize| {
            let field = &footer.schema.fields()[place];
            let categories = self.categories(pieces, footer, field)?;
            let buffers = buffers_of(pieces, &batch, place, body.start)?;
            let column = batch.column(place, field.data_type(), buffers, categories);
            let column = column.map_err(failed)?;
            match column.null_count() > 0 && !field.is_nullable() {
                true => Err(failed(format!(
                    "column {:?} lacks values that it must have",
                    field.name()
                ))),
                false => Ok(column),
            }
        };
        places.map(column).collect()
    }

    /// The categories of a column, if it has some.
    fn categories(
        &self,
        pieces: &mut Pieces<'_>,
        footer: &Footer,
        field: &Field,
    ) -> Result<Option<ArrayRef>, FormatError> {
        let Some(id) = dictionary_id(field) else {
            return Ok(None);
        };
        // Held while they are read, so that several threads do not all read them.
        let mut dictionaries = self.dictionaries.lock().unwrap_or_else(PoisonError::into_inner);
        let known = match &mut *dictionaries {
            Some(known) => known,
            unknown => unknown.insert(self.find_dictionaries(pieces, footer)?),
        };
        let block = match known.get(&id) {
            Some(Categories::Read(categories)) => return Ok(Some(categories.clone())),
            Some(Categories::Unread(block)) => *block,
            None => return Err(self.damaged(format!("the dictionary {id} is missing"))),
        };
        let (dictionary, body) = self.dictionary(pieces, footer, &block)?;
        let buffers = buffers_of(pieces, &dictionary.values, 0, body.start)?;
        let categories = dictionary.values.column(0, &dictionary.value_type, buffers, None);
        let categories = categories.map_err(|reason| self.damaged(reason))?;
        known.insert(id, Categories::Read(categories.clone()));
        Ok(Some(categories))
    }

    /// Where each dictionary is.
    fn find_dictionaries(
        &self,
        pieces: &mut Pieces<'_>,
        footer: &Footer,
    ) -> Result<HashMap<i64, Categories>, FormatError> {
        let mut found = HashMap::with_capacity(footer.dictionaries.len());
        for block in &footer.dictionaries {
            let id = self.dictionary(pieces, footer, block)?.0.id;
            if found.insert(id, Categories::Unread(*block)).is_some() {
                return Err(self.damaged(in_pieces(id)));
            }
        }
        Ok(found)
    }

    /// The dictionary of a block, and where its body is.
    fn dictionary(
        &self,
        pieces: &mut Pieces<'_>,
        footer: &Footer,
        block: &Block,
    ) -> Result<(Dictionary, Range<usize>), FormatError> {
        let (head, body) = self.block(block)?;
        let dictionary = Dictionary::read(&pieces.bytes(head)?, body.len(), &footer.schema);
        Ok((dictionary.map_err(|reason| self.damaged(reason))?, body))
    }

    /// Where a block is: what is said of its body, and the body.
    fn block(&self, block: &Block) -> Result<(Range<usize>, Range<usize>), FormatError> {
        let place = || {
            let start = usize::try_from(block.offset()).ok()?;
            let body = start.checked_add(usize::try_from(block.metaDataLength()).ok()?)?;
            let end = body.checked_add(usize::try_from(block.bodyLength()).ok()?)?;
            (end as u64 <= self.len_bytes).then_some((start..body, body..end))
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
        let mut pieces = self.pieces()?;
        let end = self.len_bytes as usize;
        let tail_at = { end.checked_sub(10) }
            .ok_or_else(|| self.damaged("the file is not an Arrow file".to_owned()))?;
        let tail = pieces.bytes(tail_at..end)?;
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
        // Each is read on its own: what several name would take time and memory several times.
        for blocks in [&footer.dictionaries, &footer.batches] {
            let mut end = 0;
            for block in blocks {
                let (head, body) = self.block(block)?;
                if head.start < end || body.end > footer_at {
                    return Err(self.damaged("its blocks overlap or are not in order".to_owned()));
                }
                end = body.end;
            }
        }
        Ok(footer)
    }

    fn pieces(&self) -> Result<Pieces<'_>, FormatError> {
        let file = match &self.held {
            Some(file) => file.clone(),
            None => self.open_again()?,
        };
        Ok(Pieces::new(file, &self.checksums))
    }

    fn open_again(&self) -> Result<Arc<StoreFile>, FormatError> {
        StoreFile::open(self.path.clone(), self.len_bytes).map(Arc::new)
    }

    fn damaged(&self, reason: String) -> FormatError {
        FormatError::table(&self.path, reason)
    }

    /// Compares every byte with its checksum and reads every batch.
    ///
    /// # Errors
    /// The first damage found.
    pub fn verify_all(&self) -> Result<(), crate::Error> {
        self.crc()?;
        // Its end is looked at when it is opened.
        if self.len_bytes < MAGIC.len() as u64 || !self.pieces()?.load(0)?.starts_with(MAGIC) {
            let reason = "it does not begin as an Arrow file does".to_owned();
            return Err(self.damaged(reason).into());
        }
        // Those too that no column asks for.
        self.find_dictionaries(&mut self.pieces()?, self.footer()?)?;
        (0..self.n_batches()?).try_for_each(|i| self.batch(i).map(drop))
    }
}

/// The buffers of a column of a batch whose body is at `body_at`.
fn buffers_of(
    pieces: &mut Pieces<'_>,
    batch: &Batch,
    place: usize,
    body_at: usize,
) -> Result<Vec<Buffer>, FormatError> {
    let ranges = batch.buffers(place);
    ranges
        .map(|range| pieces.buffer(body_at + range.start..body_at + range.end))
        .collect()
}
