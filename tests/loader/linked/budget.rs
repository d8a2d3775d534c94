//! The memory that errors advise for links of compressed files is enough.

use std::sync::Arc;

use cellring::__internal::{Cause, LinkedError, LoaderError};
use cellring::format::ValueType;
use cellring::{Error, Loader, LoaderConfig, OutputConfig, Store};

use super::source::{Form, GZIP, Source, stores};
use super::{config, content, sampler};

/// Calls with the budgets that errors advise, up to twice, and gives what comes of it and how many there were. An error about fewer bytes than
/// there are does not end.
fn advised<T>(run: impl Fn(usize) -> Result<T, Error>) -> (T, usize) {
    let mut memory_bytes = 1;
    for n_refused in 0..3 {
        let error = match run(memory_bytes) {
            Ok(outcome) => return (outcome, n_refused),
            Err(error) => error,
        };
        let advised = match error.cause() {
            Cause::Linked(LinkedError::Budget { needed_bytes, .. }) => *needed_bytes as usize,
            Cause::Loader(LoaderError::RowsBudget { needed_bytes, .. }) => *needed_bytes,
            Cause::Loader(LoaderError::Budget { enough_bytes, .. }) => *enough_bytes,
            _ => panic!("{error}"),
        };
        assert!(advised > memory_bytes, "{memory_bytes}: {error}");
        memory_bytes = advised;
    }
    panic!("what is advised is refused, with {memory_bytes} bytes, too")
}

#[test]
fn the_budget_that_is_advised_for_large_chunks_is_enough() {
    let source = Source::random(3000, 2000, ValueType::F32, ValueType::I32, false, 6);
    for chunk in [5_000, 100_000, 1_000_000] {
        let directory = tempfile::tempdir().unwrap();
        let form = Form {
            chunk: Some(chunk),
            ..GZIP
        };
        let (_, linked, held) = stores(directory.path(), "large", &source, form, 3);
        for threads in [1, 3] {
            let of_memory = |memory_bytes: usize| -> LoaderConfig {
                let config = config(sampler(1, 200, 3)).output(OutputConfig::default());
                config.memory_bytes(memory_bytes).decode_threads(threads)
            };
            let epoch = |store: &Arc<Store>, memory_bytes: usize| -> Result<Vec<_>, Error> {
                let loader = Loader::new(Arc::clone(store), of_memory(memory_bytes))?;
                loader
                    .epoch(0)?
                    .map(|minibatch| Ok(content(&minibatch?)))
                    .collect()
            };
            let (found, n_refused) = advised(|memory_bytes| epoch(&linked, memory_bytes));
            assert!(n_refused > 0, "{chunk}");
            assert!(
                found == epoch(&held, 64 << 20).unwrap(),
                "{chunk}, {threads} threads"
            );
            // All rows at once.
            let ids: Vec<u64> = (0..3000).rev().collect();
            let rows = |store: &Arc<Store>, memory_bytes: usize| -> Result<_, Error> {
                let loader = Loader::new(Arc::clone(store), of_memory(memory_bytes))?;
                Ok(content(&loader.rows(&ids)?))
            };
            let (found, n_refused) = advised(|memory_bytes| rows(&linked, memory_bytes));
            assert!(n_refused > 0, "{chunk}");
            assert!(
                found == rows(&held, 256 << 20).unwrap(),
                "{chunk}, {threads} threads"
            );
        }
    }
}
