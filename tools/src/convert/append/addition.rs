//! An input that is appended.

use std::path::{Path, PathBuf};

use cellring::Store;
use cellring_anndata::__internal::{Looks, directory_of};
use cellring_anndata::{Input, InputStamp, MatrixSource, Selection, TableSource, Workspace};

use super::error::AppendError;
use super::genes::StoreGenes;
use super::options::AppendOptions;
use super::values;
use crate::advice::option_of;
use crate::convert::error::ConvertError;
use crate::convert::memory::{Fitted, Needs};
use crate::message::{Message, MessageKind};

/// What an input takes until the end, beside its genes: a parser, its obs, and what the allocator keeps of it. Of inputs by columns, up to 1.5 MiB
/// were seen.
const OPEN_BYTES: u64 = 2 << 20;

/// Less than one gene in so many is few.
const FEW: u64 = 10;

/// An input that has been looked at and found fit.
pub(super) struct Addition {
    pub(super) path: PathBuf,
    /// What it was like before anything was read.
    pub(super) stamp: InputStamp,
    pub(super) n_obs: u64,
    /// Entries that a window of its matrix may have.
    pub(super) window_nnz: usize,
    pub(super) obs: TableSource,
    /// The columns of its matrix that are kept, if not all are.
    kept: Option<Vec<u32>>,
    /// For each of them that of the store.
    pub(super) column_of: Vec<u32>,
    pub(super) n_ignored: u64,
    /// Genes of the store that it does not have.
    pub(super) n_missing: u64,
    pub(super) file: Input,
    pub(super) selection: Selection,
}

impl Addition {
    /// Opens an input and brings its genes into the order of the store. Its matrix is beside it, and what it needs memory for.
    pub(super) fn open(
        path: &Path,
        store: &Store,
        names: &StoreGenes,
        options: &AppendOptions,
    ) -> Result<(Self, MatrixSource, Needs), AppendError> {
        let stamp = InputStamp::read(path);
        let file = crate::convert::open::open(path, &options.open)?;
        let workspace = workspace(store, options);
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
        let needs =
            Needs::new(&matrix, None, &obs, &var, manifest.block_size, threads).with_blocks_anywhere();
        let input = Self {
            path: path.to_path_buf(),
            // An input that is not there has been named above.
            stamp: stamp?,
            n_obs: matrix.n_obs(),
            window_nnz: 0,
            obs,
            kept: (n_ignored > 0).then_some(kept),
            column_of: places.into_iter().flatten().collect(),
            n_ignored,
            n_missing,
            file,
            selection,
        };
        Ok((input, matrix, needs))
    }

    /// The matrix once more.
    pub(super) fn matrix(&self, store: &Store, options: &AppendOptions) -> Result<MatrixSource, AppendError> {
        let matrix = self.file.matrix_in(&self.selection, &workspace(store, options))?;
        // Of another shape it would not fit the tables that have been read.
        self.stamp.check()?;
        Ok(match &self.kept {
            None => matrix,
            Some(kept) => matrix.select(u64::MAX, Some(kept)),
        })
    }

    /// Says that an input lacks genes of the store, or that the two hardly share any.
    pub(super) fn warn_of_genes(&self, store: &Store) -> Option<Message> {
        let (n_found, n_store) = (self.column_of.len() as u64, store.n_vars());
        let n_input = n_found + self.n_ignored;
        let (path, store) = (self.path.display(), store.path().display());
        let sentence = if n_found * FEW < n_store.min(n_input) {
            format!(
                "{path} has {n_found} of the {n_store} genes of {store}, and {n_input} genes itself; the others are zero in its obs or left out",
            )
        } else if self.n_missing > 0 {
            let n = self.n_missing;
            format!("{path} lacks {n} of the {n_store} genes of {store}, which are zero in its obs")
        } else {
            return None;
        };
        Some(Message::new(MessageKind::Genes, sentence))
    }

    /// Says where counts are, where the values are none.
    pub(super) fn warn_of_counts(&self, looks: Looks) -> Option<Message> {
        let found = looks.no_counts().filter(|_| self.selection == Selection::X)?;
        let counts = self.file.counts_beside(&[&self.selection])?;
        let sentence = format!(
            "X of {} has {found}, while {} holds counts; append takes those with {}",
            self.path.display(),
            counts.path(),
            option_of(&counts)
        );
        Some(Message::new(MessageKind::Counts, sentence))
    }
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

fn workspace(store: &Store, options: &AppendOptions) -> Workspace {
    Workspace {
        directory: directory_of(store.path()).to_path_buf(),
        memory_bytes: options.memory_bytes,
    }
}

/// Opens all inputs, and says how many entries windows may have. Their matrices are closed again, but for that of a single one: each holds
/// threads, and the allocator what they have freed.
///
/// # Errors
/// Among others the largest limit that one of them needs, if this one is less.
pub(super) fn open_all(
    inputs: &[PathBuf],
    store: &Store,
    names: &StoreGenes,
    options: &AppendOptions,
) -> Result<(Vec<Addition>, Option<MatrixSource>), AppendError> {
    let (mut opened, mut only) = (Fitted::default(), None);
    let open_bytes = inputs.len() as u64 * (OPEN_BYTES + 8 * store.n_vars()) + 8 * store.n_vars();
    for path in inputs {
        let (mut input, matrix, needs) = Addition::open(path, store, names, options)?;
        let held_within = |limit_bytes| {
            open_bytes + matrix.working_bytes(limit_bytes) + input.obs.working_bytes(limit_bytes)
        };
        let window_nnz = needs.window_nnz(options.memory_bytes, &held_within);
        opened.push(
            path,
            window_nnz.map(|window_nnz| {
                input.window_nnz = window_nnz;
                input
            }),
        );
        only = (inputs.len() == 1).then_some(matrix);
    }
    match opened.all() {
        Ok(opened) => Ok((opened, only)),
        Err((path, too_little)) => Err(too_little.error(path, options.memory_bytes).into()),
    }
}
