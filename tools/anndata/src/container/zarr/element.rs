//! The element types of zarr.

use serde_json::Value;

use crate::container::limits::MAX_ELEMENT_BYTES;
use crate::container::{Class, Element, Member, Padding};

/// Bytes that stand for a string of variable length where a width is asked for.
const TEXT_BYTES: usize = 16;

fn element(class: Class, size_bytes: usize) -> Element {
    Element::new(class, size_bytes, false)
}

/// The element of a v3 document, whose codecs say in which order the bytes of a number are.
pub(super) fn element_of_v3(document: &Value) -> Element {
    let data_type = &document["data_type"];
    let name = data_type
        .as_str()
        .or_else(|| data_type["name"].as_str())
        .unwrap_or("unnamed");
    let other = || element(Class::Other(format!("zarr data type {name}")), 1);
    let number = |prefix: &str| {
        let bits: usize = name.strip_prefix(prefix)?.parse().ok()?;
        is_width(bits / 8, prefix == "float").then_some(bits / 8)
    };
    // numpy's strings of fixed length, as zarr-python writes them.
    let fixed = |class| {
        let length = data_type.pointer("/configuration/length_bytes");
        match length.and_then(Value::as_u64) {
            Some(bytes @ 1..=MAX_ELEMENT_BYTES) => element(class, bytes as usize),
            _ => other(),
        }
    };
    match name {
        "bool" => element(Class::Bool, 1),
        "string" => element(Class::VarText, TEXT_BYTES),
        "fixed_length_utf32" => fixed(Class::FixedUnicode),
        "null_terminated_bytes" => fixed(Class::FixedText(Padding::Nul)),
        _ => {
            let signed = number("int").map(|bytes| (Class::Int { signed: true }, bytes));
            let unsigned = || number("uint").map(|bytes| (Class::Int { signed: false }, bytes));
            let float = || number("float").map(|bytes| (Class::Float, bytes));
            let found = signed.or_else(unsigned).or_else(float);
            found.map_or_else(other, |(class, bytes)| element(class, bytes))
        }
    }
}

/// Whether numbers of so many bytes are read.
fn is_width(n_bytes: usize, is_float: bool) -> bool {
    matches!((n_bytes, is_float), (1, false) | (2 | 4 | 8, _))
}

/// The element of a v2 document with these filters: of a numpy type string, or of a list of named ones.
pub(super) fn element_of_v2(dtype: &Value, filters: &Value) -> Element {
    if let Value::Array(fields) = dtype {
        let mut at = 0;
        let mut members = Vec::new();
        for field in fields {
            let element = element_of_v2(&field[1], &Value::Null);
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
        Some('b') if size == 1 => Class::Bool,
        Some('i') if is_width(size, false) => Class::Int { signed: true },
        Some('u') if is_width(size, false) => Class::Int { signed: false },
        Some('f') if is_width(size, true) => Class::Float,
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
