//! Values of element types in Arrow arrays.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, PrimitiveArray, types};
use arrow_schema::DataType;
use cellring_core::{Element, Number, ValueBuffer, ValueType};

macro_rules! define {
    (() $($(#[$doc:meta])* $Variant:ident: $type:ident, $bits:ident, $Class:ident, $numpy:literal, $Arrow:ident;)*) => {
        use types::{$($Arrow),*, ArrowPrimitiveType};

        /// The type of Arrow arrays of an element type.
        pub(crate) fn arrow_type(value_type: ValueType) -> DataType {
            match value_type {
                $(ValueType::$Variant => $Arrow::DATA_TYPE,)*
            }
        }

        /// The values of an array of an element type, gaps as whatever stands there; nothing for other arrays.
        pub fn values_of(array: &dyn Array) -> Option<ValueBuffer> {
            let value_type = value_type_of(array.data_type())?;
            Some(match value_type {
                $(ValueType::$Variant => ValueBuffer::$Variant(values!($Class $Arrow array)),)*
            })
        }

        /// The numbers as an array of an element type; nothing if one does not fit.
        pub(crate) fn array_of(numbers: &[Number], value_type: ValueType) -> Option<ArrayRef> {
            Some(match value_type {
                $(ValueType::$Variant => Arc::new(array!($Class $Arrow all::<$type>(numbers)?)),)*
            })
        }
    };
}

macro_rules! values {
    (Boolean $Arrow:ident $array:ident) => {
        $array.as_boolean().values().iter().collect()
    };
    ($Class:ident $Arrow:ident $array:ident) => {
        $array.as_primitive::<$Arrow>().values().to_vec()
    };
}

macro_rules! array {
    (Boolean $Arrow:ident $values:expr) => {
        BooleanArray::from($values)
    };
    ($Class:ident $Arrow:ident $values:expr) => {
        PrimitiveArray::<$Arrow>::from_iter_values($values)
    };
}

cellring_core::with_element_types!(define);

/// The element type of arrays of this type.
pub(crate) fn value_type_of(data_type: &DataType) -> Option<ValueType> {
    let mut all = ValueType::ALL.iter().copied();
    all.find(|value_type| arrow_type(*value_type) == *data_type)
}

fn all<T: Element>(numbers: &[Number]) -> Option<Vec<T>> {
    numbers.iter().map(|number| T::from_number(*number)).collect()
}
