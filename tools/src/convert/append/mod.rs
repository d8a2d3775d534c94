//! Appends inputs to a store: their genes are found among those of the store by name, their columns of obs are brought into its.

mod addition;
mod columns;
mod error;
mod genes;
mod obs;
mod options;
mod values;

use std::path::{Path, PathBuf};
use std::time::Instant;

use cellring::Store;
use cellring::format::ValueType;
use cellring::writer::{StoreAppender, recover};
use cellring_anndata::__internal::Looks;
use cellring_anndata::{Canonicalised, MatrixSource};

use super::blocks::BlockCutter;
use super::inputs::absent_chunks;
use super::left_out::LeftOut;
use super::threads::thread_pool;
use crate::message::{Message, MessageKind};
use crate::usage::peak_rss_bytes;
use addition::Addition;
use values::{Misfit, Target};

pub use error::AppendError;
pub use options::{AppendOptions, AppendReport};

/// Appends the obs of `inputs`, in order, to the store at `store`. They are a part of it when this returns without an error, and not
/// before; whoever has the store open keeps what was there.
///
/// `progress` is called now and then with what is done and what there is to do, in units of no meaning.
///
/// # Errors
/// [`AppendError`]; the store is what it was then.
pub fn append(
    store: &Path,
    inputs: &[PathBuf],
    options: &AppendOptions,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<AppendReport, AppendError> {
    let started = Instant::now();
    let pool = thread_pool(options.threads)?;
    pool.install(|| {
        let mut report = append_here(store, inputs, options, progress)?;
        report.seconds = started.elapsed().as_secs_f64();
        report.peak_rss_bytes = peak_rss_bytes().unwrap_or(0);
        Ok(report)
    })
}

fn append_here(
    path: &Path,
    inputs: &[PathBuf],
    options: &AppendOptions,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<AppendReport, AppendError> {
    recover(path);
    // What is not a store is named as such, and not as a file that cannot be locked.
    drop(Store::open(path)?);
    let mut appender = StoreAppender::open(path, true)?;
    // Now no other process changes it.
    let store = Store::open(path)?;
    if let Some(shard_bytes) = options.shard_bytes {
        appender.set_shard_bytes(shard_bytes);
    }
    let names = genes::StoreGenes::read(&store)?;
    let (opened, mut only) = addition::open_all(inputs, &store, &names, options)?;
    let mut of_obs = Vec::new();
    let matrices = opened.iter().map(|input| match only.take() {
        Some(matrix) => Ok(matrix),
        None => input.matrix(&store, options),
    });
    let written = obs::write(&mut appender, &store, &opened, &mut of_obs)
        .and_then(|()| write(&mut appender, &store, &opened, matrices, progress));
    // An input that something writes to is not damaged.
    let check_unchanged = || opened.iter().try_for_each(|input| input.stamp.check());
    let appended = match written {
        Err(AppendError::Source(error)) => return Err(check_unchanged().err().unwrap_or(error).into()),
        written => written?,
    };
    check_unchanged()?;
    let inputs = opened.iter().map(|input| (&input.file, &input.selection));
    let left_out = cellring_anndata::LeftOut::of_inputs(inputs)?;
    let of_obs = of_obs
        .into_iter()
        .map(|sentence| Message::new(MessageKind::Obs, sentence));
    let mut warnings: Vec<Message> = of_obs.collect();
    warnings.extend(opened.iter().filter_map(|input| input.warn_of_genes(&store)));
    warnings.extend(
        opened
            .iter()
            .zip(&appended)
            .filter_map(|(input, appended)| input.warn_of_counts(appended.looks)),
    );
    let changed: Vec<Canonicalised> = appended.iter().map(|appended| appended.changed).collect();
    warnings.extend(appended.into_iter().flat_map(|appended| appended.absent_chunks));
    appender.set_source(source(&store.manifest().source, &opened, &changed));
    drop(store);
    appender.finish()?;

    let store = Store::open(path)?;
    let mut sum = Canonicalised::default();
    changed.into_iter().for_each(|report| sum += report);
    Ok(AppendReport {
        n_obs_appended: opened.iter().map(|input| input.n_obs).sum(),
        n_obs: store.n_obs(),
        nnz: store.manifest().nnz,
        bytes: store.total_bytes(),
        n_genes_ignored: opened.iter().map(|input| input.n_ignored).sum(),
        n_genes_missing: opened.iter().map(|input| input.n_missing).sum(),
        rows_sorted: sum.rows_sorted,
        duplicates_summed: sum.duplicates_summed,
        explicit_zeros_dropped: sum.explicit_zeros_dropped,
        seconds: 0.0,
        peak_rss_bytes: 0,
        left_out: left_out.into_iter().map(LeftOut::from).collect(),
        n_inputs: opened.len(),
        warnings,
    })
}

/// What is said of an input once it has been appended.
struct Appended {
    /// What was changed in its matrix.
    changed: Canonicalised,
    /// What its values look like.
    looks: Looks,
    /// What its matrix lacks.
    absent_chunks: Vec<Message>,
}

/// Writes the blocks of all inputs, whose matrices come one by one.
fn write(
    appender: &mut StoreAppender,
    store: &Store,
    inputs: &[Addition],
    matrices: impl Iterator<Item = Result<MatrixSource, AppendError>>,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Vec<Appended>, AppendError> {
    let n_new: u64 = inputs.iter().map(|input| input.n_obs).sum();
    let manifest = store.manifest();
    let target = Target {
        n_vars: manifest.n_vars,
        value_type: manifest.value_type,
        stored_type: manifest.stored_value_type(),
    };
    let (first_obs, encoder) = (appender.first_obs(), appender.encoder());
    let mut cutter = BlockCutter::new(manifest.block_size, manifest.value_type, first_obs);
    // Less than a block, so that it only waits.
    let mut waiting = store.rows(first_obs..manifest.n_obs)?;
    for block in cutter.encode(&mut waiting, &encoder)? {
        appender.append(&block)?;
    }
    let (mut done, mut appended) = (0, Vec::new());
    // One matrix after the other: what was put together of it goes with it.
    for (input, matrix) in inputs.iter().zip(matrices) {
        let matrix = matrix?;
        let mut rows = matrix.rows(0..input.n_obs, input.window_nnz)?;
        let (mut at, mut looks) = (0, Looks::default());
        while let Some(window) = rows.next() {
            let window = window?;
            if at == 0 {
                looks.add(&window.values);
            }
            let fitted = values::fit(&window, &input.column_of, target);
            let mut fitted = fitted.map_err(|misfit| value_error(&misfit, at, input, store))?;
            for block in cutter.encode(&mut fitted, &encoder)? {
                appender.append(&block)?;
            }
            at += window.n_rows() as u64;
            done += window.n_rows() as u64;
            rows.recycle(window);
            progress(done, n_new);
        }
        let mut changed = rows.report();
        changed += matrix.changed_before();
        appended.push(Appended {
            changed,
            looks,
            absent_chunks: absent_chunks(&matrix),
        });
    }
    if let Some(block) = cutter.finish(&encoder)? {
        appender.append(&block)?;
    }
    Ok(appended)
}

fn value_error(misfit: &Misfit, first_row: u64, input: &Addition, store: &Store) -> AppendError {
    let names = store.var().names();
    let gene = names.ok().and_then(|names| {
        let (batch, row) = names.at(u64::from(misfit.column));
        genes::text_at(batch, row)
    });
    let stored: ValueType = store.manifest().stored_value_type();
    AppendError::Value {
        input: input.path.clone(),
        store: store.path().to_path_buf(),
        obs: first_row + misfit.row as u64,
        gene: gene.unwrap_or_else(|| misfit.column.to_string()),
        value: misfit.value.clone(),
        value_type: stored.numpy_name(),
    }
}

/// What the manifest says of the source afterwards: what it said, and the inputs that were appended.
fn source(before: &serde_json::Value, inputs: &[Addition], changed: &[Canonicalised]) -> serde_json::Value {
    let mut source = before.clone();
    let mut list = match source.get("appended") {
        Some(serde_json::Value::Array(list)) => list.clone(),
        _ => Vec::new(),
    };
    for (input, changed) in inputs.iter().zip(changed) {
        list.push(serde_json::json!({
            "file": input.path.file_name().unwrap_or_default().to_string_lossy(),
            "n_obs": input.n_obs,
            "genes_ignored": input.n_ignored,
            "rows_sorted": changed.rows_sorted,
            "duplicates_summed": changed.duplicates_summed,
            "explicit_zeros_dropped": changed.explicit_zeros_dropped,
        }));
    }
    if let Some(members) = source.as_object_mut() {
        members.insert("appended".to_owned(), list.into());
    }
    source
}
