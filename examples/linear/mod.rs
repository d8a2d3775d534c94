//! What the examples share: a multinomial logistic regression in plain Rust, the labels that it learns, its scores.

use std::error::Error;
use std::sync::Arc;

use cellring::minibatch::{GeneSelection, Layout, Normalize, OutputConfig};
use cellring::plan::{MISSING, SamplerConfig, SamplerData, Strategy, Subset};
use cellring::{Loader, LoaderConfig, Minibatch, Store, select};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What the model learns: a class for each cell, and the genes that it may look at.
pub(crate) struct Task {
    /// The class of each cell of the store; [`MISSING`] where it has none.
    pub(crate) labels: Arc<[u32]>,
    /// Names of the classes.
    pub(crate) classes: Vec<String>,
    /// Columns of the store that are features; all without it.
    pub(crate) genes: Option<GeneSelection>,
}

impl Task {
    /// Classes by a column of obs, from all genes; or, for a store without such a column, types that are found by clustering
    /// the cells on every other gene. Those are then learnt from the remaining genes, so that the model cannot just repeat
    /// what the clustering did.
    pub(crate) fn new(store: &Arc<Store>, column: Option<&str>) -> Result<Self> {
        if let Some(column) = column {
            let codes = select::codes(store, &[column])?;
            return Ok(Self {
                labels: codes.codes,
                classes: codes.classes.concat(),
                genes: None,
            });
        }
        // By position in the source: a converted store has its genes in another order.
        let positions = store.source_positions()?;
        let half = |odd: bool| {
            let columns = (0..).zip(&positions);
            let chosen: Vec<_> = columns
                .filter(|(_, position)| (**position % 2 == 1) == odd)
                .map(|(column, _)| Some(column))
                .collect();
            GeneSelection::by_columns(store.n_vars(), &chosen)
        };
        Ok(Self {
            labels: cluster(store, half(true)?)?.into(),
            classes: (0..N_CLUSTERS).map(|cluster| format!("type {cluster}")).collect(),
            genes: Some(half(false)?),
        })
    }

    /// The cells that have a class, 80 % to train on and 20 % to test on.
    pub(crate) fn split(&self, seed: u64) -> Result<[Subset; 2]> {
        let labelled = Subset::from_fn(self.labels.len() as u64, |obs| {
            self.labels[obs as usize] != MISSING
        })?;
        let mut parts = labelled.split(&[0.8, 0.2], seed)?.into_iter();
        match (parts.next(), parts.next()) {
            (Some(train), Some(test)) => Ok([train, test]),
            _ => Err("a split has as many parts as fractions".into()),
        }
    }

    /// A loader of these cells: 10,000 counts per cell, logarithms, as sparse minibatches.
    pub(crate) fn loader(
        &self,
        store: &Arc<Store>,
        sampler: SamplerConfig,
        cells: &Subset,
    ) -> Result<Loader> {
        let config = LoaderConfig::default()
            .sampler(sampler)
            .data(SamplerData::default().subset(cells.clone()))
            .output(
                OutputConfig::default()
                    .genes(self.genes.clone())
                    .normalize(Normalize::LOG1P_10K),
            )
            .memory_bytes(64 << 20);
        Ok(Loader::new(store.clone(), config)?)
    }
}

/// How the model learns: fixed numbers, the same for all feeds.
const LEARNING_RATE: f32 = 30.0;
/// The bias is a feature of this value, small beside the others, which have length 1 together.
const BIAS: f32 = 0.1;

/// Multinomial logistic regression. A cell is its expression profile, scaled to length 1.
pub(crate) struct Model {
    n_classes: usize,
    /// A row of weights, one for each class, for each gene, and one for the bias.
    weights: Vec<f32>,
}

impl Model {
    pub(crate) fn new(n_genes: usize, n_classes: usize) -> Self {
        Self {
            n_classes,
            weights: vec![0.0; (n_genes + 1) * n_classes],
        }
    }

    /// One step of stochastic gradient descent on the cross-entropy of a minibatch.
    pub(crate) fn step(&mut self, minibatch: &Minibatch, labels: &[u32], rate: f32) {
        let n_classes = self.n_classes;
        // All gradients are of the weights before the step.
        let mut errors = Vec::with_capacity(minibatch.n_obs() * n_classes);
        for row in 0..minibatch.n_obs() {
            let mut scores = self.scores(minibatch, row);
            softmax(&mut scores);
            scores[labels[minibatch.obs()[row] as usize] as usize] -= 1.0;
            errors.extend(scores);
        }
        let rate = rate / minibatch.n_obs() as f32;
        for (row, errors) in errors.chunks_exact(n_classes).enumerate() {
            for (feature, value) in features(minibatch, row, self.bias()) {
                let weights = &mut self.weights[feature * n_classes..][..n_classes];
                for (weight, error) in weights.iter_mut().zip(errors) {
                    *weight -= rate * value * error;
                }
            }
        }
    }

    /// The class with the highest score.
    pub(crate) fn predict(&self, minibatch: &Minibatch, row: usize) -> u32 {
        let scores = self.scores(minibatch, row);
        let best = (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b]).then(b.cmp(&a)));
        best.unwrap_or(0) as u32
    }

    fn bias(&self) -> usize {
        self.weights.len() / self.n_classes - 1
    }

    fn scores(&self, minibatch: &Minibatch, row: usize) -> Vec<f32> {
        let mut scores = vec![0.0; self.n_classes];
        for (feature, value) in features(minibatch, row, self.bias()) {
            let weights = &self.weights[feature * self.n_classes..][..self.n_classes];
            for (score, weight) in scores.iter_mut().zip(weights) {
                *score += weight * value;
            }
        }
        scores
    }
}

/// The genes of a row and their values, the row scaled to length 1, and the bias.
fn features(minibatch: &Minibatch, row: usize, bias: usize) -> impl Iterator<Item = (usize, f32)> {
    let of_row = minibatch.indptr()[row] as usize..minibatch.indptr()[row + 1] as usize;
    let values = &minibatch.data()[of_row.clone()];
    let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
    let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
    let genes = minibatch.indices()[of_row].iter().map(|&gene| gene as usize);
    genes
        .zip(values.iter().map(move |value| value * scale))
        .chain([(bias, BIAS)])
}

fn softmax(scores: &mut [f32]) {
    let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    scores
        .iter_mut()
        .for_each(|score| *score = (*score - highest).exp());
    let sum: f32 = scores.iter().sum();
    scores.iter_mut().for_each(|score| *score /= sum);
}

/// Trains a model on these cells for some epochs, fed as `sampler` says. The rate falls to 0 by the end.
pub(crate) fn train(
    store: &Arc<Store>,
    task: &Task,
    cells: &Subset,
    sampler: SamplerConfig,
    n_epochs: u64,
) -> Result<Model> {
    let n_genes = task
        .genes
        .as_ref()
        .map_or(store.n_vars() as usize, GeneSelection::n_genes);
    let mut model = Model::new(n_genes, task.classes.len());
    let loader = task.loader(store, sampler, cells)?;
    for number in 0..n_epochs {
        let epoch = loader.epoch(number)?;
        let n_minibatches = epoch.n_minibatches();
        let n_steps = (n_minibatches * n_epochs) as f32;
        for (step, minibatch) in (number * n_minibatches..).zip(epoch) {
            model.step(
                &minibatch?,
                &task.labels,
                LEARNING_RATE * (1.0 - step as f32 / n_steps),
            );
        }
    }
    Ok(model)
}

/// How good a model is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Scores {
    /// Share of the cells that are classified correctly.
    pub(crate) accuracy: f64,
    /// Mean over the classes that occur of the harmonic mean of precision and recall: rare classes count as much as others.
    pub(crate) macro_f1: f64,
}

/// Scores a model on cells that it has not seen.
pub(crate) fn test(store: &Arc<Store>, task: &Task, cells: &Subset, model: &Model) -> Result<Scores> {
    let sampler = SamplerConfig::default().strategy(Strategy::Sequential);
    let n_classes = task.classes.len();
    let mut confusion = vec![0u64; n_classes * n_classes];
    for minibatch in task.loader(store, sampler, cells)?.epoch(0)? {
        let minibatch = minibatch?;
        for (row, &obs) in minibatch.obs().iter().enumerate() {
            let (truth, found) = (task.labels[obs as usize], model.predict(&minibatch, row));
            confusion[truth as usize * n_classes + found as usize] += 1;
        }
    }
    let correct = |class: usize| confusion[class * n_classes + class];
    let mut f1 = Vec::new();
    for class in 0..n_classes {
        let of_class: u64 = confusion[class * n_classes..][..n_classes].iter().sum();
        let found: u64 = (0..n_classes)
            .map(|truth| confusion[truth * n_classes + class])
            .sum();
        if of_class > 0 {
            f1.push(2.0 * correct(class) as f64 / (of_class + found) as f64);
        }
    }
    Ok(Scores {
        accuracy: (0..n_classes).map(correct).sum::<u64>() as f64 / cells.len().max(1) as f64,
        macro_f1: f1.iter().sum::<f64>() / f1.len().max(1) as f64,
    })
}

/// Types that are found where none are given.
const N_CLUSTERS: usize = 4;
const ROUNDS: usize = 20;

/// Groups the cells by the direction of their profiles over these genes, less the mean profile (spherical k-means). The
/// first centres are cells that are as unlike as can be, so that nothing depends on chance.
fn cluster(store: &Arc<Store>, genes: GeneSelection) -> Result<Vec<u32>> {
    let (n_obs, n_genes) = (store.n_obs() as usize, genes.n_genes());
    let config = LoaderConfig::default()
        .sampler(SamplerConfig::default().strategy(Strategy::Sequential))
        .output(
            OutputConfig::default()
                .layout(Layout::Dense)
                .genes(genes)
                .normalize(Normalize::LOG1P_10K),
        );
    let mut cells: Vec<f32> = Vec::with_capacity(n_obs * n_genes);
    for minibatch in Loader::new(store.clone(), config)?.epoch(0)? {
        let minibatch = minibatch?;
        let values = minibatch.dense().and_then(|dense| dense.values.get::<f32>());
        cells.extend_from_slice(values.ok_or("dense f32 minibatches were asked for")?);
    }
    let mut mean = vec![0.0f32; n_genes];
    for cell in cells.chunks_exact(n_genes) {
        add(&mut mean, cell);
    }
    mean.iter_mut().for_each(|sum| *sum /= n_obs as f32);
    for cell in cells.chunks_exact_mut(n_genes) {
        cell.iter_mut()
            .zip(&mean)
            .for_each(|(value, mean)| *value -= mean);
        unit(cell);
    }
    let cell = |obs: usize| &cells[obs * n_genes..][..n_genes];
    let mut centres = vec![cell(0).to_vec()];
    let mut nearest = vec![f32::NEG_INFINITY; n_obs];
    while centres.len() < N_CLUSTERS {
        let last = &centres[centres.len() - 1];
        for (obs, nearest) in nearest.iter_mut().enumerate() {
            *nearest = nearest.max(dot(cell(obs), last));
        }
        let unlike = (0..n_obs).min_by(|&a, &b| nearest[a].total_cmp(&nearest[b]));
        centres.push(cell(unlike.unwrap_or(0)).to_vec());
    }
    let mut labels = vec![0u32; n_obs];
    for _ in 0..ROUNDS {
        for (obs, label) in labels.iter_mut().enumerate() {
            let likeness = |centre: &usize| dot(cell(obs), &centres[*centre]);
            let best = (0..N_CLUSTERS).max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
            *label = best.unwrap_or(0) as u32;
        }
        centres.iter_mut().for_each(|centre| centre.fill(0.0));
        for (obs, &label) in labels.iter().enumerate() {
            add(&mut centres[label as usize], cell(obs));
        }
        centres.iter_mut().for_each(|centre| unit(centre));
    }
    Ok(labels)
}

fn add(sum: &mut [f32], values: &[f32]) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn unit(values: &mut [f32]) {
    let length = dot(values, values).sqrt().max(f32::MIN_POSITIVE);
    values.iter_mut().for_each(|value| *value /= length);
}
