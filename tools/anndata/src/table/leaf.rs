//! One-dimensional datasets as Arrow arrays.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::types::{
    ArrowPrimitiveType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{ArrayRef, BooleanArray, PrimitiveArray};
use arrow_buffer::{BooleanBuffer, Buffer, MutableBuffer, NullBuffer, ScalarBuffer};
use arrow_schema::DataType;

use crate::container::{Array, Class, ElementType, Padding};
use crate::error::{ReadError, Result};

/// Bytes of stored texts that are in memory at a time.
const PIECE_BYTES: usize = 16 << 20;

/// A dataset of numbers, booleans or strings.
#[derive(Debug)]
pub(super) struct Leaf {
    array: Box<Array>,
    data_type: DataType,
}

impl Leaf {
    pub(super) fn new(array: Array, data_type: DataType) -> Self {
        Self {
            array: Box::new(array),
            data_type,
        }
    }

    /// The same bytes as booleans, where they are integers of one byte.
    pub(super) fn into_flags(mut self) -> Self {
        if matches!(self.data_type, DataType::Int8 | DataType::UInt8) {
            self.data_type = DataType::Boolean;
        }
        self
    }

    /// The Arrow type of an element type, if there is one.
    pub(super) fn data_type_of(element: &ElementType) -> Option<DataType> {
        Some(match (&element.class, element.size_bytes) {
            (Class::Int { signed: true }, 1) => DataType::Int8,
            (Class::Int { signed: true }, 2) => DataType::Int16,
            (Class::Int { signed: true }, 4) => DataType::Int32,
            (Class::Int { signed: true }, 8) => DataType::Int64,
            (Class::Int { signed: false }, 1) => DataType::UInt8,
            (Class::Int { signed: false }, 2) => DataType::UInt16,
            (Class::Int { signed: false }, 4) => DataType::UInt32,
            (Class::Int { signed: false }, 8) => DataType::UInt64,
            (Class::Float, 2) => DataType::Float16,
            (Class::Float, 4) => DataType::Float32,
            (Class::Float, 8) => DataType::Float64,
            (Class::Bool, 1) => DataType::Boolean,
            (Class::FixedText(_) | Class::FixedUnicode | Class::VarText, _) => DataType::Utf8,
            _ => return None,
        })
    }

    /// The same as booleans, if it holds these or integers, which then may only be 0 and 1.
    pub(super) fn into_truths(self) -> Option<Self> {
        if self.data_type == DataType::Boolean {
            return Some(self);
        }
        Some(Self::new(self.array.into_truths()?, DataType::Boolean))
    }

    pub(super) fn len(&self) -> u64 {
        self.array.len()
    }

    pub(super) fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// The encoding-type that AnnData gives such a dataset.
    pub(super) fn encoding(&self) -> &'static str {
        if self.data_type == DataType::Utf8 {
            "string-array"
        } else {
            "array"
        }
    }

    /// Reads rows `range`; where `nulls` says so they are missing, whatever the dataset holds.
    pub(super) fn read(&self, range: Range<u64>, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        match &self.data_type {
            DataType::Utf8 => self.read_text(range, nulls),
            DataType::Boolean => Ok(Arc::new(BooleanArray::new(self.read_bools(range)?, nulls))),
            DataType::Int8 => self.read_primitive::<Int8Type>(range, nulls),
            DataType::Int16 => self.read_primitive::<Int16Type>(range, nulls),
            DataType::Int32 => self.read_primitive::<Int32Type>(range, nulls),
            DataType::Int64 => self.read_primitive::<Int64Type>(range, nulls),
            DataType::UInt8 => self.read_primitive::<UInt8Type>(range, nulls),
            DataType::UInt16 => self.read_primitive::<UInt16Type>(range, nulls),
            DataType::UInt32 => self.read_primitive::<UInt32Type>(range, nulls),
            DataType::UInt64 => self.read_primitive::<UInt64Type>(range, nulls),
            DataType::Float16 => self.read_primitive::<Float16Type>(range, nulls),
            DataType::Float32 => self.read_primitive::<Float32Type>(range, nulls),
            DataType::Float64 => self.read_primitive::<Float64Type>(range, nulls),
            other => unreachable!("no dataset has type {other}"),
        }
    }

    /// Reads rows `range` of a boolean dataset.
    pub(super) fn read_bools(&self, range: Range<u64>) -> Result<BooleanBuffer> {
        let bytes = self.read_bytes(range)?;
        Ok(BooleanBuffer::collect_bool(bytes.len(), |row| bytes[row] != 0))
    }

    fn read_bytes(&self, range: Range<u64>) -> Result<Buffer> {
        let n_bytes = (range.end - range.start) as usize * self.array.element().size_bytes;
        let mut bytes = MutableBuffer::from_len_zeroed(n_bytes);
        self.array.read_bytes(range, bytes.as_slice_mut())?;
        Ok(bytes.into())
    }

    fn read_primitive<T: ArrowPrimitiveType>(
        &self,
        range: Range<u64>,
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef> {
        let n_rows = (range.end - range.start) as usize;
        let element = self.array.element();
        let mut bytes = MutableBuffer::from_len_zeroed(n_rows * element.size_bytes);
        self.array.read_bytes(range, bytes.as_slice_mut())?;
        if element.big_endian {
            bytes
                .as_slice_mut()
                .chunks_exact_mut(element.size_bytes)
                .for_each(<[u8]>::reverse);
        }
        let values = ScalarBuffer::<T::Native>::new(bytes.into(), 0, n_rows);
        Ok(Arc::new(PrimitiveArray::<T>::new(values, nulls)))
    }

    fn read_text(&self, range: Range<u64>, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        let mut text = StringBuilder::with_capacity((range.end - range.start) as usize, 0);
        match self.array.read_text(range.clone())? {
            Some(strings) => {
                for (row, string) in strings.iter().enumerate() {
                    self.append(&range, &nulls, row, string.as_bytes(), &mut text)?;
                }
            }
            // Texts of fixed length may be long ones, mostly of padding.
            None => {
                let rows_at_a_time = (PIECE_BYTES / self.array.element().size_bytes.max(1)).max(1) as u64;
                for start in range.clone().step_by(rows_at_a_time as usize) {
                    let end = range.end.min(start + rows_at_a_time);
                    self.read_stored_text(&range, start..end, &nulls, &mut text)?;
                }
            }
        }
        Ok(Arc::new(text.finish()))
    }

    /// Adds the texts of `rows`, which lie within the range that is read.
    fn read_stored_text(
        &self,
        range: &Range<u64>,
        rows: Range<u64>,
        nulls: &Option<NullBuffer>,
        text: &mut StringBuilder,
    ) -> Result<()> {
        let element = self.array.element();
        let first = (rows.start - range.start) as usize;
        let bytes = self.read_bytes(rows)?;
        for (row, element_bytes) in (first..).zip(bytes.chunks_exact(element.size_bytes)) {
            let resolved;
            let value = match element.class {
                // What a missing one refers to may be nothing.
                _ if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) => &[][..],
                Class::FixedUnicode => {
                    resolved = unicode(element_bytes, element.big_endian)
                        .ok_or_else(|| self.not_utf8(range.start + row as u64))?;
                    resolved.as_slice()
                }
                Class::FixedText(padding) => padding.trim(element_bytes),
                _ => {
                    resolved = self.array.file().resolve(self.array.path(), element_bytes)?;
                    Padding::NulTerminated.trim(&resolved)
                }
            };
            self.append(range, nulls, row, value, text)?;
        }
        Ok(())
    }

    /// Adds the text of a row of the range that is read.
    fn append(
        &self,
        range: &Range<u64>,
        nulls: &Option<NullBuffer>,
        row: usize,
        value: &[u8],
        text: &mut StringBuilder,
    ) -> Result<()> {
        if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            text.append_null();
            return Ok(());
        }
        let value = std::str::from_utf8(value).map_err(|_| self.not_utf8(range.start + row as u64))?;
        let file = self.array.file();
        let n_bytes = text.values_slice().len() + value.len();
        if n_bytes > i32::MAX as usize {
            return Err(ReadError::TextTooLong {
                file: file.path().to_owned(),
                object: self.array.path().to_owned(),
                start: range.start,
                end: range.end,
            });
        }
        // Many references may lead to one long text.
        if n_bytes as u64 > file.most_text_bytes() {
            return Err(file.damaged(
                self.array.path(),
                format!(
                    "the strings of rows {} to {} have more than {} bytes, and the file has {}",
                    range.start,
                    range.start + row as u64,
                    file.most_text_bytes(),
                    file.len_bytes()
                ),
            ));
        }
        text.append_value(value);
        Ok(())
    }

    fn not_utf8(&self, row: u64) -> ReadError {
        ReadError::NotUtf8 {
            file: self.array.file().path().to_owned(),
            object: self.array.path().to_owned(),
            row,
        }
    }
}

/// A string of four bytes per character, as numpy keeps it, in UTF-8.
fn unicode(bytes: &[u8], big_endian: bool) -> Option<Vec<u8>> {
    let words = bytes.as_chunks::<4>().0.iter();
    let mut characters: Vec<u32> = words
        .map(|word| {
            if big_endian {
                u32::from_be_bytes(*word)
            } else {
                u32::from_le_bytes(*word)
            }
        })
        .collect();
    while characters.last() == Some(&0) {
        characters.pop();
    }
    let text: Option<String> = characters.into_iter().map(char::from_u32).collect();
    text.map(String::into_bytes)
}
