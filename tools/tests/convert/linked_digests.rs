//! Minibatches of linked stores are those of stores converted from the same files: of all matrices at once, in every form that a chunk may
//! have, and on every backend.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cellring::engine::{Backend, EngineConfig};
use cellring::format::VarOrder;
use cellring::store::verify;
use cellring::{ErrorKind, Loader, LoaderConfig, SamplerConfig, Store};
use cellring_anndata::Selection;
use cellring_tools::convert::ConvertOptions;
use cellring_tools::link::{LinkOptions, link};

use crate::linked::age;
use crate::{digest, made_by, report, run_convert, scratch, shared_data};

/// Every minibatch of two epochs, with all matrices of the store; `None` where the backend is not available.
fn minibatches(store: &Arc<Store>, backend: Backend) -> Option<Vec<String>> {
    let others = store.matrices().iter().filter_map(|matrix| matrix.name());
    let others: Vec<String> = others.map(str::to_owned).collect();
    let mut all = vec![];
    for block_size in [1, 16] {
        let sampler = SamplerConfig::default()
            .block_size(block_size)
            .batch_size(32)
            .fetch_factor(2);
        let config = LoaderConfig::default()
            .sampler(sampler)
            .engine(EngineConfig::default().backend(backend))
            .memory_bytes(256 << 20)
            .allow_rounding(true)
            .matrices(others.clone());
        let loader = match Loader::new(Arc::clone(store), config) {
            Ok(loader) => loader,
            Err(error) if error.kind() == ErrorKind::Unavailable => return None,
            Err(error) => panic!("{error}"),
        };
        for minibatch in loader.epoch(3).unwrap() {
            let minibatch = minibatch.unwrap();
            let matrices = minibatch.matrices().iter().map(|matrix| matrix.csr().unwrap());
            let matrices: Vec<_> = matrices.collect();
            let (obs, own) = (minibatch.obs(), minibatch.csr().unwrap());
            all.push(format!("{obs:?} {own:?} {matrices:?}"));
        }
    }
    Some(all)
}

fn assert_equal(linked: &Arc<Store>, held: &Arc<Store>, what: &str) {
    let expected = minibatches(held, Backend::Pread).unwrap();
    let mut n_tried = 0;
    for backend in [Backend::Uring, Backend::Pread, Backend::Mmap, Backend::Auto] {
        if let Some(found) = minibatches(linked, backend) {
            assert!(found == expected, "{what}, {backend:?}");
            n_tried += 1;
        }
    }
    assert!(n_tried >= 3, "{n_tried} backends");
}

/// The chunks of a file, its filters and what they were not applied to make no difference.
#[test]
fn every_matrix_in_every_form_gives_the_minibatches_of_its_conversion() {
    let (directory, made) = made_by("make_linkable.py");
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (link, held, plain) = (at("link"), at("held"), at("plain"));
    for line in made.lines() {
        let words: Vec<&str> = line.split('\t').collect();
        let [input, same, options @ ..] = words.as_slice() else {
            panic!("{line}")
        };
        age(Path::new(input));
        let said = report(&[&["link", input, "-o", &link, "--force"], options].concat());
        for (from, to) in [(input, &held), (same, &plain)] {
            let output = ["-o", to, "--force", "--var-order", "source"];
            report(&[&["convert", from], &output[..], options].concat());
        }
        let [linked, converted, meant] =
            [&link, &held, &plain].map(|store| Arc::new(Store::open(store).unwrap()));
        let n_matrices = options.iter().filter(|option| option.starts_with("--")).count();
        assert_eq!(linked.matrices().len() + 1, n_matrices, "{said}");
        assert_equal(&linked, &converted, input);
        assert_equal(&linked, &meant, input);
        assert_eq!(digest(&link, &[]), digest(&plain, &[]), "{input}");
        verify(&linked, 1, &|_| ()).unwrap();
    }
    assert_eq!(made.lines().count(), 4);
}

#[test]
fn layers_and_raw_are_linked_beside_x() {
    let Some(data) = shared_data() else { return };
    let directory = scratch();
    let input = data.join("compat/cellrank_100_raw_layers.h5ad");
    let layers = ["spliced", "Ms", "unspliced"].map(|name| Selection::Layer(name.to_owned()));
    let other_matrices: Vec<Selection> = layers.into_iter().chain([Selection::Raw]).collect();
    let selections = [&[Selection::X], &other_matrices[..]].concat();
    let (linked, held) = (directory.path().join("l"), directory.path().join("h"));
    let options = LinkOptions {
        other_matrices: other_matrices.clone(),
        source_root: Some(PathBuf::from("/")),
        ..LinkOptions::default()
    };
    let report = link(std::slice::from_ref(&input), &linked, &options, &|_, _| ()).unwrap();
    let paths: Vec<String> = selections.iter().map(Selection::path).collect();
    assert_eq!(report.matrices, paths);
    let options = ConvertOptions {
        other_matrices,
        var_order: Some(VarOrder::Source),
        ..ConvertOptions::default()
    };
    run_convert(&input, &held, &options).unwrap();
    let (linked, held) = (Store::open_below(&linked, "/"), Store::open(&held));
    let [linked, held] = [linked, held].map(|store| Arc::new(store.unwrap()));
    assert_eq!(linked.matrices().len(), 4);
    assert_equal(&linked, &held, "layers and raw");
}
