//! [`Container`] on the crate `zarrs`: zarr v2 and v3, in a directory or a zip file.
//!
//! The structure (which nodes there are, their attributes) is read from the metadata documents node by node; consolidated
//! metadata are not needed and not believed. `zarrs` decodes the chunks.

use std::io;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::zarr_array::ZarrArray;
use super::zarr_codec::{prepare_v2, prepare_v3};
use super::zarr_storage::Storage;
use super::{Attribute, Class, Container, Description, Element, Fault, Kind, Member, Padding, Placement};

/// The most bytes of one metadata document,
const MAX_DOCUMENT_BYTES: u64 = 64 << 20;
/// and its most values: each takes many times its bytes in memory.
const MAX_DOCUMENT_VALUES: usize = 1 << 22;

/// A node's document.
enum Document {
    /// `zarr.json`.
    V3(Value),
    /// `.zarray`, or `None` for a group; the attributes lie in `.zattrs`.
    V2(Option<Value>),
}

/// A zarr hierarchy.
pub(super) struct Zarr {
    storage: Arc<Storage>,
    /// Bytes of all its files.
    len_bytes: u64,
}

impl Zarr {
    /// Opens a directory, or a zip file, whose files have so many bytes together; `None` where there is no zarr at its root.
    pub(super) fn open(path: &Path, is_zip: bool, len_bytes: u64) -> io::Result<Result<Option<Self>, Fault>> {
        Ok(Storage::open(path, is_zip)?.and_then(|storage| Self::of(storage, path, len_bytes)))
    }

    fn of(storage: Storage, path: &Path, len_bytes: u64) -> Result<Option<Self>, Fault> {
        let zarr = Self {
            storage: Arc::new(storage),
            len_bytes,
        };
        if zarr.document("")?.is_some() {
            return Ok(Some(zarr));
        }
        if let Some(directory) = zarr.storage.only_directory()
            && zarr.document(directory)?.is_some()
        {
            return Err(Fault::Unsupported {
                detail: format!(
                    "all files of the zip file lie in a directory {directory} within it, but the root of zarr must lie at the top"
                ),
                remedy: format!("unpack it with unzip {} and convert {directory}", path.display()),
            });
        }
        Ok(None)
    }

    fn get(&self, path: &str, name: &str) -> Result<Option<Value>, Fault> {
        let key = match path {
            "" => name.to_owned(),
            path => format!("{path}/{name}"),
        };
        let Some(bytes) = self.storage.read(&key, MAX_DOCUMENT_BYTES)? else {
            return Ok(None);
        };
        let n_values = bytes
            .iter()
            .filter(|byte| matches!(byte, b',' | b'[' | b'{'))
            .count();
        if n_values > MAX_DOCUMENT_VALUES {
            return Err(
                format!("{key} has {n_values} values, expected at most {MAX_DOCUMENT_VALUES}").into(),
            );
        }
        match serde_json::from_slice::<Value>(&bytes) {
            Ok(document) if document.is_object() => Ok(Some(document)),
            Ok(_) => Err(format!("{key} is not a JSON object").into()),
            Err(error) => Err(format!("{key}: {error}").into()),
        }
    }

    fn document(&self, path: &str) -> Result<Option<Document>, Fault> {
        if let Some(document) = self.get(path, "zarr.json")? {
            return Ok(Some(Document::V3(document)));
        }
        if let Some(array) = self.get(path, ".zarray")? {
            return Ok(Some(Document::V2(Some(array))));
        }
        Ok(self.get(path, ".zgroup")?.map(|_| Document::V2(None)))
    }
}

impl Document {
    fn kind(&self) -> Kind {
        let is_array = match self {
            Self::V3(document) => document["node_type"] == "array",
            Self::V2(array) => array.is_some(),
        };
        if is_array { Kind::Dataset } else { Kind::Group }
    }
}

impl Container for Zarr {
    fn kind(&self, path: &str) -> Result<Option<Kind>, Fault> {
        Ok(self.document(path)?.map(|document| document.kind()))
    }

    fn members(&self, group: &str) -> Result<Vec<String>, Fault> {
        let mut names = Vec::new();
        for name in self.storage.directories(group)? {
            let path = match group {
                "" => name.clone(),
                group => format!("{group}/{name}"),
            };
            if self.kind(&path)?.is_some() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn attribute(&self, path: &str, _: Kind, name: &str) -> Result<Option<Attribute>, Fault> {
        let attributes = match self.document(path)? {
            Some(Document::V3(mut document)) => document["attributes"].take(),
            Some(Document::V2(_)) => self.get(path, ".zattrs")?.unwrap_or_default(),
            None => return Ok(None),
        };
        Ok(attributes.get(name).and_then(convert_attribute))
    }

    fn describe(&self, dataset: &str) -> Result<Description, Fault> {
        let (is_v3, element, stored, mut document) = match self.document(dataset)? {
            Some(Document::V3(document)) => {
                let (element, stored) = element_of_v3(&document);
                (true, element, stored, document)
            }
            Some(Document::V2(Some(mut document))) => {
                if let Some(fill) = document["fill_value"].as_bool() {
                    document["fill_value"] = u8::from(fill).into();
                }
                let (element, stored) = element_of_v2(&document["dtype"], &document["filters"]);
                (false, element, stored, document)
            }
            _ => return Err("it is not an array".to_owned().into()),
        };
        let shape = document["shape"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        if matches!(element.class, Class::Other(_)) || shape.len() > 2 {
            return Ok(Description {
                shape: shape.iter().filter_map(Value::as_u64).collect(),
                element,
                placement: Placement::Unlocated,
                filters: Vec::new(),
                fill: None,
            });
        }
        match is_v3 {
            true => prepare_v3(&mut document["codecs"])?,
            false => prepare_v2(&mut document)?,
        }
        let record_bytes = (stored == Stored::AsBytes).then_some(element.size_bytes);
        if record_bytes.is_some() {
            match is_v3 {
                true => as_bytes_v3(&mut document, &element)?,
                false => as_bytes_v2(&mut document, &element)?,
            }
        }
        let array = ZarrArray::open(
            &self.storage,
            dataset,
            document,
            record_bytes,
            &element,
            self.len_bytes,
        )?;
        Ok(Description {
            shape: array.shape(),
            element,
            placement: Placement::Foreign(Arc::new(array)),
            filters: Vec::new(),
            fill: None,
        })
    }

    fn resolve(&self, _: &[u8]) -> Result<Vec<u8>, Fault> {
        Err("zarr has no references to text".to_owned().into())
    }
}

/// The meaning of an attribute; `None` for null.
fn convert_attribute(value: &Value) -> Option<Attribute> {
    let items = match value {
        Value::Null => return None,
        Value::Array(items) => items.as_slice(),
        one => std::slice::from_ref(one),
    };
    if items.is_empty() {
        return Some(Attribute::Empty);
    }
    let text: Option<Vec<String>> = items.iter().map(|v| v.as_str().map(str::to_owned)).collect();
    let integers: Option<Vec<i64>> = items.iter().map(Value::as_i64).collect();
    let numbers: Option<Vec<f64>> = items.iter().map(Value::as_f64).collect();
    let flags: Option<Vec<bool>> = items.iter().map(Value::as_bool).collect();
    let found = text
        .map(Attribute::Text)
        .or(integers.map(Attribute::Int))
        .or(numbers.map(Attribute::Float))
        .or(flags.map(Attribute::Bool));
    Some(found.unwrap_or_else(|| Attribute::Other("JSON of another kind".to_owned())))
}

/// Bytes that stand for a string of variable length where a width is asked for.
const TEXT_BYTES: usize = 16;

fn element(class: Class, size_bytes: usize) -> Element {
    Element::new(class, size_bytes, false)
}

/// How an array is handed to `zarrs`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stored {
    /// As it is: its numbers are decoded in this machine's order.
    AsIs,
    /// As an array of the bytes of its elements, which lie in the same chunks.
    AsBytes,
}

/// The element of a v3 document, and how it is handed on.
fn element_of_v3(document: &Value) -> (Element, Stored) {
    let data_type = &document["data_type"];
    let name = data_type
        .as_str()
        .or_else(|| data_type["name"].as_str())
        .unwrap_or("unnamed");
    let number = |prefix: &str| {
        let bits: usize = name.strip_prefix(prefix)?.parse().ok()?;
        matches!(bits, 8 | 16 | 32 | 64).then_some(bits / 8)
    };
    // numpy's strings of fixed length, as zarr-python writes them.
    let fixed = match name {
        "fixed_length_utf32" => Some(Class::FixedUnicode),
        "null_terminated_bytes" => Some(Class::FixedText(Padding::Nul)),
        _ => None,
    };
    if let Some(class) = fixed {
        let length = data_type
            .pointer("/configuration/length_bytes")
            .and_then(Value::as_u64);
        return match length.filter(|&bytes| bytes > 0 && bytes <= MAX_TEXT_BYTES) {
            Some(bytes) => (
                Element::new(class, bytes as usize, is_big_endian(&document["codecs"])),
                Stored::AsBytes,
            ),
            None => (
                element(Class::Other(format!("zarr data type {name}")), 1),
                Stored::AsIs,
            ),
        };
    }
    let element = if name == "bool" {
        element(Class::Bool, 1)
    } else if name == "string" {
        element(Class::VarText, TEXT_BYTES)
    } else if let Some(bytes) = number("int") {
        element(Class::Int { signed: true }, bytes)
    } else if let Some(bytes) = number("uint") {
        element(Class::Int { signed: false }, bytes)
    } else if let Some(bytes) = number("float") {
        element(Class::Float, bytes)
    } else {
        element(Class::Other(format!("zarr data type {name}")), 1)
    };
    (element, Stored::AsIs)
}

/// Whether a chain of codecs, or that within its shards, lays out elements in big-endian order.
fn is_big_endian(codecs: &Value) -> bool {
    let mut listed = codecs.as_array().into_iter().flatten();
    listed.any(|codec| {
        codec
            .pointer("/configuration/endian")
            .is_some_and(|endian| endian == "big")
            || codec.pointer("/configuration/codecs").is_some_and(is_big_endian)
    })
}

/// The most bytes of a string of fixed length.
const MAX_TEXT_BYTES: u64 = 1 << 22;

/// The element of a numpy type string, or of a list of named ones, and how it is handed on.
fn element_of_v2(dtype: &Value, filters: &Value) -> (Element, Stored) {
    let element = numpy_element(dtype, filters);
    match element.class {
        Class::Int { .. } | Class::Float | Class::Bool | Class::VarText => {
            let big_endian = false;
            (
                Element {
                    big_endian,
                    ..element
                },
                Stored::AsIs,
            )
        }
        _ => (element, Stored::AsBytes),
    }
}

/// The element of a numpy type string, or of a list of named ones, with the byte order that it names.
fn numpy_element(dtype: &Value, filters: &Value) -> Element {
    if let Value::Array(fields) = dtype {
        let mut at = 0;
        let mut members = Vec::new();
        for field in fields {
            let element = numpy_element(&field[1], &Value::Null);
            // A third item is the shape of a field that is an array itself.
            let count = match field.get(2) {
                Some(Value::Array(shape)) => shape
                    .iter()
                    .try_fold(1u64, |count, n| count.checked_mul(n.as_u64()?))
                    .and_then(|count| usize::try_from(count).ok())
                    .unwrap_or(usize::MAX),
                _ => 1,
            };
            let size_bytes = element.size_bytes;
            let element = match count {
                1 => element,
                _ => self::element(
                    Class::Other("arrays".to_owned()),
                    size_bytes.saturating_mul(count),
                ),
            };
            let size_bytes = element.size_bytes;
            members.push(Member {
                name: field[0].as_str().unwrap_or_default().to_owned(),
                offset_bytes: at,
                element,
            });
            at = at.saturating_add(size_bytes);
        }
        return element(Class::Compound(members), at.max(1));
    }
    let name = dtype.as_str().unwrap_or_default();
    let mut characters = name.chars();
    let order = characters.next();
    let kind = characters.next();
    let size: usize = characters.as_str().parse().unwrap_or(1).clamp(1, 1 << 20);
    let class = match kind {
        Some('b') => Class::Bool,
        Some('i') => Class::Int { signed: true },
        Some('u') => Class::Int { signed: false },
        Some('f') => Class::Float,
        Some('S') => Class::FixedText(Padding::Nul),
        Some('U') => Class::FixedUnicode,
        Some('O')
            if filters
                .as_array()
                .is_some_and(|f| f.iter().any(|f| f["id"] == "vlen-utf8")) =>
        {
            return element(Class::VarText, TEXT_BYTES);
        }
        _ => Class::Other(format!("numpy type {name}")),
    };
    let size_bytes = if class == Class::FixedUnicode {
        4 * size
    } else {
        size
    };
    Element::new(class, size_bytes, order == Some('>'))
}

/// A v2 document of elements of so many bytes as one of their bytes.
fn as_bytes_v2(document: &mut Value, element: &Element) -> Result<(), Fault> {
    let element_bytes = element.size_bytes;
    document["dtype"] = "|u1".into();
    blank_fill(document, element.class == Class::FixedUnicode)?;
    widen(&mut document["shape"], element_bytes)?;
    widen(&mut document["chunks"], element_bytes)
}

/// The same of a v3 document.
fn as_bytes_v3(document: &mut Value, element: &Element) -> Result<(), Fault> {
    let element_bytes = element.size_bytes;
    document["data_type"] = "uint8".into();
    blank_fill(document, element.class == Class::FixedUnicode)?;
    widen(&mut document["shape"], element_bytes)?;
    if let Some(shape) = document.pointer_mut("/chunk_grid/configuration/chunk_shape") {
        widen(shape, element_bytes)?;
    }
    widen_shards(&mut document["codecs"], element_bytes)
}

/// Widens the inner chunks of shards.
fn widen_shards(codecs: &mut Value, element_bytes: usize) -> Result<(), Fault> {
    for codec in codecs.as_array_mut().into_iter().flatten() {
        if let Some(shape) = codec.pointer_mut("/configuration/chunk_shape") {
            widen(shape, element_bytes)?;
        }
        if let Some(inner) = codec.pointer_mut("/configuration/codecs") {
            widen_shards(inner, element_bytes)?;
        }
    }
    Ok(())
}

/// Makes a length in elements, which must be the only one, one in bytes.
fn widen(shape: &mut Value, element_bytes: usize) -> Result<(), Fault> {
    let bytes = match shape.as_array().map(Vec::as_slice) {
        Some([length]) => length.as_u64().and_then(|n| n.checked_mul(element_bytes as u64)),
        _ => {
            let detail = "it does not have one dimension, as records and strings of fixed length must";
            return Err(detail.to_owned().into());
        }
    };
    let bytes = bytes.ok_or_else(|| "its shape is too large".to_owned())?;
    *shape = vec![bytes].into();
    Ok(())
}

/// Makes the fill value that of bytes. Only one whose bytes are all zero has a counterpart.
fn blank_fill(document: &mut Value, is_unicode: bool) -> Result<(), Fault> {
    let fill = document["fill_value"].take();
    let is_blank = match &fill {
        Value::Null => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) if is_unicode => text.is_empty(),
        // Bytes are in base64, in which zeros are the letter A.
        Value::String(text) => text.bytes().all(|byte| matches!(byte, b'A' | b'=')),
        _ => false,
    };
    document["fill_value"] = 0.into();
    match is_blank {
        true => Ok(()),
        false => Err(Fault::Unsupported {
            detail: format!("its fill value is {fill}, and of strings and records only an empty one is read"),
            remedy: "open it with anndata and write it again".to_owned(),
        }),
    }
}
