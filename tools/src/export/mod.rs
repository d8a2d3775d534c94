//! Writes a store, or some of its obs, as AnnData: with the source's element types, order of columns and forms.

mod form;
mod rows;
mod stored;
mod tables;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use arrow_schema::ArrowError;
use cellring::Store;
use cellring::format::{FormatError, VarOrder};
use cellring::select::nearest;
use cellring_anndata::__internal::directory_of;
use cellring_anndata::write::{
    AnnDataWriter, Axis, Compression, Container, Place, WriteError, WriteOptions, ZarrFormat,
};
use cellring_anndata::{ReadError, Workspace};
use serde::Serialize;

pub use form::FormChoice;

use form::Plan;
use rows::MatrixExport;

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
    Source(#[from] ReadError),
    /// A zip file was asked for.
    #[error("{}: zarr is written as a directory, not as a zip file; export to a name that ends in .zarr and zip that", path.display())]
    Zip {
        /// The path.
        path: PathBuf,
    },
    /// The name does not say whether the output is HDF5 or zarr.
    #[error(
        "{}: the name {found}, so it does not say whether to write HDF5 or zarr; give one that ends in .{nearest}, or say what to write with \
         --container h5ad or --container zarr", path.display()
    )]
    Ending {
        /// The path.
        path: PathBuf,
        /// How it ends, as words.
        found: String,
        /// The known ending that is most like it.
        nearest: &'static str,
    },
    /// A matrix has a name that has no place in AnnData.
    #[error("{} has a matrix called {name:?}, which is not a path in AnnData (X, raw/X, layers/NAME or obsm/NAME); convert the source again", store.display())]
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
    /// Memory, in bytes, by which temporary files are cut where the obs of the store are in another order than the source's, or a
    /// matrix is written by columns.
    pub memory_bytes: u64,
    /// What holds the output. `None`: what its name says, by its ending.
    pub container: Option<ContainerChoice>,
    /// Form of X, the layers and raw.
    pub form: FormChoice,
    /// Compression of all arrays. `None`: none in `.h5ad`, zstd in zarr.
    pub compression: Option<Compression>,
    /// Elements of a chunk of an array of one dimension; see [`WriteOptions::chunk_len`].
    pub chunk_len: Option<u32>,
    /// Version of the format, where the output is zarr.
    pub zarr_format: ZarrFormat,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self {
            obs_range: None,
            force: false,
            memory_bytes: 1 << 30,
            container: None,
            form: FormChoice::default(),
            compression: None,
            chunk_len: None,
            zarr_format: ZarrFormat::default(),
        }
    }
}

/// An HDF5 file or a directory of zarr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as the formats are")]
pub enum ContainerChoice {
    Hdf5,
    Zarr,
}

impl FromStr for ContainerChoice {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "h5ad" => Ok(Self::Hdf5),
            "zarr" => Ok(Self::Zarr),
            _ => Err("expected h5ad or zarr".to_owned()),
        }
    }
}

impl ExportOptions {
    /// What holds an output of this name.
    ///
    /// # Errors
    /// [`ExportError::Ending`] where neither the options nor the name say so, [`ExportError::Zip`] for a zip file.
    pub fn container_of(&self, output: &Path) -> Result<Container, ExportError> {
        let named = Container::of_path(output, self.zarr_format);
        match (self.container, named) {
            (Some(ContainerChoice::Hdf5), _) => return Ok(Container::Hdf5),
            (Some(ContainerChoice::Zarr), _) => return Ok(Container::Zarr(self.zarr_format)),
            (None, Some(container)) => return Ok(container),
            (None, None) => {}
        }
        let path = output.to_path_buf();
        let ending = output
            .extension()
            .map(|ending| ending.to_string_lossy().into_owned());
        if ending
            .as_ref()
            .is_some_and(|ending| ending.eq_ignore_ascii_case("zip"))
        {
            return Err(ExportError::Zip { path });
        }
        let [usual, ..] = Container::ENDINGS;
        let (found, nearest) = match &ending {
            None => ("has no ending".to_owned(), usual),
            Some(ending) => {
                let nearest = nearest(ending, &Container::ENDINGS).into_iter().next();
                (format!("ends in .{ending}"), nearest.unwrap_or(usual))
            }
        };
        Err(ExportError::Ending { path, found, nearest })
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
    /// Length of the file; of a zarr directory, of all its files.
    pub bytes: u64,
    /// The matrices that were written.
    pub matrices: Vec<ExportedMatrix>,
    /// One sentence for each matrix that is not what it was in the source: in another form or at another place.
    pub differences: Vec<String>,
    /// Wall time.
    pub seconds: f64,
}

/// A matrix that was written.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ExportedMatrix {
    /// Its path in the output.
    pub path: String,
    /// Its encoding-type in the output.
    pub form: String,
    /// Its path in the source, if the store says so.
    pub source_path: Option<String>,
    /// Its form in the source, if the store says so.
    pub source_form: Option<String>,
}

/// Writes `output` from the store at `store`, on the current thread pool: a zarr directory or an HDF5 file, as
/// [`ExportOptions::container_of`] says. It has its name when this returns without an error, and not before.
///
/// `progress` is called now and then with the number of obs done and to do. Memory: a few million entries of the
/// matrix, a batch of obs, and var. Where the obs of the store are in another order than the source's, both the matrix and
/// obs pass through temporary files beside the output, and take 8 bytes for each obs and about a quarter of
/// [`ExportOptions::memory_bytes`]; so does a matrix that is written by columns.
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
    let container = options.container_of(output)?;
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
    let plans = plans(&store, &obs, options.form)?;
    let nnz = plans[0].spec.nnz;
    let write_options = WriteOptions::default()
        .in_container(container)
        .with_compression(options.compression)
        .with_chunk_len(options.chunk_len);
    let first = &plans[0];
    let mut writer =
        AnnDataWriter::create_with(output, write_options, first.place.clone(), first.spec.clone())?;
    // A part of a store in another order than the source's stays in that order.
    let order = if n_obs == store.n_obs() {
        tables::obs_places(&store)?
    } else {
        None
    };
    let workspace = Workspace {
        directory: directory_of(output).to_path_buf(),
        memory_bytes: options.memory_bytes,
    };
    match &order {
        None => tables::write_obs(&mut writer, &store, obs.clone())?,
        Some(_) => tables::restore_obs(&mut writer, &store, &workspace)?,
    }
    let n_matrices = plans.len() as u64;
    for (number, plan) in plans.iter().enumerate() {
        let matrix = match number {
            0 => &store,
            _ => &store.matrices()[number - 1],
        };
        if number > 0 {
            writer.next_matrix(plan.place.clone(), plan.spec.clone())?;
        }
        let positions = matrix.source_positions()?;
        match (number, &plan.place) {
            (0, _) => tables::write_var(&mut writer, matrix, Axis::Var, &positions)?,
            (_, Place::Raw) => tables::write_var(&mut writer, matrix, Axis::RawVar, &positions)?,
            _ => {}
        }
        let before = number as u64 * n_obs;
        let export = MatrixExport {
            store: matrix,
            obs: obs.clone(),
            places: order.as_deref(),
            columns: (matrix.manifest().var_order != VarOrder::Source).then_some(positions.as_slice()),
            workspace: &workspace,
        };
        export.write(&mut writer, &plan.spec.form, &|done| {
            progress(before + done, n_matrices * n_obs)
        })?;
    }
    writer.finish()?;
    Ok(ExportReport {
        n_obs,
        n_vars: store.n_vars(),
        nnz: nnz.unwrap_or(0),
        bytes: bytes_of(output),
        matrices: plans.iter().map(Plan::report).collect(),
        differences: plans.iter().filter_map(|plan| plan.difference.clone()).collect(),
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// Where each matrix of the store goes, and how. The first is X, unless it is a layer among others.
fn plans(store: &Arc<Store>, obs: &Range<u64>, choice: FormChoice) -> Result<Vec<Plan>, ExportError> {
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
    let mut plans = vec![Plan::of(store, first, obs, choice)?];
    for matrix in store.matrices() {
        plans.push(Plan::of(matrix, place_of(matrix)?, obs, choice)?);
    }
    Ok(plans)
}

/// Bytes of a file, or of all files below a directory.
fn bytes_of(path: &Path) -> u64 {
    match path.metadata() {
        Ok(metadata) if metadata.is_dir() => {
            let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
            entries.map(|entry| bytes_of(&entry.path())).sum()
        }
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    }
}
