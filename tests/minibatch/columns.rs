//! obs columns in every form that they can have.

use std::sync::Arc;

use arrow_array::types::{Int8Type, Int16Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, Float16Array, Float32Array, Int8Array, Int16Array,
    Int64Array, RecordBatch, StringArray, UInt64Array,
};
use arrow_schema::{Field, Schema};
use cellring::__internal::{Cause, LoaderError};
use cellring::format::constants::ROLE_INDEX;
use cellring::minibatch::{ColumnChoice, ObsColumn, ObsValues, OutputConfig};
use cellring::writer::WriterOptions;
use cellring::{Loader, LoaderConfig, Store};
use half::f16;

use super::common::{Kind, matrix, role, value_type, write_store_with_obs};
use super::config;

const N_OBS: usize = 150;

fn text(obs: usize) -> Option<String> {
    (obs % 10 != 4).then(|| format!("donor {}", (obs * 7) % 12))
}

fn small(obs: usize) -> Option<i16> {
    (obs % 6 != 1).then_some((obs % 5) as i16 * 10 - 20)
}

fn large(obs: usize) -> u64 {
    u64::MAX - (obs % 3) as u64
}

/// Numbers that `f16` holds.
fn half(obs: usize) -> Option<f64> {
    (!obs.is_multiple_of(11)).then_some((obs % 5) as f64 / 4.0)
}

fn year(obs: usize) -> Option<i16> {
    (!obs.is_multiple_of(9)).then_some(2020 + (obs % 4) as i16)
}

fn open(dir: &std::path::Path) -> Arc<Store> {
    let obs = || 0..N_OBS;
    let years = Int8Array::from_iter(obs().map(|k| (!k.is_multiple_of(9)).then_some((k % 4) as i8)));
    let years =
        DictionaryArray::<Int8Type>::try_new(years, Arc::new(Int16Array::from_iter_values(2020..2024)));
    let tissues = Int16Array::from_iter_values(obs().map(|k| (k % 2) as i16));
    let tissues =
        DictionaryArray::<Int16Type>::try_new(tissues, Arc::new(StringArray::from(vec!["lung", "gut"])));
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "barcode",
            Arc::new(StringArray::from_iter_values(obs().map(|k| format!("cell {k}")))),
        ),
        ("text", Arc::new(StringArray::from_iter(obs().map(text)))),
        ("small", Arc::new(Int16Array::from_iter(obs().map(small)))),
        ("large", Arc::new(UInt64Array::from_iter_values(obs().map(large)))),
        (
            "flag",
            Arc::new(BooleanArray::from_iter(obs().map(|k| Some(k % 3 == 0)))),
        ),
        (
            "always",
            Arc::new(BooleanArray::from_iter(obs().map(|_| Some(true)))),
        ),
        ("year", Arc::new(years.unwrap())),
        ("tissue", Arc::new(tissues.unwrap())),
        (
            "score",
            Arc::new(Float32Array::from_iter_values(obs().map(|k| k as f32 / 4.0))),
        ),
        (
            "half",
            Arc::new(Float16Array::from_iter(obs().map(|k| half(k).map(f16::from_f64)))),
        ),
    ];
    let field = |(name, array): &(&str, ArrayRef)| {
        let field = Field::new(*name, array.data_type().clone(), array.null_count() > 0);
        if *name == "barcode" {
            role(field, ROLE_INDEX)
        } else {
            field
        }
    };
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let batch = RecordBatch::try_new(schema.clone(), arrays).unwrap();
    let rows = matrix(N_OBS, 50, Kind::Counts, 41);
    let options = WriterOptions::new(50, value_type(Kind::Counts));
    write_store_with_obs(&dir.join("s"), &rows, options, None, (schema, vec![batch])).unwrap();
    Arc::new(Store::open(dir.join("s")).unwrap())
}

fn with_columns(columns: Vec<ColumnChoice>) -> LoaderConfig {
    config(OutputConfig::default(), 1).obs_columns(columns)
}

/// Calls `check` with the obs and the column of each minibatch of two epochs, and with the loader.
fn each(store: &Arc<Store>, choice: ColumnChoice, mut check: impl FnMut(&[usize], &ObsColumn)) -> Loader {
    let loader = Loader::new(store.clone(), with_columns(vec![choice])).unwrap();
    for epoch in 0..2 {
        for minibatch in loader.epoch(epoch).unwrap() {
            let minibatch = minibatch.unwrap();
            let obs: Vec<usize> = minibatch.obs().iter().map(|&obs| obs as usize).collect();
            check(&obs, &minibatch.columns()[0]);
        }
    }
    loader
}

#[test]
fn codes_are_places_in_the_sorted_values() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let codes = |column: &ObsColumn| match &column.values {
        ObsValues::Codes(codes) => codes.clone(),
        other => panic!("{other:?}"),
    };
    let mut found = vec![];
    let loader = each(&store, ColumnChoice::codes("text"), |obs, column| {
        found.extend(obs.iter().copied().zip(codes(column)));
        assert_eq!(
            column.valid,
            Some(obs.iter().map(|&k| text(k).is_some()).collect())
        );
    });
    let categories = loader.categories_array("text").unwrap();
    let categories: Vec<&str> = categories
        .as_any()
        .downcast_ref::<StringArray>()
        .unwrap()
        .iter()
        .flatten()
        .collect();
    assert!(categories.is_sorted() && categories.len() == 12);
    assert!(found.len() == 2 * N_OBS);
    for (obs, code) in found {
        assert_eq!(
            text(obs).as_deref(),
            usize::try_from(code).ok().map(|code| categories[code])
        );
    }

    let loader = each(&store, ColumnChoice::codes("small"), |obs, column| {
        let expected = obs
            .iter()
            .map(|&k| small(k).map_or(-1, |value| i32::from(value + 20) / 10));
        assert_eq!(codes(column), expected.collect::<Vec<_>>());
    });
    let expected = Int64Array::from_iter_values([-20, -10, 0, 10, 20]);
    assert_eq!(
        loader.categories_array("small").unwrap().to_data(),
        expected.to_data()
    );

    let loader = each(&store, ColumnChoice::codes("large"), |obs, column| {
        assert_eq!(
            codes(column),
            obs.iter().map(|k| 2 - (k % 3) as i32).collect::<Vec<_>>()
        );
    });
    let expected = UInt64Array::from_iter_values([u64::MAX - 2, u64::MAX - 1, u64::MAX]);
    assert_eq!(
        loader.categories_array("large").unwrap().to_data(),
        expected.to_data()
    );

    let loader = each(&store, ColumnChoice::codes("flag"), |obs, column| {
        assert_eq!(
            codes(column),
            obs.iter().map(|k| i32::from(k % 3 == 0)).collect::<Vec<_>>()
        );
        assert_eq!(column.valid, None);
    });
    assert_eq!(loader.categories("flag").unwrap().len(), 2);
    let loader = each(&store, ColumnChoice::codes("always"), |obs, column| {
        assert_eq!(codes(column), vec![0; obs.len()]);
    });
    assert_eq!(loader.categories("always").unwrap().len(), 1);

    // A categorical column keeps the codes that it has.
    let loader = each(&store, ColumnChoice::codes("tissue"), |obs, column| {
        assert_eq!(
            codes(column),
            obs.iter().map(|k| (k % 2) as i32).collect::<Vec<_>>()
        );
    });
    assert_eq!(
        loader.categories_array("tissue").unwrap().to_data(),
        StringArray::from(vec!["lung", "gut"]).to_data()
    );
    assert!(loader.categories("text").is_none());
}

#[test]
fn floats_come_from_all_that_are_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let check = |name: &str, value: &dyn Fn(usize) -> Option<f64>| {
        let loader = each(&store, ColumnChoice::floats(name), |obs, column| {
            let ObsValues::Floats(found) = &column.values else {
                panic!("{column:?}")
            };
            let bits = |x: f64| x.to_bits();
            let expected = obs.iter().map(|&k| bits(value(k).unwrap_or(f64::NAN)));
            assert_eq!(
                found.iter().copied().map(bits).collect::<Vec<_>>(),
                expected.collect::<Vec<_>>()
            );
        });
        assert!(loader.categories(name).is_none(), "these are no codes");
    };
    check("small", &|k| small(k).map(f64::from));
    check("large", &|k| Some(large(k) as f64));
    check("flag", &|k| Some(if k % 3 == 0 { 1.0 } else { 0.0 }));
    check("score", &|k| Some(k as f64 / 4.0));
    check("half", &half);
    check("year", &|k| year(k).map(f64::from));
}

#[test]
fn half_floats_are_compared_as_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let count = |expression: &str| cellring::select::filter(&store, expression).unwrap().len();
    let expected = |is_taken: fn(f64) -> bool| {
        let taken = (0..N_OBS).filter(|&obs| half(obs).is_some_and(is_taken));
        taken.count() as u64
    };
    assert_eq!(count("half >= 0.5"), expected(|x| x >= 0.5));
    assert_eq!(count("half in [0.25, 1, 7]"), expected(|x| x == 0.25 || x == 1.0));
    assert_eq!(count("half == 0"), expected(|x| x == 0.0));
}

#[test]
fn strings_come_from_texts_integers_and_booleans() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let check = |choice: ColumnChoice, value: &dyn Fn(usize) -> Option<String>| {
        each(&store, choice, |obs, column| {
            let expected = obs.iter().map(|&k| value(k).unwrap_or_default()).collect();
            assert_eq!(column.values, ObsValues::Strings(expected));
        });
    };
    check("text".into(), &text);
    check(ColumnChoice::strings("text"), &text);
    check(ColumnChoice::strings("small"), &|k| {
        small(k).map(|x| x.to_string())
    });
    check(ColumnChoice::strings("large"), &|k| Some(large(k).to_string()));
    check(ColumnChoice::strings("flag"), &|k| Some((k % 3 == 0).to_string()));
    check(ColumnChoice::strings("year"), &|k| year(k).map(|x| x.to_string()));
    check(ColumnChoice::strings("tissue"), &|k| {
        Some(["lung", "gut"][k % 2].to_string())
    });
}

#[test]
fn forms_that_a_column_cannot_have_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for (choice, form) in [
        (ColumnChoice::codes("score"), "codes"),
        (ColumnChoice::strings("score"), "strings"),
        (ColumnChoice::floats("text"), "floats"),
        (ColumnChoice::floats("tissue"), "floats"),
    ] {
        let error = Loader::new(store.clone(), with_columns(vec![choice.clone()])).unwrap_err();
        assert!(
            matches!(error.cause(), Cause::Loader(LoaderError::ColumnType { .. })),
            "{error}"
        );
        let message = error.to_string();
        assert!(
            message.contains(&choice.name) && message.contains(form),
            "{message}"
        );
    }
}
