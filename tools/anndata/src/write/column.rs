//! One column of obs or var, from Arrow arrays to AnnData's encodings.

use std::collections::HashMap;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field};

use super::error::{ColumnProblem, WriteErrorKind};
use super::output::Output;
use super::purpose::Purpose;
use super::stream::Stream;
use super::text::TextStream;
use super::tree::{Attribute, Attributes, Dataset, Datatype, Group, Node, encoding_attributes};
use crate::metadata::{CATEGORIES_ENCODING, CATEGORIES_NA_VALUE, ENCODING, NA_VALUE, ORDERED};

/// Either the column's own problem or one of the file.
pub(super) enum ColumnError {
    Problem(ColumnProblem),
    File(WriteErrorKind),
}

impl From<ColumnProblem> for ColumnError {
    fn from(problem: ColumnProblem) -> Self {
        Self::Problem(problem)
    }
}

impl From<std::io::Error> for ColumnError {
    fn from(error: std::io::Error) -> Self {
        Self::File(error.into())
    }
}

/// A column that is being written, batch by batch.
pub(super) struct ColumnWriter {
    rows: u64,
    values: Values,
    mask: Mask,
    /// What stands for a missing string in the source.
    na_value: Option<String>,
}

enum Values {
    Numbers {
        stream: Stream,
        datatype: Datatype,
    },
    Text(TextStream),
    Categories {
        codes: Stream,
        width_bytes: usize,
        categories: Option<ArrayRef>,
        /// How the labels are to be written.
        labels: Field,
        ordered: bool,
    },
}

/// Which values are missing. A column is stored without a mask until the first one is.
struct Mask {
    /// The source had a nullable column: keep it one even if nothing is missing.
    wanted: bool,
    stream: Option<Stream>,
}

impl ColumnWriter {
    /// A writer for a column of this type.
    ///
    /// Field metadata: `anndata.encoding` names the encoding of the source, `anndata.na_value` what stands for a missing string in it,
    /// `anndata.categories_encoding` and `anndata.categories_na_value` those of categories; `anndata.ordered` (`true`) marks ordered
    /// categories.
    pub(super) fn new(out: &mut Output, field: &Field) -> Result<Self, ColumnProblem> {
        let about = |key: &str| field.metadata().get(key).map(String::as_str);
        let values = match field.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 => Values::Text(TextStream::new(out)),
            DataType::Dictionary(key, value) => {
                if matches!(**value, DataType::Dictionary(..)) {
                    return Err(ColumnProblem::Type(field.data_type().clone()));
                }
                let of_labels = [(ENCODING, CATEGORIES_ENCODING), (NA_VALUE, CATEGORIES_NA_VALUE)];
                let metadata = of_labels
                    .iter()
                    .filter_map(|(key, given)| Some(((*key).to_owned(), about(given)?.to_owned())));
                let labels = Field::new("categories", (**value).clone(), false)
                    .with_metadata(metadata.collect::<HashMap<_, _>>());
                // Refuses categories of other types.
                Self::new(out, &labels)?;
                let width_bytes = code_width_bytes(key);
                let datatype = Datatype::Integer {
                    size_bytes: width_bytes as u8,
                    signed: true,
                };
                Values::Categories {
                    codes: Stream::new(out, datatype, Purpose::Column),
                    width_bytes,
                    categories: None,
                    labels,
                    ordered: about(ORDERED).is_some_and(|v| v.eq_ignore_ascii_case("true")),
                }
            }
            other => {
                let datatype = number(other).ok_or_else(|| ColumnProblem::Type(other.clone()))?;
                Values::Numbers {
                    stream: Stream::new(out, datatype, Purpose::Column),
                    datatype,
                }
            }
        };
        let nullable = about(ENCODING).is_some_and(|encoding| encoding.starts_with("nullable-"));
        // Missing categories are code -1, missing floats NaN: neither has a mask.
        let maskable = match values {
            Values::Numbers { datatype, .. } => !matches!(datatype, Datatype::Float { .. }),
            Values::Text(_) => true,
            Values::Categories { .. } => false,
        };
        Ok(Self {
            rows: 0,
            values,
            mask: Mask {
                wanted: nullable && maskable,
                stream: None,
            },
            na_value: about(NA_VALUE).map(str::to_owned),
        })
    }

    /// Number of rows so far.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Appends an array of the type given to [`ColumnWriter::new`] which [`TableCheck`](super::TableCheck) has seen.
    pub(super) fn push(&mut self, out: &mut Output, array: &dyn Array) -> Result<(), ColumnError> {
        let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
        match &mut self.values {
            Values::Numbers { stream, datatype } => {
                stream.push(out, &number_bytes(array, *datatype, nulls))?;
                if !matches!(datatype, Datatype::Float { .. }) {
                    self.mask.push(out, self.rows, array.len(), nulls)?;
                }
            }
            Values::Text(stream) => {
                match array.data_type() {
                    DataType::LargeUtf8 => push_texts(out, stream, array.as_string::<i64>().iter())?,
                    _ => push_texts(out, stream, array.as_string::<i32>().iter())?,
                }
                self.mask.push(out, self.rows, array.len(), nulls)?;
            }
            Values::Categories {
                codes,
                width_bytes,
                categories,
                ..
            } => {
                let dictionary = array.as_any_dictionary();
                accept_categories(categories, dictionary.values(), self.rows)?;
                let bytes = code_bytes(
                    dictionary.keys(),
                    *width_bytes,
                    dictionary.values().len(),
                    self.rows,
                )?;
                codes.push(out, &bytes)?;
            }
        }
        self.rows += array.len() as u64;
        Ok(())
    }

    /// Writes what is pending and returns the finished column.
    pub(super) fn finish(self, out: &mut Output) -> Result<Node, ColumnError> {
        let mask = self.mask.finish(out, self.rows)?;
        let (node, nullable) = match self.values {
            Values::Categories {
                codes,
                categories,
                labels,
                ordered,
                ..
            } => {
                let mut group = Group::encoded("categorical", "0.2.0");
                group.set("ordered", Attribute::Bool(ordered));
                let mut writer = Self::new(out, &labels)?;
                // Without a batch there is no category either.
                if let Some(categories) = categories {
                    writer.push(out, &categories)?;
                }
                let labels = writer.finish(out)?;
                let codes = Node::Dataset(codes.finish(out, false, array_encoding())?);
                assert!(
                    group.insert("codes", codes) && group.insert("categories", labels),
                    "an empty group"
                );
                return Ok(Node::Group(group));
            }
            Values::Numbers { stream, datatype } => {
                let kind = if datatype == Datatype::Bool {
                    "nullable-boolean"
                } else {
                    "nullable-integer"
                };
                (stream.finish(out, false, array_encoding())?, kind)
            }
            Values::Text(stream) => (stream.finish(out, text_encoding())?, "nullable-string-array"),
        };
        Ok(match mask {
            None => Node::Dataset(node),
            Some(mask) => {
                let mut group = Group::encoded(nullable, "0.1.0");
                if let Some(na_value) = self.na_value.filter(|_| nullable == "nullable-string-array") {
                    group.set("na-value", Attribute::Text(na_value));
                }
                let inserted =
                    group.insert("values", Node::Dataset(node)) && group.insert("mask", Node::Dataset(mask));
                assert!(inserted, "an empty group");
                Node::Group(group)
            }
        })
    }
}

impl Mask {
    fn push(
        &mut self,
        out: &mut Output,
        rows_before: u64,
        n_rows: usize,
        nulls: Option<&NullBuffer>,
    ) -> std::io::Result<()> {
        if nulls.is_none() && self.stream.is_none() {
            return Ok(());
        }
        let stream = self.begin(out, rows_before)?;
        match nulls {
            Some(nulls) => stream.push(
                out,
                &nulls.iter().map(|valid| u8::from(!valid)).collect::<Vec<_>>(),
            ),
            None => stream.push(out, &vec![0; n_rows]),
        }
    }

    /// The stream, caught up with the rows before, none of which is missing.
    fn begin(&mut self, out: &mut Output, rows_before: u64) -> std::io::Result<&mut Stream> {
        let stream = self
            .stream
            .get_or_insert_with(|| Stream::new(out, Datatype::Bool, Purpose::Column));
        while stream.len() < rows_before {
            let step = (rows_before - stream.len()).min(1 << 17);
            stream.push(out, &vec![0; step as usize])?;
        }
        Ok(stream)
    }

    fn finish(mut self, out: &mut Output, rows: u64) -> std::io::Result<Option<Dataset>> {
        if self.wanted {
            self.begin(out, rows)?;
        }
        self.stream
            .map(|stream| stream.finish(out, false, array_encoding()))
            .transpose()
    }
}

pub(super) fn array_encoding() -> Attributes {
    encoding_attributes("array", "0.2.0")
}

fn text_encoding() -> Attributes {
    encoding_attributes("string-array", "0.2.0")
}

/// The element type of a column of numbers or bools.
pub(super) fn number(data_type: &DataType) -> Option<Datatype> {
    let integer = |size_bytes, signed| Some(Datatype::Integer { size_bytes, signed });
    match data_type {
        DataType::Boolean => Some(Datatype::Bool),
        DataType::Int8 => integer(1, true),
        DataType::Int16 => integer(2, true),
        DataType::Int32 => integer(4, true),
        DataType::Int64 => integer(8, true),
        DataType::UInt8 => integer(1, false),
        DataType::UInt16 => integer(2, false),
        DataType::UInt32 => integer(4, false),
        DataType::UInt64 => integer(8, false),
        DataType::Float16 => Some(Datatype::Float { size_bytes: 2 }),
        DataType::Float32 => Some(Datatype::Float { size_bytes: 4 }),
        DataType::Float64 => Some(Datatype::Float { size_bytes: 8 }),
        _ => None,
    }
}

/// The values of an array of numbers or bools as bytes; a missing one is NaN in floats, else 0, as pandas writes it.
pub(super) fn number_bytes(array: &dyn Array, datatype: Datatype, nulls: Option<&NullBuffer>) -> Vec<u8> {
    if datatype == Datatype::Bool {
        return array
            .as_boolean()
            .iter()
            .map(|value| u8::from(value == Some(true)))
            .collect();
    }
    let width = datatype.size_bytes();
    let data = array.to_data();
    let mut bytes = data.buffers()[0].as_slice()[data.offset() * width..][..data.len() * width].to_vec();
    if let Some(nulls) = nulls {
        let missing: &[u8] = match datatype {
            Datatype::Float { size_bytes: 2 } => &[0, 0x7e],
            Datatype::Float { size_bytes: 4 } => &f32::NAN.to_le_bytes(),
            Datatype::Float { .. } => &f64::NAN.to_le_bytes(),
            _ => &[0; 8][..width],
        };
        for (value, valid) in bytes.chunks_exact_mut(width).zip(nulls) {
            if !valid {
                value.copy_from_slice(missing);
            }
        }
    }
    bytes
}

fn push_texts<'a>(
    out: &mut Output,
    stream: &mut TextStream,
    texts: impl Iterator<Item = Option<&'a str>>,
) -> std::io::Result<()> {
    for text in texts {
        stream.push(out, text.unwrap_or_default())?;
    }
    Ok(())
}

/// Codes are signed (-1 is missing), so unsigned keys need the next wider type.
fn code_width_bytes(key: &DataType) -> usize {
    match key {
        DataType::Int8 => 1,
        DataType::Int16 | DataType::UInt8 => 2,
        DataType::Int32 | DataType::UInt16 => 4,
        _ => 8,
    }
}

/// Keeps the categories of the first batch, or longer ones that begin with them.
fn accept_categories(kept: &mut Option<ArrayRef>, new: &ArrayRef, row: u64) -> Result<(), ColumnProblem> {
    if let Some(old) = kept {
        if std::sync::Arc::ptr_eq(old, new) {
            return Ok(());
        }
        let common = old.len().min(new.len());
        if old.slice(0, common) != new.slice(0, common) {
            return Err(ColumnProblem::CategoriesChanged { row });
        }
        if old.len() >= new.len() {
            return Ok(());
        }
    }
    *kept = Some(new.clone());
    Ok(())
}

fn code_bytes(
    keys: &dyn Array,
    width_bytes: usize,
    n_categories: usize,
    rows_before: u64,
) -> Result<Vec<u8>, ColumnProblem> {
    macro_rules! keys_as {
        ($key:ty) => {
            Box::new(
                keys.as_primitive::<$key>()
                    .iter()
                    .map(|key| key.map_or(-1, |key| key as i64)),
            )
        };
    }
    let codes: Box<dyn Iterator<Item = i64>> = match keys.data_type() {
        DataType::Int8 => keys_as!(Int8Type),
        DataType::Int16 => keys_as!(Int16Type),
        DataType::Int32 => keys_as!(Int32Type),
        DataType::UInt8 => keys_as!(UInt8Type),
        DataType::UInt16 => keys_as!(UInt16Type),
        DataType::UInt32 => keys_as!(UInt32Type),
        DataType::UInt64 => keys_as!(UInt64Type),
        _ => keys_as!(Int64Type),
    };
    let mut bytes = Vec::with_capacity(keys.len() * width_bytes);
    for (row, code) in (rows_before..).zip(codes) {
        // Arrow checks its keys; -1 from a null is the only other value.
        if code < -1 || code >= n_categories as i64 {
            return Err(ColumnProblem::Code {
                row,
                code,
                n_categories,
            });
        }
        bytes.extend_from_slice(&code.to_le_bytes()[..width_bytes]);
    }
    Ok(bytes)
}
