//! Opens what is converted: the matrix, `obs` and `var`, of which the options have taken their part.

use std::path::{Path, PathBuf};

use cellring_anndata::__internal::{Looks, directory_of};
use cellring_anndata::{Input, InputStamp, LeftOut, MatrixSource, Selection, TableSource, Workspace};

use super::select::GeneList;
use super::{ConvertError, ConvertOptions, open, order, select};
use crate::message::{Message, MessageKind};

/// Inputs that have been looked at and found fit.
pub(super) struct Inputs {
    file: Input,
    /// How messages name them.
    pub(super) name: PathBuf,
    /// What they were like before anything was read.
    stamps: Vec<InputStamp>,
    /// The matrix of the store, and further ones.
    pub(super) elements: Vec<Element>,
    /// The genes that are kept, where not all are.
    pub(super) genes: Option<GeneList>,
    /// In the order of the store.
    pub(super) obs: TableSource,
    /// For each obs of the store its place in the source, where that is another.
    pub(super) order: Option<Vec<u32>>,
    /// What is held in memory all the time.
    pub(super) held_bytes: u64,
    /// What is not taken of the inputs.
    pub(super) left_out: Vec<LeftOut>,
    /// What is odd about the filter and the genes.
    pub(super) warnings: Vec<Message>,
}

/// One matrix, its rows in the order of the store, and the table of its columns.
pub(super) struct Element {
    pub(super) selection: Selection,
    pub(super) matrix: MatrixSource,
    pub(super) var: TableSource,
}

impl Inputs {
    pub(super) fn open(
        inputs: &[PathBuf],
        output: &Path,
        options: &ConvertOptions,
    ) -> Result<Self, ConvertError> {
        let name = name_of(inputs);
        let input = name.as_path();
        let stamps: Result<_, _> = inputs.iter().map(|path| InputStamp::of(path)).collect();
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
            memory_bytes: options.memory_bytes / (1 + options.further.len() as u64),
        };
        let selections = || std::iter::once(&options.selection).chain(&options.further);
        let mut matrices = Vec::new();
        for selection in selections() {
            matrices.push(file.matrix_in(selection, &workspace)?);
        }
        let mut obs = file.obs()?;
        let mut warnings = Vec::new();
        let rows = select::rows(input, options, &obs, &mut warnings)?;
        let genes = options.genes.as_deref().map(GeneList::read).transpose()?;
        let mut elements = Vec::new();
        for (selection, matrix) in selections().zip(matrices) {
            let element = Element {
                selection: selection.clone(),
                matrix,
                var: file.var(selection)?,
            };
            element.check(input, &obs)?;
            elements.push(select::part(
                input,
                options,
                genes.as_ref(),
                rows.as_ref(),
                element,
                &mut warnings,
            )?);
        }
        obs = match &rows {
            Some(rows) => obs.pick(rows),
            None => obs.head(options.max_obs.unwrap_or(u64::MAX)),
        };
        let order = match &options.obs_order {
            None => None,
            Some(order) => Some(order::of(order, input, &obs, options.memory_bytes)?),
        };
        let mut held_bytes = 0;
        obs = select::columns(input, options, obs)?;
        if let Some(order) = &order {
            held_bytes = 4 * obs.n_rows();
            for element in &mut elements {
                element.matrix = element.matrix.reordered(order, &workspace)?;
            }
            obs = obs.reordered(order, &workspace);
        }
        let left_out = file.left_out(&selections().collect::<Vec<_>>())?;
        Ok(Self {
            file,
            name,
            // An input that is not there has been named above.
            stamps: stamps?,
            elements,
            genes,
            obs,
            order,
            held_bytes,
            left_out,
            warnings,
        })
    }

    /// Where counts are, if the first matrix holds something else and none of those that are taken is them.
    pub(super) fn counts_beside(&self, x: Looks) -> Option<Message> {
        let found = x.no_counts()?;
        let taken: Vec<&Selection> = self.elements.iter().map(|element| &element.selection).collect();
        let counts = self.file.counts_beside(&taken)?;
        let sentence = format!(
            "{} of {} has {found}, while {} holds counts; {} takes those",
            self.elements[0].selection.path(),
            self.name.display(),
            counts.path(),
            counts.option()
        );
        Some(Message::new(MessageKind::Counts, sentence))
    }

    /// Says if inputs of counts are joined with others.
    pub(super) fn mixed_counts(&self) -> Option<Message> {
        let selection = &self.elements.first()?.selection;
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
    pub(super) fn content(&self) -> Vec<[i64; 3]> {
        self.stamps.iter().map(InputStamp::content).collect()
    }

    /// Refuses inputs that something has written to since they were opened.
    pub(super) fn check_unchanged(&self) -> Result<(), ConvertError> {
        Ok(self.stamps.iter().try_for_each(InputStamp::check)?)
    }
}

/// How messages name the inputs.
fn name_of(inputs: &[PathBuf]) -> PathBuf {
    match inputs {
        [] => PathBuf::new(),
        [one] => one.clone(),
        [first, others @ ..] => format!("{} and {} more inputs", first.display(), others.len()).into(),
    }
}

impl Element {
    /// Compares the shape of the matrix with the tables.
    fn check(&self, input: &Path, obs: &TableSource) -> Result<(), ConvertError> {
        let (matrix, var) = (&self.matrix, &self.var);
        let sides = [
            ("rows", matrix.n_obs(), "obs", obs.n_rows()),
            ("columns", matrix.n_vars(), "var", var.n_rows()),
        ];
        for (axis, expected, table, found) in sides {
            if expected != found {
                return Err(ConvertError::Shape {
                    file: input.to_path_buf(),
                    matrix: self.selection.path(),
                    axis,
                    expected,
                    table,
                    found,
                });
            }
        }
        Ok(())
    }
}
