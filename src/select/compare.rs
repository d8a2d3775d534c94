//! Comparing the values of a column with those of a filter: exact, and batch by batch.

use std::cmp::Ordering;
use std::collections::HashSet;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type, Float64Type};
use arrow_array::{Array, ArrowPrimitiveType};
use arrow_schema::DataType;
use half::f16;

use super::parse::{Condition, Operator};
use super::token::{Number, Value};
use crate::format::column::{ColumnKind, Texts, with_integers};

/// What a test says of an obs. In this order, so that `and` is the lower, `or` the higher of two, and `not` turns it over.
pub(super) type Outcome = u8;
pub(super) const FALSE: Outcome = 0;
pub(super) const UNKNOWN: Outcome = 1;
pub(super) const TRUE: Outcome = 2;

/// The kind of a column of this type, or of its categories, if it can be compared.
pub(super) fn kind_of(data_type: &DataType) -> Option<ColumnKind> {
    ColumnKind::of_meaning(data_type).filter(|&kind| kind != ColumnKind::Codes)
}

/// For messages.
fn plural(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Integers | ColumnKind::Unsigned | ColumnKind::Floats => "numbers",
        ColumnKind::Booleans => "booleans",
        ColumnKind::Strings => "texts",
        ColumnKind::Codes => "categories",
    }
}

/// A condition that fits the kind of its column.
#[derive(Clone, Debug)]
pub(super) enum Check {
    Missing,
    Number(Operator, Number),
    Numbers(NumberSet),
    Text(Operator, String),
    Texts(HashSet<String>),
    /// The outcome for false and for true.
    Bool([Outcome; 2]),
}

/// Numbers that a column may be equal to, in the forms of all columns.
#[derive(Clone, Debug, Default)]
pub(super) struct NumberSet {
    ints: HashSet<i128>,
    doubles: HashSet<u64>,
    singles: HashSet<u32>,
    halves: HashSet<u16>,
}

impl NumberSet {
    fn new(numbers: impl Iterator<Item = Number>) -> Self {
        let mut set = Self::default();
        for number in numbers {
            let double = match number {
                Number::Int(number) => number as f64,
                Number::Float(number) => number,
            };
            match number {
                Number::Int(number) => drop(set.ints.insert(number)),
                Number::Float(number) if number.fract() == 0.0 && number.abs() < 1e38 => {
                    set.ints.insert(number as i128);
                }
                Number::Float(_) => {}
            }
            // A whole number that doubles do not hold is none of them.
            if compare_number(number, double) == Ordering::Equal {
                set.doubles.insert((double + 0.0).to_bits());
            }
            set.singles.insert((single(number) + 0.0).to_bits());
            set.halves.insert((half(number) + f16::ZERO).to_bits());
        }
        set
    }
}

impl Check {
    /// The condition put to a column of this kind, or what is wrong with it.
    pub(super) fn new(condition: &Condition, kind: ColumnKind) -> Result<Self, String> {
        let refuse = |value: &Value| {
            let (what, hint) = match value {
                Value::Number(_) => (
                    "a number",
                    if kind == ColumnKind::Strings {
                        ": write it in quotes"
                    } else {
                        ""
                    },
                ),
                Value::Text(_) => (
                    "a text",
                    if kind == ColumnKind::Strings {
                        ""
                    } else {
                        ": leave out the quotes"
                    },
                ),
                Value::Bool(_) => ("true or false", ""),
            };
            format!(
                "the column holds {}, which cannot be compared with {what}{hint}",
                plural(kind)
            )
        };
        let is_number = kind.is_number();
        match condition {
            Condition::Missing => Ok(Self::Missing),
            Condition::Compare(operator, value) => match value {
                Value::Number(number) if is_number => Ok(Self::Number(*operator, *number)),
                Value::Text(text) if kind == ColumnKind::Strings => Ok(Self::Text(*operator, text.clone())),
                Value::Bool(value) if kind == ColumnKind::Booleans => match operator {
                    Operator::Equal => Ok(Self::bools([!*value, *value])),
                    Operator::NotEqual => Ok(Self::bools([*value, !*value])),
                    _ => Err("booleans are compared by == and != only".into()),
                },
                other => Err(refuse(other)),
            },
            Condition::In(values) if is_number => {
                let numbers = values.iter().map(|value| match value {
                    Value::Number(number) => Ok(*number),
                    other => Err(refuse(other)),
                });
                let numbers: Vec<Number> = numbers.collect::<Result<_, _>>()?;
                Ok(Self::Numbers(NumberSet::new(numbers.into_iter())))
            }
            Condition::In(values) if kind == ColumnKind::Strings => {
                let texts = values.iter().map(|value| match value {
                    Value::Text(text) => Ok(text.clone()),
                    other => Err(refuse(other)),
                });
                Ok(Self::Texts(texts.collect::<Result<_, _>>()?))
            }
            Condition::In(values) => {
                let mut among = [false; 2];
                for value in values {
                    match value {
                        Value::Bool(value) => among[usize::from(*value)] = true,
                        other => return Err(refuse(other)),
                    }
                }
                Ok(Self::bools(among))
            }
        }
    }

    fn bools(outcomes: [bool; 2]) -> Self {
        Self::Bool(outcomes.map(outcome))
    }

    /// Whether values are put into an order.
    pub(super) fn orders(&self) -> bool {
        let operator = match self {
            Self::Number(operator, _) | Self::Text(operator, _) => operator,
            _ => return false,
        };
        !matches!(operator, Operator::Equal | Operator::NotEqual)
    }

    /// The outcome for a missing value.
    pub(super) fn of_missing(&self) -> Outcome {
        match self {
            Self::Missing => TRUE,
            _ => UNKNOWN,
        }
    }

    /// The outcomes for the values of an array, which is not a dictionary.
    pub(super) fn outcomes(&self, array: &dyn Array) -> Vec<Outcome> {
        match array.data_type() {
            DataType::Float32 => {
                let value = match self {
                    Self::Number(_, number) => single(*number),
                    _ => 0.0,
                };
                self.each(array.as_primitive::<Float32Type>().iter(), |x| match self {
                    _ if x.is_nan() => self.of_missing(),
                    Self::Number(operator, _) => holds(*operator, x.partial_cmp(&value)),
                    Self::Numbers(set) => outcome(set.singles.contains(&(x + 0.0).to_bits())),
                    _ => FALSE,
                })
            }
            DataType::Float16 => {
                let value = match self {
                    Self::Number(_, number) => half(*number),
                    _ => f16::ZERO,
                };
                self.each(array.as_primitive::<Float16Type>().iter(), |x| match self {
                    _ if x.is_nan() => self.of_missing(),
                    Self::Number(operator, _) => holds(*operator, x.partial_cmp(&value)),
                    Self::Numbers(set) => outcome(set.halves.contains(&(x + f16::ZERO).to_bits())),
                    _ => FALSE,
                })
            }
            DataType::Float64 => self.each(array.as_primitive::<Float64Type>().iter(), |x| match self {
                _ if x.is_nan() => self.of_missing(),
                Self::Number(operator, number) => {
                    holds(*operator, Some(compare_number(*number, x).reverse()))
                }
                Self::Numbers(set) => outcome(set.doubles.contains(&(x + 0.0).to_bits())),
                _ => FALSE,
            }),
            DataType::Boolean => self.each(array.as_boolean().iter(), |x| match self {
                Self::Bool(outcomes) => outcomes[usize::from(x)],
                _ => FALSE,
            }),
            data_type => {
                with_integers!(data_type, T => self.ints::<T>(array), _ => match Texts::from_array(array) {
                    Some(texts) => self.each(texts, |x| self.text(x)),
                    None => vec![UNKNOWN; array.len()],
                })
            }
        }
    }

    fn each<V>(&self, values: impl Iterator<Item = Option<V>>, of: impl Fn(V) -> Outcome) -> Vec<Outcome> {
        values.map(|value| value.map_or(self.of_missing(), &of)).collect()
    }

    fn ints<T: ArrowPrimitiveType>(&self, array: &dyn Array) -> Vec<Outcome>
    where
        T::Native: Into<i128>,
    {
        self.each(array.as_primitive::<T>().iter(), |x| {
            let x: i128 = x.into();
            match self {
                Self::Number(operator, Number::Int(number)) => holds(*operator, Some(x.cmp(number))),
                Self::Number(operator, Number::Float(number)) => {
                    holds(*operator, Some(compare_number(Number::Int(x), *number)))
                }
                Self::Numbers(set) => outcome(set.ints.contains(&x)),
                _ => FALSE,
            }
        })
    }

    fn text(&self, x: &str) -> Outcome {
        match self {
            Self::Text(operator, text) => holds(*operator, Some(x.cmp(text.as_str()))),
            Self::Texts(texts) => outcome(texts.contains(x)),
            _ => FALSE,
        }
    }
}

fn outcome(holds: bool) -> Outcome {
    if holds { TRUE } else { FALSE }
}

fn holds(operator: Operator, found: Option<Ordering>) -> Outcome {
    let Some(found) = found else { return UNKNOWN };
    outcome(match operator {
        Operator::Equal => found.is_eq(),
        Operator::NotEqual => found.is_ne(),
        Operator::Less => found.is_lt(),
        Operator::LessOrEqual => found.is_le(),
        Operator::Greater => found.is_gt(),
        Operator::GreaterOrEqual => found.is_ge(),
    })
}

/// The nearest `f16`.
fn half(number: Number) -> f16 {
    match number {
        Number::Int(number) => f16::from_f64(number as f64),
        Number::Float(number) => f16::from_f64(number),
    }
}

/// The nearest `f32`, rounded once.
fn single(number: Number) -> f32 {
    match number {
        Number::Int(number) => number as f32,
        Number::Float(number) => number as f32,
    }
}

/// Compares a number with a double that is not NaN, exactly.
fn compare_number(number: Number, double: f64) -> Ordering {
    match number {
        Number::Float(number) => number.partial_cmp(&double).unwrap_or(Ordering::Equal),
        // Beyond the range of i128: its largest numbers are 2^127 and a bit less.
        Number::Int(_) if double >= 1.7e38 => Ordering::Less,
        Number::Int(_) if double <= -1.7e38 => Ordering::Greater,
        Number::Int(number) => {
            let floor = double.floor();
            let whole = number.cmp(&(floor as i128));
            match whole.is_eq() && double > floor {
                true => Ordering::Less,
                false => whole,
            }
        }
    }
}
