//! Stores.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cellring::__internal::row_lens;
use cellring::minibatch::{OutputConfig, OutputType};
use cellring::{Layout, LoaderConfig};
use cellring_tools::convert::ConvertError;
use cellring_tools::link::{self, Opened};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::arrays::values_of;
use crate::error::{detached, detached_with, exception, to_python, until_a_signal};
use crate::minibatch::Minibatch;
use crate::process::Owned;
use crate::table::Table;

/// Memory for the cells of one call; who wants more gets them in several.
const ROWS_BYTES: usize = 64 << 20;

/// An open store: what `cellring.Store` is made of.
#[pyclass(frozen, module = "cellring._cellring")]
pub(crate) struct Store {
    pub(crate) store: Arc<cellring::Store>,
    cached: Option<PathBuf>,
    /// Readers of single cells, by form and matrix.
    readers: Mutex<HashMap<String, Arc<Reader>>>,
    opening: Mutex<()>,
}

/// Reads single cells, for several threads at once.
type Reader = Owned<Arc<cellring::Loader>>;

impl From<Opened> for Store {
    fn from(Opened { store, cached }: Opened) -> Self {
        Self {
            store: Arc::new(store),
            cached,
            readers: Mutex::default(),
            opening: Mutex::default(),
        }
    }
}

/// Opens something without the interpreter's lock.
fn opened<T: Send>(py: Python<'_>, open: impl FnOnce() -> Result<T, ConvertError> + Send) -> PyResult<T> {
    detached_with(py, open, |error| match error {
        ConvertError::Store(error) => to_python(py, &error),
        // It is the input that something is wrong with.
        error => exception(py, "StoreError", &error.to_string()),
    })
}

#[pymethods]
impl Store {
    /// A store; or a file, which is linked automatically: nothing can interrupt that.
    #[new]
    #[pyo3(signature = (path, source_root=None))]
    fn new(py: Python<'_>, path: PathBuf, source_root: Option<PathBuf>) -> PyResult<Self> {
        opened(py, || link::open(&path, source_root.as_deref())).map(Self::from)
    }

    /// A store; or a file that was linked before. `None` if it has to be linked first.
    #[staticmethod]
    #[pyo3(signature = (path, source_root=None))]
    fn existing(py: Python<'_>, path: PathBuf, source_root: Option<PathBuf>) -> PyResult<Option<Self>> {
        let existing = opened(py, || link::open_existing(&path, source_root.as_deref()))?;
        Ok(existing.map(Self::from))
    }

    /// Where it was linked, if the path is that of a file.
    #[getter]
    fn cached(&self) -> Option<String> {
        self.cached
            .as_ref()
            .map(|path| path.to_string_lossy().into_owned())
    }

    /// Whether the values are in the file that they come from.
    #[getter]
    fn is_linked(&self) -> bool {
        self.store.is_linked()
    }

    /// Files that a reader of cells opens.
    #[getter]
    fn n_files(&self) -> usize {
        self.store.shard_paths().len()
    }

    #[getter]
    fn n_obs(&self) -> u64 {
        self.store.n_obs()
    }

    #[getter]
    fn n_vars(&self) -> u64 {
        self.store.n_vars()
    }

    /// Paths in AnnData of the matrices, the first one first.
    #[getter]
    fn matrices(&self) -> Vec<String> {
        let own = self.store.name().unwrap_or("X").to_owned();
        let others = self.store.matrices().iter();
        std::iter::once(own)
            .chain(others.filter_map(|matrix| matrix.name().map(str::to_owned)))
            .collect()
    }

    /// Number of columns of a matrix, and numpy's name of its type.
    fn matrix(&self, py: Python<'_>, name: &str) -> PyResult<(u64, &'static str)> {
        let matrix = self.find(py, name)?;
        Ok((matrix.n_vars(), matrix.manifest().value_type.numpy_name()))
    }

    fn obs(&self) -> Table {
        Table::new(self.store.clone(), true)
    }

    fn var(&self, py: Python<'_>, matrix: &str) -> PyResult<Table> {
        Ok(Table::new(self.find(py, matrix)?, false))
    }

    /// Cells by their numbers (int64), in any order, with the values of a matrix in its own type.
    fn rows(
        &self,
        py: Python<'_>,
        ids: &Bound<'_, PyAny>,
        matrix: &str,
        is_dense: bool,
    ) -> PyResult<Minibatch> {
        let ids: Vec<u64> = values_of::<i64>(ids)?.into_iter().map(|id| id as u64).collect();
        // Several threads read at once, each in files and memory of its own. One that another thread closes meanwhile is opened again.
        let loader = loop {
            if let Some(loader) = self.reader(py, matrix, is_dense)?.cloned(py) {
                break loader;
            }
        };
        // The last one to hold a closed loader waits for its threads.
        let rows = until_a_signal(py, move |goes_on| loader.rows_while(&ids, goes_on))?;
        Ok(Minibatch::new(rows))
    }

    /// How many values each of these cells has in a matrix, as uint32; None of a linked store, which knows when it has read them.
    fn lens<'py>(
        &self,
        py: Python<'py>,
        ids: &Bound<'py, PyAny>,
        matrix: &str,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let ids: Vec<u64> = values_of::<i64>(ids)?.into_iter().map(|id| id as u64).collect();
        let store = self.find(py, matrix)?;
        let Some(lens) = detached(py, || row_lens(&store, &ids))? else {
            return Ok(None);
        };
        let bytes = PyBytes::new_with(py, 4 * lens.len(), |place| {
            let (places, _) = place.as_chunks_mut::<4>();
            for (place, len) in places.iter_mut().zip(&lens) {
                *place = len.to_ne_bytes();
            }
            Ok(())
        })?;
        Ok(Some(bytes))
    }

    /// Ends what reads single cells.
    fn close(&self, py: Python<'_>) {
        let readers = std::mem::take(&mut *self.lock());
        for reader in readers.values() {
            reader.close(py);
        }
    }
}

impl Store {
    fn find(&self, py: Python<'_>, matrix: &str) -> PyResult<Arc<cellring::Store>> {
        if self.store.name().unwrap_or("X") == matrix {
            return Ok(self.store.clone());
        }
        let found = self.store.matrix(matrix).map_err(|error| to_python(py, &error))?;
        Ok(found.clone())
    }

    fn reader(&self, py: Python<'_>, matrix: &str, is_dense: bool) -> PyResult<Arc<Reader>> {
        let key = format!("{is_dense} {matrix}");
        // Never held while the interpreter's lock is given up: whoever waits for the one would wait for the other.
        let known = self.lock().get(&key).cloned();
        if let Some(reader) = known.filter(|reader| reader.is_usable()) {
            return Ok(reader);
        }
        let store = self.find(py, matrix)?;
        let mut output = OutputConfig::default().value_type(OutputType::Source);
        if is_dense {
            output = output.layout(Layout::Dense);
        }
        let config = LoaderConfig::default()
            .memory_bytes(ROWS_BYTES)
            .decode_threads(1)
            .output(output);
        detached(py, || {
            // One thread opens it while others wait.
            let _turn = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
            let opened = self.lock().get(&key).cloned();
            if let Some(reader) = opened.filter(|reader| reader.is_usable()) {
                return Ok(reader);
            }
            let loader = cellring::Loader::new(store, config)?;
            let reader = Arc::new(Owned::new(Arc::new(loader), "store"));
            self.lock().insert(key, reader.clone());
            Ok(reader)
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Reader>>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
