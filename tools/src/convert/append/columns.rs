//! Aligns the columns of several obs tables with those of a store.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::builder::{LargeStringBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowDictionaryKeyType, ArrowPrimitiveType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, DictionaryArray, PrimitiveArray, UInt32Array, new_null_array};
use arrow_buffer::ArrowNativeType;
use arrow_schema::{ArrowError, DataType, Field};

/// How a column of the enlarged store is made of those of the store and of the inputs.
#[derive(Debug)]
pub(super) struct Plan {
    /// The column as it will be.
    pub(super) field: Field,
    /// Where it is categorical: all categories, those of the store first.
    categories: Option<Categories>,
}

#[derive(Debug)]
struct Categories {
    values: ArrayRef,
    /// For each category its place.
    places: HashMap<Vec<u8>, usize>,
}

/// Why a column of an input cannot become a part of that of the store.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mismatch(pub(super) String);

impl From<ArrowError> for Mismatch {
    fn from(error: ArrowError) -> Self {
        Self(error.to_string())
    }
}

impl Plan {
    /// Begins with the column of the store. `sample` has its categories, where the store has any obs.
    pub(super) fn new(field: &Field, sample: Option<&ArrayRef>) -> Result<Self, Mismatch> {
        let categories = match field.data_type() {
            DataType::Dictionary(_, value_type) => {
                let values = match sample {
                    Some(column) => Arc::clone(column.as_any_dictionary().values()),
                    None => new_null_array(value_type, 0),
                };
                let keys = category_keys(&values)?;
                Some(Categories {
                    places: keys.into_iter().zip(0..).collect(),
                    values,
                })
            }
            _ => None,
        };
        Ok(Self {
            field: field.clone(),
            categories,
        })
    }

    /// Takes note of a batch of a column that will be a part of this one, or that an input has none.
    pub(super) fn add(&mut self, column: Option<(&Field, &ArrayRef)>) -> Result<(), Mismatch> {
        let Some((field, sample)) = column else {
            self.field.set_nullable(true);
            return Ok(());
        };
        self.field
            .set_nullable(self.field.is_nullable() || field.is_nullable());
        let Some(categories) = &mut self.categories else {
            return check_type(field.data_type(), self.field.data_type());
        };
        let value_type = categories.values.data_type().clone();
        let values = match field.data_type() {
            DataType::Dictionary(..) => Arc::clone(sample.as_any_dictionary().values()),
            // Each text that occurs is a category.
            _ => without_nulls(sample)?,
        };
        if !is_text(&value_type) && *values.data_type() != value_type {
            let found = values.data_type();
            return Err(Mismatch(format!(
                "it has categories of type {found}, and the store has {value_type}"
            )));
        }
        let values = convert(&values, &value_type)?;
        let mut new = Vec::new();
        for (place, key) in category_keys(&values)?.into_iter().enumerate() {
            let next = categories.values.len() + new.len();
            if let std::collections::hash_map::Entry::Vacant(entry) = categories.places.entry(key) {
                entry.insert(next);
                new.push(place as u32);
            }
        }
        if !new.is_empty() {
            let new = arrow_select::take::take(&values, &UInt32Array::from(new), None)?;
            categories.values = arrow_select::concat::concat(&[&categories.values, &new])?;
        }
        Ok(())
    }

    /// Once all columns are known: makes codes as wide as the categories ask for.
    pub(super) fn settle(&mut self) {
        if let (Some(categories), DataType::Dictionary(key, value)) =
            (&self.categories, self.field.data_type())
        {
            let largest = categories.values.len().saturating_sub(1) as u64;
            if largest > largest_code(key) {
                let key = [DataType::Int16, DataType::Int32]
                    .into_iter()
                    .find(|key| largest <= largest_code(key));
                let key = Box::new(key.unwrap_or(DataType::Int64));
                self.field.set_data_type(DataType::Dictionary(key, value.clone()));
            }
        }
    }

    /// The part of the column that `from` becomes; `None`: so many missing values.
    pub(super) fn align(&self, from: Option<&ArrayRef>, n_rows: usize) -> Result<ArrayRef, Mismatch> {
        let to = self.field.data_type();
        let Some(from) = from else {
            return match &self.categories {
                Some(categories) => self.dictionary(&vec![None; n_rows], categories),
                None => Ok(new_null_array(to, n_rows)),
            };
        };
        let Some(categories) = &self.categories else {
            return convert(from, to);
        };
        if !matches!(from.data_type(), DataType::Dictionary(..)) {
            let keys = category_keys(&convert(from, categories.values.data_type())?)?;
            let code = |(row, key): (usize, &Vec<u8>)| match from.is_null(row) {
                true => None,
                false => categories.places.get(key).copied(),
            };
            let codes: Vec<Option<usize>> = keys.iter().enumerate().map(code).collect();
            return self.dictionary(&codes, categories);
        }
        let codes = from.as_any_dictionary();
        let own = category_keys(&convert(codes.values(), categories.values.data_type())?)?;
        let place_of: Vec<Option<usize>> = own
            .iter()
            .map(|key| categories.places.get(key).copied())
            .collect();
        let nulls = codes.keys().nulls();
        // There are no codes to be had of a column without categories.
        let codes = match own.is_empty() {
            true => vec![0; from.len()],
            false => codes.normalized_keys(),
        };
        let code = |(row, &code): (usize, &usize)| match nulls {
            Some(nulls) if nulls.is_null(row) => None,
            _ => place_of.get(code).copied().flatten(),
        };
        let codes: Vec<Option<usize>> = codes.iter().enumerate().map(code).collect();
        self.dictionary(&codes, categories)
    }

    fn dictionary(&self, codes: &[Option<usize>], categories: &Categories) -> Result<ArrayRef, Mismatch> {
        fn of<K: ArrowDictionaryKeyType>(
            codes: &[Option<usize>],
            values: &ArrayRef,
        ) -> Result<ArrayRef, Mismatch> {
            let keys: PrimitiveArray<K> = codes
                .iter()
                .map(|code| code.and_then(K::Native::from_usize))
                .collect();
            Ok(Arc::new(DictionaryArray::<K>::try_new(keys, Arc::clone(values))?))
        }
        let DataType::Dictionary(key, _) = self.field.data_type() else {
            unreachable!("only dictionaries have categories");
        };
        let values = &categories.values;
        match **key {
            DataType::Int8 => of::<Int8Type>(codes, values),
            DataType::Int16 => of::<Int16Type>(codes, values),
            DataType::Int32 => of::<Int32Type>(codes, values),
            DataType::Int64 => of::<Int64Type>(codes, values),
            DataType::UInt8 => of::<UInt8Type>(codes, values),
            DataType::UInt16 => of::<UInt16Type>(codes, values),
            DataType::UInt32 => of::<UInt32Type>(codes, values),
            DataType::UInt64 => of::<UInt64Type>(codes, values),
            ref other => Err(Mismatch(format!("codes of type {other} are not known"))),
        }
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8)
}

fn is_number(data_type: &DataType) -> bool {
    data_type.is_integer() || data_type.is_floating()
}

/// The largest code of a type, and no more than a reader of 32 bits takes.
fn largest_code(key: &DataType) -> u64 {
    match key {
        DataType::Int8 => i8::MAX as u64,
        DataType::UInt8 => u8::MAX.into(),
        DataType::Int16 => i16::MAX as u64,
        DataType::UInt16 => u16::MAX.into(),
        _ => i32::MAX as u64,
    }
}

/// Bytes that tell categories apart.
fn category_keys(values: &ArrayRef) -> Result<Vec<Vec<u8>>, Mismatch> {
    match values.data_type() {
        DataType::Utf8 => Ok(values.as_string::<i32>().iter().map(text_key).collect()),
        DataType::LargeUtf8 => Ok(values.as_string::<i64>().iter().map(text_key).collect()),
        DataType::Boolean => {
            let values = values.as_boolean();
            Ok((0..values.len())
                .map(|i| vec![u8::from(values.value(i))])
                .collect())
        }
        other => match other.primitive_width() {
            Some(width) => {
                let data = values.to_data();
                let bytes = &data.buffers()[0].as_slice()[data.offset() * width..];
                Ok(bytes
                    .chunks_exact(width)
                    .take(values.len())
                    .map(<[u8]>::to_vec)
                    .collect())
            }
            None => Err(Mismatch(format!("categories of type {other} are not known"))),
        },
    }
}

fn text_key(text: Option<&str>) -> Vec<u8> {
    text.unwrap_or_default().as_bytes().to_vec()
}

fn without_nulls(column: &ArrayRef) -> Result<ArrayRef, Mismatch> {
    match column.null_count() {
        0 => Ok(Arc::clone(column)),
        _ => {
            let kept: UInt32Array = (0..column.len() as u32)
                .filter(|&row| column.is_valid(row as usize))
                .collect();
            Ok(arrow_select::take::take(column, &kept, None)?)
        }
    }
}

/// Whether some columns of one type can be brought into the other.
fn check_type(from: &DataType, to: &DataType) -> Result<(), Mismatch> {
    let from_text = match from {
        DataType::Dictionary(_, value) => is_text(value),
        other => is_text(other),
    };
    let fits = from == to || (from_text && is_text(to)) || (is_number(from) && is_number(to));
    match fits {
        true => Ok(()),
        false => Err(Mismatch(format!(
            "it is of type {from}, and that of the store of type {to}"
        ))),
    }
}

/// The same values in another type.
fn convert(from: &ArrayRef, to: &DataType) -> Result<ArrayRef, Mismatch> {
    if from.data_type() == to {
        return Ok(Arc::clone(from));
    }
    check_type(from.data_type(), to)?;
    if is_text(to) {
        return texts(from, to);
    }
    let numbers = numbers(from)?;
    macro_rules! integers {
        ($type:ty) => {{
            let integer = |number: &Number| match *number {
                Number::Integer(value) => <$type as ArrowPrimitiveType>::Native::try_from(value).ok(),
                Number::Float(value) => {
                    let integer = value as i128;
                    let fits = integer as f64 == value && value.abs() < 1e30;
                    fits.then(|| <$type as ArrowPrimitiveType>::Native::try_from(integer).ok())
                        .flatten()
                }
            };
            collect::<$type>(&numbers, integer, to)
        }};
    }
    macro_rules! floats {
        ($type:ty, $narrow:expr, $wide:expr) => {{
            let float = |number: &Number| {
                let value = match *number {
                    Number::Integer(value) => Some(value as f64).filter(|&float| float as i128 == value)?,
                    Number::Float(value) => value,
                };
                let narrow = $narrow(value);
                ($wide(narrow) == value || value.is_nan()).then_some(narrow)
            };
            collect::<$type>(&numbers, float, to)
        }};
    }
    type Half = <Float16Type as ArrowPrimitiveType>::Native;
    match to {
        DataType::Int8 => integers!(Int8Type),
        DataType::Int16 => integers!(Int16Type),
        DataType::Int32 => integers!(Int32Type),
        DataType::Int64 => integers!(Int64Type),
        DataType::UInt8 => integers!(UInt8Type),
        DataType::UInt16 => integers!(UInt16Type),
        DataType::UInt32 => integers!(UInt32Type),
        DataType::UInt64 => integers!(UInt64Type),
        DataType::Float16 => floats!(Float16Type, Half::from_f64, Half::to_f64),
        DataType::Float32 => floats!(Float32Type, |value: f64| value as f32, f64::from),
        _ => floats!(Float64Type, |value: f64| value, |value: f64| value),
    }
}

/// Text as it is, and categories as the text that they stand for.
fn texts(from: &ArrayRef, to: &DataType) -> Result<ArrayRef, Mismatch> {
    let plain = match from.data_type() {
        DataType::Dictionary(..) => {
            let codes = from.as_any_dictionary();
            if codes.values().is_empty() {
                return Ok(new_null_array(to, from.len()));
            }
            let nulls = codes.keys().nulls();
            let rows = codes.normalized_keys().into_iter().enumerate();
            let rows: UInt32Array = rows
                .map(|(row, code)| {
                    nulls
                        .is_none_or(|nulls| nulls.is_valid(row))
                        .then_some(code as u32)
                })
                .collect();
            arrow_select::take::take(codes.values(), &rows, None)?
        }
        _ => Arc::clone(from),
    };
    let texts: Vec<Option<&str>> = match plain.data_type() {
        DataType::LargeUtf8 => plain.as_string::<i64>().iter().collect(),
        _ => plain.as_string::<i32>().iter().collect(),
    };
    let n_bytes: usize = texts.iter().flatten().map(|text| text.len()).sum();
    if *to == DataType::LargeUtf8 {
        let mut builder = LargeStringBuilder::with_capacity(texts.len(), n_bytes);
        builder.extend(texts);
        return Ok(Arc::new(builder.finish()));
    }
    if n_bytes > i32::MAX as usize {
        return Err(Mismatch("its text exceeds 2 GiB".to_owned()));
    }
    let mut builder = StringBuilder::with_capacity(texts.len(), n_bytes);
    builder.extend(texts);
    Ok(Arc::new(builder.finish()))
}

#[derive(Clone, Copy, Debug)]
enum Number {
    Integer(i128),
    Float(f64),
}

fn numbers(from: &ArrayRef) -> Result<Vec<Option<Number>>, Mismatch> {
    fn of<T: ArrowPrimitiveType>(
        from: &ArrayRef,
        number: impl Fn(T::Native) -> Number,
    ) -> Vec<Option<Number>> {
        from.as_primitive::<T>()
            .iter()
            .map(|value| value.map(&number))
            .collect()
    }
    macro_rules! integers {
        ($type:ty) => {
            of::<$type>(from, |value| Number::Integer(value.into()))
        };
    }
    Ok(match from.data_type() {
        DataType::Int8 => integers!(Int8Type),
        DataType::Int16 => integers!(Int16Type),
        DataType::Int32 => integers!(Int32Type),
        DataType::Int64 => integers!(Int64Type),
        DataType::UInt8 => integers!(UInt8Type),
        DataType::UInt16 => integers!(UInt16Type),
        DataType::UInt32 => integers!(UInt32Type),
        DataType::UInt64 => integers!(UInt64Type),
        DataType::Float16 => of::<Float16Type>(from, |value| Number::Float(value.to_f64())),
        DataType::Float32 => of::<Float32Type>(from, |value| Number::Float(value.into())),
        DataType::Float64 => of::<Float64Type>(from, Number::Float),
        other => return Err(Mismatch(format!("it is of type {other}, which holds no numbers"))),
    })
}

fn collect<T: ArrowPrimitiveType>(
    numbers: &[Option<Number>],
    convert: impl Fn(&Number) -> Option<T::Native>,
    to: &DataType,
) -> Result<ArrayRef, Mismatch> {
    let converted = numbers.iter().map(|number| match number {
        None => Ok(None),
        Some(number) => match convert(number) {
            Some(value) => Ok(Some(value)),
            None => Err(Mismatch(format!(
                "it holds {number}, which {to} in the store cannot hold"
            ))),
        },
    });
    let array: PrimitiveArray<T> = converted.collect::<Result<Vec<_>, _>>()?.into_iter().collect();
    Ok(Arc::new(array))
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Integer(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{BooleanArray, Float64Array, Int32Array, Int64Array, StringArray};

    use super::*;

    fn field(column: &ArrayRef) -> Field {
        Field::new("c", column.data_type().clone(), false)
    }

    fn categorical(texts: &[Option<&str>]) -> ArrayRef {
        let column: DictionaryArray<Int8Type> = texts.iter().copied().collect();
        Arc::new(column)
    }

    fn shown(column: &ArrayRef) -> Vec<Option<String>> {
        let texts = texts(column, &DataType::Utf8).unwrap();
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
        let mut plan = Plan::new(&field(&own), Some(&own)).unwrap();
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
        let mut plan = Plan::new(&field(&own), Some(&own)).unwrap();
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
