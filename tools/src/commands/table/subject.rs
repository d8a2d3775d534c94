//! Which table is looked at.

use cellring::format::table::Table;

/// A table and what its rows are called.
pub(super) struct Subject<'a> {
    pub(super) table: &'a Table,
    /// cells, or genes.
    pub(super) rows: &'static str,
    /// Whether filters ask about its columns.
    pub(super) has_filters: bool,
}
