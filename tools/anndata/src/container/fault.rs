//! What is wrong with a container.

/// Why a container cannot answer; the caller adds file and object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// What was found, and what was expected.
    Damaged(String),
    /// The file may be sound, but a feature of it is not read.
    Unsupported {
        detail: String,
        /// What to do about it.
        remedy: String,
    },
}

impl From<String> for Fault {
    fn from(detail: String) -> Self {
        Self::Damaged(detail)
    }
}

impl Fault {
    /// What was found, without a remedy.
    pub(crate) fn detail(self) -> String {
        match self {
            Self::Damaged(detail) | Self::Unsupported { detail, .. } => detail,
        }
    }

    /// Says before the detail what it is about.
    pub(crate) fn about(self, what: &str) -> Self {
        match self {
            Self::Damaged(detail) => Self::Damaged(format!("{what}: {detail}")),
            Self::Unsupported { detail, remedy } => Self::Unsupported {
                detail: format!("{what}: {detail}"),
                remedy,
            },
        }
    }
}
