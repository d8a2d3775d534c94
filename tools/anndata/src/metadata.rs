//! Keys of the metadata of Arrow fields, in which a table keeps what Arrow does not say by itself.

/// Key of the metadata that marks the index.
pub(crate) const ROLE: &str = "cellring.role";
pub(crate) const INDEX_NAME: &str = "anndata.index_name";
pub(crate) const ENCODING: &str = "anndata.encoding";
/// Metadata of a field: whether the categories are ordered.
pub const ORDERED: &str = "anndata.ordered";
pub(crate) const NA_VALUE: &str = "anndata.na_value";
pub(crate) const CATEGORIES_ENCODING: &str = "anndata.categories_encoding";
pub(crate) const CATEGORIES_NA_VALUE: &str = "anndata.categories_na_value";
