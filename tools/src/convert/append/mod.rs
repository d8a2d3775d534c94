//! Appends inputs to a store: their genes are found among those of the store by name, their columns of obs are brought into its.

mod columns;
mod genes;
mod obs;
mod values;

use std::path::{Path, PathBuf};
use std::time::Instant;

use cellring::Store;
use cellring::format::{FormatError, ValueType};
use cellring::writer::{EncodeError, StoreAppender, WriteError, recover};
use cellring_anndata::__internal::{Looks, directory_of};
use cellring_anndata::{
    Canonicalised, Input, InputStamp, LeftOut, MatrixSource, OpenOptions, ReadError, Selection, TableSource,
    Workspace,
};
use serde::Serialize;

use super::blocks::BlockCutter;
use super::memory::Needs;
use super::{ConvertError, peak_rss_bytes};
use crate::message::{Message, MessageKind};
use values::{Misfit, Target};

/// Names that a message shows.
const SHOWN: usize = 5;

/// Less than one gene in so many is few.
const FEW: u64 = 10;

/// How inputs are appended.
#[derive(Clone, Debug)]
pub struct AppendOptions {
    /// What is read of each input.
    pub open: OpenOptions,
    /// Which matrix of the inputs. `None`: the one that the store was made of.
    pub selection: Option<Selection>,
    /// Whether genes that the store does not have are left out; else they are refused.
    pub ignore_new_genes: bool,
    /// A new shard begins when one has reached this length in bytes.
    pub shard_bytes: Option<u64>,
    /// Threads that decode, and as many that encode; at least 1. `None`: as many as there are cores.
    pub threads: Option<usize>,
    /// The most memory that the process may use, in bytes.
    pub memory_bytes: u64,
}

impl Default for AppendOptions {
    fn default() -> Self {
        Self {
            open: OpenOptions::default(),
            selection: None,
            ignore_new_genes: false,
            shard_bytes: None,
            threads: None,
            memory_bytes: 1 << 30,
        }
    }
}

/// What was appended.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct AppendReport {
    /// Number of obs that are new.
    pub n_obs_appended: u64,
    /// Number of obs now.
    pub n_obs: u64,
    /// Number of values now.
    pub nnz: u64,
    /// Bytes of all files of the store now.
    pub bytes: u64,
    /// Genes of the inputs that the store does not have; they were left out.
    pub n_genes_ignored: u64,
    /// Genes of the store that an input does not have, summed over the inputs: they are zero in its obs.
    pub n_genes_missing: u64,
    /// Rows whose columns did not ascend.
    pub rows_sorted: u64,
    /// Entries that were added to another one of the same row and column.
    pub duplicates_summed: u64,
    /// Entries that were exactly zero.
    pub explicit_zeros_dropped: u64,
    /// Wall time.
    pub seconds: f64,
    /// The most memory that the process has had resident so far.
    pub peak_rss_bytes: u64,
    /// What the inputs hold and the store does not. No option of `append` stores it: a store has the matrices that it was made
    /// with.
    pub left_out: Vec<LeftOut>,
    /// How many inputs there are.
    pub n_inputs: usize,
    /// What is odd about the inputs: columns of obs that were left out or are missing, genes that are hardly shared.
    pub warnings: Vec<Message>,
}

/// Why nothing was appended. The store is what it was. Every message is one sentence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// An input is missing, damaged, or of a form that is not read.
    #[error(transparent)]
    Source(#[from] ReadError),
    /// An input cannot be converted.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// The store cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] FormatError),
    /// An input has genes that the store does not have.
    #[error(
        "{} has {n_new} genes that {} does not have, among them {examples}; give --ignore-new-genes to leave them out, or convert all inputs together",
        input.display(), store.display()
    )]
    NewGenes {
        /// The input.
        input: PathBuf,
        /// The store.
        store: PathBuf,
        /// How many.
        n_new: usize,
        /// The first few.
        examples: String,
    },
    /// An input has no gene of the store.
    #[error(
        "{} has none of the genes of {}, whose genes have names such as {held}, while its own have names such as {found}; use the store's names in the input",
        input.display(), store.display()
    )]
    NothingInCommon {
        /// The input.
        input: PathBuf,
        /// The store.
        store: PathBuf,
        /// The first few names of the store.
        held: String,
        /// The first few of the input.
        found: String,
    },
    /// A name does not tell which gene is meant.
    #[error(
        "{} has several genes with the same name, among them {examples}, so they cannot be found by name; make the names unique first",
        file.display()
    )]
    DuplicateGenes {
        /// The input or the store.
        file: PathBuf,
        /// The first few.
        examples: String,
    },
    /// A value is none of the store's type.
    #[error(
        "{} holds {value} for obs {obs} and gene {gene}, which {} cannot hold, since its values are stored as {value_type}; convert all inputs together",
        input.display(), store.display()
    )]
    Value {
        /// The input.
        input: PathBuf,
        /// The store.
        store: PathBuf,
        /// Number of the obs in the input.
        obs: u64,
        /// Name of the gene.
        gene: String,
        /// The value.
        value: String,
        /// The type in which values are stored.
        value_type: &'static str,
    },
    /// The values are of another kind than the store's.
    #[error("{} holds values of type {found}, and {} values of type {expected}; convert all inputs together", input.display(), store.display())]
    ValueType {
        /// The input.
        input: PathBuf,
        /// The store.
        store: PathBuf,
        /// Type of the input.
        found: &'static str,
        /// Type of the store.
        expected: &'static str,
    },
    /// A column of obs cannot become a part of the store's.
    #[error("obs column {column} of {} does not fit that of {}: {why}; change it in the input", input.display(), store.display())]
    Column {
        /// The input.
        input: PathBuf,
        /// The store.
        store: PathBuf,
        /// Name of the column.
        column: String,
        /// Why not.
        why: String,
    },
    /// The tables of obs cannot be joined.
    #[error("the obs of {} cannot be combined: {why}", store.display())]
    Table {
        /// The store.
        store: PathBuf,
        /// Why not.
        why: String,
    },
}

impl From<EncodeError> for AppendError {
    fn from(error: EncodeError) -> Self {
        Self::Write(error.into())
    }
}

/// An input that has been looked at and found fit.
struct Addition {
    path: PathBuf,
    /// What it was like before anything was read.
    stamp: InputStamp,
    matrix: MatrixSource,
    obs: TableSource,
    /// For each column of `matrix` that of the store.
    column_of: Vec<u32>,
    n_ignored: u64,
    /// Genes of the store that it does not have.
    n_missing: u64,
    window_nnz: usize,
    file: Input,
    selection: Selection,
}

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
    let pool = super::thread_pool(options.threads)?;
    pool.install(|| {
        let mut report = append_here(store, inputs, options, progress)?;
        report.seconds = started.elapsed().as_secs_f64();
        report.peak_rss_bytes = peak_rss_bytes();
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
    // What is no store is named as such, and not as a file that cannot be locked.
    drop(Store::open(path)?);
    let mut appender = StoreAppender::open(path, true)?;
    // Now nobody else changes it.
    let store = Store::open(path)?;
    if let Some(shard_bytes) = options.shard_bytes {
        appender.set_shard_bytes(shard_bytes);
    }
    let names = genes::Names::of(&store)?;
    let mut opened = Vec::with_capacity(inputs.len());
    for input in inputs {
        opened.push(open(input, &store, &names, options)?);
    }
    let mut of_obs = Vec::new();
    let written = obs::write(&mut appender, &store, &opened, &mut of_obs)
        .and_then(|()| write(&mut appender, &store, &opened, progress));
    // An input that something writes to is not damaged.
    let check_unchanged = || opened.iter().try_for_each(|input| input.stamp.check());
    let changed = match written {
        Err(AppendError::Source(error)) => return Err(check_unchanged().err().unwrap_or(error).into()),
        written => written?,
    };
    check_unchanged()?;
    let left_out = LeftOut::of_inputs(opened.iter().map(|input| (&input.file, &input.selection)))?;
    let of_obs = of_obs
        .into_iter()
        .map(|sentence| Message::new(MessageKind::Obs, sentence));
    let mut warnings: Vec<Message> = of_obs.collect();
    warnings.extend(opened.iter().filter_map(|input| input.warn_of_genes(&store)));
    warnings.extend(
        opened
            .iter()
            .zip(&changed)
            .filter_map(|(input, (_, looks))| input.warn_of_counts(*looks)),
    );
    let changed: Vec<Canonicalised> = changed.into_iter().map(|(changed, _)| changed).collect();
    appender.set_source(source(&store.manifest().source, &opened, &changed));
    drop(store);
    appender.finish()?;

    let store = Store::open(path)?;
    let mut sum = Canonicalised::default();
    changed.into_iter().for_each(|report| sum += report);
    Ok(AppendReport {
        n_obs_appended: opened.iter().map(|input| input.matrix.n_obs()).sum(),
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
        left_out,
        n_inputs: opened.len(),
        warnings,
    })
}

impl Addition {
    /// Says that an input and the store hardly share genes.
    fn warn_of_genes(&self, store: &Store) -> Option<Message> {
        let (n_found, n_store) = (self.column_of.len() as u64, store.n_vars());
        let n_input = n_found + self.n_ignored;
        (n_found * FEW < n_store.min(n_input)).then(|| {
            let sentence = format!(
                "{} has {n_found} of the {n_store} genes of {}, and {n_input} genes itself; the others are zero in its obs or left out",
                self.path.display(),
                store.path().display(),
            );
            Message::new(MessageKind::Genes, sentence)
        })
    }

    /// Says where counts are, where the values are none.
    fn warn_of_counts(&self, looks: Looks) -> Option<Message> {
        let found = looks.no_counts().filter(|_| self.selection == Selection::X)?;
        let counts = self.file.counts_beside(&[&self.selection])?;
        let sentence = format!(
            "X of {} has {found}, while {} holds counts; append takes those with {}",
            self.path.display(),
            counts.path(),
            counts.option()
        );
        Some(Message::new(MessageKind::Counts, sentence))
    }
}

/// Writes the blocks of all inputs; what is said of each is what was changed in its matrix, and what its values look like.
fn write(
    appender: &mut StoreAppender,
    store: &Store,
    inputs: &[Addition],
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Vec<(Canonicalised, Looks)>, AppendError> {
    let n_new: u64 = inputs.iter().map(|input| input.matrix.n_obs()).sum();
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
    let (mut done, mut changed) = (0, Vec::new());
    for input in inputs {
        let mut rows = input.matrix.rows(0..input.matrix.n_obs(), input.window_nnz)?;
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
        let mut report = rows.report();
        report += input.matrix.changed_before();
        changed.push((report, looks));
    }
    if let Some(block) = cutter.finish(&encoder)? {
        appender.append(&block)?;
    }
    Ok(changed)
}

fn open(
    path: &Path,
    store: &Store,
    names: &genes::Names,
    options: &AppendOptions,
) -> Result<Addition, AppendError> {
    let stamp = InputStamp::of(path);
    let file = super::open::open(path, &options.open)?;
    let workspace = Workspace {
        directory: directory_of(store.path()).to_path_buf(),
        memory_bytes: options.memory_bytes,
    };
    let selection = match &options.selection {
        Some(selection) => selection.clone(),
        None => selection_of(store),
    };
    let matrix = file.matrix_in(&selection, &workspace)?;
    let (obs, var) = (file.obs()?, file.var(&selection)?);
    let sides = [
        ("rows", matrix.n_obs(), "obs", obs.n_rows()),
        ("columns", matrix.n_vars(), "var", var.n_rows()),
    ];
    for (axis, expected, table, found) in sides {
        if expected != found {
            return Err(AppendError::Convert(ConvertError::Shape {
                file: path.to_path_buf(),
                matrix: selection.path(),
                axis,
                expected,
                table,
                found,
            }));
        }
    }
    let manifest = store.manifest();
    if !values::may_fit(matrix.value_type(), manifest.value_type) {
        return Err(AppendError::ValueType {
            input: path.to_path_buf(),
            store: store.path().to_path_buf(),
            found: matrix.value_type().numpy_name(),
            expected: manifest.value_type.numpy_name(),
        });
    }
    let places = names.find(path, store.path(), &var, options.ignore_new_genes)?;
    let kept: Vec<u32> = (0..)
        .zip(&places)
        .filter(|(_, place)| place.is_some())
        .map(|(column, _)| column)
        .collect();
    let n_ignored = (places.len() - kept.len()) as u64;
    let n_missing = manifest.n_vars - kept.len() as u64;
    let matrix = match n_ignored {
        0 => matrix,
        _ => matrix.select(u64::MAX, Some(&kept)),
    };
    let threads = rayon::current_num_threads();
    // What is read of the store and of the inputs' tables, and where rows of all inputs begin, is small beside the rest.
    let needs = Needs::of(&matrix, &obs, &var, manifest.block_size, threads).and(8 * manifest.n_vars);
    let window_nnz = needs
        .window_nnz(options.memory_bytes)
        .map_err(|(needed_bytes, reason)| ConvertError::Memory {
            file: path.to_path_buf(),
            limit_bytes: options.memory_bytes,
            needed_bytes,
            reason,
        })?;
    Ok(Addition {
        path: path.to_path_buf(),
        // An input that is not there has been named above.
        stamp: stamp?,
        matrix,
        obs,
        column_of: places.into_iter().flatten().collect(),
        n_ignored,
        n_missing,
        window_nnz,
        file,
        selection,
    })
}

/// The matrix that the store was made of, as its manifest says; X where it says nothing of that kind.
fn selection_of(store: &Store) -> Selection {
    match store
        .manifest()
        .source
        .get("matrix")
        .and_then(|matrix| matrix.as_str())
    {
        Some("raw/X") => Selection::Raw,
        Some(path) => match path.strip_prefix("layers/") {
            Some(layer) => Selection::Layer(layer.to_owned()),
            None => Selection::X,
        },
        None => Selection::X,
    }
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
            "n_obs": input.matrix.n_obs(),
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
