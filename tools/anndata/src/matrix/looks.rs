//! What the values of a matrix look like, by a sample of them: counts, or what was made of counts.

use std::sync::Arc;

use cellring_core::{Element, Number, ValueBuffer};
use cellring_core::{with_element, with_values};

use super::compressed::value_type_of;
use super::open::open;
use super::selection::Selection;
use super::value::Value;
use crate::container::{Array, Kind, SourceFile};
use crate::error::Result;
use crate::workspace::Workspace;

/// Values of a window that are looked at, and the first values of a matrix that may hold counts.
const SAMPLE: usize = 4096;

/// Rows of a dense matrix that are looked at.
const SAMPLE_ROWS: u64 = 16;

/// What a sample of values has shown so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looks {
    n_counts: u64,
    negative: bool,
    fractional: bool,
}

impl Looks {
    /// Those of a matrix that is known to hold counts.
    pub(crate) const COUNTS: Self = Self {
        n_counts: 1,
        negative: false,
        fractional: false,
    };

    /// Looks at some of these values, evenly spread.
    pub fn add(&mut self, values: &ValueBuffer) {
        with_values!(values, values => self.add_some(values));
    }

    fn add_some<T: Element>(&mut self, values: &[T]) {
        let stride = values.len().div_ceil(SAMPLE).max(1);
        for &value in values.iter().step_by(stride) {
            if value.as_count().is_some() {
                self.n_counts += 1;
                continue;
            }
            let float = match value.number() {
                Number::Integer(integer) => integer as f64,
                Number::Float(float) => float,
            };
            self.negative |= float < 0.0;
            self.fractional |= float.is_finite() && float.fract() != 0.0;
        }
    }

    /// Whether there are values, and all are whole numbers from 0 up.
    pub fn are_counts(self) -> bool {
        self.n_counts > 0 && !self.negative && !self.fractional
    }

    /// What is there that counts do not have, as the end of a sentence; `None` where there is nothing.
    pub fn no_counts(self) -> Option<&'static str> {
        match (self.negative, self.fractional) {
            (false, false) => None,
            (true, false) => Some("values below 0"),
            (false, true) => Some("values that are not whole numbers"),
            (true, true) => Some("values below 0 and values that are not whole numbers"),
        }
    }
}

/// What the first values of a matrix look like; `None` where it does not exist. A matrix that is stored by columns is not brought
/// into order for this.
pub(crate) fn sample(file: &Arc<SourceFile>, selection: &Selection) -> Result<Option<Looks>> {
    let legacy = ["raw/X", "raw.X"].map(str::to_owned);
    let paths = match selection {
        Selection::Raw => legacy.to_vec(),
        other => vec![other.path()],
    };
    let mut looks = Looks::default();
    for path in paths {
        match file.kind(&path)? {
            None => continue,
            Some(Kind::Group) => {
                let array = Array::open(file, &format!("{path}/data"))?;
                if let Some(value_type) = value_type_of(array.element()) {
                    with_element!(value_type, T => looks.add_some(&first::<T>(&array)?));
                }
            }
            Some(Kind::Dataset) => {
                let matrix = open(file, selection, &Workspace::default())?;
                let n_rows = matrix.n_obs().min(SAMPLE_ROWS);
                if let Some(window) = matrix.rows(0..n_rows, SAMPLE)?.next() {
                    looks.add(&window?.values);
                }
            }
        }
        return Ok(Some(looks));
    }
    Ok(None)
}

fn first<T: Value>(array: &Array) -> Result<Vec<T>> {
    let n_values = array.len().min(SAMPLE as u64);
    let mut values = vec![T::default(); n_values as usize];
    T::read(array, 0..n_values, &mut values)?;
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(values: ValueBuffer) -> Looks {
        let mut looks = Looks::default();
        looks.add(&values);
        looks
    }

    #[test]
    fn counts_are_told_from_what_is_made_of_them() {
        assert!(looks(ValueBuffer::F32(vec![1.0, 3.0, 1e6])).are_counts());
        assert!(looks(ValueBuffer::I32(vec![1, 3])).are_counts());
        assert!(looks(ValueBuffer::U8(vec![255])).are_counts());
        // Nothing, or only zeros, tell nothing.
        for nothing in [
            ValueBuffer::F32(vec![]),
            ValueBuffer::F32(vec![0.0, -0.0, f32::NAN]),
        ] {
            let looks = looks(nothing);
            assert!(!looks.are_counts() && looks.no_counts().is_none());
        }
        let scaled = looks(ValueBuffer::F32(vec![1.0, -0.5]));
        assert!(!scaled.are_counts() && scaled.no_counts().unwrap().contains("below 0 and"));
        assert_eq!(
            looks(ValueBuffer::I16(vec![1, -3])).no_counts(),
            Some("values below 0")
        );
        let logarithms = looks(ValueBuffer::F64(vec![0.5, 1.0]));
        assert_eq!(logarithms.no_counts(), Some("values that are not whole numbers"));
        assert!(looks(ValueBuffer::F64(vec![f64::INFINITY])).no_counts().is_none());
    }

    #[test]
    fn of_many_values_some_are_looked_at() {
        let mut values = vec![1.0f32; 100 * SAMPLE];
        values[0] = 0.5;
        assert!(looks(ValueBuffer::F32(values)).no_counts().is_some());
    }
}
