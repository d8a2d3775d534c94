//! What says where values are is watched: a source of which only that was changed, in place and with its time put back, is refused.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::SystemTime;

use cellring::{ErrorKind, Loader, LoaderConfig, Minibatch, SamplerConfig, Store};
use cellring_tools::link::refresh;

use crate::linked::age;
use crate::{made_by, python, report};

/// Changes a bit and puts the time back.
fn flip(path: &Path, at: u64, modified: SystemTime) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    file.set_modified(modified).unwrap();
}

/// What the second reader has against a store.
fn second_reader(store: &Path) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/spec_reader.py");
    let output = Command::new(python()).arg(script).arg(store).output().unwrap();
    String::from_utf8(output.stderr).unwrap()
}

fn loader(store: &Arc<Store>) -> Loader {
    let sampler = SamplerConfig::default()
        .block_size(16)
        .batch_size(32)
        .fetch_factor(2);
    let config = LoaderConfig::default().sampler(sampler).memory_bytes(16 << 20);
    Loader::new(Arc::clone(store), config).unwrap()
}

#[test]
fn an_index_of_chunks_or_indptr_that_changes_alone_is_an_error() {
    let (directory, made) = made_by("make_watched.py");
    let link = directory.path().join("link");
    for line in made.lines() {
        let [input, what, file, at] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let (file, at) = (Path::new(file), at.parse().unwrap());
        age(Path::new(input));
        let modified = file.metadata().unwrap().modified().unwrap();
        report(&["link", input, "-o", link.to_str().unwrap(), "--force"]);
        let store = Arc::new(Store::open(&link).unwrap());
        // Before a store is opened, and between the epochs of a loader.
        let loader = loader(&store);
        loader.epoch(0).unwrap().next().unwrap().unwrap();
        let is_first = made.starts_with(line);
        if is_first {
            assert_eq!(second_reader(&link), "");
        }
        flip(file, at, modified);
        if is_first {
            let said = second_reader(&link);
            assert!(
                said.contains("its fingerprint is not the one in the index"),
                "{said}"
            );
        }
        let errors = [
            Store::open(&link).unwrap_err(),
            loader.epoch(1).unwrap().find_map(Result::err).unwrap(),
            store.rows(3..4).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Changed, "{what} of {input}: {error}");
            let said = error.to_string();
            let name = file.file_name().unwrap().to_str().unwrap();
            assert!(
                said.contains(name) && said.contains("some of its bytes differ"),
                "{said}"
            );
        }
        // The bytes that it had are taken again.
        flip(file, at, modified);
        Store::open(&link).unwrap();
    }
    assert_eq!(made.lines().count(), 14);
    refresh(&link, None, false, false, &|_, _| ()).unwrap();
}

/// The files are looked at after the reads of each fetch: what comes before the error is what was linked.
#[test]
fn an_indptr_that_changes_during_an_epoch_ends_it() {
    let (directory, made) = made_by("make_watched.py");
    let link = directory.path().join("link");
    let content = |minibatch: &Minibatch| format!("{:?} {:?}", minibatch.obs(), minibatch.csr());
    let mut n_tried = 0;
    for line in made.lines() {
        let [input, what, file, at] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        if what != "indptr" {
            continue;
        }
        let (file, at) = (Path::new(file), at.parse().unwrap());
        age(Path::new(input));
        let modified = file.metadata().unwrap().modified().unwrap();
        report(&["link", input, "-o", link.to_str().unwrap(), "--force"]);
        let loader = loader(&Arc::new(Store::open(&link).unwrap()));
        let whole = loader.epoch(0).unwrap();
        let expected: Vec<String> = whole.map(|minibatch| content(&minibatch.unwrap())).collect();
        let mut found = loader.epoch(0).unwrap();
        assert_eq!(content(&found.next().unwrap().unwrap()), expected[0]);
        flip(file, at, modified);
        let mut n_right = 1;
        let error = loop {
            match found.next().expect("an error before the end") {
                Ok(minibatch) => assert_eq!(content(&minibatch), expected[n_right], "{input}"),
                Err(error) => break error,
            }
            n_right += 1;
        };
        assert_eq!(error.kind(), ErrorKind::Changed, "{input}: {error}");
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(error.to_string().contains(name), "{error}");
        assert!(found.next().is_none());
        flip(file, at, modified);
        n_tried += 1;
    }
    assert_eq!(n_tried, 7, "{made}");
}
