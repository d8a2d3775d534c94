//! What a filter should take, the plain way: row by row.

use std::cmp::Ordering;

use proptest::prelude::*;

use crate::table::{Cell, TYPES, made};

/// A filter of the twin.
#[derive(Clone, Debug)]
pub(crate) enum Twin {
    And(Box<Twin>, Box<Twin>),
    Or(Box<Twin>, Box<Twin>),
    Not(Box<Twin>),
    Compare(usize, &'static str, Cell),
    In(usize, Vec<Cell>),
    Missing(usize),
}

fn compare(cell: &Cell, with: &Cell) -> Option<Ordering> {
    match (cell, with) {
        (Cell::Missing, _) => None,
        (Cell::Int(a), Cell::Int(b)) => Some(a.cmp(b)),
        // All integers of this test but `huge` are small, and halves are exact.
        (Cell::Int(a), Cell::Double(b)) => Some(match *a > 1 << 60 {
            true => Ordering::Greater,
            false => (*a as f64).partial_cmp(b).unwrap(),
        }),
        (Cell::Single(a), Cell::Int(b)) => a.partial_cmp(&(*b as f32)),
        (Cell::Single(a), Cell::Double(b)) => a.partial_cmp(&(*b as f32)),
        (Cell::Double(a), Cell::Int(b)) => a.partial_cmp(&(*b as f64)),
        (Cell::Double(a), Cell::Double(b)) => a.partial_cmp(b),
        (Cell::Bool(a), Cell::Bool(b)) => Some(a.cmp(b)),
        (Cell::Text(a), Cell::Text(b)) => Some(a.cmp(b)),
        other => panic!("{other:?}"),
    }
}

impl Twin {
    /// True, false, or `None` for unknown.
    pub(crate) fn holds_for(&self, row: usize, cells: &[Vec<Cell>]) -> Option<bool> {
        match self {
            Self::And(a, b) => match (a.holds_for(row, cells), b.holds_for(row, cells)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Self::Or(a, b) => match (a.holds_for(row, cells), b.holds_for(row, cells)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Self::Not(a) => a.holds_for(row, cells).map(|value| !value),
            Self::Compare(column, operator, value) => {
                let found = compare(&cells[*column][row], value)?;
                Some(match *operator {
                    "==" => found.is_eq(),
                    "!=" => found.is_ne(),
                    "<" => found.is_lt(),
                    "<=" => found.is_le(),
                    ">" => found.is_gt(),
                    _ => found.is_ge(),
                })
            }
            Self::In(column, values) => match &cells[*column][row] {
                Cell::Missing => None,
                cell => Some(
                    values
                        .iter()
                        .any(|value| compare(cell, value) == Some(Ordering::Equal)),
                ),
            },
            Self::Missing(column) => Some(cells[*column][row] == Cell::Missing),
        }
    }

    pub(crate) fn text(&self) -> String {
        let name = |column: &usize| match made().columns.names[*column] {
            name if name.contains(' ') => format!("`{name}`"),
            name => name.to_owned(),
        };
        match self {
            Self::And(a, b) => format!("({} and {})", a.text(), b.text()),
            Self::Or(a, b) => format!("({} or {})", a.text(), b.text()),
            Self::Not(a) => format!("not {}", a.text()),
            Self::Compare(column, operator, value) => format!("{}{operator} {}", name(column), show(value)),
            Self::In(column, values) => {
                let values: Vec<_> = values.iter().map(show).collect();
                format!("{} in [{}]", name(column), values.join(","))
            }
            Self::Missing(column) => format!("{} is missing", name(column)),
        }
    }
}

fn show(value: &Cell) -> String {
    match value {
        Cell::Int(value) => value.to_string(),
        Cell::Double(value) => format!("{value:?}"),
        Cell::Bool(value) => value.to_string(),
        Cell::Text(text) => format!("'{}'", text.replace('\'', "\\'")),
        other => panic!("{other:?}"),
    }
}

/// A value that the column is compared with.
fn value(column: usize) -> BoxedStrategy<Cell> {
    match column {
        0 => prop::sample::select(TYPES.to_vec())
            .prop_map(|text| Cell::Text(text.into()))
            .boxed(),
        1 | 7 => prop_oneof![
            (-4i128..5).prop_map(Cell::Int),
            (-8i32..9).prop_map(|half| Cell::Double(f64::from(half) / 2.0)),
            Just(Cell::Int(40)),
        ]
        .boxed(),
        2 => (0u64..6)
            .prop_map(|v| Cell::Int(i128::from(u64::MAX) - i128::from(v) + 1))
            .boxed(),
        3 => (0u32..6).prop_map(|v| Cell::Double(f64::from(v) / 10.0)).boxed(),
        4 => prop_oneof![
            (-1i128..4).prop_map(Cell::Int),
            Just(Cell::Double(2.5)),
            Just(Cell::Double(-0.0)),
            Just(Cell::Double(1e300))
        ]
        .boxed(),
        5 => any::<bool>().prop_map(Cell::Bool).boxed(),
        _ => (0u32..6).prop_map(|v| Cell::Text(format!("d{v}"))).boxed(),
    }
}

pub(crate) fn twin() -> impl Strategy<Value = Twin> {
    let leaf = (0usize..8).prop_flat_map(|column| {
        let operators = match column {
            5 => vec!["==", "!="],
            _ => vec!["==", "!=", "<", "<=", ">", ">="],
        };
        prop_oneof![
            4 => (prop::sample::select(operators), value(column))
                .prop_map(move |(operator, value)| Twin::Compare(column, operator, value)),
            2 => prop::collection::vec(value(column), 0..4).prop_map(move |values| Twin::In(column, values)),
            1 => Just(Twin::Missing(column)),
        ]
    });
    leaf.prop_recursive(5, 24, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Twin::And(Box::new(a), Box::new(b))),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Twin::Or(Box::new(a), Box::new(b))),
            inner.prop_map(|a| Twin::Not(Box::new(a))),
        ]
    })
}
