//! How inputs become one.

use cellring_core::setters;

/// Which genes several inputs have together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VarJoin {
    /// All inputs must have the same genes, in any order.
    #[default]
    Same,
    /// Those that all inputs have.
    Inner,
    /// Those that any input has; zero where an input lacks them.
    Outer,
}

impl VarJoin {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Same, Self::Inner, Self::Outer];

    /// `same`, `inner` or `outer`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Inner => "inner",
            Self::Outer => "outer",
        }
    }
}

/// How inputs become one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct JoinOptions {
    /// Which genes.
    pub var: VarJoin,
    /// The column of var that tells genes; their names where `None`.
    pub var_key: Option<String>,
    /// A categorical column of obs with the label of each cell's input.
    pub label_column: Option<String>,
    /// The labels; the inputs' names without extension where `None`.
    pub labels: Option<Vec<String>>,
    /// The columns of obs that are wanted; others that hold different kinds of values are left out, not refused. All where
    /// `None`.
    pub obs_columns: Option<Vec<String>>,
    /// Makes the names of obs unique: this and the label of their input are appended.
    pub index_unique: Option<String>,
}

impl JoinOptions {
    setters! {
        var: as VarJoin,
        var_key: into Option<String>,
        label_column: into Option<String>,
        labels: into Option<Vec<String>>,
        obs_columns: into Option<Vec<String>>,
        index_unique: into Option<String>,
    }

    /// Whether they change anything about a single input.
    pub fn is_default_for_one(&self) -> bool {
        self.label_column.is_none() && self.index_unique.is_none()
    }
}
