//! Matrices that are stored by columns.

use std::ops::Range;
use std::path::Path;

use cellring_core::ValueType;
use cellring_core::with_values;

use super::compressed::Compressed;
use super::row_sorted::{Entries, EntrySource, SORT_NNZ, entries_bytes, read_ahead};
use super::value::Value;
use crate::container::AbsentChunks;
use crate::error::{ReadError, Result};

/// Rows that a byte of a file can name, however it is compressed, and those that any file may have.
const MAX_NAMES_PER_BYTE: u64 = 128;
const MANY_NAMES: u64 = 1 << 20;

/// A CSC matrix.
#[derive(Debug)]
pub(super) struct Csc(pub(super) Compressed);

impl Csc {
    /// The entries in pieces that are read at a time.
    fn pieces(&self) -> impl Iterator<Item = Range<u64>> + use<> {
        let nnz = self.0.nnz();
        let starts = (0..nnz).step_by(SORT_NNZ as usize);
        starts.map(move |start| start..nnz.min(start + SORT_NNZ))
    }

    fn check(&self, rows: &[u32], first_position: u64) -> Result<()> {
        let n_obs = self.0.n_minor;
        let Some(at) = rows.iter().position(|&row| u64::from(row) >= n_obs) else {
            return Ok(());
        };
        let position = first_position + at as u64;
        Err(ReadError::RowIndexRange {
            file: self.0.file.path().to_owned(),
            object: self.0.indices.path().to_owned(),
            column: self.0.major_of(position),
            position,
            found: self.0.index_at(position)?,
            n_obs,
        })
    }
}

impl EntrySource for Csc {
    fn place(&self) -> (&Path, &str) {
        (self.0.file.path(), &self.0.object)
    }

    fn absent_chunks(&self) -> Vec<AbsentChunks> {
        self.0.absent_chunks()
    }

    fn form(&self) -> &'static str {
        "csc_matrix"
    }

    fn n_obs(&self) -> u64 {
        self.0.n_minor
    }

    fn n_vars(&self) -> u64 {
        self.0.n_major()
    }

    fn value_type(&self) -> ValueType {
        self.0.value_type
    }

    fn indices_type(&self) -> String {
        self.0.indices_type()
    }

    fn working_bytes(&self, _memory_bytes: u64) -> u64 {
        entries_bytes(SORT_NNZ, self.value_type()) + self.0.decoding_bytes(rayon::current_num_threads())
    }

    fn count(&self) -> Result<Vec<u64>> {
        // Each row has a name in the file.
        let (n_obs, file) = (self.0.n_minor, &self.0.file);
        let len_bytes = file.len_bytes();
        if n_obs
            > len_bytes
                .saturating_mul(MAX_NAMES_PER_BYTE)
                .saturating_add(MANY_NAMES)
        {
            let detail = format!("it claims {n_obs} rows in a file of {len_bytes} bytes");
            return Err(file.damaged(&self.0.object, detail));
        }
        let mut counts = vec![0u64; self.0.n_minor as usize];
        let read = |entries: Range<u64>, read: &mut Entries| {
            read.rows.resize((entries.end - entries.start) as usize, 0);
            self.0.read_indices(entries.clone(), &mut read.rows)?;
            self.check(&read.rows, entries.start)
        };
        read_ahead(self.value_type(), self.pieces(), read, &mut |entries| {
            entries.rows.iter().for_each(|&row| counts[row as usize] += 1);
            Ok(())
        })?;
        Ok(counts)
    }

    fn column_counts(&self) -> Option<Vec<u64>> {
        Some(self.0.indptr.windows(2).map(|pair| pair[1] - pair[0]).collect())
    }

    fn read(&self, take: &mut (dyn FnMut(&mut Entries) -> Result<()> + Send)) -> Result<()> {
        let read = |entries: Range<u64>, read: &mut Entries| {
            let n = (entries.end - entries.start) as usize;
            read.rows.resize(n, 0);
            with_values!(&mut read.values, values => {
                values.resize(n, Default::default());
                let (rows_read, values_read) = rayon::join(
                    || self.0.read_indices(entries.clone(), &mut read.rows),
                    || Value::read(&self.0.data, entries.clone(), values),
                );
                rows_read?;
                values_read?;
            });
            self.check(&read.rows, entries.start)?;
            read.columns.clear();
            let mut column = self.0.major_of(entries.start) as usize;
            while read.columns.len() < n {
                let until = self.0.indptr[column + 1].min(entries.end);
                read.columns
                    .resize((until - entries.start) as usize, column as u32);
                column += 1;
            }
            Ok(())
        };
        read_ahead(self.value_type(), self.pieces(), read, take)
    }
}
