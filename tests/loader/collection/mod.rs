//! Several stores as one: the same epochs as one store of their concatenation, bit for bit.

mod columns;
mod genes;
mod sampling;
mod sources;

use std::sync::Arc;

use crate::common::Kind;
use cellring::__internal::{Cause, CollectionError, LoaderError};
use cellring::Join;
use cellring::minibatch::{
    GeneSelection, IndexType, Indices, Layout, LibraryGenes, Normalize, ObsColumn, OutputConfig, OutputError,
    OutputType, Values,
};
use cellring::plan::{
    Balanced, Custom, PlanError, SamplerConfig, SamplerData, Strategy, StrategyKind, Subset,
};
use cellring::{Collection, Loader, LoaderConfig, Minibatch, Store};
use sources::{Names, Source, concatenate, different_genes, genes, join_names, sources, write_all};

fn config(output: OutputConfig, decode_threads: usize) -> LoaderConfig {
    LoaderConfig::default()
        .sampler(
            SamplerConfig::default()
                .block_size(4)
                .batch_size(16)
                .fetch_factor(3)
                .seed(11),
        )
        .memory_bytes(16 << 20)
        .decode_threads(decode_threads)
        .output(output)
}

/// Everything that a minibatch holds. Values as their bits.
#[derive(Debug, PartialEq)]
struct Content {
    numbers: (u64, u64, bool),
    n_vars: usize,
    obs: Vec<u64>,
    indptr: Vec<i64>,
    indices: Vec<i64>,
    values: Vec<u32>,
    lens: Vec<u32>,
    columns: Vec<ObsColumn>,
}

fn content(minibatch: &Minibatch) -> Content {
    let all = |indices: Indices<'_>| (0..indices.len()).map(|k| indices.at(k)).collect::<Vec<i64>>();
    let bits = |values: Values<'_>| match values {
        Values::F32(values) => values.iter().map(|x| x.to_bits()).collect::<Vec<u32>>(),
        Values::Bf16(values) => values.iter().map(|x| x.to_bits().into()).collect(),
        other => panic!("{other:?}"),
    };
    let mut content = Content {
        numbers: (minibatch.number(), minibatch.global(), minibatch.is_padding()),
        n_vars: minibatch.n_vars(),
        obs: minibatch.obs().to_vec(),
        indptr: vec![],
        indices: vec![],
        values: vec![],
        lens: vec![],
        columns: minibatch.columns().to_vec(),
    };
    if let Some(csr) = minibatch.csr() {
        content.indptr = all(csr.indptr);
        (content.indices, content.values) = (all(csr.indices), bits(csr.values));
    } else if let Some(dense) = minibatch.dense() {
        content.values = bits(dense.values);
    } else if let Some(top) = minibatch.top_k() {
        (content.indices, content.values) = (all(top.indices), bits(top.values));
        content.lens = top.lens.to_vec();
    }
    content
}

/// Two epochs, so that memory is used again.
fn epochs(collection: &Collection, config: LoaderConfig) -> Vec<Content> {
    let loader = Loader::new(collection.clone(), config).unwrap();
    let mut all = vec![];
    for epoch in 0..2 {
        all.extend(
            loader
                .epoch(epoch)
                .unwrap()
                .map(|minibatch| content(&minibatch.unwrap())),
        );
    }
    all
}

fn outputs(n_vars: usize) -> Vec<OutputConfig> {
    let plain = OutputConfig::default;
    let every_other: Vec<Option<u32>> = (0..n_vars as u32).rev().step_by(2).map(Some).collect();
    let selected = GeneSelection::by_columns(n_vars as u64, &every_other).unwrap();
    let gene_weights: Vec<f32> = (0..n_vars).map(|k| 1.0 + k as f32 / 8.0).collect();
    vec![
        plain(),
        plain().value_type(OutputType::Bf16).index_type(IndexType::I64),
        plain().layout(Layout::Dense).gene_weights(gene_weights),
        plain().layout(Layout::TopK(9)),
        plain().genes(selected),
    ]
}

#[test]
fn epochs_are_those_of_one_store_of_the_concatenation() {
    let dir = tempfile::tempdir().unwrap();
    let panel = || genes([70, 3, 500, 31, 12, 88, 45]);
    let permuted = |step: usize| genes((0..60).map(|k| (k * step + 5) % 60));
    let cases = [
        (
            [genes(0..60), permuted(7), permuted(11), permuted(13)],
            Join::Same,
        ),
        (different_genes(), Join::Inner),
        (different_genes(), Join::Outer),
        (different_genes(), Join::Names(panel())),
        (
            [genes(0..60), genes(0..60), genes(0..60), genes(0..60)],
            Join::Names(panel()),
        ),
    ];
    for (case, (genes, join)) in cases.into_iter().enumerate() {
        let dir = dir.path().join(case.to_string());
        std::fs::create_dir(&dir).unwrap();
        let sources = sources(genes);
        let collection = Collection::join(write_all(&dir, &sources), &join).unwrap();
        let lists: Vec<Names> = sources.iter().map(Source::stored_names).collect();
        let names = join_names(&lists, &join);
        assert_eq!(collection.var_names().unwrap(), names);
        for (number, list) in lists.iter().enumerate() {
            let missing: Names = names
                .iter()
                .filter(|name| !list.contains(name))
                .cloned()
                .collect();
            assert_eq!(collection.missing(number).unwrap(), missing);
        }
        let whole = Collection::from(concatenate(&sources, &names).write(&dir.join("whole")));
        assert_eq!((collection.n_obs(), collection.n_vars()), (256, names.len()));
        for output in outputs(names.len()) {
            let expected = epochs(&whole, config(output.clone(), 1));
            assert!(expected.iter().map(|content| content.values.len()).sum::<usize>() > 100);
            for threads in [1, 3] {
                let found = epochs(&collection, config(output.clone(), threads));
                assert!(found == expected, "{join:?}, {output:?}, {threads} threads");
            }
        }
    }
}

#[test]
fn values_of_the_source_need_one_type_and_rounding_a_word_for_each_store() {
    let dir = tempfile::tempdir().unwrap();
    let of = |kind, seed| Source::new(genes(0..30), kind, 20, seed);
    let sources = [
        of(Kind::Counts, 1),
        of(Kind::Signed, 2),
        of(Kind::Signed, 3),
        of(Kind::Anything, 4),
    ];
    let stores = write_all(dir.path(), &sources);
    let output = OutputConfig::default().value_type(OutputType::Source);
    let of = |range: std::ops::Range<usize>| Collection::new(stores[range].to_vec()).unwrap();
    let error = Loader::new(of(0..2), config(output.clone(), 1)).unwrap_err();
    let message = error.to_string();
    assert!(
        matches!(
            error.cause(),
            Cause::Loader(LoaderError::ValueTypes {
                found: "int16",
                expected: "float32",
                ..
            })
        ),
        "{message}"
    );
    assert!(
        message.contains("part-1") && message.contains("part-0"),
        "{message}"
    );
    let loader = Loader::new(of(1..3), config(output, 1)).unwrap();
    let mut n = 0;
    for minibatch in loader.epoch(0).unwrap() {
        let minibatch = minibatch.unwrap();
        let csr = minibatch.csr().unwrap();
        let values: &[i16] = csr.values.get().unwrap();
        for (k, &obs) in minibatch.obs().iter().enumerate() {
            let row = sources[1 + obs as usize / 20].row(obs as usize % 20);
            let range = csr.indptr.at(k) as usize..csr.indptr.at(k + 1) as usize;
            assert!(
                values[range]
                    .iter()
                    .map(|&x| f32::from(x))
                    .eq(row.iter().map(|(_, x)| *x))
            );
            n += row.len();
        }
    }
    assert!(n > 50);
    let error = Loader::new(of(0..4), config(OutputConfig::default(), 1)).unwrap_err();
    assert!(
        matches!(error.cause(), Cause::Loader(LoaderError::Rounding { .. }))
            && error.to_string().contains("part-3"),
        "{error}"
    );
}

#[test]
fn damage_is_told_with_the_store_and_its_own_obs() {
    let dir = tempfile::tempdir().unwrap();
    let sources = sources(different_genes());
    let stores = write_all(dir.path(), &sources);
    let collection = Collection::join(stores.clone(), &Join::Inner).unwrap();
    let config = config(OutputConfig::default(), 2);
    let expected = epochs(&collection, config.clone());
    for (store, obs) in [(1, 20), (3, 44)] {
        assert!(!sources[store].row(obs).is_empty());
        let location = stores[store].index().locate(obs as u64).unwrap();
        let path = stores[store].shard_paths()[location.shard as usize].clone();
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        bad[location.parts[0].offset_bytes as usize + 1] ^= 4;
        std::fs::write(&path, &bad).unwrap();
        let loader = Loader::new(collection.clone(), config.clone()).unwrap();
        let mut n = 0;
        let error = loader.epoch(0).unwrap().find_map(|minibatch| match minibatch {
            Ok(minibatch) => {
                assert!(content(&minibatch) == expected[n]);
                n += 1;
                None
            }
            Err(error) => Some(error.to_string()),
        });
        let error = error.unwrap();
        assert!(
            error.contains(&format!("part-{store}")) && error.contains(&format!("obs {obs} ")),
            "{error}"
        );
        assert!(
            expected[n]
                .obs
                .contains(&(collection.range(store).start + obs as u64))
        );
        std::fs::write(&path, &good).unwrap();
    }
}
