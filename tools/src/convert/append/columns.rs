//! Aligns the columns of several obs tables with those of a store, whose types and categories stay as they are.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, UInt32Array, new_empty_array, new_null_array};
use arrow_schema::{ArrowError, DataType, Field};
use cellring_anndata::__internal::ORDERED;
use cellring_anndata::__internal::{CastError, cast, code_type, coded_as, codes_of, union, value_type};

/// How a column of the enlarged store is made of those of the store and of the inputs.
#[derive(Debug)]
pub(super) struct ColumnPlan {
    /// The column as it will be.
    pub(super) field: Field,
    /// Where it is categorical: all categories, those of the store first.
    labels: Option<ArrayRef>,
}

/// Why a column of an input cannot become a part of that of the store.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mismatch(pub(super) String);

impl From<ArrowError> for Mismatch {
    fn from(error: ArrowError) -> Self {
        Self(error.to_string())
    }
}

impl From<CastError> for Mismatch {
    fn from(error: CastError) -> Self {
        match error {
            CastError::Inexact { value, .. } => Self(format!("it holds {value}, which cannot be kept")),
            CastError::Arrow(error) => error.into(),
        }
    }
}

impl ColumnPlan {
    /// Begins with the column of the store. `sample` has its categories, where the store has any obs.
    pub(super) fn new(field: &Field, sample: Option<&ArrayRef>) -> Result<Self, Mismatch> {
        let labels = match (field.data_type(), sample) {
            (DataType::Dictionary(..), Some(column)) => Some(column.as_any_dictionary().values().clone()),
            (DataType::Dictionary(_, value_type), None) => Some(new_empty_array(value_type)),
            _ => None,
        };
        Ok(Self {
            field: field.clone(),
            labels,
        })
    }

    /// What becomes of the order of the categories of a column that will be a part of this one, where that is not its own.
    pub(super) fn lost_order(&self, field: &Field, sample: &ArrayRef) -> Option<&'static str> {
        let is_ordered = |field: &Field| {
            field
                .metadata()
                .get(ORDERED)
                .is_some_and(|ordered| ordered == "true")
        };
        let labels = self.labels.as_ref()?;
        match (is_ordered(&self.field), is_ordered(field)) {
            (false, false) => return None,
            (false, true) => return Some("it is ordered, and in the store it is not"),
            (true, false) => return Some("it is not ordered, and in the store it is"),
            (true, true) => {}
        }
        let theirs = sample.as_any_dictionary_opt()?.values().clone();
        let (_, maps) = union(&[labels.clone(), theirs], labels.data_type()).ok()?;
        let is_kept = maps.last()?.is_sorted();
        (!is_kept).then_some("it orders its categories differently, and the order of the store is kept")
    }

    /// Takes note of a batch of a column that will be a part of this one, or that an input has none.
    pub(super) fn add(&mut self, column: Option<(&Field, &ArrayRef)>) -> Result<(), Mismatch> {
        let Some((field, sample)) = column else {
            self.field.set_nullable(true);
            return Ok(());
        };
        self.field
            .set_nullable(self.field.is_nullable() || field.is_nullable());
        // Categories of which there are none go with all columns: pandas calls them floats.
        if let Some(codes) = sample.as_any_dictionary_opt()
            && codes.values().is_empty()
        {
            return Ok(());
        }
        let Some(labels) = &mut self.labels else {
            return check_type(field.data_type(), self.field.data_type());
        };
        let values = match field.data_type() {
            DataType::Dictionary(..) => sample.as_any_dictionary().values().clone(),
            // Each text that occurs is a category.
            _ => without_nulls(sample)?,
        };
        let value_type = labels.data_type().clone();
        if !is_text(&value_type) && *values.data_type() != value_type {
            let found = values.data_type();
            return Err(Mismatch(format!(
                "it has categories of type {found}, and the store has {value_type}"
            )));
        }
        let values = convert(&values, &value_type)?;
        (*labels, _) = union(&[labels.clone(), values], &value_type)?;
        Ok(())
    }

    /// Once all columns are known: makes codes as wide as the categories ask for.
    pub(super) fn settle(&mut self) {
        if let (Some(labels), DataType::Dictionary(key, value)) = (&self.labels, self.field.data_type())
            && labels.len().saturating_sub(1) > largest_code(key)
        {
            let key = Box::new(code_type(labels.len()));
            self.field.set_data_type(DataType::Dictionary(key, value.clone()));
        }
    }

    /// The part of the column that `from` becomes; `None`: so many missing values.
    pub(super) fn align(&self, from: Option<&ArrayRef>, n_rows: usize) -> Result<ArrayRef, Mismatch> {
        let to = self.field.data_type();
        let (Some(labels), DataType::Dictionary(key, value_type)) = (&self.labels, to) else {
            return match from {
                Some(from) => convert(from, to),
                None => Ok(new_null_array(to, n_rows)),
            };
        };
        let place_of = |values: &ArrayRef| -> Result<Vec<u32>, Mismatch> {
            let lists = [labels.clone(), convert(values, value_type)?];
            let (_, mut maps) = union(&lists, value_type)?;
            Ok(maps.pop().unwrap_or_default())
        };
        let codes: Vec<Option<u32>> = match from {
            None => vec![None; n_rows],
            Some(from) if matches!(from.data_type(), DataType::Dictionary(..)) => {
                let places = place_of(from.as_any_dictionary().values())?;
                let codes = codes_of(from).into_iter();
                codes.map(|code| code.map(|code| places[code])).collect()
            }
            Some(from) => {
                let places = place_of(from)?.into_iter().enumerate();
                places
                    .map(|(row, place)| from.is_valid(row).then_some(place))
                    .collect()
            }
        };
        Ok(coded_as(key, codes.into_iter(), labels)?)
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8)
}

fn is_number(data_type: &DataType) -> bool {
    data_type.is_integer() || data_type.is_floating()
}

/// The largest code of a type, and no more than a reader of 32 bits takes.
fn largest_code(key: &DataType) -> usize {
    match key {
        DataType::Int8 => i8::MAX as usize,
        DataType::UInt8 => u8::MAX.into(),
        DataType::Int16 => i16::MAX as usize,
        DataType::UInt16 => u16::MAX.into(),
        _ => i32::MAX as usize,
    }
}

fn without_nulls(column: &ArrayRef) -> Result<ArrayRef, Mismatch> {
    match column.null_count() {
        0 => Ok(column.clone()),
        _ => {
            let kept: UInt32Array = (0..column.len() as u32)
                .filter(|&row| column.is_valid(row as usize))
                .collect();
            Ok(arrow_select::take::take(column, &kept, None)?)
        }
    }
}

/// Whether some columns of one type can be brought into the other; categories only of texts.
fn check_type(from: &DataType, to: &DataType) -> Result<(), Mismatch> {
    let fits = from == to || (is_text(value_type(from)) && is_text(to)) || (is_number(from) && is_number(to));
    match fits {
        true => Ok(()),
        false => Err(Mismatch(format!(
            "it is of type {from}, and that of the store of type {to}"
        ))),
    }
}

/// The same values in another type.
fn convert(from: &ArrayRef, to: &DataType) -> Result<ArrayRef, Mismatch> {
    check_type(from.data_type(), to)?;
    cast(from, to).map_err(|error| match error {
        CastError::Inexact { value, .. } => {
            Mismatch(format!("it holds {value}, which {to} in the store cannot hold"))
        }
        error => error.into(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::types::{Float64Type, Int8Type, Int32Type};
    use arrow_array::{BooleanArray, DictionaryArray, Float64Array, Int32Array, Int64Array, StringArray};

    use super::*;

    fn field(column: &ArrayRef) -> Field {
        Field::new("c", column.data_type().clone(), false)
    }

    fn categorical(texts: &[Option<&str>]) -> ArrayRef {
        let column: DictionaryArray<Int8Type> = texts.iter().copied().collect();
        Arc::new(column)
    }

    fn shown(column: &ArrayRef) -> Vec<Option<String>> {
        let texts = cast(column, &DataType::Utf8).unwrap();
        texts
            .as_string::<i32>()
            .iter()
            .map(|text| text.map(str::to_owned))
            .collect()
    }

    #[test]
    fn categories_of_the_store_come_first() {
        let own = categorical(&[Some("b"), None, Some("a")]);
        let more = categorical(&[Some("c"), Some("a"), None]);
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("d"), None, Some("b")]));
        let mut plan = ColumnPlan::new(&field(&own), Some(&own)).unwrap();
        plan.add(Some((&field(&more), &more))).unwrap();
        plan.add(Some((&field(&text), &text))).unwrap();
        plan.add(None).unwrap();
        plan.settle();
        assert!(plan.field.is_nullable());
        for column in [&own, &more, &text] {
            let aligned = plan.align(Some(column), 3).unwrap();
            assert_eq!(aligned.data_type(), own.data_type());
            let categories = aligned.as_any_dictionary().values().clone();
            assert_eq!(
                shown(&categories),
                ["b", "a", "c", "d"].map(|text| Some(text.to_owned()))
            );
            let expected: Vec<Option<String>> = match column.data_type() {
                DataType::Utf8 => column
                    .as_string::<i32>()
                    .iter()
                    .map(|t| t.map(str::to_owned))
                    .collect(),
                _ => shown(column),
            };
            assert_eq!(shown(&aligned), expected);
        }
        assert_eq!(shown(&plan.align(None, 2).unwrap()), [None, None]);
    }

    #[test]
    fn codes_become_as_wide_as_they_must() {
        let names: Vec<String> = (0..200).map(|i| format!("c{i}")).collect();
        let own = categorical(&[Some("c0")]);
        let text: ArrayRef = Arc::new(StringArray::from(names.clone()));
        let mut plan = ColumnPlan::new(&field(&own), Some(&own)).unwrap();
        plan.add(Some((&field(&text), &text))).unwrap();
        plan.settle();
        let aligned = plan.align(Some(&text), 200).unwrap();
        let DataType::Dictionary(key, _) = aligned.data_type() else {
            panic!()
        };
        assert_eq!(**key, DataType::Int16);
        assert_eq!(shown(&aligned), names.into_iter().map(Some).collect::<Vec<_>>());
    }

    #[test]
    fn numbers_are_kept_or_refused() {
        let to = |column: ArrayRef, to: &DataType| convert(&column, to);
        let wide: ArrayRef = Arc::new(Int64Array::from(vec![Some(5), None]));
        let narrow = to(wide.clone(), &DataType::Int32).unwrap();
        assert_eq!(
            *narrow.as_primitive::<Int32Type>(),
            Int32Array::from(vec![Some(5), None])
        );
        let float = to(wide, &DataType::Float64).unwrap();
        assert_eq!(
            *float.as_primitive::<Float64Type>(),
            Float64Array::from(vec![Some(5.0), None])
        );
        let large: ArrayRef = Arc::new(Int64Array::from(vec![1 << 40]));
        let refused = to(large, &DataType::Int32).unwrap_err();
        assert!(refused.0.contains("1099511627776"), "{refused:?}");
        let fraction: ArrayRef = Arc::new(Float64Array::from(vec![0.1]));
        assert!(to(fraction.clone(), &DataType::Float32).is_err());
        assert!(to(fraction, &DataType::Int8).is_err());
        let flags: ArrayRef = Arc::new(BooleanArray::from(vec![true]));
        assert!(to(flags, &DataType::Int8).is_err());
    }
}
