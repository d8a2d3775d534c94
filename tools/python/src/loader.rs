//! Loaders with their threads, and running epochs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use cellring::plan::{HistoryEntry, SamplerState};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::minibatch::Minibatch;
use crate::process::Owned;

/// How long a wait goes on before Python is asked whether a signal has come.
const SIGNAL_WAIT: Duration = Duration::from_millis(50);

/// A loader of one rank.
#[pyclass(frozen, module = "cellring._cellring")]
pub(crate) struct Loader {
    loader: Arc<Owned<cellring::Loader>>,
}

impl Loader {
    pub(crate) fn new(loader: cellring::Loader) -> Self {
        Self {
            loader: Arc::new(Owned::new(loader, "loader")),
        }
    }
}

/// The state of an epoch as Python keeps it: a few integers.
type State = (u64, u64, Vec<(u32, u64)>);

#[pymethods]
impl Loader {
    /// Starts an epoch.
    fn epoch(&self, py: Python<'_>, epoch: u64) -> PyResult<Epoch> {
        let epoch = self.loader.with(py, |loader| loader.epoch(epoch))?;
        Ok(Epoch::new(epoch))
    }

    /// Goes on after a state: fingerprint, epoch, and world size and minibatches of each stretch.
    fn resume(&self, py: Python<'_>, state: State) -> PyResult<Epoch> {
        let (fingerprint, epoch, history) = state;
        let history = history.into_iter().map(|(world_size, minibatches)| HistoryEntry {
            world_size,
            minibatches,
        });
        let state = SamplerState {
            version: 1,
            fingerprint,
            epoch,
            history: history.collect(),
            settings: BTreeMap::new(),
            output: BTreeMap::new(),
        };
        let epoch = self.loader.with(py, |loader| loader.resume(&state))?;
        Ok(Epoch::new(epoch))
    }

    /// Cells by their numbers, as minibatches of this loader look.
    fn rows(&self, py: Python<'_>, ids: &Bound<'_, PyAny>) -> PyResult<Minibatch> {
        let ids: Vec<u64> = crate::arrays::values_of::<i64>(ids)?
            .into_iter()
            .map(|id| id as u64)
            .collect();
        Ok(Minibatch::new(self.loader.with(py, |loader| loader.rows(&ids))?))
    }

    fn close(&self, py: Python<'_>) {
        self.loader.close(py);
    }
}

/// A running epoch.
#[pyclass(frozen, module = "cellring._cellring")]
pub(crate) struct Epoch {
    epoch: Owned<cellring::Epoch>,
}

impl Epoch {
    fn new(epoch: cellring::Epoch) -> Self {
        Self {
            epoch: Owned::new(epoch, "epoch"),
        }
    }
}

#[pymethods]
impl Epoch {
    /// The next minibatch, or None at the end. Waits for it without the interpreter's lock; a signal ends the wait.
    fn next(&self, py: Python<'_>) -> PyResult<Option<Minibatch>> {
        loop {
            let next = self
                .epoch
                .with(py, |epoch| match epoch.next_within(SIGNAL_WAIT) {
                    Poll::Pending => Ok(Poll::Pending),
                    Poll::Ready(next) => next.transpose().map(Poll::Ready),
                })?;
            match next {
                Poll::Ready(next) => return Ok(next.map(Minibatch::new)),
                Poll::Pending => py.check_signals()?,
            }
        }
    }

    /// Minibatches that are still to come.
    fn n_left(&self, py: Python<'_>) -> PyResult<usize> {
        self.epoch.with(py, |epoch| Ok(epoch.len()))
    }

    /// What to save to go on: fingerprint, epoch, and world size and minibatches of each stretch.
    fn state(&self, py: Python<'_>) -> PyResult<State> {
        self.epoch.with(py, |epoch| {
            let state = epoch.state();
            let history = state.history.iter();
            let history = history.map(|entry| (entry.world_size, entry.minibatches));
            Ok((state.fingerprint, state.epoch, history.collect()))
        })
    }

    /// Where the time went, by name.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.epoch.with(py, |epoch| Ok(epoch.stats()))?;
        let made = PyDict::new(py);
        for (name, value) in [
            ("minibatches", stats.minibatches),
            ("reads", stats.reads),
            ("read_bytes", stats.read_bytes),
            ("consumer_wait_ns", stats.consumer_wait_ns),
            ("read_wait_ns", stats.read_wait_ns),
            ("output_wait_ns", stats.output_wait_ns),
            ("decode_ns", stats.decode_ns),
            ("plan_ns", stats.plan_ns),
            ("buffer_wait_ns", stats.buffer_wait_ns),
        ] {
            made.set_item(name, value)?;
        }
        Ok(made)
    }

    fn close(&self, py: Python<'_>) {
        self.epoch.close(py);
    }
}
