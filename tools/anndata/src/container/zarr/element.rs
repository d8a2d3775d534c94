//! The element types of zarr, and arrays of those that `zarrs` does not know.

use serde_json::Value;

use crate::container::{Class, Element, Fault, Member, Padding};

/// Bytes that stand for a string of variable length where a width is asked for.
const TEXT_BYTES: usize = 16;

fn element(class: Class, size_bytes: usize) -> Element {
    Element::new(class, size_bytes, false)
}

/// How an array is handed to `zarrs`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// As it is: its numbers are decoded in this machine's order.
    AsIs,
    /// As an array of the bytes of its elements, which lie in the same chunks.
    AsBytes,
}

/// The element of a v3 document, and how it is handed on.
pub(super) fn element_of_v3(document: &Value) -> (Element, Stored) {
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
pub(super) fn element_of_v2(dtype: &Value, filters: &Value) -> (Element, Stored) {
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
pub(super) fn as_bytes_v2(document: &mut Value, element: &Element) -> Result<(), Fault> {
    let element_bytes = element.size_bytes;
    document["dtype"] = "|u1".into();
    blank_fill(document, element.class == Class::FixedUnicode)?;
    widen(&mut document["shape"], element_bytes)?;
    widen(&mut document["chunks"], element_bytes)
}

/// The same of a v3 document.
pub(super) fn as_bytes_v3(document: &mut Value, element: &Element) -> Result<(), Fault> {
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
