//! Opens what is converted: the matrix, `obs` and `var`, of which the options have taken their part.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use arrow_array::Array;
use arrow_array::cast::AsArray;
use cellring_anndata::__internal::{Looks, directory_of};
use cellring_anndata::{Input, InputStamp, MatrixSource, Selection, TableSource, Workspace};
use cellring_core::few_and_more;

use super::error::ConvertError;
use super::left_out::LeftOut;
use super::memory::{self, Needs};
use super::options::{ConvertOptions, ObsOrder};
use super::order::{self, Places};
use super::select::GeneList;
use super::selected::SelectedMatrix;
use super::{open, select};
use crate::advice::option_of;
use crate::message::{Message, MessageKind};

/// Columns that a warning names.
const NAMED_COLUMNS: usize = 5;

/// Inputs that have been looked at and found fit.
pub(crate) struct Inputs {
    file: Input,
    /// How messages name them.
    pub(crate) name: PathBuf,
    /// What they were like before anything was read.
    stamps: Vec<InputStamp>,
    /// The matrix of the store, and other ones.
    pub(crate) selected_matrices: Vec<SelectedMatrix>,
    /// The genes that are kept, where not all are.
    pub(super) genes: Option<GeneList>,
    /// In the order of the store.
    pub(crate) obs: TableSource,
    /// For each obs of the store its place in the source, where that is another.
    pub(crate) order: Option<Vec<u32>>,
    /// What is not taken of the inputs.
    pub(crate) left_out: Vec<LeftOut>,
    /// What is odd about the filter and the genes.
    pub(crate) warnings: Vec<Message>,
}

impl Inputs {
    pub(crate) fn open(
        inputs: &[PathBuf],
        output: &Path,
        options: &ConvertOptions,
    ) -> Result<Self, ConvertError> {
        let name = name_of(inputs);
        let input = name.as_path();
        let stamps: Result<_, _> = inputs.iter().map(|path| InputStamp::read(path)).collect();
        let file = match inputs {
            [one] if options.join.is_default_for_one() => open::open(one, &options.open)?,
            several => {
                let mut join = options.join.clone();
                join.obs_columns = select::asked_columns(options)?;
                open::join(several, &options.open, &join)?
            }
        };
        let workspace = Workspace {
            directory: directory_of(output).to_path_buf(),
            memory_bytes: share_bytes(options.memory_bytes, 1 + options.other_matrices.len()),
        };
        let selections = || std::iter::once(&options.selection).chain(&options.other_matrices);
        let mut taken = HashSet::new();
        if let Some(twice) = selections().find(|selection| !taken.insert(*selection)) {
            let matrix = twice.path();
            return Err(ConvertError::Twice { matrix });
        }
        let mut matrices = Vec::new();
        for selection in selections() {
            matrices.push(file.matrix_in(selection, &workspace)?);
        }
        let mut obs = file.obs()?;
        let mut warnings = Vec::new();
        let rows = select::rows(input, options, &obs, &mut warnings)?;
        let genes = options.genes.as_deref().map(GeneList::read).transpose()?;
        let mut selected_matrices = Vec::new();
        for (selection, matrix) in selections().zip(matrices) {
            let selected = SelectedMatrix {
                selection: selection.clone(),
                matrix,
                var: file.var(selection)?,
            };
            selected.check(input, &obs)?;
            selected_matrices.push(select::part(
                input,
                options,
                genes.as_ref(),
                rows.as_ref(),
                selected,
                &mut warnings,
            )?);
        }
        obs = match &rows {
            Some(rows) => obs.pick(rows),
            None => obs.head(options.max_obs.unwrap_or(u64::MAX)),
        };
        let left_out = file.left_out(&selections().collect::<Vec<_>>())?;
        let mut opened = Self {
            file,
            // An input that is not there has been named above.
            stamps: stamps?,
            selected_matrices,
            genes,
            obs: select::columns(input, options, obs.clone())?,
            order: None,
            left_out: left_out.into_iter().map(LeftOut::from).collect(),
            warnings,
            name,
        };
        if let Some(order) = &options.obs_order {
            opened.reorder(order, &obs, options, &workspace)?;
        }
        Ok(opened)
    }

    /// Puts the obs into another order, which columns of `all` say. Whether there is memory for it, and for all that comes afterwards, is asked
    /// before anything is read of a matrix.
    fn reorder(
        &mut self,
        order: &ObsOrder,
        all: &TableSource,
        options: &ConvertOptions,
        workspace: &Workspace,
    ) -> Result<(), ConvertError> {
        let limit_bytes = options.memory_bytes;
        let of_rows = 8 * all.n_rows() * self.selected_matrices.len() as u64;
        let held_bytes = of_rows + all.working_bytes(limit_bytes);
        let places = order::places(order, &self.name, all, limit_bytes, held_bytes)?;
        let sort_bytes = match places {
            Places::Found(_) => 0,
            Places::Need(sort_bytes) => sort_bytes,
        };
        let reading: Vec<_> = self
            .selected_matrices
            .iter()
            .map(|selected| selected.matrix.working_bytes_reordered())
            .collect();
        let check = |order: Option<&[u32]>| {
            let needs = self.selected_matrices.iter().map(|selected| {
                let needs = self.needs(selected, order, options);
                match order {
                    Some(_) => needs,
                    None => needs.in_any_order(options.block_size, sort_bytes),
                }
            });
            let needs: Vec<Needs> = needs.collect();
            let matrix_bytes = |number: usize, share_bytes| reading[number](share_bytes);
            let obs_bytes =
                |share_bytes| 4 * self.obs.n_rows() + self.obs.working_bytes_reordered(share_bytes);
            self.windows_of(&needs, limit_bytes, matrix_bytes, obs_bytes)
        };
        // Rows are looked up in their new order, which takes time, only if it matters.
        let fits = check(None);
        let found = match places {
            Places::Need(_) => return fits.map(|_| unreachable!("sorting takes more than the limit")),
            Places::Found(found) => found,
        };
        // Of matrices whose rows have to be counted first, too little is known yet to refuse them.
        let are_counted = |selected: &SelectedMatrix| !selected.matrix.has_bounds_only();
        if fits.is_err() && self.selected_matrices.iter().all(are_counted) {
            check(Some(&found))?;
        }
        drop(reading);
        for selected in &mut self.selected_matrices {
            selected.matrix = selected.matrix.reordered(&found, workspace)?;
        }
        self.obs = self.obs.clone().reordered(&found, workspace);
        self.order = Some(found);
        Ok(())
    }

    /// How many entries windows of each matrix may have.
    ///
    /// # Errors
    /// [`ConvertError::Memory`], if the limit is too low for one of them.
    pub(super) fn windows(&self, options: &ConvertOptions) -> Result<Vec<usize>, ConvertError> {
        let matrices = self.selected_matrices.iter();
        let needs: Vec<Needs> = matrices
            .map(|selected| self.needs(selected, None, options))
            .collect();
        let matrix_bytes = |number: usize, share_bytes| {
            let matrix = &self.selected_matrices[number].matrix;
            matrix.working_bytes(share_bytes)
        };
        let order_bytes = self.order.as_ref().map_or(0, |order| 4 * order.len() as u64);
        let obs_bytes = |share_bytes| order_bytes + self.obs.working_bytes(share_bytes);
        self.windows_of(&needs, options.memory_bytes, matrix_bytes, obs_bytes)
    }

    fn needs(&self, selected: &SelectedMatrix, order: Option<&[u32]>, options: &ConvertOptions) -> Needs {
        let (block_size, threads) = (options.block_size, rayon::current_num_threads());
        Needs::new(
            &selected.matrix,
            order,
            &self.obs,
            &selected.var,
            block_size,
            threads,
        )
    }

    /// [`windows`](Self::windows) with these needs, and with what reading each matrix takes, and obs, if a matrix has a share of so many bytes.
    fn windows_of(
        &self,
        needs: &[Needs],
        limit_bytes: u64,
        matrix_bytes: impl Fn(usize, u64) -> u64,
        obs_bytes: impl Fn(u64) -> u64,
    ) -> Result<Vec<usize>, ConvertError> {
        let matrices = &self.selected_matrices;
        let held_within = |writing: usize, limit_bytes| {
            let share_bytes = share_bytes(limit_bytes, matrices.len());
            // Of each matrix what it holds once it has been read, and where its rows begin; of the one that is written that is counted.
            let held = matrices.iter().enumerate().map(|(number, each)| {
                let starts = if number == writing {
                    0
                } else {
                    8 * each.matrix.n_obs()
                };
                starts + matrix_bytes(number, share_bytes)
            });
            held.sum::<u64>() + obs_bytes(share_bytes) + matrices[writing].var.working_bytes(share_bytes)
        };
        memory::windows(needs, limit_bytes, held_within)
            .map_err(|(_, too_little)| too_little.error(&self.name, limit_bytes))
    }

    /// The labels of the inputs; none if there is one that was not joined.
    pub(crate) fn labels(&self) -> &[String] {
        self.file.labels()
    }

    /// What is odd about obs and var.
    pub(crate) fn table_warnings(&self) -> Vec<Message> {
        let of_table = |kind, table: &TableSource| -> Vec<Message> {
            let sentences = table.warnings().iter().cloned().chain(lost_categories(table));
            sentences.map(|sentence| Message::new(kind, sentence)).collect()
        };
        let mut warnings = of_table(MessageKind::Obs, &self.obs);
        for selected in &self.selected_matrices {
            warnings.extend(of_table(MessageKind::Var, &selected.var));
        }
        // Layers have the genes of X, and so the same warnings.
        let mut seen = HashSet::new();
        warnings.retain(|warning| seen.insert(warning.clone()));
        warnings
    }

    /// Chunks of the matrices that are not there.
    pub(crate) fn absent_chunks(&self) -> Vec<Message> {
        let matrices = self.selected_matrices.iter();
        matrices
            .flat_map(|selected| absent_chunks(&selected.matrix))
            .collect()
    }

    /// Where counts are, if the first matrix holds something else and none of those that are taken is them.
    pub(crate) fn counts_beside(&self, x: Looks) -> Option<Message> {
        let found = x.no_counts()?;
        let taken: Vec<&Selection> = self
            .selected_matrices
            .iter()
            .map(|selected| &selected.selection)
            .collect();
        let counts = self.file.counts_beside(&taken)?;
        let sentence = format!(
            "{} of {} has {found}, while {} holds counts; {} takes those",
            self.selected_matrices[0].selection.path(),
            self.name.display(),
            counts.path(),
            option_of(&counts)
        );
        Some(Message::new(MessageKind::Counts, sentence))
    }

    /// Says if inputs of counts are joined with others.
    pub(crate) fn mixed_counts(&self) -> Option<Message> {
        let selection = &self.selected_matrices.first()?.selection;
        let mixed = self.file.mixed_counts(selection)?;
        let sentence = format!(
            "{} of {} holds counts, that of {} {}; the store holds both, so normalise neither or convert the counts of all",
            selection.path(),
            mixed.counts.display(),
            mixed.other.display(),
            mixed.found
        );
        Some(Message::new(MessageKind::Counts, sentence))
    }

    /// What tells these inputs from others, on every machine.
    pub(crate) fn content(&self) -> Vec<[i64; 3]> {
        self.stamps.iter().map(InputStamp::content).collect()
    }

    /// Refuses inputs that something has written to since they were opened.
    pub(crate) fn check_unchanged(&self) -> Result<(), ConvertError> {
        Ok(self.stamps.iter().try_for_each(InputStamp::check)?)
    }
}

/// Says of a table without rows which categories go: they are stored beside rows.
fn lost_categories(table: &TableSource) -> Option<String> {
    if table.n_rows() > 0 {
        return None;
    }
    let empty = table.read(0..0).ok()?;
    let fields = table.schema().fields().iter().zip(empty.columns());
    let named = fields.filter(|(_, column)| {
        let dictionary = column.as_any_dictionary_opt();
        dictionary.is_some_and(|dictionary| !dictionary.values().is_empty())
    });
    let names: Vec<String> = named.map(|(field, _)| format!("{:?}", field.name())).collect();
    (!names.is_empty()).then(|| {
        let few = few_and_more(&names, NAMED_COLUMNS);
        format!("{table} has no rows, so the categories of {few} are not kept")
    })
}

/// Says of the arrays of a matrix that lack chunks how many.
pub(super) fn absent_chunks(matrix: &MatrixSource) -> Vec<Message> {
    let absent = matrix.absent_chunks().into_iter();
    absent
        .map(|absent| Message::new(MessageKind::Values, absent.to_string()))
        .collect()
}

/// Of a limit, what one matrix gets: what it holds it holds while the others are read.
fn share_bytes(limit_bytes: u64, n_matrices: usize) -> u64 {
    limit_bytes / n_matrices as u64
}

/// How messages name the inputs.
pub(super) fn name_of(inputs: &[PathBuf]) -> PathBuf {
    match inputs {
        [] => PathBuf::new(),
        [one] => one.clone(),
        [first, others @ ..] => format!("{} and {} more inputs", first.display(), others.len()).into(),
    }
}
