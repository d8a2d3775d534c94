//! Opens stores.

pub(crate) mod map;
