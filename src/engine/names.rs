//! Settings by their names.

/// A name that stands for no [`Backend`](super::Backend) or [`Direct`](super::Direct).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid {what} {found:?}: expected one of {expected}")]
pub struct ParseNameError {
    what: &'static str,
    found: String,
    expected: String,
}

pub(super) fn parse<T: Copy>(
    names: &[(T, &str)],
    what: &'static str,
    text: &str,
) -> Result<T, ParseNameError> {
    names
        .iter()
        .find(|(_, name)| *name == text)
        .map(|&(value, _)| value)
        .ok_or_else(|| ParseNameError {
            what,
            found: text.to_owned(),
            expected: names.iter().map(|&(_, name)| name).collect::<Vec<_>>().join(", "),
        })
}

pub(super) fn name<T: Copy + PartialEq>(names: &[(T, &'static str)], value: T) -> &'static str {
    names
        .iter()
        .find(|&&(v, _)| v == value)
        .map_or("", |&(_, name)| name)
}
