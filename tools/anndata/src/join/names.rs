//! Names of obs and genes that are numbers or booleans, as texts: those that anndata makes of them when it reads a table.

use std::sync::Arc;

use arrow_array::{ArrayRef, StringArray};

use super::unify::{CastError, Key, keys};

/// The names as texts, each with the suffix.
pub fn texts_of(names: &ArrayRef, suffix: &str) -> Result<ArrayRef, CastError> {
    let named = |key: Option<Key<'_>>| match key {
        Some(Key::Text(text)) => format!("{text}{suffix}"),
        Some(Key::Int(number)) => format!("{number}{suffix}"),
        Some(Key::Float(bits)) => format!("{}{suffix}", float(f64::from_bits(bits))),
        Some(Key::Bool(true)) => format!("True{suffix}"),
        Some(Key::Bool(false)) => format!("False{suffix}"),
        None => suffix.to_owned(),
    };
    let texts = keys(names)?.into_iter().map(named);
    Ok(Arc::new(texts.map(Some).collect::<StringArray>()))
}

/// A float as Python writes it.
fn float(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        // Infinite.
        return scientific;
    };
    match exponent.parse::<i32>() {
        Ok(-4..16) | Err(_) => format!("{value:?}"),
        Ok(exponent) => format!(
            "{digits}e{}{:02}",
            if exponent < 0 { '-' } else { '+' },
            exponent.abs()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::float;

    #[test]
    fn floats_are_written_as_python_does() {
        for (value, text) in [
            (3.0, "3.0"),
            (-1.5, "-1.5"),
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (0.1, "0.1"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-2.5e-7, "-2.5e-07"),
            (123_456_789.0, "123456789.0"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.25e300, "1.25e+300"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(float(value), text);
        }
    }
}
