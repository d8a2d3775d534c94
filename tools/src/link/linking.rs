//! Links a file: makes a store whose values stay where they are.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use cellring::Store;
use cellring::writer::{LinkedWriter, SourceArray, SourceChunk, SourceLayout, SourceMatrix, SourceRun};
use cellring_anndata::{
    InputStamp, LeftOut, MatrixSource, OpenOptions, PartKind, Selection, StoredArray, StoredChunk,
    StoredExtents, StoredRun,
};
use serde::Serialize;

use crate::convert::{ConvertError, ConvertOptions, Inputs, SelectedMatrix, tables};
use crate::message::Message;
use crate::usage::peak_rss_bytes;

/// Why nothing is linked of which only some columns are wanted.
const PART_OF_FEATURES: &str = "only some of its features are taken (--feature-types, --genome), and a link has all of them, of which genes are \
                                chosen when it is read";

/// What is linked.
#[derive(Clone, Debug, Default)]
pub struct LinkOptions {
    /// What is read of the input.
    pub open: OpenOptions,
    /// Which matrix.
    pub selection: Selection,
    /// Which other matrices of the same obs, each once.
    pub other_matrices: Vec<Selection>,
    /// The directory below which the input is, and below which those that read the store look for it. `None`: that of the store.
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
    /// The input.
    pub source: PathBuf,
    /// Its length in bytes.
    pub source_bytes: u64,
    /// Bytes of all files of the store.
    pub bytes: u64,
    /// Bytes of its index for each row.
    pub index_bytes_per_obs: f64,
    /// Values of the chunks that the first matrix is stored in; nothing where it is not compressed.
    pub chunk_values: Option<u64>,
    /// Wall time.
    pub seconds: f64,
    /// The most memory that the process has had resident so far.
    pub peak_rss_bytes: u64,
    /// What the input holds and the store does not.
    pub left_out: Vec<LeftOut>,
    /// What is odd about the input.
    pub warnings: Vec<Message>,
}

/// Links `input` as the store `output`, which exists when this returns without an error, and not before.
///
/// Of the matrices only `indptr` is read. `obs` and `var` are copied.
///
/// # Errors
/// [`ConvertError`]; nothing is left at `output` then, but where the input changes in the moment after the store was published.
pub fn link(input: &Path, output: &Path, options: &LinkOptions) -> Result<LinkReport, ConvertError> {
    let started = Instant::now();
    let stamp = InputStamp::read(input)?;
    cellring::writer::settle(stamp.modified());
    let inputs = Inputs::open(&[input.to_path_buf()], output, &options.of_conversion())?;
    let root = match &options.source_root {
        Some(root) => root.clone(),
        None => match output.parent() {
            Some(parent) if parent != Path::new("") => parent.to_path_buf(),
            _ => PathBuf::from("."),
        },
    };
    let mut writer = LinkedWriter::create(output, &root, options.force)?;
    let obs = &inputs.obs;
    tables::write_obs(&mut writer, obs, None, 0..obs.n_rows())?;
    let mut chunk_values = None;
    let several = inputs.selected_matrices.len() > 1;
    let mut files = HashMap::new();
    for (number, selected) in inputs.selected_matrices.iter().enumerate() {
        let stored = selected
            .matrix
            .stored()
            .map_err(|reason| ConvertError::NotLinkable {
                file: input.to_path_buf(),
                matrix: selected.selection.path(),
                reason: match options.open.feature_types.is_empty() && options.open.genome.is_none() {
                    true => reason,
                    false => PART_OF_FEATURES.to_owned(),
                },
            })?;
        if number == 0 {
            for document in documents(input, options.open.group.as_deref(), &inputs.selected_matrices) {
                let number = writer.add_file(&document)?;
                files.insert(document, number);
            }
        }
        let matrix = SourceMatrix {
            n_vars: selected.matrix.n_vars(),
            indices: match stored.indices {
                Some(indices) => Some(source_array(indices, &mut writer, &mut files)?),
                None => None,
            },
            data: source_array(stored.data, &mut writer, &mut files)?,
            counts: counts(input, selected)?,
            source: provenance(input, selected, &options.open),
        };
        if number == 0 {
            chunk_values = match &matrix.data.layout {
                SourceLayout::Runs(_) => None,
                SourceLayout::Chunks { elements, .. } => Some(*elements),
                SourceLayout::Tiles { rows, columns, .. } => Some(rows * columns),
            };
            tables::write_var(&mut writer, &selected.var, None)?;
            writer.set_matrix(&matrix)?;
        } else {
            let mut further = writer.begin_matrix()?;
            tables::write_var(&mut further, &selected.var, None)?;
            further.set_matrix(&matrix)?;
            writer.add_matrix(&selected.selection.path(), further)?;
        }
    }
    if several {
        writer.set_name(&options.selection.path());
    }
    inputs.check_unchanged()?;
    writer.finish()?;
    let store = Store::open_below(output, &root)?;
    let manifest = store.manifest();
    let names = manifest.matrices.iter().map(|entry| &entry.name);
    Ok(LinkReport {
        n_obs: manifest.n_obs,
        n_vars: manifest.n_vars,
        nnz: manifest.nnz,
        matrices: manifest.name.iter().chain(names).cloned().collect(),
        source: input.to_path_buf(),
        source_bytes: stamp.len_bytes(),
        bytes: store.total_bytes(),
        index_bytes_per_obs: manifest.index.bytes as f64 / manifest.n_obs.max(1) as f64,
        chunk_values,
        seconds: started.elapsed().as_secs_f64(),
        peak_rss_bytes: peak_rss_bytes().unwrap_or(0),
        left_out: left_out(&inputs),
        warnings: inputs.table_warnings(),
    })
}

impl LinkOptions {
    fn of_conversion(&self) -> ConvertOptions {
        ConvertOptions {
            open: self.open.clone(),
            selection: self.selection.clone(),
            other_matrices: self.other_matrices.clone(),
            force: self.force,
            ..ConvertOptions::default()
        }
    }
}

/// Stored entries of each row.
fn counts(input: &Path, selected: &SelectedMatrix) -> Result<Vec<u32>, ConvertError> {
    let matrix: &MatrixSource = &selected.matrix;
    let too_long = |_| ConvertError::NotLinkable {
        file: input.to_path_buf(),
        matrix: selected.selection.path(),
        reason: "a row has 2^32 entries or more".to_owned(),
    };
    let each = matrix.stored_per_row(0..matrix.n_obs());
    each.map(|count| u32::try_from(count).map_err(too_long)).collect()
}

/// The files that say what the tables and matrices of a zarr are, if the input is one in a directory: they are written again with what
/// they describe. (Each array names its own.)
fn documents(input: &Path, group: Option<&str>, matrices: &[SelectedMatrix]) -> Vec<PathBuf> {
    const NAMES: [&str; 5] = ["zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata"];
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
    let named = |directory: PathBuf| NAMES.map(|name| directory.join(name));
    let mut found: Vec<PathBuf> = directories.into_iter().flat_map(named).collect();
    found.retain(|path| path.is_file());
    found.sort_unstable();
    found
}

/// An array for the writer, to which its files are added that are not among `files` yet.
fn source_array(
    stored: StoredArray,
    writer: &mut LinkedWriter,
    files: &mut HashMap<PathBuf, u32>,
) -> Result<SourceArray, ConvertError> {
    let mut numbers = Vec::with_capacity(stored.files.len());
    for path in stored.files {
        numbers.push(match files.get(&path) {
            Some(&number) => number,
            None => {
                let number = writer.add_file(&path)?;
                files.insert(path, number);
                number
            }
        });
    }
    let chunk = |chunk: StoredChunk| SourceChunk {
        offset_bytes: chunk.offset_bytes,
        stored_bytes: chunk.stored_bytes,
        file: numbers[chunk.file as usize],
        filter_mask: chunk.filter_mask,
    };
    let mut fill = [0; 8];
    let width = stored.fill.len().min(8);
    fill[..width].copy_from_slice(&stored.fill[..width]);
    Ok(SourceArray {
        path: stored.path,
        value_type: stored.value_type,
        big_endian: stored.big_endian,
        layout: match stored.extents {
            StoredExtents::Runs(runs) => {
                let run = |run: StoredRun| SourceRun {
                    first: run.first,
                    offset_bytes: run.offset_bytes,
                    file: numbers[run.file as usize],
                };
                SourceLayout::Runs(runs.into_iter().map(run).collect())
            }
            StoredExtents::Chunks { elements, chunks } => SourceLayout::Chunks {
                elements,
                chunks: chunks.into_iter().map(chunk).collect(),
            },
            StoredExtents::Tiles {
                rows,
                columns,
                chunks,
            } => SourceLayout::Tiles {
                rows,
                columns,
                chunks: chunks.into_iter().map(chunk).collect(),
            },
        },
        filters: stored
            .filters
            .into_iter()
            .map(|filter| (filter.id, filter.client_data))
            .collect(),
        fill,
    })
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
fn provenance(input: &Path, selected: &SelectedMatrix, open: &OpenOptions) -> serde_json::Value {
    // Files are found again by this name, by way of a link as without.
    let real = input.canonicalize().unwrap_or_else(|_| input.to_path_buf());
    let name = real.file_name().unwrap_or_default().to_string_lossy();
    let mut source = serde_json::json!({
        "file": name,
        "matrix": selected.selection.path(),
        "encoding_type": selected.matrix.form(),
        "indices_type": selected.matrix.indices_type(),
        "obs_order": "source",
        "cellring": env!("CARGO_PKG_VERSION"),
    });
    for (name, value) in [("group", &open.group), ("genome", &open.genome)] {
        if let Some(value) = value {
            source[name] = value.as_str().into();
        }
    }
    source
}
