//! What elements are that no chunk stores.

use half::f16;
use serde_json::Value;

use crate::container::{Class, ElementType, Fault};

/// The longest text that stands for strings that are not stored.
const MAX_TEXT_BYTES: usize = 1 << 10;

/// The fill value of a document as a stored element, or as the text of a string.
///
/// # Errors
/// If it is not one of such elements.
pub(super) fn fill_of(value: &Value, element: &ElementType) -> Result<Vec<u8>, Fault> {
    let n_bytes = element.size_bytes;
    let wrong = || {
        let name = element.name();
        Fault::from(format!(
            "its fill value is {value}, which is not an element of type {name}"
        ))
    };
    let mut bytes = match &element.class {
        Class::Int { signed } => {
            let number = whole(value).ok_or_else(wrong)?;
            let bits = 8 * n_bytes as u32;
            let fits = match (bits, signed) {
                (8 | 16 | 32 | 64, true) => (-(1i128 << (bits - 1))..1i128 << (bits - 1)).contains(&number),
                (8 | 16 | 32 | 64, false) => (0..1i128 << bits).contains(&number),
                _ => false,
            };
            if !fits {
                return Err(wrong());
            }
            number.to_le_bytes()[..n_bytes].to_vec()
        }
        Class::Float if !matches!(n_bytes, 2 | 4 | 8) => return Err(wrong()),
        Class::Float => match bits_of(value, n_bytes) {
            Some(bits) => bits.to_le_bytes()[..n_bytes].to_vec(),
            None => {
                let number = float(value).ok_or_else(wrong)?;
                match n_bytes {
                    2 => f16::from_f64(number).to_le_bytes().to_vec(),
                    4 => (number as f32).to_le_bytes().to_vec(),
                    _ => number.to_le_bytes().to_vec(),
                }
            }
        },
        Class::Bool => match whole(value) {
            Some(flag @ (0 | 1)) => vec![flag as u8],
            _ => return Err(wrong()),
        },
        Class::VarText => return text(value).ok_or_else(wrong)?,
        class => match is_blank(value, *class == Class::FixedUnicode) {
            true => vec![0; n_bytes],
            false => {
                return Err(Fault::Unsupported {
                    detail: format!(
                        "its fill value is {value}, and of strings and records only an empty one is read"
                    ),
                    remedy: "open it with anndata and write it again".to_owned(),
                });
            }
        },
    };
    if bytes.len() != n_bytes {
        return Err(wrong());
    }
    if element.big_endian && matches!(element.class, Class::Int { .. } | Class::Float) {
        bytes.reverse();
    }
    Ok(bytes)
}

/// A whole number; 0 for null, with which zarr v2 says that there is no fill value. Some writers of v2 have flags for numbers.
fn whole(value: &Value) -> Option<i128> {
    match value {
        Value::Null => Some(0),
        Value::Bool(flag) => Some(i128::from(*flag)),
        Value::Number(number) => number
            .as_i64()
            .map(i128::from)
            .or(number.as_u64().map(i128::from))
            .or_else(|| {
                number
                    .as_f64()
                    .filter(|number| number.fract() == 0.0 && number.abs() < 1e18)
                    .map(|number| number as i128)
            }),
        _ => None,
    }
}

/// A number or, as JSON has none, a name for what is none; 0 for null.
fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Null => Some(0.0),
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        Value::Number(number) => number.as_f64(),
        Value::String(name) => match name.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

/// The bits of a number that is written as such (v3).
fn bits_of(value: &Value, n_bytes: usize) -> Option<u64> {
    let digits = value.as_str()?.strip_prefix("0x")?;
    let is_whole = digits.len() == 2 * n_bytes && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_whole.then(|| u64::from_str_radix(digits, 16).ok())?
}

/// The text of strings; empty for null. Of the 0 that zarr v2 writes for objects of any kind zarr-python makes text.
fn text(value: &Value) -> Option<Result<Vec<u8>, Fault>> {
    let text = match value {
        Value::Null => String::new(),
        Value::Bool(flag) => (if *flag { "True" } else { "False" }).to_owned(),
        Value::Number(number) if number.is_i64() => number.to_string(),
        Value::String(text) => text.clone(),
        _ => return None,
    };
    Some(match text.len() > MAX_TEXT_BYTES {
        true => Err(format!("its fill value has {} bytes", text.len()).into()),
        false => Ok(text.into_bytes()),
    })
}

/// Whether all bytes of a fill value are zero.
fn is_blank(value: &Value, is_unicode: bool) -> bool {
    match value {
        Value::Null => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) if is_unicode => text.is_empty(),
        // Bytes are in base64, in which zeros are the letter A.
        Value::String(text) => text.bytes().all(|byte| matches!(byte, b'A' | b'=')),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fill(value: &Value, class: Class, size_bytes: usize) -> Option<Vec<u8>> {
        fill_of(value, &ElementType::new(class, size_bytes, false)).ok()
    }

    #[test]
    fn numbers_are_taken_where_they_fit() {
        let signed = |value, n| fill(&value, Class::Int { signed: true }, n);
        let unsigned = |value, n| fill(&value, Class::Int { signed: false }, n);
        assert_eq!(signed(json!(-2), 2), Some(vec![0xFE, 0xFF]));
        assert_eq!(signed(json!(7.0), 1), Some(vec![7]));
        assert_eq!(unsigned(json!(u64::MAX), 8), Some(vec![0xFF; 8]));
        assert_eq!(signed(json!(i64::MIN), 8), Some(i64::MIN.to_le_bytes().to_vec()));
        for wrong in [json!(128), json!(-129), json!(0.5), json!("0"), json!([0])] {
            assert_eq!(signed(wrong.clone(), 1), None, "{wrong}");
        }
        assert_eq!(unsigned(json!(-1), 4), None);
        assert_eq!(unsigned(json!(0), 3), None, "no such width");
        let float = |value, n| fill(&value, Class::Float, n);
        assert_eq!(float(json!(1.5), 4), Some(1.5f32.to_le_bytes().to_vec()));
        assert_eq!(float(json!(1), 2), Some(f16::ONE.to_le_bytes().to_vec()));
        assert_eq!(float(json!("NaN"), 8), Some(f64::NAN.to_le_bytes().to_vec()));
        assert_eq!(
            float(json!("-Infinity"), 4),
            Some(f32::NEG_INFINITY.to_le_bytes().to_vec())
        );
        assert_eq!(
            float(json!("0x7fc00001"), 4),
            Some(0x7fc0_0001u32.to_le_bytes().to_vec())
        );
        for wrong in [json!("0x7fc0"), json!("0x+fc00001"), json!("nan")] {
            assert_eq!(float(wrong.clone(), 4), None, "{wrong}");
        }
        for n in [1, 9, 16] {
            assert_eq!(float(json!(0), n), None, "no such width");
            assert_eq!(
                float(json!(format!("0x{}", "00".repeat(n))), n),
                None,
                "no such width"
            );
        }
        // To the last bit.
        let exact: Value = serde_json::from_str("0.10825174376147195").unwrap();
        assert_eq!(
            float(exact, 8),
            Some(0.10825174376147195f64.to_le_bytes().to_vec())
        );
    }

    /// Reports, exports and manifests keep the order of tables and documents: a feature of `serde_json` that the workspace asks for.
    #[test]
    fn documents_keep_the_order_of_their_members() {
        let document = r#"{"b":1,"a":{"d":2,"c":3}}"#;
        let read: Value = serde_json::from_str(document).unwrap();
        assert_eq!(read.to_string(), document);
        let big = ElementType::new(Class::Int { signed: true }, 4, true);
        assert_eq!(fill_of(&json!(1), &big).unwrap(), [0, 0, 0, 1]);
    }

    #[test]
    fn flags_and_text_are_taken() {
        let flag = |value| fill(&value, Class::Bool, 1);
        assert_eq!(flag(json!(true)), Some(vec![1]));
        assert_eq!(flag(json!(0)), Some(vec![0]));
        assert_eq!(flag(json!(null)), Some(vec![0]));
        assert_eq!(flag(json!(2)), None);
        let text = |value| fill(&value, Class::VarText, 16);
        assert_eq!(text(json!("ab")), Some(b"ab".to_vec()));
        assert_eq!(text(json!(0)), Some(b"0".to_vec()));
        assert_eq!(text(json!(null)), Some(vec![]));
        assert_eq!(text(json!(0.5)), None);
        assert_eq!(text(json!("a".repeat(2000))), None);
        let fixed = |value| fill(&value, Class::FixedUnicode, 8);
        assert_eq!(fixed(json!("")), Some(vec![0; 8]));
        assert_eq!(fixed(json!("A")), None);
        assert_eq!(fill(&json!("AAA="), Class::Compound(vec![]), 2), Some(vec![0; 2]));
    }
}
