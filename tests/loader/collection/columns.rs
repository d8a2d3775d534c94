//! obs columns of several stores: categories merged, kinds compared.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int8Type, Int16Type};
use arrow_array::{
    Array, ArrayRef, DictionaryArray, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array,
    Int64Array, LargeStringArray, StringArray, UInt16Array,
};
use cellring::__internal::{Cause, LoaderError};
use cellring::minibatch::{ColumnChoice, ObsColumn, ObsValues, OutputConfig};
use cellring::{Collection, Loader};

use super::config;
use super::sources::{Obs, Source, genes, write_all};
use crate::common::{Kind, Mix};

fn categorical(values: &[Option<&str>], categories: &[&str]) -> ArrayRef {
    let place = |value: &str| categories.iter().position(|other| *other == value).unwrap() as i8;
    let keys = Int8Array::from_iter(values.iter().map(|value| value.map(place)));
    Arc::new(
        DictionaryArray::<Int8Type>::try_new(keys, Arc::new(StringArray::from(categories.to_vec()))).unwrap(),
    )
}

/// Columns of three stores of 40, 30 and 20 obs that go together only in some forms.
fn columns() -> [Obs; 3] {
    let types = |n: usize, seed, among: &[&'static str]| -> Vec<Option<&'static str>> {
        let mut mix = Mix(seed);
        (0..n)
            .map(|_| among.get(mix.below(among.len() as u64 + 1) as usize).copied())
            .collect()
    };
    let wide = {
        let keys = Int16Array::from_iter((0..30).map(|k| (k % 4 != 3).then_some((k % 3) as i16)));
        let values = LargeStringArray::from(vec!["Mono", "T", "DC"]);
        DictionaryArray::<Int16Type>::try_new(keys, Arc::new(values)).unwrap()
    };
    let texts = |of: &dyn Fn(usize) -> usize, n| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(
            (0..n).map(|k| format!("d{}", of(k))),
        ))
    };
    let full = types(20, 3, &["NK"]);
    [
        vec![
            (
                "type",
                categorical(&types(40, 1, &["T", "B", "NK"]), &["T", "B", "unused", "NK"]),
            ),
            ("donor", texts(&|k| k % 5, 40)),
            ("plate", texts(&|k| 9 - k % 4, 40)),
            (
                "age",
                Arc::new(Int64Array::from_iter_values((0..40).map(|k| k * 1_000_000))),
            ),
            (
                "score",
                Arc::new(Float32Array::from_iter_values((0..40).map(|k| k as f32 / 3.0))),
            ),
        ],
        vec![
            ("type", Arc::new(wide)),
            ("donor", categorical(&types(30, 2, &["d3", "x"]), &["x", "d3"])),
            ("plate", texts(&|k| 3 + k % 5, 30)),
            (
                "age",
                Arc::new(Int8Array::from_iter(
                    (0..30).map(|k| (k % 7 != 2).then_some(k as i8 - 9)),
                )),
            ),
            (
                "score",
                Arc::new(Float64Array::from_iter_values(
                    (0..30).map(|k| f64::from(k) / 7.0),
                )),
            ),
            ("only", Arc::new(Int32Array::from_iter_values(0..30))),
        ],
        vec![
            ("type", categorical(&full, &["NK"])),
            ("donor", texts(&|k| 7 - k % 3, 20)),
            ("plate", texts(&|k| k % 2, 20)),
            (
                "age",
                Arc::new(UInt16Array::from_iter_values((0..20).map(|k| 60_000 + k as u16))),
            ),
            ("score", Arc::new(Int64Array::from_iter_values(0..20))),
        ],
    ]
}

fn with_columns(columns: [Obs; 3]) -> Vec<Source> {
    let sizes = [40, 30, 20];
    let of = |(number, obs)| Source {
        obs,
        ..Source::new(genes(0..30), Kind::Counts, sizes[number], number as u64)
    };
    columns.into_iter().enumerate().map(of).collect()
}

/// The values of a column of all stores, by obs, of an epoch of shuffled minibatches.
fn gathered(collection: &Collection, choice: ColumnChoice) -> (Vec<(ObsColumn, usize)>, Option<ArrayRef>) {
    let mut config = config(OutputConfig::default(), 2);
    let name = choice.name.clone();
    let without_loader = collection.categories(&choice).unwrap();
    config.obs_columns = vec![choice];
    let loader = Loader::new(collection.clone(), config).unwrap();
    let of_loader = loader
        .categories(&name)
        .map(|texts| texts.map(str::to_owned).collect());
    assert_eq!(without_loader, of_loader, "{name}");
    let categories = loader.categories_array(&name);
    let mut rows: Vec<Option<(ObsColumn, usize)>> = vec![None; collection.n_obs() as usize];
    for minibatch in loader.epoch(3).unwrap() {
        let minibatch = minibatch.unwrap();
        for (row, &obs) in minibatch.obs().iter().enumerate() {
            rows[obs as usize] = Some((minibatch.columns()[0].clone(), row));
        }
    }
    (rows.into_iter().map(Option::unwrap).collect(), categories)
}

fn texts(array: &dyn Array) -> Vec<String> {
    array
        .as_string::<i32>()
        .iter()
        .map(|text| text.unwrap().to_string())
        .collect()
}

/// What the stores have in a column, as text, by plain loops.
fn plain_texts(sources: &[Source], name: &str) -> Vec<Option<String>> {
    let mut all = vec![];
    for source in sources {
        let (_, array) = source.obs.iter().find(|(column, _)| *column == name).unwrap();
        let text = |array: &dyn Array, row: usize| match array.as_string_opt::<i32>() {
            Some(texts) => texts.value(row).to_string(),
            None => array.as_string::<i64>().value(row).to_string(),
        };
        for row in 0..array.len() {
            all.push(array.is_valid(row).then(|| match array.as_any_dictionary_opt() {
                Some(dictionary) => text(dictionary.values().as_ref(), dictionary.normalized_keys()[row]),
                None => text(array.as_ref(), row),
            }));
        }
    }
    all
}

#[test]
fn categories_are_merged() {
    let dir = tempfile::tempdir().unwrap();
    let sources = with_columns(columns());
    let collection = Collection::new(write_all(dir.path(), &sources)).unwrap();
    let cases: [(ColumnChoice, &[&str]); 4] = [
        ("type".into(), &["T", "B", "unused", "NK", "Mono", "DC"]),
        (
            ColumnChoice::codes("type"),
            &["T", "B", "unused", "NK", "Mono", "DC"],
        ),
        (
            ColumnChoice::codes("donor"),
            &["d0", "d1", "d2", "d3", "d4", "x", "d5", "d6", "d7"],
        ),
        (
            ColumnChoice::codes("plate"),
            &["d0", "d1", "d3", "d4", "d5", "d6", "d7", "d8", "d9"],
        ),
    ];
    for (choice, expected) in cases {
        let plain = plain_texts(&sources, &choice.name);
        let (rows, categories) = gathered(&collection, choice);
        let categories = texts(&categories.unwrap());
        assert_eq!(categories, expected);
        for ((column, row), plain) in rows.iter().zip(&plain) {
            let ObsValues::Codes(codes) = &column.values else {
                panic!("{column:?}")
            };
            let found = usize::try_from(codes[*row])
                .ok()
                .map(|code| categories[code].clone());
            assert_eq!(&found, plain);
            assert_eq!(
                column.valid.as_ref().is_none_or(|valid| valid[*row]),
                plain.is_some()
            );
        }
    }
}

#[test]
fn columns_of_one_kind_come_along_and_others_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let sources = with_columns(columns());
    let stores = write_all(dir.path(), &sources);
    let collection = Collection::new(stores.clone()).unwrap();
    let starts = [0, 40, 70];
    let place = |obs: usize| {
        let (store, at) = collection.locate(obs as u64);
        assert_eq!(at as usize + starts[store], obs);
        (store, at as i64)
    };
    let (rows, _) = gathered(&collection, "age".into());
    for (obs, (column, row)) in rows.iter().enumerate() {
        let ObsValues::Integers(values) = &column.values else {
            panic!("{column:?}")
        };
        let expected = match place(obs) {
            (0, k) => k * 1_000_000,
            (1, k) if k % 7 == 2 => 0,
            (1, k) => k - 9,
            (_, k) => 60_000 + k,
        };
        assert_eq!(values[*row], expected);
        assert_eq!(
            column.valid.as_ref().unwrap()[*row],
            !matches!(place(obs), (1, k) if k % 7 == 2)
        );
    }
    let (rows, _) = gathered(&collection, ColumnChoice::floats("score"));
    for (obs, (column, row)) in rows.iter().enumerate() {
        let ObsValues::Floats(values) = &column.values else {
            panic!("{column:?}")
        };
        let expected = match place(obs) {
            (0, k) => f64::from(k as f32 / 3.0),
            (1, k) => k as f64 / 7.0,
            (_, k) => k as f64,
        };
        assert_eq!((values[*row], column.valid.as_ref()), (expected, None));
    }
    let (rows, _) = gathered(&collection, ColumnChoice::strings("donor"));
    for ((column, row), plain) in rows.iter().zip(plain_texts(&sources, "donor")) {
        let ObsValues::Strings(values) = &column.values else {
            panic!("{column:?}")
        };
        assert_eq!(values[*row], plain.unwrap_or_default());
    }
    let (rows, _) = gathered(&collection, ColumnChoice::from("only").or_missing());
    for (obs, (column, row)) in rows.iter().enumerate() {
        let ObsValues::Integers(values) = &column.values else {
            panic!("{column:?}")
        };
        let expected = if let (1, k) = place(obs) {
            (k, true)
        } else {
            (0, false)
        };
        assert_eq!((values[*row], column.valid.as_ref().unwrap()[*row]), expected);
    }
    let refused = |choice: ColumnChoice| {
        let mut config = config(OutputConfig::default(), 1);
        config.obs_columns = vec![choice];
        Loader::new(collection.clone(), config).unwrap_err()
    };
    for (choice, parts) in [("donor", ["part-1", "part-0"]), ("score", ["part-2", "part-0"])] {
        let error = refused(choice.into());
        let message = error.to_string();
        assert!(
            matches!(error.cause(), Cause::Loader(LoaderError::ColumnKinds { .. })),
            "{message}"
        );
        assert!(
            parts.iter().all(|part| message.contains(part)) && message.contains(choice),
            "{message}"
        );
    }
    let error = refused("only".into());
    assert!(
        matches!(error.cause(), Cause::Format(_)) && error.to_string().contains("part-0"),
        "{error}"
    );
    let error = refused(ColumnChoice::from("nowhere").or_missing());
    assert!(
        matches!(error.cause(), Cause::Format(_)) && error.to_string().contains("nowhere"),
        "{error}"
    );
    let error = refused(ColumnChoice::strings("score"));
    assert!(
        matches!(error.cause(), Cause::Loader(LoaderError::ColumnType { .. }))
            && error.to_string().contains("part-0"),
        "{error}"
    );
}
