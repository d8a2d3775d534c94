//! Where data are put into another order, and in how much memory.

use std::path::PathBuf;

/// Where a matrix that is not stored by rows may be rewritten so, and in how much memory.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// The directory of temporary files. They have no name and vanish with the process.
    pub directory: PathBuf,
    /// The most memory that the process may use, in bytes; such a matrix takes about a quarter of it.
    pub memory_bytes: u64,
}

impl Default for Workspace {
    /// The system's directory for temporary files, and 1 GiB.
    fn default() -> Self {
        Self {
            directory: std::env::temp_dir(),
            memory_bytes: 1 << 30,
        }
    }
}
