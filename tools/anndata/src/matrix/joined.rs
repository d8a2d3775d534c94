//! The rows of several matrices, one matrix after the other, over one list of columns.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cellring_core::with_values;
use cellring_core::{CsrRows, ValueBuffer, ValueType};

use super::canonical::{Canonicalised, canonicalise};
use super::frame_column::FrameColumn;
use super::matrix_source::MatrixSource;
use super::number::{self, promote};
use super::row_ranges::RowTotals;
use super::selection::Selection;
use super::source::{RowSource, blame_overflow, decoding_pool};
use super::stored::{NotStored, StoredRows};
use crate::container::AbsentChunks;
use crate::error::{ReadError, Result};
use crate::forms;
use crate::join::{JoinError, NOT_KEPT};
use crate::open::OpenOptions;
use crate::workspace::Workspace;

/// Memory for inputs that are kept open although others are read: so much, and a part of what the limit is above a small one. A step would
/// make a limit too small that is larger than one that suffices.
const MIN_OPEN_BYTES: u64 = 16 << 20;
const LITTLE_BYTES: u64 = 512 << 20;
const OPEN_SHARE: u64 = 8;

/// Inputs that are open at a time, at most.
const MAX_OPEN: usize = 16;

/// What an open input takes that is not counted: a parser, a thread pool.
const OPEN_BYTES: u64 = 256 << 10;

/// Stored entries of a chunk, assumed, and what is kept for each chunk while its input is open.
const CHUNK_NNZ: u64 = 1 << 15;
const CHUNK_BYTES: u64 = 64;

/// Stored entries of the rows of an input.
#[derive(Debug)]
enum Counts {
    /// Each row has so many.
    Equal(u64),
    Each(Vec<u32>),
}

/// One of the matrices, as it was when it was first looked at.
#[derive(Debug)]
struct InputMatrix {
    path: PathBuf,
    n_obs: u64,
    n_vars: u64,
    nnz: u64,
    value_type: ValueType,
    form: &'static str,
    is_stored_by_rows: bool,
    frame_columns: Option<Vec<FrameColumn>>,
    indices_type: String,
    counts: Counts,
    has_bounds_only: bool,
    /// What it takes while it is open, but for rows that are put together, and what that takes.
    fixed_bytes: u64,
    row_totals: Option<RowTotals>,
}

/// Opens inputs, and closes those that were not read for the longest time.
#[derive(Debug)]
pub(crate) struct JoinedMatrices {
    parts: Vec<InputMatrix>,
    /// What is read of each input.
    options: OpenOptions,
    selection: Selection,
    /// In which each input is opened.
    workspace: Workspace,
    budget_bytes: u64,
    /// Those that are open, the last one read at the end.
    open: Mutex<VecDeque<(usize, MatrixSource)>>,
}

impl JoinedMatrices {
    /// Looks at the selected matrix of every input.
    pub(crate) fn open(
        inputs: &[PathBuf],
        options: &OpenOptions,
        selection: &Selection,
        workspace: &Workspace,
    ) -> Result<Self> {
        let mut all = Self {
            parts: Vec::with_capacity(inputs.len()),
            options: options.clone(),
            selection: selection.clone(),
            workspace: Workspace {
                directory: workspace.directory.clone(),
                memory_bytes: share_of_input(workspace.memory_bytes, inputs.len()),
            },
            budget_bytes: budget_bytes(workspace.memory_bytes),
            open: Mutex::default(),
        };
        for (number, path) in inputs.iter().enumerate() {
            let matrix = forms::open(path, options)?.matrix(selection, &all.workspace)?;
            all.parts.push(InputMatrix::new(path, &matrix));
            all.keep(number, matrix);
        }
        Ok(all)
    }

    /// The matrices as one. `maps` names for each column of each matrix its place among `n_vars`.
    pub(crate) fn join(
        self,
        n_obs: &[u64],
        n_vars: u64,
        maps: Option<&[Arc<[u32]>]>,
    ) -> Result<MatrixSource> {
        let mut starts = vec![0];
        let mut value_type = self.parts.first().map_or(ValueType::F32, |part| part.value_type);
        for (number, part) in self.parts.iter().enumerate() {
            let n_columns = maps.map_or(n_vars, |maps| maps[number].len() as u64);
            let sides = [
                ("rows", part.n_obs, "obs", n_obs[number]),
                ("columns", part.n_vars, "var", n_columns),
            ];
            for (axis, found, table, expected) in sides {
                if found != expected {
                    return Err(ReadError::Damaged {
                        file: part.path.clone(),
                        object: self.selection.path(),
                        detail: format!("it has {found} {axis}, but {table} has {expected} rows"),
                    });
                }
            }
            value_type = promote(value_type, part.value_type);
            starts.push(starts[number] + part.n_obs);
        }
        let first = self.parts.first().map_or(Path::new(""), |part| &part.path);
        Ok(MatrixSource::new(Joined {
            pool: decoding_pool(first)?,
            object: self.selection.path(),
            maps: maps.map(<[_]>::to_vec),
            starts,
            n_vars,
            value_type,
            parts: self,
        }))
    }

    /// The matrix of input `number`, ready to be read.
    fn get(&self, number: usize) -> Result<MatrixSource> {
        let matrix = self.opened(number)?;
        matrix.source.prepare()?;
        Ok(matrix)
    }

    /// The matrix of input `number`.
    fn opened(&self, number: usize) -> Result<MatrixSource> {
        let lock = || self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = {
            let mut open = lock();
            let place = open.iter().position(|(known, _)| *known == number);
            place
                .and_then(|place| open.remove(place))
                .inspect(|kept| open.push_back(kept.clone()))
        };
        match kept {
            Some((_, matrix)) => Ok(matrix),
            None => {
                let part = &self.parts[number];
                // Not under the lock: this reads on a pool, whose thread might meanwhile take up another read.
                let matrix =
                    forms::open(&part.path, &self.options)?.matrix(&self.selection, &self.workspace)?;
                if !part.is(&matrix) {
                    let (file, object) = (part.path.clone(), self.selection.path());
                    return Err(JoinError::Changed { file, object }.into());
                }
                self.keep(number, matrix.clone());
                Ok(matrix)
            }
        }
    }

    /// Keeps an input open, and closes others that there is no room for.
    fn keep(&self, number: usize, matrix: MatrixSource) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.push_back((number, matrix));
        let bytes = |open: &VecDeque<(usize, MatrixSource)>| -> u64 {
            open.iter()
                .map(|(number, _)| self.parts[*number].open_bytes(self.workspace.memory_bytes))
                .sum()
        };
        while open.len() > 1 && (open.len() > MAX_OPEN || bytes(&open) > self.budget_bytes) {
            open.pop_front();
        }
    }

    /// The most that is taken by inputs that are open, had they been opened within a limit.
    fn open_bytes(&self, memory_bytes: u64) -> u64 {
        let share = share_of_input(memory_bytes, self.parts.len());
        let of_part = |part: &InputMatrix| part.open_bytes(share);
        let all: u64 = self.parts.iter().map(of_part).sum();
        let largest = self.parts.iter().map(of_part).max().unwrap_or(0);
        // While one is opened, those that will make room for it are open yet.
        all.min(budget_bytes(memory_bytes).max(largest) + largest)
    }
}

/// What putting rows together takes within a limit.
fn sorting_bytes(row_totals: Option<RowTotals>, memory_bytes: u64) -> u64 {
    row_totals.map_or(0, |totals| totals.working_bytes(memory_bytes))
}

/// Of a limit, what one of the inputs is opened within.
fn share_of_input(memory_bytes: u64, n_inputs: usize) -> u64 {
    memory_bytes / (n_inputs as u64).clamp(1, 4)
}

/// Of a limit, what inputs that are open may take.
fn budget_bytes(memory_bytes: u64) -> u64 {
    MIN_OPEN_BYTES + memory_bytes.saturating_sub(LITTLE_BYTES) / OPEN_SHARE
}

impl InputMatrix {
    fn new(path: &Path, matrix: &MatrixSource) -> Self {
        let source = &matrix.source;
        let n_obs = source.n_obs();
        let count = |row| u32::try_from(source.stored_in(row)).unwrap_or(u32::MAX);
        let is_dense = source.form() == "array";
        let row_totals = source.row_totals();
        Self {
            path: path.to_owned(),
            n_obs,
            n_vars: source.n_vars(),
            nnz: source.nnz(),
            value_type: source.value_type(),
            form: source.form(),
            is_stored_by_rows: source.is_stored_by_rows(),
            frame_columns: source.frame_columns(),
            indices_type: source.indices_type(),
            counts: match is_dense {
                true => Counts::Equal(source.n_vars()),
                false => Counts::Each((0..n_obs).map(count).collect()),
            },
            has_bounds_only: source.has_bounds_only(),
            fixed_bytes: OPEN_BYTES + source.working_bytes(0) - sorting_bytes(row_totals, 0)
                + 8 * n_obs
                + CHUNK_BYTES * (source.nnz() / CHUNK_NNZ),
            row_totals,
        }
    }

    /// What it takes while it is open, had it been opened within a limit.
    fn open_bytes(&self, memory_bytes: u64) -> u64 {
        self.fixed_bytes + sorting_bytes(self.row_totals, memory_bytes)
    }

    /// Whether a matrix is still the one that was looked at.
    fn is(&self, matrix: &MatrixSource) -> bool {
        let source = &matrix.source;
        let shape = |n_obs, n_vars, nnz, value_type| (n_obs, n_vars, nnz, value_type);
        shape(self.n_obs, self.n_vars, self.nnz, self.value_type)
            == shape(source.n_obs(), source.n_vars(), source.nnz(), source.value_type())
    }

    fn stored_in(&self, row: u64) -> u64 {
        match &self.counts {
            Counts::Equal(nnz) => *nnz,
            Counts::Each(counts) => u64::from(counts[row as usize]),
        }
    }
}

/// The matrices as one.
#[derive(Debug)]
struct Joined {
    parts: JoinedMatrices,
    object: String,
    /// First row of each part, then the number of rows.
    starts: Vec<u64>,
    n_vars: u64,
    /// For each part the place of each of its columns; `None` where all have all of them in order.
    maps: Option<Vec<Arc<[u32]>>>,
    value_type: ValueType,
    pool: rayon::ThreadPool,
}

impl Joined {
    /// The part of a row.
    fn part_of(&self, row: u64) -> usize {
        let part = self.starts.partition_point(|&start| start <= row) - 1;
        part.min(self.parts.parts.len() - 1)
    }

    /// The part of a window, and its rows there.
    fn locate(&self, rows: &Range<u64>) -> (usize, Range<u64>) {
        let part = self.part_of(rows.start);
        let start = self.starts[part];
        (part, rows.start - start..rows.end - start)
    }

    /// Puts columns in their places. They may lie in any order afterwards.
    fn place_columns(&self, part: usize, window: &mut CsrRows) -> bool {
        let Some(map) = self.maps.as_ref().map(|maps| &maps[part]) else {
            return true;
        };
        let (indptr, indices) = (&mut window.indptr, &mut window.indices);
        let mut is_sorted = true;
        with_values!(&mut window.values, values => {
            let (mut at, mut kept) = (0, 0);
            for end in &mut indptr[1..] {
                let mut before = None;
                while at < *end as usize {
                    let place = map[indices[at] as usize];
                    if place != NOT_KEPT {
                        is_sorted &= before < Some(place);
                        before = Some(place);
                        indices[kept] = place;
                        values[kept] = values[at];
                        kept += 1;
                    }
                    at += 1;
                }
                *end = kept as u64;
            }
            indices.truncate(kept);
            values.truncate(kept);
        });
        is_sorted
    }

    /// Values in the type of all.
    fn widen(&self, part: usize, first_row: u64, window: &mut CsrRows) -> Result<()> {
        if window.values.value_type() == self.value_type {
            return Ok(());
        }
        let empty = ValueBuffer::with_capacity(self.value_type, 0);
        let values = std::mem::replace(&mut window.values, empty);
        let widened = number::widen(&values, self.value_type).map_err(|(at, value)| {
            let row = window.indptr.partition_point(|&end| end <= at as u64) as u64 - 1;
            JoinError::Inexact {
                file: self.parts.parts[part].path.clone(),
                object: self.object.clone(),
                row: first_row + row,
                value,
                wanted: self.value_type.numpy_name().to_owned(),
            }
        })?;
        window.values = widened;
        Ok(())
    }
}

impl RowSource for Joined {
    fn stored(&self) -> std::result::Result<Vec<StoredRows>, NotStored> {
        let mut all = Vec::with_capacity(self.parts.parts.len());
        for (number, part) in self.parts.parts.iter().enumerate() {
            let changed = |_| NotStored {
                file: part.path.clone(),
                reason: "it changed while it was read".to_owned(),
            };
            let matrix = self.parts.opened(number).map_err(changed)?;
            let map = self.maps.as_ref().map(|maps| &maps[number]);
            let is_same = |map: &&Arc<[u32]>| map.iter().copied().eq(0..self.n_vars as u32);
            let column_map = map.filter(|map| !is_same(map)).cloned();
            let of_part = |rows| StoredRows {
                column_map: column_map.clone(),
                ..rows
            };
            all.extend(matrix.source.stored()?.into_iter().map(of_part));
        }
        Ok(all)
    }

    fn place(&self) -> (&Path, &str) {
        let first = self.parts.parts.first();
        (first.map_or(Path::new(""), |part| &part.path), &self.object)
    }

    fn absent_chunks(&self) -> Vec<AbsentChunks> {
        // A part that cannot be opened is an error where it is read.
        let parts = (0..self.parts.parts.len()).filter_map(|number| self.parts.opened(number).ok());
        parts.flat_map(|matrix| matrix.absent_chunks()).collect()
    }

    fn frame_columns(&self) -> Option<Vec<FrameColumn>> {
        let mut columns = self.parts.parts.iter().map(|part| &part.frame_columns);
        let first = columns.next()?;
        match columns.all(|other| other == first) {
            true => first.clone(),
            false => None,
        }
    }

    fn is_stored_by_rows(&self) -> bool {
        self.parts.parts.iter().all(|part| part.is_stored_by_rows)
    }

    fn form(&self) -> &'static str {
        let parts = &self.parts.parts;
        let first = parts.first().map_or("csr_matrix", |part| part.form);
        match parts.iter().all(|part| part.form == first) {
            true => first,
            false => "several",
        }
    }

    fn n_obs(&self) -> u64 {
        self.starts[self.starts.len() - 1]
    }

    fn n_vars(&self) -> u64 {
        self.n_vars
    }

    fn nnz(&self) -> u64 {
        self.parts.parts.iter().map(|part| part.nnz).sum()
    }

    fn value_type(&self) -> ValueType {
        self.value_type
    }

    fn indices_type(&self) -> String {
        let types = || self.parts.parts.iter().map(|part| &part.indices_type);
        let wide = types().find(|name| name.ends_with("64"));
        wide.or(types().next())
            .cloned()
            .unwrap_or_else(|| "int32".to_owned())
    }

    fn has_bounds_only(&self) -> bool {
        self.parts.parts.iter().any(|part| part.has_bounds_only)
    }

    fn stored_in(&self, row: u64) -> u64 {
        let part = self.part_of(row);
        self.parts.parts[part].stored_in(row - self.starts[part])
    }

    fn pool(&self) -> &rayon::ThreadPool {
        &self.pool
    }

    fn working_bytes(&self, memory_bytes: u64) -> u64 {
        // Each list of places once.
        let mut lists: Vec<(*const u32, usize)> = self
            .maps
            .iter()
            .flatten()
            .map(|map| (map.as_ptr(), map.len()))
            .collect();
        lists.sort_unstable();
        lists.dedup();
        let maps: usize = lists.iter().map(|(_, len)| 4 * len).sum();
        let is_mixed = self
            .parts
            .parts
            .iter()
            .any(|part| part.value_type != self.value_type);
        let counts = 4 * self.n_obs();
        // Values that are being widened are there twice.
        let widened = if is_mixed { 1 << 25 } else { 0 };
        self.parts.open_bytes(memory_bytes) + maps as u64 + counts + widened
    }

    fn window(&self, start: u64, end: u64, max_nnz: usize) -> Range<u64> {
        let (part, rows) = self.locate(&(start..end));
        let first = self.starts[part];
        let last = rows.end.min(self.parts.parts[part].n_obs);
        // On this pool, so that what is opened takes as many threads as this.
        let window = match self.pool.install(|| self.parts.get(part)) {
            Ok(matrix) => matrix.source.window(rows.start, last, max_nnz),
            // Reading it says why.
            Err(_) => rows.start..rows.start + 1,
        };
        first + window.start..first + window.end
    }

    fn read(&self, rows: &Range<u64>, spent: Option<CsrRows>) -> Result<(CsrRows, Canonicalised)> {
        let (part, own_rows) = self.locate(rows);
        let matrix = self.parts.get(part)?;
        let (mut window, report) = matrix.source.read(&own_rows, spent)?;
        if !self.place_columns(part, &mut window) {
            let (indptr, indices) = (&mut window.indptr, &mut window.indices);
            let sorted = with_values!(&mut window.values, values => canonicalise(indptr, indices, values, self.n_vars));
            sorted.map_err(|fault| blame_overflow(self, fault, rows.start))?;
        }
        self.widen(part, own_rows.start, &mut window)?;
        Ok((window, report))
    }

    fn read_columns(&self, rows: &Range<u64>, indices: &mut Vec<u32>) -> Result<()> {
        let (part, own_rows) = self.locate(rows);
        self.parts.get(part)?.source.read_columns(&own_rows, indices)?;
        if let Some(maps) = &self.maps {
            let map = &maps[part];
            indices.retain_mut(|column| {
                *column = map[*column as usize];
                *column != NOT_KEPT
            });
        }
        Ok(())
    }
}
