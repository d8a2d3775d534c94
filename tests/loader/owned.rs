//! Epochs that are owned: stored, sent to threads, one after the other; and errors as callers see them.

use std::path::Path;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use cellring::format::{Encoding, ValueType};
use cellring::plan::Sampler;
use cellring::writer::WriterOptions;
use cellring::{Collection, Epoch, ErrorKind, Loader, LoaderConfig, SamplerConfig, SamplerData, Store};

use crate::common::{self, Kind};

const N_OBS: usize = 300;

fn store(dir: &Path) -> Arc<Store> {
    let path = dir.join("s");
    let rows = common::matrix(N_OBS, 80, Kind::Counts, 5);
    common::write_store(
        &path,
        &rows,
        WriterOptions::new(80, ValueType::F32).block_size(32),
        None,
    )
    .unwrap();
    Arc::new(Store::open(path).unwrap())
}

fn config() -> LoaderConfig {
    LoaderConfig::default()
        .sampler(
            SamplerConfig::default()
                .block_size(4)
                .batch_size(16)
                .fetch_factor(2)
                .seed(3),
        )
        .obs_columns(["plate"])
        .memory_bytes(8 << 20)
        .decode_threads(2)
}

/// Obs, columns and values of each minibatch.
fn contents(epoch: Epoch) -> Vec<(Vec<u64>, Vec<i32>, Vec<f32>)> {
    let contents = epoch.map(|minibatch| {
        let minibatch = minibatch.unwrap();
        let (indices, data) = (minibatch.indices().to_vec(), minibatch.data().to_vec());
        (minibatch.obs().to_vec(), indices, data)
    });
    contents.collect()
}

/// A wait with an end takes the same minibatches, in the same order, and none twice.
#[test]
fn a_wait_may_end_before_the_minibatch_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let loader = Loader::new(store(dir.path()), config()).unwrap();
    let expected = contents(loader.epoch(0).unwrap());
    let mut epoch = loader.epoch(0).unwrap();
    let (mut taken, mut pending) = (Vec::new(), 0);
    for wait in [Duration::ZERO, Duration::from_millis(1)].into_iter().cycle() {
        match epoch.next_within(wait) {
            Poll::Pending => pending += 1,
            Poll::Ready(Some(minibatch)) => taken.push(minibatch.unwrap().obs().to_vec()),
            Poll::Ready(None) => break,
        }
    }
    // Just begun, it has nothing decoded yet: not even the file was read.
    assert!(pending > 0);
    assert!(taken.iter().eq(expected.iter().map(|(obs, ..)| obs)));
    assert!(matches!(epoch.next_within(Duration::MAX), Poll::Ready(None)));
}

/// A sampler that is made without a loader is that of the loader.
#[test]
fn the_identity_of_a_collection_makes_the_same_fingerprint() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let loader = Loader::new(store.clone(), config()).unwrap();
    let sampler = |data| {
        Sampler::new(N_OBS as u64, config().sampler, data)
            .unwrap()
            .fingerprint()
    };
    let identity = Collection::from(store).identity();
    assert_eq!(
        sampler(SamplerData::default().identity(identity)),
        loader.sampler().fingerprint()
    );
    assert_ne!(sampler(SamplerData::default()), loader.sampler().fingerprint());
}

#[test]
fn an_epoch_outlives_its_loader_on_another_thread() {
    let dir = tempfile::tempdir().unwrap();
    let loader = Loader::new(store(dir.path()), config()).unwrap();
    let expected = contents(loader.epoch(4).unwrap());
    let epoch = loader.epoch(4).unwrap();
    drop(loader);
    assert_eq!(std::thread::spawn(|| contents(epoch)).join().unwrap(), expected);
}

#[test]
fn epochs_follow_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let loader = Loader::new(store.clone(), config()).unwrap();
    let expected: Vec<_> = [2, 0, 7]
        .map(|epoch| contents(loader.epoch(epoch).unwrap()))
        .into();
    let epochs = Loader::new(store, config()).unwrap().into_epochs([2, 0, 7]);
    assert_eq!(epochs.size_hint(), (3, Some(3)));
    let found: Vec<_> = epochs.map(|epoch| contents(epoch.unwrap())).collect();
    assert_eq!(found, expected);
}

#[test]
fn the_length_is_what_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let loader = Loader::new(store(dir.path()), config()).unwrap();
    let mut epoch = loader.epoch(0).unwrap();
    for left in (0..N_OBS.div_ceil(16)).rev() {
        assert_eq!(epoch.len(), left + 1);
        epoch.next().unwrap().unwrap();
    }
    assert_eq!((epoch.len(), epoch.next().is_none(), epoch.len()), (0, true, 0));
    // Of a resumed epoch it is what the state left.
    let mut epoch = loader.epoch(1).unwrap();
    epoch.by_ref().take(5).for_each(drop);
    let state = epoch.state();
    assert_eq!(loader.resume(&state).unwrap().len(), N_OBS.div_ceil(16) - 5);
}

#[test]
fn another_epoch_ends_the_one_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let loader = Loader::new(store(dir.path()), config()).unwrap();
    let expected = contents(loader.epoch(1).unwrap());
    let mut first = loader.epoch(0).unwrap();
    first.next().unwrap().unwrap();
    let second = loader.epoch(1).unwrap();
    // Not a short epoch without a word.
    let error = first.next().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stopped);
    assert!(
        error.to_string().contains("another one of the same loader"),
        "{error}"
    );
    assert!(first.next().is_none() && first.len() == 0);
    drop(first);
    assert_eq!(contents(second), expected);
    // One that is over is not disturbed, and neither is one whose loader is asked for rows.
    let mut over = loader.epoch(2).unwrap();
    over.by_ref().for_each(drop);
    let running = loader.epoch(1).unwrap();
    assert!(over.next().is_none());
    assert_eq!(running.loader().rows(&[5]).unwrap().obs(), [5]);
    assert_eq!(contents(running), expected);
    // Fetches are an epoch too.
    let mut fetches = loader.fetches(0).unwrap();
    fetches.next().unwrap().unwrap();
    let third = loader.epoch(1).unwrap();
    assert_eq!(fetches.next().unwrap().unwrap_err().kind(), ErrorKind::Stopped);
    assert!(fetches.next().is_none());
    drop(fetches);
    assert_eq!(contents(third), expected);
}

/// What is handed out whole may be kept, until the budget is used up: more fetches than the loader itself reads ahead.
#[test]
fn fetches_may_be_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let rows = common::matrix(60_000, 200, Kind::Counts, 5);
    let options = WriterOptions::new(200, ValueType::F32).encoding(Encoding::Raw);
    common::write_store(&path, &rows, options, None).unwrap();
    let sampler = SamplerConfig::default()
        .block_size(1)
        .batch_size(16)
        .fetch_factor(1);
    let config = LoaderConfig::default().sampler(sampler).memory_bytes(256 << 20);
    let loader = Loader::new(Arc::new(Store::open(path).unwrap()), config).unwrap();
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let kept: Vec<_> = loader.fetches(0).unwrap().take(40).collect();
        let n_sound = kept.iter().filter(|fetch| fetch.is_ok()).count();
        send.send(n_sound)
    });
    // It would wait for ever; nothing is measured.
    assert_eq!(receive.recv_timeout(Duration::from_secs(120)), Ok(40));
}

#[test]
fn columns_and_categories_are_found_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let columns = vec![
        "plate".into(),
        "score".into(),
        cellring::ColumnChoice::codes("number"),
    ];
    let loader = Loader::new(store(dir.path()), config().obs_columns(columns)).unwrap();
    let plates: Vec<&str> = loader.categories("plate").unwrap().collect();
    assert_eq!(
        plates,
        [
            "plate_0", "plate_1", "plate_2", "plate_3", "plate_4", "plate_5", "plate_6"
        ]
    );
    let numbers: Vec<String> = loader.categories("number").unwrap().map(str::to_owned).collect();
    assert_eq!((numbers.len(), &*numbers[0], &*numbers[7]), (N_OBS, "0", "21"));
    assert!(loader.categories("score").is_none() && loader.categories("none").is_none());
    // The same without a loader.
    let collection = cellring::Collection::from(Store::open(dir.path().join("s")).unwrap());
    let of = |choice: &cellring::ColumnChoice| collection.categories(choice).unwrap();
    assert_eq!(of(&"plate".into()).unwrap(), plates);
    assert_eq!(of(&cellring::ColumnChoice::codes("number")).unwrap(), numbers);
    assert_eq!(of(&"score".into()), None);
    assert!(collection.categories(&"none".into()).is_err());
    assert_eq!(loader.var_names().unwrap()[..2], ["gene_0", "gene_1"]);
    for minibatch in loader.epoch(0).unwrap() {
        let minibatch = minibatch.unwrap();
        let column = |name| minibatch.column(name).unwrap();
        let scores = column("score").as_floats().unwrap();
        assert!(
            scores
                .iter()
                .zip(minibatch.obs())
                .all(|(&score, &obs)| score == obs as f64 * 0.5)
        );
        let codes = column("number").as_codes().unwrap();
        for (&code, &obs) in codes.iter().zip(minibatch.obs()) {
            assert_eq!(numbers[code as usize], (obs * 3).to_string());
        }
        assert!(minibatch.column("none").is_none() && column("score").as_codes().is_none());
        assert!(column("plate").as_strings().is_none() && column("plate").as_codes().is_some());
    }
}

#[test]
fn errors_have_a_kind_a_path_and_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none");
    let error = Store::open(&path).unwrap_err();
    assert_eq!((error.kind(), error.path()), (ErrorKind::NotAStore, Some(&*path)));
    let store = store(dir.path());
    let no_column = Loader::new(store.clone(), config().obs_columns(["tissue"])).unwrap_err();
    assert_eq!(no_column.kind(), ErrorKind::NotFound);
    let no_size = config().sampler(SamplerConfig::default().batch_size(0));
    let no_size = Loader::new(store.clone(), no_size).unwrap_err();
    assert_eq!((no_size.kind(), no_size.path()), (ErrorKind::Config, None));
    // A report that follows sources says nothing twice.
    assert!(std::error::Error::source(&no_column).is_none());
    assert_eq!(format!("{no_size:?}"), format!("Config: {no_size}"));

    let shard = store.shard_paths().swap_remove(0);
    drop(store);
    std::fs::set_permissions(&shard, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    std::fs::rename(&shard, dir.path().join("away")).unwrap();
    let error = Store::open(dir.path().join("s")).unwrap_err();
    assert_eq!((error.kind(), error.path()), (ErrorKind::Io, Some(&*shard)));
    assert_eq!(error.io_error().unwrap().kind(), std::io::ErrorKind::NotFound);
    assert!(error.to_string().contains(&error.io_error().unwrap().to_string()));
}
