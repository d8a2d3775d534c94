//! The same model fed in different orders from a store that is sorted by class.

mod sorted;

use std::path::Path;
use std::sync::Arc;

use cellring::Store;
use cellring::plan::{SamplerConfig, Strategy};

use crate::linear::{Result, Scores, Task, test, train};
use sorted::write_in_order;

/// A way to feed the model, and what became of it.
pub(crate) struct Fed {
    pub(crate) name: &'static str,
    /// Means over the seeds.
    pub(crate) scores: Scores,
}

/// How the model is fed. All read the same cells, each once in an epoch, in minibatches of 64.
fn feeds() -> Vec<(&'static str, SamplerConfig)> {
    let block_shuffle = |block_size, fetch_factor| {
        SamplerConfig::default()
            .block_size(block_size)
            .fetch_factor(fetch_factor)
    };
    let stream = |strategy| block_shuffle(1, 16).strategy(strategy);
    vec![
        ("streaming", stream(Strategy::Sequential)),
        (
            "streaming, shuffled within 1,024 cells",
            stream(Strategy::SequentialShuffle),
        ),
        ("block sampling, b 16, f 16", block_shuffle(16, 16)),
        ("block sampling, b 16, f 256", block_shuffle(16, 256)),
        ("true random", block_shuffle(1, 1)),
    ]
}

/// Sorts the cells by class into a store in `dir`, trains one epoch by each feed and seed, and scores on the same cells.
pub(crate) fn compare(
    store: &Arc<Store>,
    column: Option<&str>,
    dir: &Path,
    n_seeds: u64,
) -> Result<Vec<Fed>> {
    let task = Task::new(store, column)?;
    let mut order: Vec<u64> = (0..store.n_obs()).collect();
    order.sort_by_key(|&obs| task.labels[obs as usize]);
    let sorted = write_in_order(store, &order, &dir.join("sorted.cellring"))?;
    let task = Task {
        labels: order.iter().map(|&obs| task.labels[obs as usize]).collect(),
        ..task
    };
    let mut results = Vec::new();
    for (name, sampler) in feeds() {
        let mut mean = Scores::default();
        for seed in 0..n_seeds {
            let [training, testing] = task.split(seed)?;
            let sampler = sampler.clone().seed(seed);
            let model = train(&sorted, &task, &training, sampler, 1)?;
            let scores = test(&sorted, &task, &testing, &model)?;
            mean.accuracy += scores.accuracy / n_seeds as f64;
            mean.macro_f1 += scores.macro_f1 / n_seeds as f64;
        }
        results.push(Fed { name, scores: mean });
    }
    Ok(results)
}
