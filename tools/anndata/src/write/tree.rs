//! The tree of an AnnData file, whatever the container: groups, arrays whose data are in the file already, attributes.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::hdf5::{Layout, REFERENCE_BYTES};
use super::zarr::Stored as ZarrChunks;

/// Element type of an array or attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Datatype {
    /// Little-endian integer.
    Integer { size_bytes: u8, signed: bool },
    /// Little-endian IEEE 754 binary16, binary32 or binary64.
    Float { size_bytes: u8 },
    /// In HDF5 what h5py makes of a bool: an enumeration FALSE = 0, TRUE = 1 over int8.
    Bool,
    /// UTF-8 string of variable length.
    Text,
}

impl Datatype {
    /// Bytes of an element; of a string those of HDF5's reference to it.
    pub(super) fn size_bytes(self) -> usize {
        match self {
            Self::Integer { size_bytes, .. } | Self::Float { size_bytes } => usize::from(size_bytes),
            Self::Bool => 1,
            Self::Text => REFERENCE_BYTES,
        }
    }
}

/// Value of an attribute.
#[derive(Clone, Debug)]
pub(super) enum Attribute {
    Text(String),
    Texts(Vec<String>),
    Bool(bool),
    Integers(Vec<i64>),
    /// An array of float64 without elements.
    NoFloats,
}

/// Attributes of an array.
pub(super) type Attributes = Vec<(&'static str, Attribute)>;

/// An array of one or two dimensions whose data are in the file already.
#[derive(Debug)]
pub(super) struct Dataset {
    pub(super) datatype: Datatype,
    /// Elements, or rows.
    pub(super) len: u64,
    /// Second dimension.
    pub(super) columns: Option<u32>,
    /// Whether other programs may append to it.
    pub(super) extendable: bool,
    pub(super) attributes: Attributes,
    pub(super) stored: Stored,
}

/// Where the data of an array are.
#[derive(Debug)]
pub(super) enum Stored {
    Hdf5(Layout),
    Zarr(ZarrChunks),
}

/// A member of a group.
#[derive(Debug)]
pub(super) enum Node {
    Group(Group),
    Dataset(Dataset),
    /// What lies at another path of the tree, which comes before this one in the order of names.
    Same(String),
}

/// A group, kept in memory until the end of the file is written.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) attributes: Attributes,
    pub(super) members: BTreeMap<String, Node>,
}

impl Group {
    /// An empty group with AnnData's pair of encoding attributes.
    pub(super) fn encoded(encoding: &str, version: &str) -> Self {
        Self {
            attributes: encoding_attributes(encoding, version),
            members: BTreeMap::new(),
        }
    }

    pub(super) fn set(&mut self, name: &'static str, value: Attribute) {
        self.attributes.push((name, value));
    }

    /// Puts a member at a path below this group, making the groups between.
    ///
    /// Returns false, and changes nothing that matters, when the place is taken or is inside an array.
    #[must_use]
    pub(super) fn insert(&mut self, path: &str, node: Node) -> bool {
        let Some((head, rest)) = path.split_once('/') else {
            return match self.members.entry(path.to_owned()) {
                Entry::Vacant(place) => {
                    place.insert(node);
                    true
                }
                Entry::Occupied(_) => false,
            };
        };
        match self
            .members
            .entry(head.to_owned())
            .or_insert_with(|| Node::Group(Self::default()))
        {
            // A column is not a folder for others.
            Node::Group(group) if group.attributes.is_empty() => group.insert(rest, node),
            _ => false,
        }
    }
}

/// The attributes that say how AnnData encodes an object.
pub(super) fn encoding_attributes(encoding: &str, version: &str) -> Attributes {
    vec![
        ("encoding-type", Attribute::Text(encoding.into())),
        ("encoding-version", Attribute::Text(version.into())),
    ]
}
