//! The element types of zarr.

use serde_json::Value;

use crate::container::limits::MAX_ELEMENT_BYTES;
use crate::container::{Class, ElementType, Member, Padding};

/// Bytes that stand for a string of variable length where a width is asked for.
const TEXT_BYTES: usize = 16;

const SIGNED: Class = Class::Int { signed: true };
const UNSIGNED: Class = Class::Int { signed: false };

fn element(class: Class, size_bytes: usize) -> ElementType {
    ElementType::new(class, size_bytes, false)
}

/// The element of a v3 document, whose codecs say in which order the bytes of a number are.
pub(super) fn element_of_v3(document: &Value) -> ElementType {
    let data_type = &document["data_type"];
    let name = data_type
        .as_str()
        .or_else(|| data_type["name"].as_str())
        .unwrap_or("unnamed");
    let other = || element(Class::Other(format!("zarr data type {name}")), 1);
    // numpy's strings of fixed length, as zarr-python writes them.
    let fixed = |class| {
        let length = data_type.pointer("/configuration/length_bytes");
        match length.and_then(Value::as_u64) {
            Some(bytes @ 1..=MAX_ELEMENT_BYTES)
                if class != Class::FixedUnicode || bytes.is_multiple_of(4) =>
            {
                element(class, bytes as usize)
            }
            _ => other(),
        }
    };
    match name {
        "bool" => element(Class::Bool, 1),
        "string" => element(Class::VarText, TEXT_BYTES),
        "fixed_length_utf32" => fixed(Class::FixedUnicode),
        "null_terminated_bytes" => fixed(Class::FixedText(Padding::Nul)),
        "int8" => element(SIGNED, 1),
        "int16" => element(SIGNED, 2),
        "int32" => element(SIGNED, 4),
        "int64" => element(SIGNED, 8),
        "uint8" => element(UNSIGNED, 1),
        "uint16" => element(UNSIGNED, 2),
        "uint32" => element(UNSIGNED, 4),
        "uint64" => element(UNSIGNED, 8),
        "float16" => element(Class::Float, 2),
        "float32" => element(Class::Float, 4),
        "float64" => element(Class::Float, 8),
        _ => other(),
    }
}

/// Whether numbers of so many bytes are read.
fn is_width(n_bytes: usize, is_float: bool) -> bool {
    matches!((n_bytes, is_float), (1, false) | (2 | 4 | 8, _))
}

/// The element of a v2 document with these filters: of a numpy type string, or of a list of named ones.
pub(super) fn element_of_v2(dtype: &Value, filters: &Value) -> ElementType {
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
    let digits = characters.as_str();
    let size: usize = digits.parse().unwrap_or(1).clamp(1, 1 << 20);
    // As numpy writes it: `<i4`, `|b1`, `>U7`.
    let is_sized = matches!(order, Some('<' | '>' | '|'))
        && digits.bytes().all(|digit| digit.is_ascii_digit())
        && !digits.is_empty()
        && (digits == "0" || !digits.starts_with('0'));
    let is_number = is_sized && (size == 1 || order != Some('|'));
    let class = match kind {
        Some('b') if is_number && size == 1 => Class::Bool,
        Some('i') if is_number && is_width(size, false) => SIGNED,
        Some('u') if is_number && is_width(size, false) => UNSIGNED,
        Some('f') if is_number && is_width(size, true) => Class::Float,
        Some('S') if is_sized => Class::FixedText(Padding::Nul),
        Some('U') if is_sized => Class::FixedUnicode,
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
    ElementType::new(class, size_bytes, order == Some('>'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn types_are_those_that_exist() {
        let v2 = |name: &str| element_of_v2(&json!(name), &Value::Null);
        for (name, class, size_bytes, big_endian) in [
            ("<i4", SIGNED, 4, false),
            (">u2", UNSIGNED, 2, true),
            ("|b1", Class::Bool, 1, false),
            ("<f2", Class::Float, 2, false),
            (">U3", Class::FixedUnicode, 12, true),
            ("|S5", Class::FixedText(Padding::Nul), 5, false),
        ] {
            assert_eq!(
                v2(name),
                ElementType::new(class, size_bytes, big_endian),
                "{name}"
            );
        }
        for name in [
            "<i3", "<f16", "<f1", "<i+8", "<i08", "!i8", "|i8", "<i", "<u", "|b", "<b2", "<i8x", "<i-8",
            "<U", "<S", "", "i",
        ] {
            assert!(matches!(v2(name).class, Class::Other(_)), "{name}");
        }
        let v3 = |data_type: Value| element_of_v3(&json!({ "data_type": data_type }));
        assert_eq!(v3(json!("uint16")), element(UNSIGNED, 2));
        assert_eq!(v3(json!({"name": "float64"})), element(Class::Float, 8));
        let unicode =
            |bytes: u64| json!({"name": "fixed_length_utf32", "configuration": {"length_bytes": bytes}});
        assert_eq!(v3(unicode(8)), element(Class::FixedUnicode, 8));
        for data_type in [
            json!("int33"),
            json!("uint15"),
            json!("float8"),
            json!("int+32"),
            json!("int032"),
            json!(3),
            unicode(6),
            unicode(0),
            unicode(1 << 40),
        ] {
            assert!(
                matches!(v3(data_type.clone()).class, Class::Other(_)),
                "{data_type}"
            );
        }
    }
}
