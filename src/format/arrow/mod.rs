//! What the messages of an Arrow file say, checked before Arrow's reader acts on it.
//!
//! Arrow checks the values of a column, but slices a message by the offsets that it states: one beyond its end would be a panic, and
//! a compressed or repeated piece could take any amount of memory. So the tables of a store hold flat, uncompressed columns, and
//! every length and offset is compared here with the bytes that are there.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, make_array};
use arrow_buffer::Buffer;
use arrow_data::ArrayData;
use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::{
    Block, Endianness, Message, MetadataVersion, root_as_footer_with_opts, root_as_message_with_opts,
};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use flatbuffers::VerifierOptions;

use super::constants::{MAX_FOOTER_BYTES, ROLE_INDEX, ROLE_KEY, ROLE_SOURCE_POSITION, SOURCE_POSITION_FIELD};

/// What stands before a message: four bytes of ones, and its length.
const PREFIX_BYTES: usize = 8;

/// What the footer says.
#[derive(Debug)]
pub(super) struct Footer {
    pub(super) schema: SchemaRef,
    pub(super) dictionaries: Vec<Block>,
    pub(super) batches: Vec<Block>,
}

/// Refuses a footer, or what stands before the body of a block, that is too long to be read.
pub(super) fn check_metadata_length(n_bytes: usize) -> Result<(), String> {
    match n_bytes <= MAX_FOOTER_BYTES {
        true => Ok(()),
        false => Err(format!(
            "what describes the table or one of its batches has {n_bytes} bytes, expected at most {MAX_FOOTER_BYTES}"
        )),
    }
}

/// Reads the footer of a file.
pub(super) fn read_footer(bytes: &[u8]) -> Result<Footer, String> {
    let footer = root_as_footer_with_opts(&options(bytes), bytes)
        .map_err(|error| format!("the footer is damaged: {error}"))?;
    let stated = footer.schema().ok_or("the footer has no schema")?;
    if footer.version() != MetadataVersion::V5 || stated.endianness() != Endianness::Little {
        return Err("the file is not of Arrow's version 5 with little-endian values".into());
    }
    let mut fields = stated.fields().into_iter().flatten();
    if fields.any(|field| field.name().is_none()) {
        return Err("a field has no name".into());
    }
    let schema = caught(|| try_fb_to_schema(stated))?;
    check_schema(&schema)?;
    // Arrow looks at the children of nested types only, which there are none of.
    let has_children = |field: arrow_ipc::Field<'_>| field.children().is_some_and(|list| !list.is_empty());
    if stated.fields().into_iter().flatten().any(has_children) {
        return Err("a column has others in it, which no table of a store has".into());
    }
    let list = |blocks: Option<flatbuffers::Vector<'_, Block>>| blocks.iter().flatten().copied().collect();
    let read = Footer {
        schema: Arc::new(schema),
        dictionaries: list(footer.dictionaries()),
        batches: list(footer.recordBatches()),
    };
    if read.dictionaries.len() > read.schema.fields().len() {
        return Err("there are more dictionaries than columns".into());
    }
    Ok(read)
}

/// The columns of a table are what the format allows, and each has a name of its own; the first holds the names of the rows.
pub(super) fn check_schema(schema: &Schema) -> Result<(), String> {
    let role = |field: &Field| field.metadata().get(ROLE_KEY).cloned();
    let mut names = HashSet::new();
    for (place, field) in schema.fields().iter().enumerate() {
        if !is_flat(field.data_type()) {
            return Err(format!(
                "column {:?} is of type {}, which no table of a store holds",
                field.name(),
                field.data_type()
            ));
        }
        let is_last = place + 1 == schema.fields().len();
        match role(field).as_deref() {
            Some(ROLE_INDEX) if place == 0 => {}
            Some(ROLE_SOURCE_POSITION)
                if place > 0
                    && is_last
                    && field.name() == SOURCE_POSITION_FIELD
                    && *field.data_type() == DataType::UInt32 => {}
            None if place > 0 => {
                if !names.insert(field.name()) {
                    return Err(format!("there are two columns {:?}", field.name()));
                }
            }
            _ => {
                return Err(format!(
                    "field {place} ({:?}) does not have the role that belongs to its place",
                    field.name()
                ));
            }
        }
    }
    match schema.fields().is_empty() {
        true => Err("there is no field with the names of the rows".into()),
        false => Ok(()),
    }
}

/// Columns without others in them, which have two or three buffers.
fn is_flat(data_type: &DataType) -> bool {
    let is_simple = |data_type: &DataType| {
        data_type.is_primitive()
            || matches!(
                data_type,
                DataType::Boolean | DataType::Utf8 | DataType::LargeUtf8
            )
    };
    match data_type {
        DataType::Dictionary(key, value) => key.is_integer() && is_simple(value),
        other => is_simple(other),
    }
}

/// The buffers of a column (missing values, offsets if it is one of texts, values), each by the bytes of an element, of which its place is
/// a multiple.
fn buffer_widths(data_type: &DataType) -> &'static [usize] {
    match data_type {
        DataType::Utf8 => &[1, 4, 1],
        DataType::LargeUtf8 => &[1, 8, 1],
        DataType::Dictionary(key, _) => buffer_widths(key),
        other => match other.primitive_width() {
            Some(32) => &[1, 32],
            Some(16) => &[1, 16],
            Some(8) => &[1, 8],
            Some(4) => &[1, 4],
            Some(2) => &[1, 2],
            _ => &[1, 1],
        },
    }
}

/// A record batch whose lengths and offsets are within its message.
pub(super) struct Batch {
    n_rows: usize,
    columns: Vec<BatchColumn>,
}

struct BatchColumn {
    null_count: usize,
    /// Where its buffers are in the body.
    buffers: Vec<Range<usize>>,
}

impl Batch {
    /// The record batch of a block of `n_rows` rows: `head` is what stands before its body.
    pub(super) fn read(head: &[u8], body_bytes: usize, schema: &Schema, n_rows: u64) -> Result<Self, String> {
        let message = message(head, body_bytes)?;
        let batch = message
            .header_as_record_batch()
            .ok_or("a block of a record batch holds something else")?;
        let types = schema.fields().iter().map(|field| field.data_type());
        let batch = Self::check(batch, types, body_bytes)?;
        let found = batch.n_rows;
        match u64::try_from(found) == Ok(n_rows) {
            true => Ok(batch),
            false => Err(format!("it has {found} rows, expected {n_rows}")),
        }
    }

    fn check<'t>(
        message: arrow_ipc::RecordBatch<'_>,
        types: impl ExactSizeIterator<Item = &'t DataType>,
        body_bytes: usize,
    ) -> Result<Self, String> {
        if message.compression().is_some()
            || message
                .variadicBufferCounts()
                .is_some_and(|list| !list.is_empty())
        {
            return Err("it is compressed, or has columns of a kind that no table of a store holds".into());
        }
        let (Some(nodes), Some(stated)) = (message.nodes(), message.buffers()) else {
            return Err("it has no columns or no buffers".into());
        };
        if nodes.len() != types.len() {
            return Err(format!(
                "it has {} columns, expected {}",
                nodes.len(),
                types.len()
            ));
        }
        let n_rows = message.length();
        let wrong = |node: &&arrow_ipc::FieldNode| {
            node.length() != n_rows || !(0..=n_rows).contains(&node.null_count())
        };
        // A bit is the least that a row takes.
        if n_rows < 0 || n_rows as u64 > 8 * body_bytes as u64 || nodes.iter().any(|node| wrong(&node)) {
            return Err("its columns do not have the number of rows that it declares".into());
        }
        let mut left = stated.iter();
        let mut columns = Vec::with_capacity(types.len());
        let mut end = 0;
        for (data_type, node) in types.zip(nodes) {
            let mut buffers = Vec::with_capacity(3);
            for (buffer, &width) in buffer_widths(data_type)
                .iter()
                .map_while(|width| Some((left.next()?, width)))
            {
                let range = range_of(buffer, body_bytes)?;
                if !range.start.is_multiple_of(width) {
                    return Err(format!(
                        "a buffer is at byte {}, which is not a multiple of {width}",
                        range.start
                    ));
                }
                // Each is read on its own: what several name would take time and memory several times.
                if range.start < end && !range.is_empty() {
                    return Err("its buffers overlap or are not in order".into());
                }
                end = end.max(range.end);
                buffers.push(range);
            }
            if buffers.len() != buffer_widths(data_type).len() {
                return Err("it has fewer buffers than its columns need".into());
            }
            columns.push(BatchColumn {
                null_count: node.null_count() as usize,
                buffers,
            });
        }
        if left.next().is_some() {
            return Err("it has more buffers than its columns need".into());
        }
        let n_rows = n_rows as usize;
        Ok(Self { n_rows, columns })
    }

    /// Where the buffers of a column are in the body; where no value is missing, nothing says so.
    pub(super) fn buffers(&self, place: usize) -> impl Iterator<Item = Range<usize>> + '_ {
        let column = &self.columns[place];
        let is_needed = move |k: usize| k > 0 || column.null_count > 0;
        let each = column.buffers.iter().enumerate();
        each.map(move |(k, range)| if is_needed(k) { range.clone() } else { 0..0 })
    }

    /// The column that its buffers make; of categories, these too.
    pub(super) fn column(
        &self,
        place: usize,
        data_type: &DataType,
        buffers: Vec<Buffer>,
        categories: Option<ArrayRef>,
    ) -> Result<ArrayRef, String> {
        let mut buffers = buffers.into_iter();
        let null_count = self.columns[place].null_count;
        let nulls = buffers.next().filter(|_| null_count > 0);
        let data = ArrayData::builder(data_type.clone())
            .len(self.n_rows)
            .null_bit_buffer(nulls)
            .null_count(null_count)
            .buffers(buffers.collect())
            .child_data(categories.iter().map(|array| array.to_data()).collect());
        // Every value is checked: offsets, texts, codes.
        caught(|| data.build().map(make_array))
    }
}

/// A dictionary, before its values are read.
pub(super) struct Dictionary {
    pub(super) id: i64,
    pub(super) value_type: DataType,
    /// Of one column.
    pub(super) values: Batch,
}

impl Dictionary {
    /// The dictionary of a block: `head` is what stands before its body.
    pub(super) fn read(head: &[u8], body_bytes: usize, schema: &Schema) -> Result<Self, String> {
        let message = message(head, body_bytes)?;
        let dictionary = message
            .header_as_dictionary_batch()
            .ok_or("a block of a dictionary holds something else")?;
        let id = dictionary.id();
        let of_id = |field: &&Arc<Field>| dictionary_id(field) == Some(id);
        let field = schema.fields().iter().find(of_id);
        let value_type = match field.map(|field| field.data_type()) {
            Some(DataType::Dictionary(_, value)) => (**value).clone(),
            _ => return Err(format!("no column has the dictionary {id}")),
        };
        if dictionary.isDelta() {
            return Err(in_pieces(id));
        }
        let batch = dictionary.data().ok_or("a dictionary has no values")?;
        let values = Batch::check(batch, [&value_type].into_iter(), body_bytes)?;
        check_n_categories(&value_type, values.n_rows)?;
        Ok(Self {
            id,
            value_type,
            values,
        })
    }
}

/// Refuses a column with more categories than a reader takes.
pub(super) fn check_categories(column: &dyn Array) -> Result<(), String> {
    match column.as_any_dictionary_opt() {
        Some(dictionary) => check_n_categories(dictionary.values().data_type(), dictionary.values().len()),
        None => Ok(()),
    }
}

/// No more than a type has values, and one that is missing: a bit for each may be many millions, and code takes far more for each.
fn check_n_categories(value_type: &DataType, n: usize) -> Result<(), String> {
    let most = match (value_type, value_type.primitive_width()) {
        (DataType::Boolean, _) => 3,
        (_, Some(width @ 1..=2)) => (1 << (8 * width)) + 1,
        _ => usize::MAX,
    };
    match n <= most {
        true => Ok(()),
        false => Err(format!(
            "a column has {n} categories of type {value_type}, expected at most {most}"
        )),
    }
}

/// What is wrong with a dictionary that comes more than once.
pub(super) fn in_pieces(id: i64) -> String {
    format!("the dictionary {id} comes in several pieces")
}

/// The dictionary that a column has its categories in.
pub(super) fn dictionary_id(field: &Field) -> Option<i64> {
    #[expect(
        deprecated,
        reason = "Arrow names no other way from a field to its dictionary"
    )]
    field.dict_id()
}

/// The message in `head`, which says that `body_bytes` follow.
fn message(head: &[u8], body_bytes: usize) -> Result<Message<'_>, String> {
    let rest = head
        .strip_prefix(&[0xFF; 4])
        .and_then(|rest| rest.split_first_chunk::<4>());
    let bytes = rest.and_then(|(len, rest)| rest.get(..usize::try_from(i32::from_le_bytes(*len)).ok()?));
    let bytes = bytes.ok_or_else(|| {
        format!(
            "a message of {} bytes is cut off",
            head.len().saturating_sub(PREFIX_BYTES)
        )
    })?;
    let message = root_as_message_with_opts(&options(bytes), bytes)
        .map_err(|error| format!("a message is damaged: {error}"))?;
    if message.version() != MetadataVersion::V5 {
        return Err("a message is not of Arrow's version 5".into());
    }
    match usize::try_from(message.bodyLength()) == Ok(body_bytes) {
        true => Ok(message),
        false => Err(format!(
            "a message has a body of {} bytes, expected {body_bytes}",
            message.bodyLength()
        )),
    }
}

/// Pieces of a message may be used several times; expanded, it has at most four times its size.
fn options(bytes: &[u8]) -> VerifierOptions {
    VerifierOptions {
        max_apparent_size: bytes.len().saturating_mul(4) + 4096,
        ..VerifierOptions::default()
    }
}

/// The bytes of the body that a buffer says it has.
fn range_of(buffer: &arrow_ipc::Buffer, body_bytes: usize) -> Result<Range<usize>, String> {
    let (offset, length) = (buffer.offset(), buffer.length());
    let range = usize::try_from(offset)
        .ok()
        .zip(usize::try_from(length).ok())
        .and_then(|(start, len)| Some(start..start.checked_add(len)?));
    range.filter(|range| range.end <= body_bytes).ok_or_else(|| {
        format!("a buffer of {length} bytes at byte {offset} lies outside its message of {body_bytes}")
    })
}

/// Runs code of Arrow on data that may be anything. What it panics with after all becomes an error.
fn caught<T>(call: impl FnOnce() -> Result<T, ArrowError>) -> Result<T, String> {
    match cellring_core::caught::caught(call) {
        Some(result) => result.map_err(|error| error.to_string()),
        None => Err("Arrow cannot read it".into()),
    }
}
