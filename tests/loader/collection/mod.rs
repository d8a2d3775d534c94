//! Several stores as one: the same epochs as one store of their concatenation, bit for bit.

mod columns;
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

/// Names that repeat, and columns that tell genes better.
#[test]
fn genes_are_told_by_another_column() {
    let dir = tempfile::tempdir().unwrap();
    let ids = |range: std::ops::Range<usize>| -> Names { range.map(|k| format!("id{k}")).collect() };
    let of = |ids: Names, seed| Source {
        ids: Some(ids),
        ..Source::new(genes((0..20).map(|k| k % 9)), Kind::Counts, 50, seed)
    };
    let by_id = |source: &Source| Source {
        names: source.ids.clone().unwrap(),
        rows: source.rows.clone(),
        ..Source::new(vec![], Kind::Counts, 0, 0)
    };
    let sources = [of(ids(0..20), 1), of(ids(5..25), 2)];
    let collection = Collection::join_by(write_all(dir.path(), &sources), &Join::Outer, "gene_id").unwrap();
    let names = ids(0..25);
    assert_eq!(collection.var_names().unwrap(), names);
    assert_eq!(collection.missing(1).unwrap(), ids(0..5));
    let whole =
        concatenate(&[by_id(&sources[0]), by_id(&sources[1])], &names).write(&dir.path().join("whole"));
    let plain = || config(OutputConfig::default(), 2);
    assert!(epochs(&collection, plain()) == epochs(&whole.into(), plain()));
    let same = Collection::join_by(collection.stores()[..1].to_vec(), &Join::Same, "gene_id").unwrap();
    assert_eq!(same.var_names().unwrap(), ids(0..20));
}

#[test]
fn the_library_of_a_cell_is_that_of_its_store_unless_the_selected_genes_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut sources = sources(different_genes());
    sources.truncate(1);
    sources.push(Source::new(genes(20..95), Kind::Counts, 40, 9));
    let collection = Collection::join(write_all(dir.path(), &sources), &Join::Inner).unwrap();
    let names = collection.var_names().unwrap();
    for over in [LibraryGenes::All, LibraryGenes::Selected] {
        let output = OutputConfig::default().normalize(Normalize::LOG1P_10K.over(over));
        let loader = Loader::new(collection.clone(), config(output, 2)).unwrap();
        for minibatch in loader.epoch(0).unwrap() {
            let minibatch = minibatch.unwrap();
            for (k, &obs) in minibatch.obs().iter().enumerate() {
                let (store, obs) = collection.locate(obs);
                let row = sources[store].row(obs as usize);
                let counts = |name: &str| over == LibraryGenes::All || names.iter().any(|n| n == name);
                let total: f64 = row
                    .iter()
                    .filter(|(name, _)| counts(name))
                    .map(|(_, x)| f64::from(*x))
                    .sum();
                let range = minibatch.indptr()[k] as usize..minibatch.indptr()[k + 1] as usize;
                for at in range {
                    let name = &names[minibatch.indices()[at] as usize];
                    let (_, value) = row.iter().find(|(other, _)| other == name).unwrap();
                    let expected = f64::from(value / (total as f32 / 1e4)).ln_1p() as f32;
                    assert_eq!(minibatch.data()[at].to_bits(), expected.to_bits());
                }
            }
        }
    }
}

#[test]
fn genes_that_cannot_be_joined_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let stores = write_all(dir.path(), &sources(different_genes()));
    let refused = |stores: &[Arc<Store>], join| Collection::join(stores.to_vec(), &join).unwrap_err();
    let error = refused(&stores, Join::Same);
    let message = error.to_string();
    assert!(
        matches!(
            error.cause(),
            Cause::Collection(CollectionError::OtherGenes {
                n_missing: 30,
                n_extra: 31,
                ..
            })
        ),
        "{message}"
    );
    assert!(
        message.contains("part-1") && message.contains("part-0") && message.contains("g0, g1, g2"),
        "{message}"
    );
    assert!(matches!(
        refused(&[], Join::Same).cause(),
        Cause::Collection(CollectionError::Empty)
    ));
    let twice = Join::Names(genes([4, 5, 4]));
    assert!(
        matches!(refused(&stores, twice).cause(), Cause::Output(OutputError::RepeatedGene(name)) if name == "g4")
    );
    let few = |numbers: Vec<usize>, seed| Source::new(genes(numbers), Kind::Counts, 20, seed);
    let others = [
        few((100..120).collect(), 5),
        few([vec![0, 1, 0], (2..19).collect()].concat(), 6),
        few([vec![0, 1, 0], (2..19).collect()].concat(), 7),
        few((0..19).collect(), 8),
    ];
    let dir = dir.path().join("others");
    std::fs::create_dir(&dir).unwrap();
    let others = write_all(&dir, &others);
    for join in [Join::Inner, Join::Outer] {
        let no_common = refused(&[stores[0].clone(), others[0].clone()], join);
        let message = no_common.to_string();
        assert!(
            matches!(
                no_common.cause(),
                Cause::Collection(CollectionError::NothingInCommon { n_stores: 2, .. })
            ),
            "{message}"
        );
        assert!(
            message.contains("(g0, g1, g2, ..)") && message.contains("(g100, g101, g102, ..)"),
            "{message}"
        );
    }
    // Names that occur twice say nothing, unless all stores have the same in the same order.
    for join in [Join::Same, Join::Inner, Join::Outer] {
        let error = refused(&[others[1].clone(), others[3].clone()], join.clone());
        assert!(
            matches!(error.cause(), Cause::Collection(CollectionError::RepeatedNames { n: 1, names, .. }) if names == &["g0"]),
            "{error}"
        );
        assert!(error.to_string().contains("part-1"), "{error}");
        let same = Collection::join(others[1..3].to_vec(), &join).unwrap();
        assert_eq!((same.n_vars(), same.n_obs()), (20, 40));
    }
    let without = Join::Names(genes([7, 3]));
    assert_eq!(
        Collection::join(vec![others[1].clone(), others[3].clone()], &without)
            .unwrap()
            .n_vars(),
        2
    );
    let error = Collection::join_by(stores[..2].to_vec(), &Join::Outer, "gene_id").unwrap_err();
    assert!(
        matches!(error.cause(), Cause::Format(_)) && error.to_string().contains("gene_id"),
        "{error}"
    );
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
fn stores_are_drawn_by_their_shares() {
    let dir = tempfile::tempdir().unwrap();
    let of = |n_obs, seed| Source::new(genes(0..30), Kind::Counts, n_obs, seed);
    let collection = Collection::new(write_all(
        dir.path(),
        &[of(20, 1), of(200, 2), of(0, 3), of(70, 4)],
    ))
    .unwrap();
    let subset = Subset::from_fn(290, |obs| obs < 10 || (obs >= 100 && obs % 3 == 0)).unwrap();
    let shares = [3.0, 2.0, 0.0, 1.0];
    for subset in [None, Some(subset)] {
        let mut weighted = collection.weighted(&shares, subset.as_ref()).unwrap();
        assert!(weighted.replacement);
        weighted.n_draws = Some(1200);
        let mut config = config(OutputConfig::default(), 2);
        config.sampler.strategy = weighted.into();
        config.data = SamplerData::default().subset(subset.clone());
        let loader = Loader::new(collection.clone(), config).unwrap();
        let mut counts = vec![0u32; 290];
        for epoch in 0..10 {
            for minibatch in loader.epoch(epoch).unwrap() {
                minibatch
                    .unwrap()
                    .obs()
                    .iter()
                    .for_each(|&obs| counts[obs as usize] += 1);
            }
        }
        let is_member = |obs: u64| subset.as_ref().is_none_or(|subset| subset.contains(obs));
        let mut chi_square = 0.0;
        let mut n_members = 0;
        for (store, share) in shares.iter().enumerate() {
            let members: Vec<u64> = collection.range(store).filter(|&obs| is_member(obs)).collect();
            let drawn: u32 = members.iter().map(|&obs| counts[obs as usize]).sum();
            let expected = 12_000.0 * share / 6.0;
            // Draws are spread evenly over the weights: all but those at the edges of a store are certain.
            assert!(
                (f64::from(drawn) - expected).abs() <= 0.02 * expected,
                "{drawn} draws of {expected}"
            );
            for &obs in &members {
                let expected = expected / members.len() as f64;
                chi_square += (f64::from(counts[obs as usize]) - expected).powi(2) / expected;
                n_members += 1;
            }
        }
        assert_eq!(counts.iter().sum::<u32>(), 12_000);
        // Draws of a block are not independent; with fewer degrees of freedom the sum is at most this, but for 1 in 10^6.
        assert!(
            chi_square < f64::from(n_members) * 2.0,
            "{chi_square} of {n_members}"
        );
    }
    let codes = collection.store_codes();
    assert!((0..290).all(|obs| collection.locate(obs).0 == codes[obs as usize] as usize));
    let refused = |shares: &[f64]| collection.weighted(shares, None).unwrap_err();
    assert!(matches!(
        refused(&[1.0]).cause(),
        Cause::Collection(CollectionError::Shares {
            expected: 4,
            found: 1
        })
    ));
    for bad in [f64::NAN, f64::INFINITY, -1.0] {
        let error = refused(&[0.0, 1.0, 0.0, bad]);
        assert!(
            matches!(error.cause(), Cause::Collection(CollectionError::BadShare { .. }))
                && error.to_string().contains("part-3"),
            "{error}"
        );
    }
    let error = refused(&[0.0, 1.0, 1.0, 0.0]);
    assert!(
        matches!(
            error.cause(),
            Cause::Collection(CollectionError::NothingToDraw { .. })
        ) && error.to_string().contains("part-2"),
        "{error}"
    );
    // However small a share is, it is not none.
    let tiny = collection.weighted(&[1e-300, 1.0, 0.0, 0.0], None).unwrap();
    assert!(
        tiny.weights[..20].iter().all(|&weight| weight > 0.0)
            && tiny.weights[220..].iter().all(|&w| w == 0.0)
    );
}

#[test]
fn every_strategy_works_over_all_obs_and_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let sources = sources(different_genes());
    let stores = write_all(dir.path(), &sources);
    let collection = Collection::join(stores.clone(), &Join::Outer).unwrap();
    let balanced = Balanced::new(collection.store_codes()).n_draws(Some(200));
    let subset = Subset::from_ranges(256, [collection.range(1), collection.range(3)]).unwrap();
    let weighted = collection.weighted(&[1.0, 1.0, 0.0, 2.0], None).unwrap();
    let custom = Custom::from_ids((0..256).rev()).unwrap();
    let data = SamplerData::default;
    let samplings = [
        (Strategy::Sequential, data()),
        (Strategy::BlockShuffle, data().subset(subset)),
        (balanced.into(), data()),
        (weighted.into(), data()),
        (custom.into(), data()),
    ];
    for (strategy, data) in samplings {
        let kind = strategy.kind();
        let mut config = config(OutputConfig::default(), 2);
        (config.sampler.strategy, config.data) = (strategy, data);
        let make = |stores: Vec<Arc<Store>>| {
            Loader::new(Collection::join(stores, &Join::Outer).unwrap(), config.clone()).unwrap()
        };
        let loader = make(stores.clone());
        let whole: Vec<Content> = loader.epoch(2).unwrap().map(|m| content(&m.unwrap())).collect();
        let plan = loader.sampler().plan(2).unwrap();
        let planned: Vec<u64> = (0..plan.n_fetches())
            .flat_map(|number| plan.fetch(number).obs)
            .collect();
        let obs: Vec<u64> = whole.iter().flat_map(|content| content.obs.clone()).collect();
        let mut sorted = [planned, obs];
        sorted.iter_mut().for_each(|list| list.sort_unstable());
        assert_eq!(sorted[0], sorted[1]);
        let mut epoch = loader.epoch(2).unwrap();
        epoch
            .by_ref()
            .take(4)
            .for_each(|minibatch| drop(minibatch.unwrap()));
        let state = epoch.state();
        drop(epoch);
        let other = make(stores.clone());
        let rest: Vec<Content> = other
            .resume(&state)
            .unwrap()
            .map(|m| content(&m.unwrap()))
            .collect();
        assert!(rest == whole[4..], "{kind}");
        let mut swapped = stores.clone();
        swapped.swap(0, 3);
        if matches!(kind, StrategyKind::Sequential | StrategyKind::Custom) {
            let error = make(swapped).resume(&state).unwrap_err();
            assert!(
                matches!(error.cause(), Cause::Plan(PlanError::StateMismatch { .. })),
                "{error}"
            );
        }
    }
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
