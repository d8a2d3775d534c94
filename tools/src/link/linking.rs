//! Links files: makes a store whose values stay where they are.

use std::path::{Path, PathBuf};
use std::time::Instant;

use cellring::Store;
use cellring::writer::row_checksums;
use cellring_anndata::__internal::ZARR_DOCUMENTS;
use cellring_anndata::{InputStamp, JoinOptions, NotStored, OpenOptions, PartKind, Selection, StoredRows};
use serde::Serialize;

use super::files::Files;
use crate::convert::{ConvertError, ConvertOptions, Inputs, LeftOut, SelectedMatrix, tables, thread_pool};
use crate::message::Message;
use crate::usage::peak_rss_bytes;

/// Values that are read at a time for checksums.
const CHECKSUM_NNZ: usize = 1 << 20;

/// Why nothing is linked of which only some columns are wanted.
const PART_OF_FEATURES: &str = "only some of its features are taken (--feature-types, --genome), and a link has all of them, of which genes are \
                                chosen when it is read";

/// What is linked.
#[derive(Clone, Debug, Default)]
pub struct LinkOptions {
    /// What is read of each input.
    pub open: OpenOptions,
    /// How inputs become one.
    pub join: JoinOptions,
    /// The columns of obs that are copied; `None`: all.
    pub obs_columns: Option<Vec<String>>,
    /// Which matrix.
    pub selection: Selection,
    /// Which other matrices of the same obs, each once.
    pub other_matrices: Vec<Selection>,
    /// Whether all values are read once, and the store gets a checksum of each row.
    pub checksum: bool,
    /// The directory below which the inputs are, and below which those that read the store look for them. `None`: that of the store.
    pub source_root: Option<PathBuf>,
    /// Whether an existing store is replaced.
    pub force: bool,
}

/// What was linked.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct LinkReport {
    /// Number of rows.
    pub n_obs: u64,
    /// Number of columns.
    pub n_vars: u64,
    /// Number of stored values of the first matrix: also those of equal columns, and zeros.
    pub nnz: u64,
    /// The matrices, where there are several: their paths in AnnData.
    pub matrices: Vec<String>,
    /// The inputs.
    pub sources: Vec<PathBuf>,
    /// Their length in bytes.
    pub source_bytes: u64,
    /// Bytes of all files of the store.
    pub bytes: u64,
    /// Bytes of its index for each row.
    pub index_bytes_per_obs: f64,
    /// Values of the longest of the chunks that the first matrix is stored in; nothing where it is not compressed.
    pub chunk_values: Option<u64>,
    /// Whether the store has a checksum of each row.
    pub row_checksums: bool,
    /// Wall time.
    pub seconds: f64,
    /// The most memory that the process has had resident so far.
    pub peak_rss_bytes: u64,
    /// What the input holds and the store does not.
    pub left_out: Vec<LeftOut>,
    /// What is odd about the input.
    pub warnings: Vec<Message>,
}

/// Links `inputs` as the store `output`, which exists when this returns without an error, and not before. It has the obs of one input after
/// the other.
///
/// Of the matrices only `indptr` is read, or all if there are to be checksums; `progress` is told the number of rows done then, and of all.
/// `obs` and `var` are copied.
///
/// # Errors
/// [`ConvertError`]; nothing is left at `output` then, but where an input changes in the moment after the store was published.
pub fn link(
    inputs: &[PathBuf],
    output: &Path,
    options: &LinkOptions,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<LinkReport, ConvertError> {
    // Inputs are read by all threads.
    thread_pool(None)?.install(|| link_here(inputs, output, options, progress))
}

fn link_here(
    inputs: &[PathBuf],
    output: &Path,
    options: &LinkOptions,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<LinkReport, ConvertError> {
    let started = Instant::now();
    let stamps: Vec<InputStamp> = inputs
        .iter()
        .map(|input| InputStamp::read(input))
        .collect::<Result<_, _>>()?;
    if let Some(modified) = stamps.iter().map(InputStamp::modified).max() {
        cellring::writer::settle(modified);
    }
    let opened = Inputs::open(inputs, output, &options.of_conversion())?;
    let root = source_root(inputs, output, options)?;
    let mut files = Files::create(output, &root, options.force)?;
    let obs = &opened.obs;
    tables::write_obs(&mut files.writer, obs, None, 0..obs.n_rows())?;
    let mut chunk_values = None;
    let several = opened.selected_matrices.len() > 1;
    // What cannot be linked is refused before a file is looked at.
    let stored = opened
        .selected_matrices
        .iter()
        .map(|selected| stored(selected, &options.open));
    let stored = stored.collect::<Result<Vec<_>, _>>()?;
    stored.iter().flatten().for_each(|rows| files.watch(rows));
    let mut warnings = opened.table_warnings();
    warnings.extend(opened.absent_chunks());
    // The first of them is what an input is found by.
    let mut first_files = Vec::with_capacity(inputs.len());
    for input in inputs {
        let mut first = None;
        for document in documents(input, options.open.group.as_deref(), &opened.selected_matrices) {
            let number = files.number(&document)?;
            first.get_or_insert(number);
        }
        first_files.push(first);
    }
    for (number, (selected, stored)) in opened.selected_matrices.iter().zip(stored).enumerate() {
        if number == 0 {
            let chunks = stored
                .iter()
                .filter_map(|rows| rows.data.extents.chunk_elements());
            chunk_values = chunks.max();
        }
        let source = provenance(inputs, selected, options, opened.labels());
        let mut matrix = files.matrix(inputs, &first_files, selected, stored, source)?;
        if options.checksum {
            let n_matrices = opened.selected_matrices.len() as u64;
            let (before, all) = (number as u64 * obs.n_rows(), n_matrices * obs.n_rows());
            matrix.checksums = Some(checksums(selected, &|done| progress(before + done, all))?);
        }
        if number == 0 {
            tables::write_var(&mut files.writer, &selected.var, None)?;
            files.writer.set_matrix(&matrix)?;
        } else {
            let mut other = files.writer.begin_matrix()?;
            tables::write_var(&mut other, &selected.var, None)?;
            other.set_matrix(&matrix)?;
            files.writer.add_matrix(&selected.selection.path(), other)?;
        }
    }
    let mut writer = files.writer;
    if several {
        writer.set_name(&options.selection.path());
    }
    opened.check_unchanged()?;
    writer.finish()?;
    let store = Store::open_below(output, &root)?;
    let manifest = store.manifest();
    let names = manifest.matrices.iter().map(|entry| &entry.name);
    Ok(LinkReport {
        n_obs: manifest.n_obs,
        n_vars: manifest.n_vars,
        nnz: manifest.nnz,
        matrices: manifest.name.iter().chain(names).cloned().collect(),
        sources: inputs.to_vec(),
        source_bytes: stamps.iter().map(InputStamp::len_bytes).sum(),
        bytes: store.total_bytes(),
        index_bytes_per_obs: manifest.index.bytes as f64 / manifest.n_obs.max(1) as f64,
        chunk_values,
        row_checksums: options.checksum,
        seconds: started.elapsed().as_secs_f64(),
        peak_rss_bytes: peak_rss_bytes().unwrap_or(0),
        left_out: left_out(&opened),
        warnings,
    })
}

impl LinkOptions {
    fn of_conversion(&self) -> ConvertOptions {
        ConvertOptions {
            open: self.open.clone(),
            join: self.join.clone(),
            obs_columns: self.obs_columns.clone(),
            selection: self.selection.clone(),
            other_matrices: self.other_matrices.clone(),
            force: self.force,
            ..ConvertOptions::default()
        }
    }
}

/// The directory below which the inputs are looked for.
///
/// # Errors
/// If it does not exist, or is within an input.
fn source_root(inputs: &[PathBuf], output: &Path, options: &LinkOptions) -> Result<PathBuf, ConvertError> {
    let root = match &options.source_root {
        Some(root) => root.clone(),
        None => match output.parent() {
            Some(parent) if parent != Path::new("") => parent.to_path_buf(),
            _ => PathBuf::from("."),
        },
    };
    if !root.is_dir() {
        return Err(ConvertError::NoRoot { root });
    }
    let is_within = |input: &&PathBuf| {
        let real = |path: &Path| path.canonicalize().ok();
        input.is_dir()
            && real(&root)
                .zip(real(input))
                .is_some_and(|(root, input)| root.starts_with(input))
    };
    if let Some(input) = inputs.iter().find(is_within) {
        return Err(ConvertError::RootWithin {
            input: input.clone(),
            root,
        });
    }
    Ok(root)
}

/// Reads all rows, as a conversion does, and gives the checksum of each.
fn checksums(selected: &SelectedMatrix, progress: &dyn Fn(u64)) -> Result<Vec<u32>, ConvertError> {
    let n_obs = selected.matrix.n_obs();
    let mut checksums = Vec::with_capacity(n_obs as usize);
    let mut windows = selected.matrix.rows(0..n_obs, CHECKSUM_NNZ)?;
    while let Some(window) = windows.next() {
        let window = window?;
        checksums.extend(row_checksums(&window));
        windows.recycle(window);
        progress(checksums.len() as u64);
    }
    Ok(checksums)
}

/// Where the rows of each input are.
fn stored(selected: &SelectedMatrix, open: &OpenOptions) -> Result<Vec<StoredRows>, ConvertError> {
    let not_linkable = |file: &Path, reason: String| ConvertError::NotLinkable {
        file: file.to_path_buf(),
        matrix: selected.selection.path(),
        reason,
    };
    let explain = |NotStored { file, reason }| match open.feature_types.is_empty() && open.genome.is_none() {
        true => not_linkable(&file, reason),
        false => not_linkable(&file, PART_OF_FEATURES.to_owned()),
    };
    selected.matrix.stored().map_err(explain)
}

/// The files that say what the tables and matrices of a zarr are, if the input is one in a directory: they are written again with what
/// they describe. (Each array names its own.)
fn documents(input: &Path, group: Option<&str>, matrices: &[SelectedMatrix]) -> Vec<PathBuf> {
    if !input.is_dir() {
        return Vec::new();
    }
    let root = group.map_or_else(|| input.to_path_buf(), |group| input.join(group));
    let mut left = vec![root.join("obs"), root.join("var"), root.join("raw/var")];
    let mut directories = vec![root.clone()];
    for selected in matrices {
        let matrix = root.join(selected.selection.path());
        directories.extend([matrix.join("indptr"), matrix]);
    }
    while let Some(directory) = left.pop() {
        let entries = std::fs::read_dir(&directory).into_iter().flatten().flatten();
        let within = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        left.extend(within.map(|entry| entry.path()));
        directories.push(directory);
    }
    let named = |directory: PathBuf| ZARR_DOCUMENTS.map(|name| directory.join(name));
    let mut found: Vec<PathBuf> = directories.into_iter().flat_map(named).collect();
    found.retain(|path| path.is_file());
    // The one next to the input first: by that it is found again.
    found.sort_by_cached_key(|path| (path.components().count(), path.clone()));
    found
}

/// What the store does not hold, with those options only that links have.
fn left_out(inputs: &Inputs) -> Vec<LeftOut> {
    let mut parts = inputs.left_out.clone();
    for part in &mut parts {
        if part.kind == PartKind::Obsm {
            part.option = None;
        }
    }
    parts
}

/// What the manifest says of the source: enough to link or convert it again.
fn provenance(
    inputs: &[PathBuf],
    selected: &SelectedMatrix,
    options: &LinkOptions,
    labels: &[String],
) -> serde_json::Value {
    let name = |input: &PathBuf| {
        // Files are found again by this name, by way of a link as without.
        let real = input.canonicalize().unwrap_or_else(|_| input.clone());
        real.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let LinkOptions { open, join, .. } = options;
    let mut source = serde_json::json!({
        "matrix": selected.selection.path(),
        "encoding_type": selected.matrix.form(),
        "indices_type": selected.matrix.indices_type(),
        "obs_order": "source",
        "cellring": env!("CARGO_PKG_VERSION"),
    });
    match inputs {
        [one] => source["file"] = name(one).into(),
        several => {
            source["files"] = several.iter().map(name).collect();
            source["join"] = join.var.name().into();
        }
    }
    let texts = [
        ("group", &open.group),
        ("genome", &open.genome),
        ("var_key", &join.var_key),
        ("label_column", &join.label_column),
        ("index_unique", &join.index_unique),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            source[name] = value.as_str().into();
        }
    }
    if let Some(columns) = &options.obs_columns {
        source["obs_columns"] = columns.clone().into();
    }
    // Also those that are names of files, which may have other names later.
    if join.label_column.is_some() || join.index_unique.is_some() {
        source["labels"] = labels.into();
    }
    source
}
