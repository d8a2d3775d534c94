//! Streams of rows: windows are decoded ahead of the consumer, on another thread.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use cellring_core::CsrRows;
use rayon::prelude::*;

use super::canonical::Canonicalised;
use super::matrix_source::MatrixSource;
use super::source::{RowSource, no_thread};
use crate::error::{ReadError, Result};

/// Entries of one window of a pass that only counts.
const COUNT_WINDOW_NNZ: usize = 4 << 20;

/// Windows that wait decoded. With the one being decoded and the one the consumer holds, three exist at a time.
const READ_AHEAD: usize = 1;

/// Which entries a count of detections sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountMode {
    /// Entries of the canonical matrix: what the rows will hold.
    Exact,
    /// Stored entries, explicit zeros and duplicates included. The values are not read, which saves about half the time.
    Stored,
}

impl MatrixSource {
    /// Streams rows `range` in order as canonical CSR, whole rows of at most `max_nnz` stored entries at a time (a longer
    /// row comes alone). May be called as often as wanted.
    ///
    /// # Errors
    /// `range` does not lie within the rows, or the system gives no thread. Errors of reading come out of the iterator, which then ends.
    pub fn rows(&self, range: Range<u64>, max_nnz: usize) -> Result<Rows> {
        self.check_rows(&range)?;
        self.source.prepare()?;
        Rows::start(Arc::clone(&self.source), range, max_nnz)
    }

    fn check_rows(&self, range: &Range<u64>) -> Result<()> {
        if range.start > range.end || range.end > self.n_obs() {
            let (file, object) = self.source.place();
            return Err(ReadError::RowRange {
                file: file.to_owned(),
                object: object.to_owned(),
                start: range.start,
                end: range.end,
                n_rows: self.n_obs(),
            });
        }
        Ok(())
    }

    /// In how many of the rows `range` each column has an entry: `n_vars` counts.
    ///
    /// # Errors
    /// As reading the rows.
    pub fn detection_counts(&self, range: Range<u64>, mode: CountMode) -> Result<Vec<u64>> {
        let source = &self.source;
        self.check_rows(&range)?;
        source.prepare()?;
        let mut counts = vec![0u64; source.n_vars() as usize];
        match mode {
            CountMode::Exact => {
                let mut rows = self.rows(range, COUNT_WINDOW_NNZ)?;
                while let Some(window) = rows.next() {
                    let window = window?;
                    source.pool().install(|| add_counts(&window.indices, &mut counts));
                    rows.recycle(window);
                }
            }
            CountMode::Stored => {
                let mut indices = Vec::new();
                let mut at = range.start;
                while at < range.end {
                    let window = source.window(at, range.end, COUNT_WINDOW_NNZ);
                    source.pool().install(|| {
                        source.read_columns(&window, &mut indices)?;
                        add_counts(&indices, &mut counts);
                        Ok::<(), ReadError>(())
                    })?;
                    at = window.end;
                }
            }
        }
        Ok(counts)
    }
}

/// Adds the number of times each column occurs.
fn add_counts(indices: &[u32], counts: &mut [u64]) {
    let n_parts = rayon::current_num_threads().max(1);
    let parts: Vec<Vec<u32>> = indices
        .par_chunks(indices.len().div_ceil(n_parts).max(1 << 16))
        .map(|part| {
            let mut counts = vec![0u32; counts.len()];
            for &column in part {
                counts[column as usize] += 1;
            }
            counts
        })
        .collect();
    for part in parts {
        for (count, more) in counts.iter_mut().zip(part) {
            *count += u64::from(more);
        }
    }
}

/// Rows of a matrix, window by window; see [`MatrixSource::rows`].
#[derive(Debug)]
pub struct Rows {
    windows: Option<Receiver<Result<(CsrRows, Canonicalised)>>>,
    spent: Option<SyncSender<CsrRows>>,
    producer: Option<JoinHandle<()>>,
    report: Canonicalised,
}

impl Rows {
    fn start(source: Arc<dyn RowSource>, range: Range<u64>, max_nnz: usize) -> Result<Self> {
        let file = source.place().0.to_owned();
        let (to_consumer, windows) = sync_channel(READ_AHEAD);
        let (spent, to_producer) = sync_channel::<CsrRows>(READ_AHEAD + 1);
        let produce = move || {
            let mut at = range.start;
            while at < range.end {
                let window = source.window(at, range.end, max_nnz);
                let recycled = to_producer.try_recv().ok();
                let read = source.pool().install(|| source.read(&window, recycled));
                let has_failed = read.is_err();
                // A consumer that is gone wants nothing more.
                if to_consumer.send(read).is_err() || has_failed {
                    return;
                }
                at = window.end;
            }
        };
        let producer = std::thread::Builder::new()
            .spawn(produce)
            .map_err(|error| no_thread(&file, error))?;
        Ok(Self {
            windows: Some(windows),
            spent: Some(spent),
            producer: Some(producer),
            report: Canonicalised::default(),
        })
    }

    /// Gives back the memory of a window that is no longer needed, for a later one.
    pub fn recycle(&mut self, window: CsrRows) {
        if let Some(spent) = &self.spent {
            match spent.try_send(window) {
                Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
            }
        }
    }

    /// What was changed in the rows handed out so far.
    pub fn report(&self) -> Canonicalised {
        self.report
    }

    /// Waits for the producer; its panic, a bug, goes on here.
    fn join(&mut self) {
        self.windows = None;
        self.spent = None;
        if let Some(Err(panic)) = self.producer.take().map(JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Iterator for Rows {
    type Item = std::result::Result<CsrRows, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.windows.as_ref()?.recv() {
            Ok(Ok((rows, report))) => {
                self.report += report;
                Some(Ok(rows))
            }
            Ok(Err(error)) => {
                self.join();
                Some(Err(error))
            }
            Err(_) => {
                self.join();
                None
            }
        }
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        self.join();
    }
}
