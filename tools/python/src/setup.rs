//! What a loader is asked for, checked before anything is opened: no thread and no ring is there yet.

use std::sync::Arc;

use cellring::engine::EngineConfig;
use cellring::format::ValueBuffer;
use cellring::gpu::Gpu;
use cellring::minibatch::{ColumnForm, IndexType, LibraryGenes, Normalize, OutputConfig};
use cellring::plan::{
    Balanced, Controls, Custom, Grouped, MISSING, Sampler, SamplerConfig, Strategy, StrategyKind, Weighted,
};
use cellring::{
    Collection, ColumnChoice, GeneSelection, Join, Layout, LoaderConfig, MatrixChoice, OutputType,
    SamplerData, Subset,
};
use pyo3::prelude::*;

use crate::arrays::{Array, values_of};
use crate::error::{detached, refused, to_python};
use crate::loader::Loader;
use crate::select::{self, Refusal};
use crate::store::Store;

/// Memory of a loader that is asked for categories only: enough for any cell.
const CATEGORIES_BYTES: usize = 64 << 20;

/// The arguments of `cellring.Loader`, all of them, as the Python half has checked and completed them.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Arguments<'py> {
    join: String,
    var_key: Option<String>,
    batch_size: u32,
    block_size: u64,
    fetch_factor: u32,
    seed: u64,
    drop_last: bool,
    strategy: Option<String>,
    weights: Option<Bound<'py, PyAny>>,
    replacement: bool,
    draws: Option<u64>,
    balance: Option<Bound<'py, PyAny>>,
    balance_global: bool,
    group: Option<Bound<'py, PyAny>>,
    n_per_group: Option<u32>,
    sets_per_minibatch: Option<u32>,
    controls: Option<Bound<'py, PyAny>>,
    match_by: Option<Vec<String>>,
    n_controls: Option<u32>,
    order: Option<Bound<'py, PyAny>>,
    shuffle_order: bool,
    obs_filter: Option<String>,
    subset: Option<Bound<'py, PyAny>>,
    split: Option<String>,
    part: Option<String>,
    split_by: Option<String>,
    split_seed: u64,
    genes: Option<Vec<String>>,
    gene_weights: Option<Bound<'py, PyAny>>,
    normalize: Option<f64>,
    log1p: bool,
    library: String,
    layout: String,
    k: usize,
    dtype: String,
    index_dtype: String,
    allow_rounding: bool,
    matrices: Vec<(String, Option<String>, Option<String>)>,
    obs_columns: Vec<(String, String, bool)>,
    memory: usize,
    threads: usize,
    backend: String,
    direct: String,
    depth: Option<u32>,
}

/// A checked request: stores, sampler and form of the minibatches.
#[pyclass(frozen, module = "cellring._cellring")]
pub(crate) struct Setup {
    collection: Collection,
    config: LoaderConfig,
    warnings: Vec<String>,
    var_names: Arc<Vec<String>>,
}

#[pymethods]
impl Setup {
    #[new]
    fn new(py: Python<'_>, stores: Vec<PyRef<'_, Store>>, arguments: Arguments<'_>) -> PyResult<Self> {
        let mut warnings = Vec::new();
        let stores: Vec<_> = stores.iter().map(|store| store.store.clone()).collect();
        let join = match arguments.join.as_str() {
            "inner" => Join::Inner,
            "outer" => Join::Outer,
            _ => Join::Same,
        };
        let var_key = arguments.var_key.clone();
        let collection = detached(py, || match &var_key {
            Some(column) => Collection::join_by(stores, &join, column),
            None => Collection::join(stores, &join),
        })?;
        let subset = subset(py, &collection, &arguments, &mut warnings)?;
        let strategy = strategy(py, &collection, &arguments, subset.as_ref(), &mut warnings)?;
        let sampler = SamplerConfig::default()
            .batch_size(arguments.batch_size)
            .block_size(arguments.block_size)
            .fetch_factor(arguments.fetch_factor)
            .seed(arguments.seed)
            .drop_last(arguments.drop_last)
            .strategy(strategy);
        let all_names = detached(py, || collection.var_names())?;
        let (output, var_names) = output(py, &arguments, all_names, &mut warnings)?;
        let mut matrices = Vec::new();
        for (name, layout, dtype) in &arguments.matrices {
            let mut choice = MatrixChoice::from(name.as_str());
            if let Some(layout) = layout {
                choice.output.layout = of_layout(py, layout, arguments.k)?;
            }
            if let Some(dtype) = dtype {
                choice.output.value_type = of_dtype(py, dtype)?;
            }
            choice.output.index_type = of_index_dtype(&arguments.index_dtype);
            matrices.push(choice);
        }
        let columns = arguments.obs_columns.iter().map(|(name, form, or_missing)| {
            let mut column = ColumnChoice::from(name.as_str());
            column.form = match form.as_str() {
                "codes" => ColumnForm::Codes,
                "floats" => ColumnForm::Floats,
                "strings" => ColumnForm::Strings,
                _ => ColumnForm::Natural,
            };
            column.or_missing = *or_missing;
            column
        });
        let mut engine = EngineConfig::default().depth(arguments.depth);
        engine.backend = arguments.backend.parse().map_err(|error| of_text(py, &error))?;
        engine.direct = arguments.direct.parse().map_err(|error| of_text(py, &error))?;
        let config = LoaderConfig::default()
            .sampler(sampler)
            .data(SamplerData::default().subset(subset))
            .engine(engine)
            .memory_bytes(arguments.memory)
            .decode_threads(arguments.threads)
            .output(output)
            .matrices(matrices)
            .obs_columns(columns)
            .allow_rounding(arguments.allow_rounding);
        let made = Self {
            collection,
            config,
            warnings,
            var_names: Arc::new(var_names),
        };
        made.check(py)?;
        Ok(made)
    }

    #[getter]
    fn n_obs(&self) -> u64 {
        self.collection.n_obs()
    }

    /// Number of cells that are sampled from.
    #[getter]
    fn n_selected(&self) -> u64 {
        let subset = self.config.data.subset.as_ref();
        subset.map_or(self.collection.n_obs(), Subset::len)
    }

    /// The cells that are sampled from, ascending: int64.
    fn selected(&self) -> Array {
        let ids = match &self.config.data.subset {
            Some(subset) => subset.iter().map(|id| id as i64).collect(),
            None => (0..self.collection.n_obs() as i64).collect(),
        };
        Array::new(ValueBuffer::I64(ids).into())
    }

    /// What is odd about the request, in sentences.
    #[getter]
    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }

    /// Names of the columns of the minibatches.
    #[getter]
    fn var_names(&self) -> Vec<String> {
        self.var_names.to_vec()
    }

    /// Minibatches of a rank in a whole epoch.
    fn n_minibatches(&self, py: Python<'_>, epoch: u64, rank: u32, world_size: u32) -> PyResult<u64> {
        detached(py, || {
            let sampler = self.sampler()?.with_rank(rank, world_size)?;
            Ok(sampler.plan(epoch)?.n_minibatches())
        })
    }

    /// What tells this sampler from others: part of its states.
    fn fingerprint(&self, py: Python<'_>) -> PyResult<u64> {
        detached(py, || Ok(self.sampler()?.fingerprint()))
    }

    /// What the codes of an obs column stand for, whatever minibatches look like; None if it does not come as codes.
    fn categories(&self, py: Python<'_>, column: &str) -> PyResult<Option<Vec<String>>> {
        detached(py, || {
            // Never iterated over: a minibatch of one cell takes little memory.
            let config = LoaderConfig::default()
                .sampler(
                    SamplerConfig::default()
                        .batch_size(1)
                        .fetch_factor(1)
                        .block_size(1),
                )
                .obs_columns(self.config.obs_columns.clone())
                .allow_rounding(true)
                .decode_threads(1)
                .memory_bytes(CATEGORIES_BYTES);
            let loader = cellring::Loader::new(&self.collection, config)?;
            let texts = loader.categories(column);
            Ok(texts.map(|texts| texts.map(str::to_owned).collect()))
        })
    }

    /// Opens files, ring and threads for a rank. Threads and memory may be other than asked for. `gpu`: the device of CUDA that memory is
    /// page-locked for, in the context that torch uses as well.
    #[pyo3(signature = (rank, world_size, threads=None, memory=None, gpu=None))]
    fn open(
        &self,
        py: Python<'_>,
        rank: u32,
        world_size: u32,
        threads: Option<usize>,
        memory: Option<usize>,
        gpu: Option<u32>,
    ) -> PyResult<Loader> {
        let mut config = self.config.clone();
        (config.sampler.rank, config.sampler.world_size) = (rank, world_size);
        config.decode_threads = threads.unwrap_or(config.decode_threads);
        config.memory_bytes = memory.unwrap_or(config.memory_bytes);
        let loader = detached(py, || {
            config.gpu = gpu.map(Gpu::open).transpose()?;
            cellring::Loader::new(&self.collection, config)
        })?;
        Ok(Loader::new(loader))
    }
}

impl Setup {
    fn sampler(&self) -> cellring::Result<Sampler> {
        let config = self.config.sampler.clone();
        let data = SamplerData::default()
            .identity(self.collection.identity())
            .subset(self.config.data.subset.clone());
        Sampler::new(self.collection.n_obs(), config, data)
    }

    /// Refuses now what the loader would refuse when the first minibatch is asked for.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        detached(py, || {
            self.sampler()?;
            for choice in &self.config.matrices {
                self.collection.matrix(&choice.name)?;
            }
            for column in &self.config.obs_columns {
                let found: Vec<_> = self
                    .collection
                    .stores()
                    .iter()
                    .map(|store| store.obs().column(&column.name))
                    .collect();
                let some = found.iter().any(Result::is_ok);
                for column_of_store in found {
                    if !(column.or_missing && some) {
                        column_of_store?;
                    }
                }
            }
            Ok(())
        })
    }
}

fn of_text(py: Python<'_>, error: &dyn std::fmt::Display) -> PyErr {
    refused(py, &error.to_string())
}

fn of_layout(py: Python<'_>, layout: &str, k: usize) -> PyResult<Layout> {
    match layout {
        "csr" => Ok(Layout::Csr),
        "dense" => Ok(Layout::Dense),
        "top_k" => Ok(Layout::TopK(k)),
        _ => Err(refused(
            py,
            &format!("layout={layout:?}: expected \"csr\", \"dense\" or (\"top_k\", k)"),
        )),
    }
}

fn of_dtype(py: Python<'_>, dtype: &str) -> PyResult<OutputType> {
    match dtype {
        "float32" => Ok(OutputType::F32),
        "float16" => Ok(OutputType::F16),
        "bfloat16" => Ok(OutputType::Bf16),
        "source" => Ok(OutputType::Source),
        _ => Err(refused(
            py,
            &format!("dtype={dtype:?}: expected \"float32\", \"float16\", \"bfloat16\" or \"source\""),
        )),
    }
}

fn of_index_dtype(dtype: &str) -> IndexType {
    match dtype {
        "int64" => IndexType::I64,
        _ => IndexType::I32,
    }
}

/// The form of the minibatches, and the names of their columns.
fn output(
    py: Python<'_>,
    arguments: &Arguments<'_>,
    all_names: Vec<String>,
    warnings: &mut Vec<String>,
) -> PyResult<(OutputConfig, Vec<String>)> {
    let mut output = OutputConfig::default()
        .layout(of_layout(py, &arguments.layout, arguments.k)?)
        .value_type(of_dtype(py, &arguments.dtype)?)
        .index_type(of_index_dtype(&arguments.index_dtype));
    if arguments.normalize.is_some() || arguments.log1p {
        let mut normalize = Normalize::LOG1P_10K
            .target_sum(arguments.normalize)
            .log1p(arguments.log1p);
        if arguments.library == "selected" {
            normalize = normalize.over(LibraryGenes::Selected);
        }
        output = output.normalize(normalize);
    }
    if let Some(weights) = &arguments.gene_weights {
        output = output.gene_weights(values_of::<f32>(weights)?);
    }
    let Some(genes) = &arguments.genes else {
        return Ok((output, all_names));
    };
    let (selection, report) =
        GeneSelection::among(&all_names, genes).map_err(|error| to_python(py, &error))?;
    for (names, what) in [
        (&report.missing, "not in the store, so their columns are zero"),
        (
            &report.ambiguous,
            "several times in the store, so the first of each is taken",
        ),
    ] {
        if let [first, ..] = names.as_slice() {
            let n = names.len();
            warnings.push(format!(
                "genes: {n} of {} are {what}, such as {first}",
                genes.len()
            ));
        }
    }
    Ok((output.genes(selection), genes.clone()))
}

fn refusal(py: Python<'_>, refusal: Refusal) -> PyErr {
    match refusal {
        Refusal::Library(error) => to_python(py, &error),
        Refusal::Argument(sentence) => refused(py, &sentence),
    }
}

/// The cells to sample from; None for all.
fn subset(
    py: Python<'_>,
    collection: &Collection,
    arguments: &Arguments<'_>,
    warnings: &mut Vec<String>,
) -> PyResult<Option<Subset>> {
    let mut subsets = Vec::new();
    if let Some(ids) = &arguments.subset {
        let ids = values_of::<i64>(ids)?;
        subsets.push(detached(py, || {
            Subset::from_ids(collection.n_obs(), ids.iter().map(|&id| id as u64))
        })?);
    }
    if let Some(filter) = &arguments.obs_filter {
        subsets.push(detached(py, || select::filter(collection, filter, warnings))?);
    }
    if let (Some(split), Some(part)) = (&arguments.split, &arguments.part) {
        let (by, seed) = (arguments.split_by.as_deref(), arguments.split_seed);
        let found = py.detach(|| select::part(collection, split, part, by, seed));
        subsets.push(found.map_err(|error| refusal(py, error))?);
    }
    let mut subsets = subsets.into_iter();
    let Some(first) = subsets.next() else {
        return Ok(None);
    };
    let all = subsets.try_fold(first, |all, subset| all.intersect(&subset));
    let all = all.map_err(|error| to_python(py, &error))?;
    if all.is_empty() {
        return Err(refused(
            py,
            &format!(
                "subset, obs_filter and split together select none of the {} cells; select more",
                collection.n_obs()
            ),
        ));
    }
    Ok(Some(all))
}

/// Class codes: an array of the Python half, or columns to combine.
fn codes(
    py: Python<'_>,
    collection: &Collection,
    name: &str,
    given: &Bound<'_, PyAny>,
) -> PyResult<(Vec<u32>, usize)> {
    if let Ok(columns) = given.extract::<Vec<String>>() {
        let (codes, classes) = detached(py, || select::codes(collection, &columns))?;
        return Ok((codes, classes.len()));
    }
    let given = values_of::<i64>(given)?;
    if given.len() as u64 != collection.n_obs() {
        return Err(length(py, name, given.len(), collection));
    }
    let codes: Vec<u32> = given
        .into_iter()
        .map(|code| u32::try_from(code).unwrap_or(MISSING))
        .collect();
    let n_classes = codes.iter().filter(|code| **code != MISSING).max();
    let n_classes = n_classes.map_or(0, |code| *code as usize + 1);
    Ok((codes, n_classes))
}

fn length(py: Python<'_>, name: &str, found: usize, collection: &Collection) -> PyErr {
    let expected = collection.n_obs();
    refused(
        py,
        &format!("{name} has {found} values: expected one for each of the {expected} cells"),
    )
}

fn warn_of_missing(
    codes: &[u32],
    subset: Option<&Subset>,
    name: &str,
    what: &str,
    warnings: &mut Vec<String>,
) {
    let is_missing = |obs: u64| codes[obs as usize] == MISSING;
    let n = match subset {
        Some(subset) => subset.iter().filter(|&obs| is_missing(obs)).count(),
        None => codes.iter().filter(|code| **code == MISSING).count(),
    };
    if n > 0 {
        warnings.push(format!("{name}: {n} cells have no value there, so {what}"));
    }
}

fn strategy(
    py: Python<'_>,
    collection: &Collection,
    arguments: &Arguments<'_>,
    subset: Option<&Subset>,
    warnings: &mut Vec<String>,
) -> PyResult<Strategy> {
    if let Some(weights) = &arguments.weights {
        let weights = match weights.extract::<String>() {
            Ok(column) => detached(py, || select::weights(collection, &column))?,
            Err(_) => values_of::<f32>(weights)?,
        };
        if weights.len() as u64 != collection.n_obs() {
            return Err(length(py, "weights", weights.len(), collection));
        }
        return Ok(Weighted::new(weights)
            .n_draws(arguments.draws)
            .replacement(arguments.replacement)
            .into());
    }
    if let Some(balance) = &arguments.balance {
        let (codes, _) = codes(py, collection, "balance", balance)?;
        warn_of_missing(&codes, subset, "balance", "they are never drawn", warnings);
        return Ok(Balanced::new(codes)
            .n_draws(arguments.draws)
            .global(arguments.balance_global)
            .into());
    }
    if let Some(group) = &arguments.group {
        return grouped(py, collection, arguments, group, subset, warnings);
    }
    if let Some(order) = &arguments.order {
        let ids = values_of::<i64>(order)?;
        let order = detached(py, || Custom::from_ids(ids.iter().map(|&id| id as u64)))?;
        return Ok(match arguments.shuffle_order {
            true => order.shuffled().into(),
            false => order.into(),
        });
    }
    let kind: StrategyKind = match &arguments.strategy {
        None => StrategyKind::default(),
        Some(name) => name
            .replace('_', "-")
            .parse()
            .map_err(|error| of_text(py, &error))?,
    };
    kind.without_data().ok_or_else(|| {
        let argument = match kind {
            StrategyKind::Weighted => "weights=",
            StrategyKind::Balanced => "balance=",
            StrategyKind::Grouped => "group=",
            _ => "order=",
        };
        refused(py, &format!("strategy=\"{kind}\" needs {argument}"))
    })
}

fn grouped(
    py: Python<'_>,
    collection: &Collection,
    arguments: &Arguments<'_>,
    group: &Bound<'_, PyAny>,
    subset: Option<&Subset>,
    warnings: &mut Vec<String>,
) -> PyResult<Strategy> {
    const LEFT_OUT: &str = "they are in no minibatch";
    let (mut of_obs, n_classes) = codes(py, collection, "group", group)?;
    let Some(controls) = &arguments.controls else {
        warn_of_missing(&of_obs, subset, "group", LEFT_OUT, warnings);
        return Ok(Grouped::new(of_obs)
            .n_per_group(arguments.n_per_group)
            .sets_per_minibatch(arguments.sets_per_minibatch)
            .into());
    };
    let Some(n_per_set) = arguments.n_controls.or(arguments.n_per_group) else {
        return Err(refused(
            py,
            "controls= needs n_controls= or n_per_group=: how many follow each set",
        ));
    };
    let controls = match controls.extract::<String>() {
        Ok(filter) => detached(py, || select::filter(collection, &filter, warnings))?,
        Err(_) => {
            let ids = values_of::<i64>(controls)?;
            detached(py, || {
                Subset::from_ids(collection.n_obs(), ids.iter().map(|&id| id as u64))
            })?
        }
    };
    if controls.is_empty() {
        return Err(refused(
            py,
            "controls= takes no cell; give a filter or numbers of cells that do",
        ));
    }
    // Controls form a group of their own, whatever the columns say of them.
    let code = n_classes as u32;
    for run in controls.runs() {
        of_obs[run.start as usize..run.end as usize].fill(code);
    }
    warn_of_missing(&of_obs, subset, "group", LEFT_OUT, warnings);
    let mut controls = Controls::new(vec![code], n_per_set);
    if let Some(columns) = &arguments.match_by {
        let (codes, _) = detached(py, || select::codes(collection, columns))?;
        warn_of_missing(&codes, subset, "match", LEFT_OUT, warnings);
        controls = controls.match_codes(codes);
    }
    Ok(Grouped::new(of_obs)
        .n_per_group(arguments.n_per_group)
        .sets_per_minibatch(arguments.sets_per_minibatch)
        .controls(controls)
        .into())
}
