//! Writes a store, or some of its obs, as AnnData: with the source's element types, order of columns and forms.

mod error;
mod form;
mod options;
mod report;
mod rows;
mod stored;
mod tables;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use cellring::Store;
use cellring::format::VarOrder;
use cellring_anndata::__internal::directory_of;
use cellring_anndata::Workspace;
use cellring_anndata::write::{AnnDataWriter, Axis, Place, WriteOptions};

pub use error::ExportError;
pub use form::FormChoice;
pub use options::{ContainerChoice, ExportOptions};
pub use report::{ExportReport, ExportedMatrix};

use form::MatrixPlan;
use rows::MatrixExport;

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
    let store = Arc::new(match &options.source_root {
        Some(root) => Store::open_below(store, root)?,
        None => Store::open(store)?,
    });
    if leads_to(&store, output) {
        return Err(ExportError::OwnSource {
            store: store.path().to_path_buf(),
            path: output.to_path_buf(),
        });
    }
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
        matrices: plans.iter().map(MatrixPlan::report).collect(),
        differences: plans.iter().filter_map(|plan| plan.difference.clone()).collect(),
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// Where each matrix of the store goes, and how. The first is X, unless it is a layer among others.
fn plans(store: &Arc<Store>, obs: &Range<u64>, choice: FormChoice) -> Result<Vec<MatrixPlan>, ExportError> {
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
    let mut plans = vec![MatrixPlan::new(store, first, obs, choice)?];
    for matrix in store.matrices() {
        plans.push(MatrixPlan::new(matrix, place_of(matrix)?, obs, choice)?);
    }
    Ok(plans)
}

/// Whether values of a linked store are in what is at `output`: a file, or a directory of zarr.
fn leads_to(store: &Store, output: &Path) -> bool {
    let Ok(output) = output.canonicalize() else {
        return false; // nothing is there
    };
    let is_in_output = |path: &PathBuf| path.canonicalize().is_ok_and(|path| path.starts_with(&output));
    store.is_linked() && store.shard_paths().iter().any(is_in_output)
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
