//! Opens what is converted: the matrix, `obs` and `var`, of which the options have taken their part.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use cellring_anndata::__internal::{Looks, directory_of};
use cellring_anndata::{Input, InputStamp, LeftOut, Selection, TableSource, Workspace};

use super::error::ConvertError;
use super::options::ConvertOptions;
use super::select::GeneList;
use super::selected::SelectedMatrix;
use super::{open, order, select};
use crate::message::{Message, MessageKind};

/// Inputs that have been looked at and found fit.
pub(crate) struct Inputs {
    file: Input,
    /// How messages name them.
    pub(crate) name: PathBuf,
    /// What they were like before anything was read.
    stamps: Vec<InputStamp>,
    /// The matrix of the store, and further ones.
    pub(crate) selected_matrices: Vec<SelectedMatrix>,
    /// The genes that are kept, where not all are.
    pub(super) genes: Option<GeneList>,
    /// In the order of the store.
    pub(crate) obs: TableSource,
    /// For each obs of the store its place in the source, where that is another.
    pub(crate) order: Option<Vec<u32>>,
    /// What is held in memory all the time.
    pub(crate) held_bytes: u64,
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
            // What one matrix holds it holds while the others are read.
            memory_bytes: options.memory_bytes / (1 + options.other_matrices.len() as u64),
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
        let order = match &options.obs_order {
            None => None,
            Some(order) => Some(order::places(order, input, &obs, options.memory_bytes)?),
        };
        let mut held_bytes = 0;
        obs = select::columns(input, options, obs)?;
        if let Some(order) = &order {
            held_bytes = 4 * obs.n_rows();
            for selected in &mut selected_matrices {
                selected.matrix = selected.matrix.reordered(order, &workspace)?;
            }
            obs = obs.reordered(order, &workspace);
        }
        let left_out = file.left_out(&selections().collect::<Vec<_>>())?;
        Ok(Self {
            file,
            name,
            // An input that is not there has been named above.
            stamps: stamps?,
            selected_matrices,
            genes,
            obs,
            order,
            held_bytes,
            left_out,
            warnings,
        })
    }

    /// The labels of the inputs; none if there is one that was not joined.
    pub(crate) fn labels(&self) -> &[String] {
        self.file.labels()
    }

    /// What is odd about obs and var.
    pub(crate) fn table_warnings(&self) -> Vec<Message> {
        let of_table = |kind, table: &TableSource| -> Vec<Message> {
            let sentences = table.warnings().iter();
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
            counts.option()
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

/// How messages name the inputs.
pub(super) fn name_of(inputs: &[PathBuf]) -> PathBuf {
    match inputs {
        [] => PathBuf::new(),
        [one] => one.clone(),
        [first, others @ ..] => format!("{} and {} more inputs", first.display(), others.len()).into(),
    }
}
