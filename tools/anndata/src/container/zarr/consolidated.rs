//! Consolidated metadata: the documents of all nodes copied into one, which zarr-python reads in their place.
//!
//! What is read here is the document of each node itself. If the copy says something else, one of them is out of date, and readers that
//! take the copy, as anndata does, see other data: such a node is refused.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use crate::container::Fault;

/// What both documents of a node must say. In what chunks an array is stored is said rightly beside them, whatever an older copy says: tools
/// write arrays again, and versions of zarr-python describe the same ones in several ways.
const FIELDS: [&str; 5] = ["node_type", "attributes", "shape", "dtype", "data_type"];

/// The copies of documents, by the paths of these.
#[derive(Default)]
pub(super) struct Consolidated {
    documents: HashMap<String, Value>,
    remedy: String,
}

impl Consolidated {
    /// Those in `.zmetadata` (zarr v2) and in the root's `zarr.json` (zarr v3), of the hierarchy at `path`, which may be a zip
    /// file: zarr-python writes to none that exists.
    pub(super) fn of(v2: Option<Value>, v3: Option<Value>, path: &Path, is_zip: bool) -> Self {
        let members = |value: Value| match value {
            Value::Object(members) => members,
            _ => serde_json::Map::new(),
        };
        let of_v2 = v2.map(|mut document| members(document["metadata"].take()));
        let of_v3 = v3.map(|mut root| members(root["consolidated_metadata"]["metadata"].take()));
        let of_v3 = of_v3.into_iter().flatten();
        let unpacked = path.with_extension("").display().to_string();
        let documents = of_v3.map(|(node, document)| (format!("{node}/zarr.json"), document));
        Self {
            documents: documents.chain(of_v2.into_iter().flatten()).collect(),
            remedy: match is_zip {
                false => {
                    format!(
                        "if the members are right, write the copy again with zarr.consolidate_metadata({path:?})"
                    )
                }
                true => format!(
                    "if the members are right, unpack it (unzip {} -d {unpacked}), write the copy again with \
                     zarr.consolidate_metadata({unpacked:?}) and convert {unpacked}",
                    path.display()
                ),
            },
        }
    }

    /// Refuses a document that says something else than its copy. `found`: `None` if there is no such file.
    pub(super) fn check(&self, key: &str, found: Option<&Value>) -> Result<(), Fault> {
        let Some(copy) = self.documents.get(key) else {
            return Ok(());
        };
        let differs = match found {
            Some(found) if key.ends_with(".zattrs") => found != copy,
            Some(found) => FIELDS.iter().any(|&field| differs(&found[field], &copy[field])),
            // Members may have been removed, but not their attributes alone.
            None => key.ends_with(".zattrs") && !is_empty(copy),
        };
        match differs {
            false => Ok(()),
            true => Err(Fault::Unsupported {
                detail: format!(
                    "{key} differs from its copy in the consolidated metadata: readers of either would see different data"
                ),
                remedy: self.remedy.clone(),
            }),
        }
    }
}

fn differs(found: &Value, copy: &Value) -> bool {
    found != copy && !(is_empty(found) && is_empty(copy))
}

/// Null, as what is not there is, or without members.
fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn copies_are_compared_in_what_they_mean() {
        let v2 = json!({"metadata": {
            "obs/.zattrs": {"column-order": ["a"]},
            "X/.zarray": {"shape": [2, 3], "chunks": [1, 1]},
            "var/.zattrs": {},
        }});
        let v3 = json!({"consolidated_metadata": {"metadata": {
            "obs": {"node_type": "group", "attributes": {"a": 1}, "consolidated_metadata": {"metadata": {}}},
        }}});
        let both = Consolidated::of(Some(v2), Some(v3), Path::new("a.zarr"), false);
        let is_fine = |key, found: Option<Value>| both.check(key, found.as_ref()).is_ok();
        assert!(is_fine("obs/.zattrs", Some(json!({"column-order": ["a"]}))));
        assert!(is_fine(
            "X/.zarray",
            Some(json!({"shape": [2, 3], "chunks": [2, 3]}))
        ));
        assert!(is_fine("X/.zarray", None));
        assert!(is_fine("var/.zattrs", None));
        assert!(is_fine("raw/.zgroup", Some(json!({"zarr_format": 2}))));
        let group = |attributes: Value| json!({"node_type": "group", "attributes": attributes});
        assert!(is_fine("obs/zarr.json", Some(group(json!({"a": 1})))));

        assert!(!is_fine("obs/.zattrs", Some(json!({"column-order": ["b"]}))));
        assert!(!is_fine("obs/.zattrs", None));
        assert!(!is_fine("X/.zarray", Some(json!({"shape": [3, 2]}))));
        assert!(!is_fine("obs/zarr.json", Some(group(json!({"a": 2})))));
        assert!(!is_fine(
            "obs/zarr.json",
            Some(json!({"node_type": "array", "attributes": {"a": 1}}))
        ));
        // A copy of another kind has nothing to compare with.
        assert!(
            Consolidated::of(
                Some(json!({"metadata": 5})),
                Some(json!({})),
                Path::new(""),
                false
            )
            .documents
            .is_empty()
        );
    }
}
