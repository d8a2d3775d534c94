//! Data frames as groups.

use super::tree::{Attribute, Group, Node};

/// An empty data frame of these members, of which the first is the index.
pub(super) fn frame(names: &[String]) -> Group {
    let mut group = Group::encoded("dataframe", "0.2.0");
    group.set("_index", Attribute::Text(names[0].clone()));
    group.set(
        "column-order",
        // An empty list becomes an array of floats in numpy, and so in every file that anndata writes.
        if names.len() == 1 {
            Attribute::NoFloats
        } else {
            Attribute::Texts(names[1..].to_vec())
        },
    );
    group
}

/// Puts a column into a data frame whose names were looked at.
pub(super) fn insert(group: &mut Group, name: &str, node: Node) {
    let is_inserted = group.insert(name, node);
    assert!(is_inserted, "{name} was checked");
}
