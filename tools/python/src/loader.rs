//! Loaders with their threads, and running epochs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Poll;

use cellring::gpu::{Feed, StagerConfig};
use cellring::loader::EpochStats;
use cellring::plan::{HistoryEntry, SamplerState};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::device::{Device, DeviceMinibatch};
use crate::error::{SIGNAL_WAIT, until_a_signal};
use crate::minibatch::Minibatch;
use crate::process::Owned;

/// A loader of one rank.
#[pyclass(frozen, module = "cellring._cellring")]
pub(crate) struct Loader {
    loader: Owned<Arc<cellring::Loader>>,
    /// Where its epochs go.
    device: Option<Device>,
}

impl Loader {
    pub(crate) fn new(loader: cellring::Loader, device: Option<Device>) -> Self {
        Self {
            loader: Owned::new(Arc::new(loader), "loader"),
            device,
        }
    }

    fn started(
        &self,
        py: Python<'_>,
        start: impl FnOnce(&cellring::Loader) -> cellring::Result<cellring::Epoch> + Send,
    ) -> PyResult<Epoch> {
        let running = self.loader.with(py, |loader| {
            let epoch = start(loader)?;
            Ok(match &self.device {
                None => Running::Host(epoch),
                Some(Device { gpu, copies }) => {
                    Running::Device(Feed::new(gpu, copies, epoch, StagerConfig::default().grow(true))?)
                }
            })
        })?;
        Ok(Epoch {
            running: Owned::new(running, "epoch"),
        })
    }
}

/// The state of an epoch as Python keeps it: a few integers.
type State = (u64, u64, Vec<(u32, u64)>);

#[pymethods]
impl Loader {
    /// Starts an epoch.
    fn epoch(&self, py: Python<'_>, epoch: u64) -> PyResult<Epoch> {
        self.started(py, |loader| loader.epoch(epoch))
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
        self.started(py, |loader| loader.resume(&state))
    }

    /// Cells by their numbers, as minibatches of this loader look.
    fn rows(&self, py: Python<'_>, ids: &Bound<'_, PyAny>) -> PyResult<Minibatch> {
        let ids: Vec<u64> = crate::arrays::values_of::<i64>(ids)?
            .into_iter()
            .map(|id| id as u64)
            .collect();
        // Its lock is not held meanwhile: the handler of a signal may come back here. The last one to hold a closed loader waits for its threads.
        let loader = self.loader.with(py, |loader| Ok(loader.clone()))?;
        let rows = until_a_signal(py, move |goes_on| loader.rows_while(&ids, goes_on))?;
        Ok(Minibatch::new(rows))
    }

    fn close(&self, py: Python<'_>) {
        self.loader.close(py);
    }
}

/// A running epoch.
#[pyclass(frozen, module = "cellring._cellring")]
pub(crate) struct Epoch {
    running: Owned<Running>,
}

/// Where the minibatches of an epoch are handed out.
enum Running {
    Host(cellring::Epoch),
    Device(Feed<cellring::Epoch, cellring::Minibatch, cellring::Error>),
}

/// A minibatch of a running epoch.
#[derive(IntoPyObject)]
enum Next {
    Host(Minibatch),
    Device(DeviceMinibatch),
}

impl Running {
    fn next_within(&mut self) -> Poll<Option<cellring::Result<Next>>> {
        match self {
            Self::Host(epoch) => epoch
                .next_within(SIGNAL_WAIT)
                .map_ok(|minibatch| Next::Host(Minibatch::new(minibatch))),
            Self::Device(feed) => feed
                .next_within(SIGNAL_WAIT)
                .map_ok(|minibatch| Next::Device(DeviceMinibatch::new(minibatch)))
                .map_err(cellring::Error::from),
        }
    }

    fn n_left(&self) -> usize {
        match self {
            Self::Host(epoch) => epoch.len(),
            Self::Device(feed) => feed.n_left() as usize,
        }
    }

    fn state(&self) -> SamplerState {
        match self {
            Self::Host(epoch) => epoch.state(),
            Self::Device(feed) => feed.state(),
        }
    }

    fn stats(&self) -> EpochStats {
        match self {
            Self::Host(epoch) => epoch.stats(),
            Self::Device(feed) => {
                let mut stats = feed.sources().stats();
                // Those on their way have not been handed out.
                stats.minibatches = feed.sources().n_minibatches() - feed.n_left();
                stats
            }
        }
    }
}

#[pymethods]
impl Epoch {
    /// The next minibatch, or None at the end. Waits for it without the interpreter's lock; a signal ends the wait.
    fn next(&self, py: Python<'_>) -> PyResult<Option<Next>> {
        loop {
            let next = self.running.with(py, |running| match running.next_within() {
                Poll::Pending => Ok(Poll::Pending),
                Poll::Ready(next) => next.transpose().map(Poll::Ready),
            })?;
            match next {
                Poll::Ready(next) => return Ok(next),
                Poll::Pending => py.check_signals()?,
            }
        }
    }

    /// Minibatches that are still to come.
    fn n_left(&self, py: Python<'_>) -> PyResult<usize> {
        self.running.with(py, |running| Ok(running.n_left()))
    }

    /// What to save to go on: fingerprint, epoch, and world size and minibatches of each stretch.
    fn state(&self, py: Python<'_>) -> PyResult<State> {
        self.running.with(py, |running| {
            let state = running.state();
            let history = state.history.iter();
            let history = history.map(|entry| (entry.world_size, entry.minibatches));
            Ok((state.fingerprint, state.epoch, history.collect()))
        })
    }

    /// Where the time went, by name.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.running.with(py, |running| Ok(running.stats()))?;
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
        self.running.close(py);
    }
}
