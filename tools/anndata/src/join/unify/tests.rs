//! Types, values and categories of made-up columns.

use arrow_array::{Float32Array, Int8Array, Int64Array, UInt64Array};

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int8Type};
use arrow_array::{Array, ArrayRef, DictionaryArray, StringArray};
use arrow_schema::DataType;

use super::*;

#[test]
fn types_hold_both_or_are_checked() {
    use DataType::*;
    for (a, b, both) in [
        (Int8, Int64, Some(Int64)),
        (UInt8, Int8, Some(Int16)),
        (UInt32, Int8, Some(Int64)),
        (UInt64, Int8, Some(Int64)),
        (UInt8, UInt32, Some(UInt32)),
        (Float16, Int8, Some(Float16)),
        (Float32, Int16, Some(Float32)),
        (Float16, Int16, Some(Float32)),
        (Float32, Int32, Some(Float64)),
        (Float32, UInt64, Some(Float64)),
        (Float32, Float64, Some(Float64)),
        (Utf8, Utf8, Some(Utf8)),
        (Boolean, Int8, None),
        (Utf8, Float64, None),
        (Utf8, Boolean, None),
    ] {
        assert_eq!(unify(&a, &b), both, "{a} and {b}");
        assert_eq!(unify(&b, &a), both, "{b} and {a}");
    }
}

#[test]
fn values_that_do_not_fit_are_named() {
    let array: ArrayRef = Arc::new(Int64Array::from(vec![Some(1 << 53), None, Some((1 << 53) + 1)]));
    assert!(cast(&array.slice(0, 2), &DataType::Float64).is_ok());
    match cast(&array, &DataType::Float64) {
        Err(CastError::Inexact { row: 2, value }) => assert_eq!(value, "9007199254740993"),
        other => panic!("{other:?}"),
    }
    let array: ArrayRef = Arc::new(UInt64Array::from(vec![1, u64::MAX]));
    assert!(matches!(
        cast(&array, &DataType::Int64),
        Err(CastError::Inexact { row: 1, .. })
    ));
    let floats: ArrayRef = Arc::new(Float32Array::from(vec![Some(0.1), None, Some(-0.0)]));
    let wide = cast(&floats, &DataType::Float64).unwrap();
    let wide = wide.as_primitive::<Float64Type>();
    assert_eq!(wide.value(0), f64::from(0.1f32));
    assert!(wide.is_null(1) && wide.value(2).is_sign_negative());
    let nan = |to: &DataType| cast(&(Arc::new(Float32Array::from(vec![f32::NAN])) as ArrayRef), to);
    assert!(nan(&DataType::Float16).is_ok() && nan(&DataType::Int8).is_err());
    let edge: ArrayRef = Arc::new(Float32Array::from(vec![-(2f32.powi(127))]));
    assert!(cast(&edge, &DataType::Int64).is_err());
    let huge: ArrayRef = Arc::new(Float32Array::from(vec![f32::INFINITY]));
    assert!(cast(&huge, &DataType::UInt64).is_err() && cast(&huge, &DataType::Float16).is_ok());
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None]));
    let large = cast(&texts, &DataType::LargeUtf8).unwrap();
    assert_eq!(*large.data_type(), DataType::LargeUtf8);
    assert_eq!(
        cast(&large, &DataType::Utf8).unwrap().as_string::<i32>(),
        texts.as_string::<i32>()
    );
    assert!(cast(&texts, &DataType::Int8).is_err() && cast(&wide_of(1), &DataType::Utf8).is_err());
}

fn wide_of(value: i64) -> ArrayRef {
    Arc::new(Int64Array::from(vec![value]))
}

#[test]
fn categories_keep_an_order_that_all_agree_on() {
    let list = |names: &[&str]| Arc::new(StringArray::from(names.to_vec())) as ArrayRef;
    let show = |merged: &Categories| {
        let labels = merged.labels.as_string::<i32>().iter();
        labels.flatten().collect::<Vec<_>>().join(",")
    };
    let lists = [list(&["low", "high"]), list(&["low", "mid", "high"]), list(&[])];
    let merged = merge(&lists, &DataType::Utf8).unwrap();
    assert!(merged.orders_agree);
    assert_eq!(show(&merged), "low,mid,high");
    assert_eq!(
        (&*merged.maps[0], &*merged.maps[1]),
        (&[0, 2][..], &[0, 1, 2][..])
    );
    let merged = merge(&[list(&["a", "b"]), list(&["b", "c"])], &DataType::Utf8).unwrap();
    assert!(!merged.orders_agree);
    assert_eq!((show(&merged).as_str(), &*merged.maps[1]), ("a,b,c", &[1, 2][..]));
    let merged = merge(&[list(&["a", "b", "c"]), list(&["c", "a"])], &DataType::Utf8).unwrap();
    assert!(!merged.orders_agree);
    assert_eq!(show(&merged), "a,b,c");

    let codes = Int8Array::from(vec![Some(1), None, Some(0)]);
    let array: ArrayRef = Arc::new(DictionaryArray::<Int8Type>::try_new(codes, list(&["c", "a"])).unwrap());
    let recoded = recoded(&array, &merged.maps[1], &merged.labels).unwrap();
    let shown: Vec<_> = keys(&recoded).unwrap();
    assert_eq!(shown, [Some(Key::Text("a")), None, Some(Key::Text("c"))]);
}
