//! Attributes by what they mean: writers store one number, truth value or name as many types.

use super::element::{Class, ElementType, Padding};
use super::fault::Fault;
use super::int::IntKind;
use super::translate::FloatBits;

/// The most members of an enum that are named.
const MAX_NAMES: usize = 1 << 10;

/// Value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Attribute {
    Text(Vec<String>),
    Int(Vec<i64>),
    Float(Vec<f64>),
    Bool(Vec<bool>),
    /// Names of the members of an enum.
    Name(Vec<String>),
    /// An array without elements, of whatever type.
    Empty,
    /// Anything else, named.
    Other(String),
}

impl Attribute {
    /// Interprets `n` stored elements. References to text are followed by `resolve`.
    pub(super) fn decode(
        element: &ElementType,
        n: usize,
        stored: &[u8],
        resolve: impl Fn(&[u8]) -> Result<Vec<u8>, Fault>,
    ) -> Result<Self, Fault> {
        if n == 0 {
            return Ok(Self::Empty);
        }
        let width = element.stored_bytes();
        let stored = n.checked_mul(width).and_then(|n_bytes| stored.get(..n_bytes));
        let Some(stored) = stored.filter(|_| width > 0) else {
            return Err(format!("its {n} elements of {width} bytes are cut off").into());
        };
        let mut translated = Vec::new();
        let bytes = match &element.translation {
            None => stored,
            Some(translation) => {
                translated.resize(n * element.size_bytes, 0);
                let done = translation.apply(stored, &mut translated);
                done.map_err(|(position, detail)| format!("element {position}: {detail}"))?;
                &translated
            }
        };
        let elements = bytes.chunks_exact(element.size_bytes);
        Ok(match &element.class {
            Class::Int { .. } => {
                let narrow = |value: i128| i64::try_from(value).map_err(|_| format!("{value} exceeds 2^63"));
                let values: Result<Vec<i64>, String> =
                    integers(element, n, bytes)?.into_iter().map(narrow).collect();
                Self::Int(values?)
            }
            Class::Enum(enumeration) => {
                // Nothing that is asked for is an array of them; each may have a long name.
                if n > MAX_NAMES {
                    return Ok(Self::Other(format!("an array of {n} members of an enum")));
                }
                let names: Result<Vec<String>, String> = integers(element, n, bytes)?
                    .into_iter()
                    .map(|value| {
                        let number = enumeration.values.iter().position(|&known| known == value);
                        number
                            .map(|number| enumeration.names[number].clone())
                            .ok_or_else(|| format!("{value} is not a member of its enum"))
                    })
                    .collect();
                Self::Name(names?)
            }
            Class::Float => match elements
                .map(|bytes| FloatBits::number(bytes, element.big_endian))
                .collect()
            {
                Some(values) => Self::Float(values),
                None => Self::Other(element.name()),
            },
            Class::Bool => Self::Bool(elements.map(|bytes| bytes[0] != 0).collect()),
            Class::FixedText(padding) => Self::Text(
                elements
                    .map(|bytes| text(padding.trim(bytes)))
                    .collect::<Result<_, _>>()?,
            ),
            Class::VarText => Self::Text(
                elements
                    .map(|reference| text(Padding::NulTerminated.trim(&resolve(reference)?)))
                    .collect::<Result<_, _>>()?,
            ),
            _ => Self::Other(element.name()),
        })
    }

    /// Strings.
    pub(crate) fn texts(self) -> Result<Vec<String>, String> {
        match self {
            Self::Text(texts) | Self::Name(texts) => Ok(texts),
            Self::Empty => Ok(Vec::new()),
            other => Err(format!("it is {}, expected strings", other.description())),
        }
    }

    /// One string.
    pub(crate) fn one_text(self) -> Result<String, String> {
        match self {
            Self::Text(mut texts) | Self::Name(mut texts) if texts.len() == 1 => {
                Ok(texts.pop().unwrap_or_default())
            }
            other => Err(format!("it is {}, expected one string", other.description())),
        }
    }

    /// Integers; floating-point numbers only where they are integers.
    pub(crate) fn integers(self) -> Result<Vec<i64>, String> {
        /// Beyond it not every integer is a float64.
        const EXACT: f64 = (1i64 << 53) as f64;
        let is_integer = |value: &f64| value.fract() == 0.0 && value.abs() <= EXACT;
        match self {
            Self::Int(values) => Ok(values),
            Self::Float(values) if values.iter().all(is_integer) => {
                Ok(values.into_iter().map(|value| value as i64).collect())
            }
            other => Err(format!("it is {}, expected integers", other.description())),
        }
    }

    /// One truth value.
    pub(crate) fn flag(self) -> Result<bool, String> {
        let named = |name: &str| match name {
            name if name.eq_ignore_ascii_case("TRUE") => Some(true),
            name if name.eq_ignore_ascii_case("FALSE") => Some(false),
            _ => None,
        };
        let found = match &self {
            Self::Bool(values) => match values.as_slice() {
                [value] => Some(*value),
                _ => None,
            },
            Self::Int(_) | Self::Float(_) => match self.clone().integers().as_deref() {
                Ok([0]) => Some(false),
                Ok([1]) => Some(true),
                _ => None,
            },
            Self::Text(names) | Self::Name(names) => match names.as_slice() {
                [name] => named(name),
                _ => None,
            },
            Self::Empty | Self::Other(_) => None,
        };
        found.ok_or_else(|| format!("it is {}, expected true or false", self.description()))
    }

    /// What it is, for a message.
    fn description(&self) -> String {
        fn listed<T: std::fmt::Debug>(values: &[T]) -> String {
            match values {
                [value] => format!("{value:?}"),
                [first, ..] => format!("an array of {} that begins with {first:?}", values.len()),
                [] => "empty".to_owned(),
            }
        }
        match self {
            Self::Text(values) | Self::Name(values) => listed(values),
            Self::Int(values) => listed(values),
            Self::Float(values) => listed(values),
            Self::Bool(values) => listed(values),
            Self::Empty => "empty".to_owned(),
            Self::Other(name) => name.clone(),
        }
    }
}

fn integers(element: &ElementType, n: usize, bytes: &[u8]) -> Result<Vec<i128>, String> {
    let kind = IntKind::of_numbered(element).ok_or_else(|| format!("it is of type {}", element.name()))?;
    let mut values = vec![0; n];
    kind.for_each(bytes, &mut values, |place, value| *place = value);
    Ok(values)
}

fn text(bytes: &[u8]) -> Result<String, Fault> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "it is not UTF-8".to_owned().into())
}
