//! Sampling by strategies, and going on with an epoch, through the loader.

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use crate::common::{Kind, matrix, value_type, write_store};
use cellring::__internal::{Cause, LoaderError};
use cellring::loader::Epoch;
use cellring::minibatch::{GeneSelection, IndexType, Layout, LibraryGenes, Normalize, OutputConfig};
use cellring::plan::{
    Balanced, Controls, Custom, Grouped, PlanError, SamplerConfig, SamplerData, SamplerState, Strategy,
    Subset, UserOrder, Weighted,
};
use cellring::writer::WriterOptions;
use cellring::{Loader, LoaderConfig, Store};

const N_OBS: u64 = 500;

fn store(path: &Path) -> Arc<Store> {
    let mut options = WriterOptions::new(300, value_type(Kind::Counts));
    options.block_size = 16;
    options.shard_bytes = 30_000;
    write_store(path, &matrix(N_OBS as usize, 300, Kind::Counts, 7), options, None).unwrap();
    Arc::new(Store::open(path).unwrap())
}

/// Stretches of 8 obs from the last to the first, fewer in each epoch; none from epoch 9 on.
#[derive(Debug)]
struct Backwards;

impl UserOrder for Backwards {
    fn name(&self) -> &str {
        "backwards"
    }

    fn fingerprint(&self) -> u64 {
        8
    }

    fn order(&self, _: u64, epoch: u64) -> Result<Custom, Box<dyn Error + Send + Sync>> {
        let left = 60u64.checked_sub(epoch).filter(|_| epoch < 9);
        let n = left.ok_or("there are no more epochs")?;
        let stretches = (0..n).rev().map(|stretch| 8 * stretch..8 * stretch + 8);
        Ok(Custom::from_ranges(stretches)?.shuffled())
    }
}

/// Every strategy, with data that it needs. Classes and groups are runs of 50 and 25 obs.
fn samplings() -> Vec<(Strategy, SamplerData)> {
    let data = SamplerData::default;
    let runs = |len: u64| (0..N_OBS).map(|obs| (obs / len) as u32).collect::<Vec<_>>();
    let subset = Subset::from_fn(N_OBS, |obs| obs % 7 != 3).unwrap();
    let weighted = |replacement| {
        Weighted::new((0..N_OBS).map(|obs| (obs % 5) as f32).collect::<Vec<_>>())
            .n_draws(Some(300))
            .replacement(replacement)
    };
    let grouped = Grouped::new(runs(25))
        .n_per_group(Some(4))
        .controls(Controls::new(vec![3], 4));
    let balanced = Balanced::new(runs(50));
    let custom = Custom::from_ids((0..N_OBS).rev().step_by(2)).unwrap();
    vec![
        (Strategy::Sequential, data()),
        (Strategy::SequentialShuffle, data()),
        (Strategy::BlockShuffle, data().subset(subset)),
        (weighted(true).into(), data()),
        (weighted(false).into(), data()),
        (balanced.into(), data()),
        (grouped.into(), data()),
        (custom.into(), data()),
        (Strategy::user(Backwards), data()),
    ]
}

fn config(strategy: &Strategy, data: SamplerData, rank: u32, world_size: u32) -> LoaderConfig {
    LoaderConfig::default()
        .sampler(
            SamplerConfig::default()
                .strategy(strategy.clone())
                .block_size(4)
                .batch_size(16)
                .fetch_factor(3)
                .seed(5)
                .rank(rank)
                .world_size(world_size),
        )
        .data(data)
        .memory_bytes(16 << 20)
        .decode_threads(2)
}

/// Number, global number, obs and all values of a minibatch.
type Content = (u64, u64, bool, Vec<u64>, Vec<i32>, Vec<u32>);

fn take(epoch: &mut Epoch, n: usize) -> Vec<Content> {
    epoch
        .take(n)
        .map(|minibatch| {
            let minibatch = minibatch.unwrap();
            let bits = minibatch.data().iter().map(|value| value.to_bits()).collect();
            let (number, global) = (minibatch.number(), minibatch.global());
            let obs = minibatch.obs().to_vec();
            (
                number,
                global,
                minibatch.is_padding(),
                obs,
                minibatch.indices().to_vec(),
                bits,
            )
        })
        .collect()
}

#[test]
fn every_strategy_delivers_what_its_plan_says_and_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir.path().join("store"));
    for (strategy, data) in samplings() {
        let kind = strategy.kind();
        let config = config(&strategy, data, 0, 1);
        let loader = Loader::new(store.clone(), config.clone()).unwrap();
        let plan = loader.sampler().plan(2).unwrap();
        let planned: Vec<Vec<u64>> = (0..plan.n_fetches())
            .flat_map(|number| {
                let fetch = plan.fetch(number);
                (0..fetch.minibatches.len())
                    .map(|index| fetch.obs_of(index).to_vec())
                    .collect::<Vec<_>>()
            })
            .collect();
        let whole = take(&mut loader.epoch(2).unwrap(), usize::MAX);
        assert!(
            whole.iter().map(|content| &content.3).eq(&planned),
            "{kind} reads what is planned"
        );
        for (number, content) in whole.iter().enumerate() {
            assert_eq!(content.0, number as u64);
            let rows = store.rows(content.3[0]..content.3[0] + 1).unwrap();
            assert!(content.4.iter().zip(&rows.indices).all(|(&a, &b)| a as u32 == b));
        }
        for consumed in [0, 1, 3, 4, whole.len() - 1, whole.len()] {
            let mut epoch = loader.epoch(2).unwrap();
            take(&mut epoch, consumed);
            let saved = serde_json::to_string(&epoch.state()).unwrap();
            drop(epoch);
            let state: SamplerState = serde_json::from_str(&saved).unwrap();
            // The settings are for the message of a state that does not fit.
            assert!(saved.len() < 600, "{saved}");
            let other = Loader::new(store.clone(), config.clone()).unwrap();
            let mut epoch = other.resume(&state).unwrap();
            assert_eq!(epoch.n_minibatches() as usize, whole.len() - consumed);
            let rest = take(&mut epoch, 2);
            // A state of a resumed epoch is as good as one of the whole.
            let state = epoch.state();
            drop(epoch);
            let rest = [rest, take(&mut other.resume(&state).unwrap(), usize::MAX)].concat();
            assert_eq!(rest, whole[consumed..], "{kind} after {consumed}");
        }
    }
}

#[test]
fn an_epoch_goes_on_with_another_world_size() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir.path().join("store"));
    for (strategy, data) in samplings() {
        let kind = strategy.kind();
        let on_rank = |rank, world_size| {
            let config = config(&strategy, data.clone(), rank, world_size);
            Loader::new(store.clone(), config).unwrap()
        };
        let mut expected = take(&mut on_rank(0, 1).epoch(1).unwrap(), usize::MAX);
        let mut seen = vec![];
        let mut state = None;
        for rank in 0..3 {
            let loader = on_rank(rank, 3);
            let mut epoch = loader.epoch(1).unwrap();
            seen.extend(take(&mut epoch, 4));
            // The same on every rank.
            assert_eq!(*state.get_or_insert_with(|| epoch.state()), epoch.state());
        }
        for rank in 0..2 {
            let loader = on_rank(rank, 2);
            seen.extend(take(
                &mut loader.resume(state.as_ref().unwrap()).unwrap(),
                usize::MAX,
            ));
        }
        seen.retain(|content| !content.2);
        seen.sort_by_key(|content| content.1);
        // Numbers within a rank differ, all else is the same.
        for content in seen.iter_mut().chain(&mut expected) {
            content.0 = 0;
        }
        assert_eq!(seen, expected, "{kind}");
    }
}

/// A state knows in which form the epoch began, and a loader that delivers another one does not go on with it.
#[test]
fn an_epoch_goes_on_in_the_form_that_it_began_in() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir.path().join("store"));
    let loader = |output: OutputConfig| {
        let config = config(&Strategy::BlockShuffle, SamplerData::default(), 0, 1);
        Loader::new(store.clone(), config.output(output)).unwrap()
    };
    let normalize = |target_sum, over| {
        OutputConfig::default().normalize(Normalize::LOG1P_10K.target_sum(target_sum).over(over))
    };
    let genes = |columns: &[u32]| {
        OutputConfig::default().genes(
            GeneSelection::by_columns(300, &columns.iter().map(|&c| Some(c)).collect::<Vec<_>>()).unwrap(),
        )
    };
    let weights = |weight: f32| OutputConfig::default().gene_weights(vec![weight; 300]);
    let top = |k| OutputConfig::default().layout(Layout::TopK(k));
    let outputs = [
        OutputConfig::default(),
        normalize(Some(1e4), LibraryGenes::All),
        normalize(Some(1e3), LibraryGenes::All),
        normalize(None, LibraryGenes::All),
        normalize(Some(1e4), LibraryGenes::Selected),
        genes(&[1, 2]),
        genes(&[2, 1]),
        weights(1.0),
        weights(2.0),
        top(3),
        top(4),
        OutputConfig::default().index_type(IndexType::I64),
    ];
    for (then, began) in outputs.iter().enumerate() {
        let first = loader(began.clone());
        let mut epoch = first.epoch(0).unwrap();
        epoch.next().unwrap().unwrap();
        let mut state = epoch.state();
        for (now, output) in outputs.iter().enumerate() {
            let resumed = loader(output.clone())
                .resume(&state)
                .map(|epoch| epoch.n_minibatches());
            match resumed {
                Ok(n) => assert!(then == now && n == epoch.n_minibatches() - 1, "{then} {now}"),
                Err(error) => assert!(
                    then != now
                        && matches!(error.cause(), Cause::Loader(LoaderError::OtherOutput { differences }) if !differences.is_empty()),
                    "{then} {now}: {error}"
                ),
            }
        }
        // As an earlier release saved it.
        state.output.clear();
        let other = outputs[(then + 1) % outputs.len()].clone();
        assert!(loader(other).resume(&state).is_ok(), "{then}");
    }
}

const CHILD: &str = "CELLRING_TEST_RESUME";

/// The body of the child process of the next test.
#[test]
fn child() {
    let Some(told) = std::env::var_os(CHILD) else {
        return;
    };
    let dir = Path::new(&told);
    let state: SamplerState =
        serde_json::from_slice(&std::fs::read(dir.join("state.json")).unwrap()).unwrap();
    let store = Arc::new(Store::open(dir.join("store")).unwrap());
    let (strategy, data) = samplings().swap_remove(2);
    let loader = Loader::new(store, config(&strategy, data, 0, 1)).unwrap();
    let rest = take(&mut loader.resume(&state).unwrap(), usize::MAX);
    std::fs::write(dir.join("rest.json"), serde_json::to_vec(&rest).unwrap()).unwrap();
}

#[test]
fn an_epoch_goes_on_in_another_process() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir.path().join("store"));
    let (strategy, data) = samplings().swap_remove(2);
    let loader = Loader::new(store, config(&strategy, data, 0, 1)).unwrap();
    let mut epoch = loader.epoch(9).unwrap();
    take(&mut epoch, 5);
    std::fs::write(
        dir.path().join("state.json"),
        serde_json::to_vec(&epoch.state()).unwrap(),
    )
    .unwrap();
    let expected = take(&mut epoch, usize::MAX);
    assert!(expected.len() > 5);
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "resume::child"])
        .env(CHILD, dir.path())
        .output()
        .unwrap();
    assert!(
        child.status.success(),
        "{}",
        String::from_utf8_lossy(&child.stdout)
    );
    let rest: Vec<Content> =
        serde_json::from_slice(&std::fs::read(dir.path().join("rest.json")).unwrap()).unwrap();
    assert_eq!(rest, expected);
}

#[test]
fn a_state_of_something_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir.path().join("store"));
    let mut all = samplings();
    let (strategy, data) = all.swap_remove(2);
    let loader = Loader::new(store.clone(), config(&strategy, data.clone(), 0, 1)).unwrap();
    let state = loader.epoch(0).unwrap().state();
    // The rank layout may differ, nothing else may.
    let refused = |store: &Arc<Store>, change: fn(&mut LoaderConfig)| {
        let mut config = config(&strategy, data.clone(), 0, 1);
        change(&mut config);
        let loader = Loader::new(store.clone(), config).unwrap();
        matches!(
            loader.resume(&state),
            Err(error) if matches!(error.cause(), Cause::Plan(PlanError::StateMismatch { .. }))
        )
    };
    assert!(!refused(&store, |_| ()) && !refused(&store, |config| config.sampler.world_size = 2));
    assert!(refused(&store, |config| config.sampler.seed = 6));
    assert!(refused(&store, |config| config.sampler.batch_size = 8));
    assert!(refused(&store, |config| config.data.subset = None));
    let path = dir.path().join("other");
    let options = WriterOptions::new(300, value_type(Kind::Counts));
    write_store(
        &path,
        &matrix(N_OBS as usize, 300, Kind::Counts, 8),
        options,
        None,
    )
    .unwrap();
    assert!(refused(&Arc::new(Store::open(&path).unwrap()), |_| ()));
}

#[test]
fn an_epoch_that_a_user_order_does_not_have_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir.path().join("store"));
    let config = config(&Strategy::user(Backwards), SamplerData::default(), 0, 1);
    let loader = Loader::new(store, config).unwrap();
    let n_obs = |loader: &Loader, epoch| -> usize {
        let epoch = loader.epoch(epoch).unwrap();
        epoch.map(|minibatch| minibatch.unwrap().n_obs()).sum()
    };
    assert_eq!(n_obs(&loader, 0), 480);
    let error = loader.epoch(9).unwrap_err().to_string();
    assert_eq!(
        error,
        "the order \"backwards\" failed for epoch 9: there are no more epochs"
    );
    // The loader goes on, with an epoch of another length.
    assert_eq!(n_obs(&loader, 8), 416);
}
