//! What a linked store gives is what a store gives that holds the values.

use std::sync::Arc;

use cellring::engine::{Backend, Direct};
use cellring::format::ValueType;
use cellring::plan::Strategy;
use cellring::store::verify;
use cellring::{ErrorKind, Loader, LoaderConfig, OutputConfig, Store};

use super::source::{Form, GZIP, PLAIN, Source, forms, stores};
use super::{config, content, epoch, large, sampler};

#[test]
fn minibatches_are_those_of_a_store_that_holds_the_values() {
    let directory = tempfile::tempdir().unwrap();
    let types = [
        (ValueType::F32, ValueType::I32),
        (ValueType::I32, ValueType::I64),
        (ValueType::F64, ValueType::U16),
        (ValueType::U8, ValueType::U32),
        (ValueType::I64, ValueType::I32),
        (ValueType::U16, ValueType::I64),
        (ValueType::Bool, ValueType::I32),
        (ValueType::I8, ValueType::I16),
    ];
    for (number, form) in forms().into_iter().enumerate() {
        let (value_type, index_type) = types[number % types.len()];
        let source = Source::random(230, 300, value_type, index_type, number % 3 != 0, number as u64);
        let (_, linked, held) = stores(directory.path(), "one", &source, form, 7);
        let samplers = [
            sampler(1, 16, 2),
            sampler(16, 32, 4),
            sampler(500, 64, 1).strategy(Strategy::Sequential),
        ];
        for sampler in samplers {
            let config = config(sampler);
            assert!(
                epoch(&linked, &config, 1) == epoch(&held, &config, 1),
                "{value_type:?} {index_type:?} {form:?}"
            );
        }
        assert_eq!(
            linked.rows(3..200).unwrap(),
            held.rows(3..200).unwrap(),
            "{form:?}"
        );
        let report = verify(&linked, 2, &|_| ()).unwrap();
        assert_eq!((report.n_obs, report.nnz), (230, source.nnz() as u64));
    }
}

#[test]
fn wide_columns_and_every_backend_give_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let source = Source::random(60, 70_000, ValueType::F32, ValueType::I32, true, 3);
    let (_, linked, held) = stores(
        directory.path(),
        "wide",
        &source,
        Form {
            chunk: Some(40_000),
            ..GZIP
        },
        9,
    );
    let base = config(sampler(4, 8, 2));
    let expected = epoch(&held, &base, 2);
    for backend in [Backend::Uring, Backend::Pread, Backend::Mmap] {
        for direct in [Direct::Auto, Direct::Off] {
            for threads in [1, 4] {
                let engine = cellring::engine::EngineConfig::default()
                    .backend(backend)
                    .direct(direct);
                let config = base.clone().engine(engine).decode_threads(threads);
                match Loader::new(linked.clone(), config.clone()) {
                    Ok(_) => assert!(
                        epoch(&linked, &config, 2) == expected,
                        "{backend:?} {direct:?} {threads}"
                    ),
                    // Where a way of reading is not available.
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
                }
            }
        }
    }
}

#[test]
fn chosen_rows_collections_and_resumed_epochs_are_those_of_a_store() {
    let directory = tempfile::tempdir().unwrap();
    let source = Source::random(200, 120, ValueType::F32, ValueType::I32, true, 4);
    let (_, linked, held) = stores(directory.path(), "a", &source, GZIP, 1);
    let other = Source::random(90, 120, ValueType::F32, ValueType::I64, false, 5);
    let (_, plain, _) = stores(directory.path(), "b", &other, PLAIN, 2);
    let config = config(sampler(8, 10, 3));
    let rows = |store: &Arc<Store>| {
        let loader = Loader::new(store.clone(), config.clone()).unwrap();
        content(&loader.rows(&[199, 3, 3, 0, 57]).unwrap())
    };
    assert_eq!(rows(&linked), rows(&held));
    // Linked stores beside each other, and beside one that holds its values.
    let together = |first: &Arc<Store>| {
        let collection = cellring::Collection::new(vec![first.clone(), plain.clone()]).unwrap();
        let loader = Loader::new(collection, config.clone()).unwrap();
        let minibatches = loader.epoch(0).unwrap();
        minibatches.map(|m| content(&m.unwrap())).collect::<Vec<_>>()
    };
    assert!(together(&linked) == together(&held));
    let chosen = |first: &Arc<Store>| {
        let collection = cellring::Collection::new(vec![first.clone(), held.clone()]).unwrap();
        let loader = Loader::new(collection, config.clone()).unwrap();
        content(&loader.rows(&[0, 399, 5, 200]).unwrap())
    };
    assert_eq!(chosen(&linked), chosen(&held));
    let loader = Loader::new(linked.clone(), config.clone()).unwrap();
    let mut begun = loader.epoch(0).unwrap();
    let before: Vec<_> = begun.by_ref().take(7).map(|m| content(&m.unwrap())).collect();
    let state = begun.state();
    drop(begun);
    let after = loader.resume(&state).unwrap().map(|m| content(&m.unwrap()));
    assert!(before.into_iter().chain(after).collect::<Vec<_>>() == epoch(&held, &config, 0));
}

#[test]
fn a_fetch_fits_the_budget_or_is_refused_with_what_it_needs() {
    let directory = tempfile::tempdir().unwrap();
    let (_, linked, held) = large(&directory);
    // About a million values: 3 bytes each as they are kept, 6 before that is known.
    let config = |memory_bytes: usize| {
        config(sampler(4, 50, 60))
            .output(OutputConfig::default())
            .memory_bytes(memory_bytes)
    };
    assert!(epoch(&linked, &config(40 << 20), 0) == epoch(&held, &config(40 << 20), 0));
    let loader = Loader::new(linked, config(9 << 20)).unwrap();
    let error = loader.epoch(0).unwrap().find_map(Result::err).unwrap();
    assert_eq!(error.kind(), ErrorKind::Memory, "{error}");
    assert!(error.to_string().contains("a fetch of 3000 obs needs"), "{error}");
}

#[test]
fn what_needs_blocks_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let source = Source::random(20, 30, ValueType::F64, ValueType::I32, false, 8);
    let (_, linked, _) = stores(directory.path(), "a", &source, PLAIN, 1);
    let loader = Loader::new(linked.clone(), LoaderConfig::default()).unwrap();
    assert_eq!(loader.fetches(0).unwrap_err().kind(), ErrorKind::Unavailable);
    let error = cellring::writer::StoreAppender::open(linked.path(), false)
        .map(drop)
        .unwrap_err();
    assert!(
        error.to_string().contains("appending obs needs one that holds"),
        "{error}"
    );
    // Values that a float32 rounds are met when they are read.
    let mut source = source;
    source.rows[4].push((29, 0.1f64.to_bits()));
    source.rows[4].sort_unstable();
    source.rows[4].dedup_by_key(|entry| entry.0);
    let (_, linked, _) = stores(directory.path(), "b", &source, PLAIN, 1);
    let first_error = |config: LoaderConfig| {
        let loader = Loader::new(linked.clone(), config).unwrap();
        loader.epoch(0).unwrap().find_map(Result::err)
    };
    let error = first_error(LoaderConfig::default()).unwrap();
    assert!(
        error
            .to_string()
            .contains("float64 values that f32 cannot represent"),
        "{error}"
    );
    assert!(first_error(LoaderConfig::default().allow_rounding(true)).is_none());
}
