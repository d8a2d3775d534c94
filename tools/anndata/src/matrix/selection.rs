//! Which matrix of an input is read.

/// Which matrix of the file to read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Selection {
    /// The main matrix, `X`.
    #[default]
    X,
    /// `raw/X`, with its own, usually larger, `raw/var`.
    Raw,
    /// `layers/NAME`.
    Layer(String),
    /// `obsm/NAME`: an array with a row for each obs, or a data frame of numbers.
    Obsm(String),
}

impl Selection {
    /// HDF5 path of the matrix.
    pub fn path(&self) -> String {
        match self {
            Self::X => "X".to_owned(),
            Self::Raw => "raw/X".to_owned(),
            Self::Layer(name) => format!("layers/{name}"),
            Self::Obsm(name) => format!("obsm/{name}"),
        }
    }
}
