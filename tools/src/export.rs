//! Writes a store, or some of its obs, as an `.h5ad` file with the source's element type and order of columns.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow_schema::{ArrowError, FieldRef, Schema, SchemaRef};
use cellring::Store;
use cellring::format::constants::{ROLE_KEY, ROLE_SOURCE_POSITION, TABLE_BATCH_ROWS};
use cellring::format::table::Table;
use cellring::format::{CsrRows, Element, FormatError, VarOrder};
use cellring::with_element;
use cellring::writer::RowSorter;
use rayon::prelude::*;
use serde::Serialize;

use crate::anndata::write::{Axis, H5adWriter, MatrixSpec, Place, WriteError};
use crate::anndata::{MatrixSource, Scatter, ScatterError, SourceError, Workspace};

/// Entries, and rows, that one thread reads and reorders in one go.
const PART_NNZ: u64 = 1 << 19;
const PART_ROWS: u64 = 1 << 14;

/// Why an export failed. Nothing is left under the file's name then. Every message is one sentence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] FormatError),
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// There is something under the file's name.
    #[error("{}: exists already; give --force to replace it, or another name", path.display())]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// Obs that do not exist were asked for.
    #[error("obs {start} to {end} of {} were asked for, but it has {n_obs} obs; give a range A..B with A <= B <= {n_obs}", store.display())]
    ObsRange {
        /// The store.
        store: PathBuf,
        /// First obs.
        start: u64,
        /// Obs after the last.
        end: u64,
        /// Number of obs.
        n_obs: u64,
    },
    /// The obs cannot be brought back into the source's order.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A matrix has a name that has no place in AnnData.
    #[error("{} has a matrix called {name:?}, which is no path in AnnData (X, raw/X, layers/NAME or obsm/NAME); convert the source again", store.display())]
    Name {
        /// The store.
        store: PathBuf,
        /// The name.
        name: String,
    },
    /// The positions of the obs in the source are no permutation.
    #[error("{} has source positions of obs that are missing, repeated or out of range; convert the source again", store.display())]
    Positions {
        /// The store.
        store: PathBuf,
    },
    /// A table cannot be brought back into the source's order.
    #[error("{} has a table that cannot be brought into the source's order ({error}); convert the source again", store.display())]
    Table {
        /// The store.
        store: PathBuf,
        /// Why not.
        error: ArrowError,
    },
}

/// What is exported.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// Which obs; all where `None`.
    pub obs_range: Option<Range<u64>>,
    /// Whether an existing file is replaced.
    pub force: bool,
    /// Memory, in bytes, by which temporary files are cut where the obs of the store are in another order than the source's.
    pub memory_bytes: u64,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self {
            obs_range: None,
            force: false,
            memory_bytes: 1 << 30,
        }
    }
}

/// What an export did.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ExportReport {
    /// Number of rows.
    pub n_obs: u64,
    /// Number of columns.
    pub n_vars: u64,
    /// Number of values.
    pub nnz: u64,
    /// Length of the file.
    pub bytes: u64,
    /// Wall time.
    pub seconds: f64,
}

/// Writes `output` from the store at `store`, on the current thread pool. The file has its name when this returns without
/// an error, and not before.
///
/// `progress` is called now and then with the number of obs done and to do. Memory: a few million entries of the
/// matrix, a batch of obs, and var. Where the obs of the store are in another order than the source's, both the matrix and
/// obs pass through temporary files beside the output, and take 8 bytes for each obs and about a quarter of
/// [`ExportOptions::memory_bytes`].
///
/// # Errors
/// [`ExportError`].
pub fn export(
    store: &Path,
    output: &Path,
    options: &ExportOptions,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<ExportReport, ExportError> {
    let started = Instant::now();
    if !options.force && output.symlink_metadata().is_ok() {
        return Err(ExportError::Exists {
            path: output.to_path_buf(),
        });
    }
    let store = Arc::new(Store::open(store)?);
    let obs = options.obs_range.clone().unwrap_or(0..store.n_obs());
    if obs.start > obs.end || obs.end > store.n_obs() {
        return Err(ExportError::ObsRange {
            store: store.path().to_path_buf(),
            start: obs.start,
            end: obs.end,
            n_obs: store.n_obs(),
        });
    }
    let n_obs = obs.end - obs.start;
    let places = matrix_places(&store)?;
    let spec = matrix_spec(&store, &obs)?;
    let nnz = spec.nnz;
    let mut writer = H5adWriter::create_with(output, places[0].clone(), spec)?;
    // A part of a store in another order than the source's stays in that order.
    let order = if n_obs == store.n_obs() {
        obs_places(&store)?
    } else {
        None
    };
    let workspace = Workspace {
        directory: match output.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        },
        memory_bytes: options.memory_bytes,
    };
    match &order {
        None => write_obs(&mut writer, &store, obs.clone())?,
        Some(_) => restore_obs(&mut writer, &store, &workspace)?,
    }
    let n_matrices = places.len() as u64;
    for (number, place) in places.into_iter().enumerate() {
        let matrix = match number {
            0 => &store,
            _ => &store.matrices()[number - 1],
        };
        if number > 0 {
            writer.next_matrix(place.clone(), matrix_spec(matrix, &obs)?)?;
        }
        let positions = matrix.source_positions()?;
        match (number, place) {
            (0, _) => write_var(&mut writer, matrix, Axis::Var, &positions)?,
            (_, Place::Raw) => write_var(&mut writer, matrix, Axis::RawVar, &positions)?,
            _ => {}
        }
        let columns = (matrix.manifest().var_order != VarOrder::Source).then_some(positions.as_slice());
        let before = number as u64 * n_obs;
        let progress = |done| progress(before + done, n_matrices * n_obs);
        with_element!(matrix.manifest().value_type, T => match &order {
            None => write_rows::<T>(&mut writer, matrix, obs.clone(), columns, &progress),
            Some(order) => restore_rows::<T>(&mut writer, matrix, order, columns, &workspace, &progress),
        })?;
    }
    writer.finish()?;
    Ok(ExportReport {
        n_obs,
        n_vars: store.n_vars(),
        nnz: nnz.unwrap_or(0),
        bytes: output.metadata().map_or(0, |metadata| metadata.len()),
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// Where each matrix of the store goes. The first is X, unless it is a layer among others.
fn matrix_places(store: &Store) -> Result<Vec<Place>, ExportError> {
    let place_of = |matrix: &Store| {
        let name = matrix.name().unwrap_or_default();
        Place::of_path(name).ok_or_else(|| ExportError::Name {
            store: store.path().to_path_buf(),
            name: name.to_owned(),
        })
    };
    let first = match store.name() {
        None | Some("raw/X") => Place::X,
        Some(_) => place_of(store)?,
    };
    let mut places = vec![first];
    for matrix in store.matrices() {
        places.push(place_of(matrix)?);
    }
    Ok(places)
}

/// Shape and types of these rows of a matrix.
fn matrix_spec(store: &Store, obs: &Range<u64>) -> Result<MatrixSpec, ExportError> {
    let n_obs = obs.end - obs.start;
    let nnz = if n_obs == store.n_obs() {
        store.manifest().nnz
    } else {
        obs.clone().try_fold(0, |nnz, obs| {
            Ok::<_, FormatError>(nnz + u64::from(store.index().locate(obs)?.nnz))
        })?
    };
    let mut spec = MatrixSpec::new(n_obs, store.n_vars(), store.manifest().value_type).with_nnz(nnz);
    spec.wide_indices |= has_wide_indices(store);
    Ok(spec)
}

/// Whether the source had 64-bit column indices, as far as the manifest says.
fn has_wide_indices(store: &Store) -> bool {
    let indices_type = store.manifest().source.get("indices_type");
    indices_type
        .and_then(|name| name.as_str())
        .is_some_and(|name| name.ends_with("64"))
}

/// Reads, reorders and writes the rows, several parts at a time.
fn write_rows<T: Element>(
    writer: &mut H5adWriter,
    store: &Store,
    obs: Range<u64>,
    order: Option<&[u32]>,
    progress: &dyn Fn(u64),
) -> Result<(), ExportError> {
    let mut at = obs.start;
    while at < obs.end {
        let mut parts = Vec::new();
        while at < obs.end && parts.len() < 2 * rayon::current_num_threads() {
            let part = part(store, at..obs.end)?;
            at = part.end;
            parts.push(part);
        }
        let read = |part: Range<u64>| {
            let mut rows = store.rows(part)?;
            if let Some(order) = order {
                reorder::<T>(&mut rows, order);
            }
            Ok(rows)
        };
        let parts: Vec<CsrRows> = parts
            .into_par_iter()
            .map(read)
            .collect::<Result<_, FormatError>>()?;
        parts.iter().try_for_each(|rows| writer.push_rows(rows))?;
        progress(at - obs.start);
    }
    Ok(())
}

/// The first rows of a range: as many as one thread reads in one go, at least one.
fn part(store: &Store, obs: Range<u64>) -> Result<Range<u64>, FormatError> {
    let (mut end, mut nnz) = (obs.start, 0);
    while end < obs.end.min(obs.start + PART_ROWS) {
        nnz += u64::from(store.index().locate(end)?.nnz);
        if nnz > PART_NNZ && end > obs.start {
            break;
        }
        end += 1;
    }
    Ok(obs.start..end)
}

/// Writes the rows in the order of the source: `places` names for each of its obs the place in the store, which is read in
/// its own order.
fn restore_rows<T: Element>(
    writer: &mut H5adWriter,
    store: &Arc<Store>,
    places: &[u32],
    order: Option<&[u32]>,
    workspace: &Workspace,
    progress: &dyn Fn(u64),
) -> Result<(), ExportError> {
    let matrix = MatrixSource::of_store(store)?.reordered(places, workspace)?;
    let (mut done, n_obs) = (0, matrix.n_obs());
    let mut windows = matrix.rows(0..n_obs, PART_NNZ as usize)?;
    loop {
        let mut parts = Vec::new();
        for window in windows.by_ref().take(2 * rayon::current_num_threads()) {
            parts.push(window?);
        }
        if parts.is_empty() {
            return Ok(());
        }
        if let Some(order) = order {
            parts.par_iter_mut().for_each(|rows| reorder::<T>(rows, order));
        }
        for rows in &parts {
            writer.push_rows(rows)?;
            done += rows.n_rows() as u64;
        }
        progress(done);
    }
}

/// For each obs of the source its place in the store, where that is another.
fn obs_places(store: &Store) -> Result<Option<Vec<u32>>, ExportError> {
    let table = store.obs();
    let fields = table.schema()?.fields();
    let Some(column) = fields.iter().position(is_position) else {
        return Ok(None);
    };
    let damaged = || ExportError::Positions {
        store: store.path().to_path_buf(),
    };
    const UNSET: u32 = u32::MAX;
    let mut places = vec![UNSET; usize::try_from(table.n_rows()).map_err(|_| damaged())?];
    let mut obs = 0;
    for batch in 0..table.n_batches()? {
        let batch = table.batch(batch)?;
        let positions = batch.column(column).as_any().downcast_ref::<UInt32Array>();
        for &position in positions.ok_or_else(damaged)?.values() {
            match places.get_mut(position as usize) {
                Some(place) if *place == UNSET => *place = obs,
                _ => return Err(damaged()),
            }
            obs += 1;
        }
    }
    Ok(Some(places))
}

fn reorder<T: Element>(rows: &mut CsrRows, order: &[u32]) {
    let mut sorter = RowSorter::<T>::new(order.len() as u64, rows.nnz());
    let Some(values) = T::vec_mut(&mut rows.values) else {
        unreachable!("rows are of the store's element type");
    };
    for bounds in rows.indptr.windows(2) {
        let row = bounds[0] as usize..bounds[1] as usize;
        let (indices, row_values) = sorter.reorder(order, &rows.indices[row.clone()], &values[row.clone()]);
        rows.indices[row.clone()].copy_from_slice(indices);
        values[row].copy_from_slice(row_values);
    }
}

fn write_obs(writer: &mut H5adWriter, store: &Store, obs: Range<u64>) -> Result<(), ExportError> {
    let table = store.obs();
    let (kept, schema) = kept_fields(store)?;
    let failed = |error| ExportError::Table {
        store: store.path().to_path_buf(),
        error,
    };
    let mut out = writer.table(Axis::Obs, &schema)?;
    let mut at = obs.start;
    // One batch at least, if with no row of it: it brings the categories.
    for batch in at as usize / TABLE_BATCH_ROWS..table.n_batches()? {
        let from = at as usize % TABLE_BATCH_ROWS;
        let n_rows = (TABLE_BATCH_ROWS - from).min((obs.end - at) as usize);
        let batch = table.batch(batch)?.project(&kept).map_err(failed)?;
        out.push(&batch.slice(from, n_rows))?;
        at += n_rows as u64;
        if at == obs.end {
            break;
        }
    }
    Ok(out.finish()?)
}

/// The fields of obs that come from the source.
fn kept_fields(store: &Store) -> Result<(Vec<usize>, SchemaRef), ExportError> {
    let schema = store.obs().schema()?;
    let fields = schema.fields().iter().enumerate();
    let kept: Vec<usize> = fields
        .filter(|(_, field)| !is_position(field))
        .map(|(place, _)| place)
        .collect();
    let kept_schema = schema.project(&kept).map_err(|error| ExportError::Table {
        store: store.path().to_path_buf(),
        error,
    })?;
    Ok((kept, Arc::new(kept_schema)))
}

/// Writes obs in the order of the source, reading it in that of the store.
fn restore_obs(writer: &mut H5adWriter, store: &Store, workspace: &Workspace) -> Result<(), ExportError> {
    let table = store.obs();
    let (kept, schema) = kept_fields(store)?;
    let failed = |error: ScatterError| match error {
        ScatterError::Io(source) => ExportError::Source(SourceError::Spill {
            directory: workspace.directory.clone(),
            source,
        }),
        ScatterError::Arrow(error) => ExportError::Table {
            store: store.path().to_path_buf(),
            error,
        },
    };
    let n_rows = table.n_rows();
    let mut scatter = Scatter::new(&schema, n_rows, workspace);
    let position = table.schema()?.fields().iter().position(is_position);
    for number in 0..table.n_batches()? {
        let batch = table.batch(number)?;
        let positions = position.and_then(|place| batch.column(place).as_any().downcast_ref::<UInt32Array>());
        let positions = positions.ok_or_else(|| ExportError::Positions {
            store: store.path().to_path_buf(),
        })?;
        let rows = batch.project(&kept).map_err(|error| failed(error.into()))?;
        scatter.push(&rows, positions.values()).map_err(failed)?;
    }
    let mut out = writer.table(Axis::Obs, &schema)?;
    let all: Vec<usize> = (0..schema.fields().len()).collect();
    for start in (0..n_rows).step_by(TABLE_BATCH_ROWS) {
        let rows = start..n_rows.min(start + TABLE_BATCH_ROWS as u64);
        let columns = scatter.read(rows, &all).map_err(failed)?;
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns);
        out.push(&batch.map_err(|error| failed(error.into()))?)?;
    }
    Ok(out.finish()?)
}

fn is_position(field: &FieldRef) -> bool {
    field.metadata().get(ROLE_KEY).map(String::as_str) == Some(ROLE_SOURCE_POSITION)
}

/// Writes var in the source's order and without the field that tells it.
fn write_var(
    writer: &mut H5adWriter,
    store: &Store,
    axis: Axis,
    positions: &[u32],
) -> Result<(), ExportError> {
    let mut column_of_source = vec![0; positions.len()];
    for (column, &source) in positions.iter().enumerate() {
        column_of_source[source as usize] = column as u32;
    }
    let rows = column_of_source;
    let (schema, columns) = source_columns(store.var())?;
    let failed = |error| ExportError::Table {
        store: store.path().to_path_buf(),
        error,
    };
    let mut out = writer.table(axis, &schema)?;
    if !rows.is_empty() {
        let rows = UInt32Array::from(rows);
        let columns = columns
            .iter()
            .map(|batches| {
                let batches: Vec<&dyn Array> = batches.iter().map(AsRef::as_ref).collect();
                let whole = arrow_select::concat::concat(&batches)?;
                arrow_select::take::take(&whole, &rows, None)
            })
            .collect::<Result<Vec<ArrayRef>, ArrowError>>()
            .map_err(failed)?;
        out.push(&RecordBatch::try_new(schema, columns).map_err(failed)?)?;
    }
    Ok(out.finish()?)
}

/// The fields of the table that come from the source, and their batches.
///
/// Column by column, since the batches of a column that are read together share one dictionary, which joining them
/// then leaves as it is.
fn source_columns(table: &Table) -> Result<(SchemaRef, Vec<Vec<ArrayRef>>), FormatError> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for field in table.schema()?.fields() {
        let column = match field.metadata().get(ROLE_KEY).map(String::as_str) {
            Some(ROLE_SOURCE_POSITION) => continue,
            Some(_) => table.names()?,
            None => table.column(field.name())?,
        };
        fields.push(Arc::clone(field));
        columns.push(column.batches().to_vec());
    }
    Ok((Arc::new(Schema::new(fields)), columns))
}
