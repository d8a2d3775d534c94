//! Why inputs cannot be joined.

use std::path::PathBuf;

/// Why several inputs make no one matrix with one obs and one var. Every message is one sentence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The inputs have different genes, and it was not said which to take.
    #[error(
        "{} and {} have different genes ({only_first} of the first are not in the second, {only_other} of the second not in the first); give `VarJoin::Inner` for the genes that all inputs have, or `VarJoin::Outer` for those of any",
        first.display(), other.display()
    )]
    DifferentVar {
        /// The first input.
        first: PathBuf,
        /// The first one that differs.
        other: PathBuf,
        /// Genes that only the first has.
        only_first: usize,
        /// Genes that only the other has.
        only_other: usize,
    },
    /// Inputs of the same genes have them in different multiplicity, or genes cannot be told apart.
    #[error(
        "{} has {n_repeated} genes that repeat the name of an earlier gene, among them {examples}, so its genes cannot be matched with those of other inputs; give `var_key`, a column of var that identifies each gene uniquely",
        file.display()
    )]
    RepeatedVar {
        /// The input.
        file: PathBuf,
        /// How many genes repeat an earlier one.
        n_repeated: usize,
        /// The first few names.
        examples: String,
    },
    /// The column that tells genes does not exist.
    #[error("var of {} has no column {column}; its columns are {available}", file.display())]
    NoKey {
        /// The input.
        file: PathBuf,
        /// The column.
        column: String,
        /// What there is.
        available: String,
    },
    /// The column that tells genes holds no texts.
    #[error("the column {column} of var of {} holds {found}, but genes are identified by texts; choose another `var_key`", file.display())]
    KeyType {
        /// The input.
        file: PathBuf,
        /// The column.
        column: String,
        /// Its type.
        found: String,
    },
    /// A gene has no name.
    #[error("gene {row} of {} has no value in the column {column} of var, which is to identify the genes; choose another `var_key`", file.display())]
    MissingKey {
        /// The input.
        file: PathBuf,
        /// The column.
        column: String,
        /// The gene, from 0.
        row: usize,
    },
    /// Arrays of obsm have different widths.
    #[error(
        "{object} has {n_first} dimensions in {} and {n_other} in {}, but must have as many in all inputs; convert without it",
        first.display(), other.display()
    )]
    Dimensions {
        /// Path of the array.
        object: String,
        /// The first input.
        first: PathBuf,
        /// Its dimensions.
        n_first: usize,
        /// One that differs.
        other: PathBuf,
        /// Its dimensions.
        n_other: usize,
    },
    /// An input has no gene of another one.
    #[error(
        "{} has no gene of another input: its genes have names such as {names}, those of {} names such as {others}; {advice}",
        file.display(), other.display()
    )]
    NothingShared {
        /// The input.
        file: PathBuf,
        /// The first names of its genes.
        names: String,
        /// Another input.
        other: PathBuf,
        /// The first names of its genes.
        others: String,
        /// What would make them share some.
        advice: String,
    },
    /// No gene is in all inputs, although each shares some with another one.
    #[error("the {n_inputs} inputs have no gene in common ({} has none of those that all inputs before it have); give `VarJoin::Outer`, or `var_key` if they name genes differently", file.display())]
    NothingInCommon {
        /// How many inputs.
        n_inputs: usize,
        /// The input after which none was left.
        file: PathBuf,
    },
    /// Too many genes.
    #[error("the inputs have {n_vars} genes together, expected less than 2^31")]
    TooManyVars {
        /// How many.
        n_vars: usize,
    },
    /// A column holds different kinds of values.
    #[error(
        "the {table} column {column} holds {first_type} in {} and {other_type} in {}, which have no type in common; leave the column out{remedy}, or give it the same type in all inputs",
        first.display(), other.display()
    )]
    ColumnKinds {
        /// `obs` or `var`.
        table: &'static str,
        /// The column.
        column: String,
        /// An input.
        first: PathBuf,
        /// What it holds there.
        first_type: String,
        /// An input where that does not fit.
        other: PathBuf,
        /// What it holds there.
        other_type: String,
        /// How to leave it out.
        remedy: &'static str,
    },
    /// A value does not survive the change of its type that the other inputs ask for.
    #[error(
        "{object} in {} has the value {value} in row {row}, which {wanted}, the type that the other inputs ask for, does not hold exactly; change the type in one of the inputs",
        file.display()
    )]
    Inexact {
        /// The input.
        file: PathBuf,
        /// The column, or the matrix.
        object: String,
        /// Its row.
        row: u64,
        /// The value.
        value: String,
        /// The type.
        wanted: String,
    },
    /// The label column has the name of one that there is.
    #[error("{} has an obs column {column} already; choose another name for `label_column`", file.display())]
    LabelColumn {
        /// The input.
        file: PathBuf,
        /// The column.
        column: String,
    },
    /// The label column has a name that AnnData does not take for a column.
    #[error(
        "{column:?} cannot be the name of an obs column{}; choose another name for `label_column`",
        if column == "_index" { ", since AnnData calls the index so" } else { "" }
    )]
    LabelName {
        /// The column.
        column: String,
    },
    /// Labels that are not one for each input.
    #[error("{found} labels were given for {expected} inputs; give `labels`, one for each")]
    LabelCount {
        /// Number of inputs.
        expected: usize,
        /// Number of labels.
        found: usize,
    },
    /// Two inputs have one label.
    #[error(
        "{} and {} would both be labelled {label:?}; give `labels`, a different one for each input",
        first.display(), other.display()
    )]
    RepeatedLabel {
        /// An input.
        first: PathBuf,
        /// Another one.
        other: PathBuf,
        /// The label.
        label: String,
    },
    /// An input changed between two readings.
    #[error("{object} in {} changed during the conversion; convert again when nothing is writing to it", file.display())]
    Changed {
        /// The input.
        file: PathBuf,
        /// The matrix or table.
        object: String,
    },
}
