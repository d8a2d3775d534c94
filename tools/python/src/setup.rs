//! What a loader is asked for, checked before anything is opened: no thread and no ring is there yet.

use cellring::engine::{EngineConfig, ParseNameError};
use cellring::format::ValueBuffer;
use cellring::plan::{Sampler, SamplerConfig};
use cellring::{Collection, Join, LoaderConfig, SamplerData, Subset};
use pyo3::prelude::*;

use crate::arguments::Arguments;
use crate::arrays::Array;
use crate::device::Device;
use crate::error::{detached, refused};
use crate::loader::Loader;
use crate::store::Store;
use crate::strategy::StrategyArguments;
use crate::{form, strategy};

/// A checked request: stores, sampler and form of the minibatches.
#[pyclass(frozen, module = "cellring._cellring")]
pub(crate) struct Setup {
    collection: Collection,
    config: LoaderConfig,
    warnings: Vec<String>,
    /// Those that were chosen.
    genes: Option<Vec<String>>,
}

#[pymethods]
impl Setup {
    #[new]
    fn new(py: Python<'_>, stores: Vec<PyRef<'_, Store>>, arguments: Bound<'_, PyAny>) -> PyResult<Self> {
        let (arguments, by): (Arguments<'_>, StrategyArguments<'_>) =
            (arguments.extract()?, arguments.extract()?);
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
        let subset = strategy::subset(py, &collection, &arguments, &mut warnings)?;
        let strategy = strategy::strategy(py, &collection, &by, subset.as_ref(), &mut warnings)?;
        let sampler = SamplerConfig::default()
            .batch_size(arguments.batch_size)
            .block_size(arguments.block_size)
            .fetch_factor(arguments.fetch_factor)
            .seed(arguments.seed)
            .drop_last(arguments.drop_last)
            .strategy(strategy);
        let output = form::output(py, &arguments, &collection, &mut warnings)?;
        let matrices = form::matrices(py, &arguments)?;
        let mut engine = EngineConfig::default().depth(arguments.depth);
        engine.backend = arguments
            .backend
            .parse()
            .map_err(|error| unknown_name(py, &error))?;
        engine.direct = arguments
            .direct
            .parse()
            .map_err(|error| unknown_name(py, &error))?;
        let config = LoaderConfig::default()
            .sampler(sampler)
            .data(SamplerData::default().subset(subset))
            .engine(engine)
            .memory_bytes(arguments.memory)
            .decode_threads(arguments.threads)
            .output(output)
            .matrices(matrices)
            .obs_columns(form::columns(&arguments))
            .allow_rounding(arguments.allow_rounding);
        let mut made = Self {
            collection,
            config,
            warnings,
            genes: arguments.genes,
        };
        made.check(py)?;
        if made.config.sampler.drop_last && made.n_minibatches(py, 0, 0, 1)? == 0 {
            made.warnings.push(format!(
                "an epoch has no minibatch: drop_last=True leaves out the last one, and batch_size={} is more than all {} cells; give a smaller batch_size, or drop_last=False",
                made.config.sampler.batch_size,
                made.n_selected()
            ));
        }
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
    fn var_names(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        match &self.genes {
            Some(genes) => Ok(genes.clone()),
            None => detached(py, || self.collection.var_names()),
        }
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
        let choices = &self.config.obs_columns;
        let Some(choice) = choices.iter().find(|choice| choice.name == column) else {
            return Ok(None);
        };
        detached(py, || self.collection.categories(choice))
    }

    /// Opens files, ring and threads for a rank. Threads and memory may be other than asked for. `gpu`: the device of CUDA that
    /// minibatches of epochs are copied to, in the context that torch uses as well.
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
        let (loader, device) = detached(py, || {
            let device = gpu.map(Device::open).transpose()?;
            config.gpu = device.as_ref().map(|device| device.gpu.clone());
            Ok((cellring::Loader::new(&self.collection, config)?, device))
        })?;
        Ok(Loader::new(loader, device))
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
            cellring::__internal::check_outputs(&self.collection, &self.config)?;
            for column in &self.config.obs_columns {
                let found: Vec<_> = self
                    .collection
                    .stores()
                    .iter()
                    .map(|store| store.obs().place_of(&column.name))
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

fn unknown_name(py: Python<'_>, error: &ParseNameError) -> PyErr {
    refused(py, &error.to_string())
}
