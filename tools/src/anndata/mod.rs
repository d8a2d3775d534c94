//! AnnData on disk.

pub mod write;
