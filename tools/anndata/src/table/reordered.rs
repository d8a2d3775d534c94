//! The rows of a table in another order.

use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arrow_array::ArrayRef;

use super::scatter::{BATCH_ROWS, Scatter, ScatterError};
use super::source::{TableRows, TableSource};
use crate::error::{ReadError, Result};
use crate::workspace::Workspace;

impl TableSource {
    /// The rows in another order: `order` names for each new row the row that it was. They are put there by way of a
    /// temporary file in the workspace, where they do not fit into memory, when they are first read.
    ///
    /// # Panics
    /// If `order` is not as long as there are rows.
    #[must_use]
    pub fn reordered(self, order: &[u32], workspace: &Workspace) -> Self {
        assert_eq!(order.len() as u64, self.n_rows, "rows of the order");
        let mut place_of_row = vec![0; order.len()];
        for (place, &row) in (0..).zip(order) {
            place_of_row[row as usize] = place;
        }
        let reordered = Reordered {
            inner: self.clone(),
            place_of_row,
            workspace: workspace.clone(),
            scattered: OnceLock::new(),
            scattering: Mutex::new(()),
        };
        Self {
            columns: (0..self.columns.len()).collect(),
            rows: Arc::new(reordered),
            ..self
        }
    }
}

/// A table whose rows are put into another order when they are first read.
#[derive(Debug)]
struct Reordered {
    /// The table, of which all columns are asked for.
    inner: TableSource,
    /// For each of its rows the row that it becomes.
    place_of_row: Vec<u32>,
    workspace: Workspace,
    scattered: OnceLock<Scatter>,
    scattering: Mutex<()>,
}

impl Reordered {
    fn scatter(&self) -> Result<Scatter> {
        let n_rows = self.inner.n_rows();
        let mut scatter = Scatter::new(self.inner.schema(), n_rows, &self.workspace);
        // One batch at least, if with no row: it brings the categories.
        for start in (0..n_rows.max(1)).step_by(BATCH_ROWS as usize) {
            let end = n_rows.min(start + BATCH_ROWS);
            let batch = self.inner.read(start..end)?;
            let places = &self.place_of_row[start as usize..end as usize];
            scatter.push(&batch, places).map_err(|error| self.failed(error))?;
        }
        Ok(scatter)
    }

    fn failed(&self, error: ScatterError) -> ReadError {
        match error {
            ScatterError::Io(source) => ReadError::Spill {
                directory: self.workspace.directory.clone(),
                source,
            },
            ScatterError::Arrow(error) => self.inner.damaged(&error),
        }
    }
}

impl TableRows for Reordered {
    fn read(&self, range: Range<u64>, columns: &[usize]) -> Result<Vec<ArrayRef>> {
        let scatter = match self.scattered.get() {
            Some(scatter) => scatter,
            None => {
                let _one_at_a_time = self.scattering.lock().unwrap_or_else(PoisonError::into_inner);
                let scattered = match self.scattered.get() {
                    Some(_) => None,
                    None => Some(self.scatter()?),
                };
                self.scattered.get_or_init(|| match scattered {
                    Some(scattered) => scattered,
                    None => unreachable!("it was there under the lock"),
                })
            }
        };
        scatter.read(range, columns).map_err(|error| self.failed(error))
    }

    fn working_bytes(&self, memory_bytes: u64) -> u64 {
        self.inner.working_bytes_reordered(memory_bytes)
    }
}
