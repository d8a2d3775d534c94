//! The types of the elements of datasets, in HDF5 and zarr alike.

use std::sync::Arc;

use super::translate::Translation;

/// How the strings of a fixed-width dataset are padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Padding {
    /// The text ends at the first NUL.
    NulTerminated,
    /// NULs follow the text.
    Nul,
    /// Spaces follow the text.
    Space,
}

impl Padding {
    /// Removes it.
    pub(crate) fn trim(self, bytes: &[u8]) -> &[u8] {
        let after_last = |is_text: fn(&u8) -> bool| {
            let last = bytes.iter().rposition(is_text);
            last.map_or(0, |last| last + 1)
        };
        let end = match self {
            Self::NulTerminated => bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len()),
            Self::Nul => after_last(|&byte| byte != 0),
            Self::Space => after_last(|&byte| byte != b' '),
        };
        &bytes[..end]
    }
}

/// Class of the elements of a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Int {
        signed: bool,
    },
    Float,
    /// A byte that is 0 for false.
    Bool,
    /// Integers that have names, other than those of booleans.
    Enum(Arc<Enumeration>),
    FixedText(Padding),
    /// Four bytes per character, as numpy keeps text (zarr only).
    FixedUnicode,
    /// References into the global heap.
    VarText,
    /// Records of several members (the tables of AnnData before 0.7).
    Compound(Vec<Member>),
    /// Anything else, named.
    Other(String),
}

/// The named values of an enum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Enumeration {
    /// Whether its integers are.
    pub(crate) signed: bool,
    /// In the order of their values.
    pub(crate) names: Vec<String>,
    /// The value of each name.
    pub(crate) values: Vec<i128>,
}

/// One member of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) offset_bytes: usize,
    pub(crate) element: ElementType,
}

/// Element type of a dataset, as its elements are delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ElementType {
    pub(crate) class: Class,
    pub(crate) size_bytes: usize,
    pub(crate) big_endian: bool,
    /// How they come from what is stored, where that is something else.
    pub(crate) translation: Option<Translation>,
}

impl ElementType {
    /// One that is delivered as it is stored.
    pub(crate) fn new(class: Class, size_bytes: usize, big_endian: bool) -> Self {
        Self {
            class,
            size_bytes,
            big_endian,
            translation: None,
        }
    }

    pub(super) fn translated(class: Class, translation: Translation) -> Self {
        Self {
            class,
            size_bytes: translation.bytes(),
            big_endian: false,
            translation: Some(translation),
        }
    }

    /// Bytes of a stored element.
    pub(crate) fn stored_bytes(&self) -> usize {
        self.translation
            .as_ref()
            .map_or(self.size_bytes, Translation::stored_bytes)
    }

    /// The name numpy would give this type.
    pub(crate) fn name(&self) -> String {
        let bits = self.size_bytes.saturating_mul(8);
        let order = if self.big_endian && self.size_bytes > 1 {
            "big-endian "
        } else {
            ""
        };
        match &self.class {
            Class::Int { signed: true } => format!("{order}int{bits}"),
            Class::Int { signed: false } => format!("{order}uint{bits}"),
            Class::Float => format!("{order}float{bits}"),
            Class::Bool => "bool".to_owned(),
            Class::Enum(enumeration) => format!("an enum of {}", enumeration.names.join(", ")),
            Class::FixedText(_) | Class::FixedUnicode => {
                format!("fixed strings of {} bytes", self.size_bytes)
            }
            Class::VarText => "variable-length strings".to_owned(),
            Class::Compound(_) => "compound records".to_owned(),
            Class::Other(name) => name.clone(),
        }
    }
}
