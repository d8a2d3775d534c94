//! Checksums of rows: each is compared on every way to a row, whatever form the row has in its file.

use std::sync::Arc;

use cellring::format::ValueType;
use cellring::store::verify;
use cellring::writer::{WriterOptions, row_checksums};
use cellring::{Error, ErrorKind, Loader, Store};

use super::joined::{inputs, joined, link};
use super::{config, epoch, sampler};
use crate::common::write_store;

#[test]
fn every_way_to_a_row_compares_its_checksum() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for (value_type, n_vars) in [
        (ValueType::F32, 200),
        (ValueType::I64, 66_000),
        (ValueType::U8, 200),
    ] {
        let mut joined = joined(directory.path(), n_vars, inputs(value_type, n_vars));
        let rows = joined.rows.canonical();
        let right = row_checksums(&rows);
        joined.matrix.checksums = Some(right.clone());
        link(&at("linked"), &joined).unwrap();
        let options = WriterOptions::new(n_vars, value_type).replace(true);
        write_store(&at("held"), &rows, options, None).unwrap();
        let open = |name: &str| Arc::new(Store::open(at(name)).unwrap());
        let config = config(sampler(4, 16, 2));
        let (linked, held) = (open("linked"), open("held"));
        verify(&linked, 1, &|_| ()).unwrap();
        assert_eq!(
            epoch(&linked, &config, 1),
            epoch(&held, &config, 1),
            "{value_type:?}"
        );

        // One row of each input, and one without values.
        for obs in [3u64, 80, 112, 130, 210, 240, 270] {
            let mut wrong = right.clone();
            wrong[obs as usize] ^= 1 << (obs % 32);
            joined.matrix.checksums = Some(wrong);
            link(&at("linked"), &joined).unwrap();
            let store = open("linked");
            let is_refused = |found: Result<(), Error>| {
                let error = found.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Damaged);
                let message = error.to_string();
                assert!(message.contains(&format!(": obs {obs} of ")), "{message}");
            };
            is_refused(verify(&store, 1, &|_| ()).map(drop));
            is_refused(store.rows(obs..obs + 1).map(drop));
            store.rows(obs + 1..obs + 3).unwrap();
            let loader = Loader::new(store, config.clone()).unwrap();
            is_refused(loader.rows(&[obs]).map(drop));
            assert_eq!(loader.rows(&[obs - 1]).unwrap().obs(), [obs - 1]);
            is_refused(
                loader
                    .epoch(0)
                    .unwrap()
                    .try_for_each(|minibatch| minibatch.map(drop)),
            );
        }
    }
}
