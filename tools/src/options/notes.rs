//! What was asked for, by option, for the message of a saved state that does not fit.

use std::collections::BTreeMap;
use std::path::Path;

/// Options and their values, of those that are given.
#[derive(Default)]
pub(super) struct Notes(pub(super) BTreeMap<String, String>);

impl Notes {
    pub(super) fn add(&mut self, option: &str, value: Option<String>) {
        self.0.extend(value.map(|value| (option.to_owned(), value)));
    }
}

/// Several values as one.
pub(super) fn listed(values: &[String]) -> Option<String> {
    (!values.is_empty()).then(|| values.join(","))
}

/// A path as it was given.
pub(super) fn shown(path: Option<&Path>) -> Option<String> {
    path.map(|path| path.display().to_string())
}
