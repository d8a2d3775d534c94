//! Consolidated metadata: the documents of all nodes copied into one, which zarr-python reads in their place.
//!
//! What is read here is the document of each node itself. If the copy says something else, one of them is out of date, and readers that
//! take the copy, as anndata does, see other data: such a node is refused.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use crate::container::Fault;

/// What both documents of a node must say. In what chunks an array is stored, and how these are compressed, the node's own document says
/// rightly, whatever an older copy says: tools write arrays again, and versions of zarr-python describe the same ones in several ways.
const FIELDS: [&str; 6] = ["node_type", "attributes", "shape", "dtype", "data_type", "order"];

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
            Some(found) => {
                FIELDS.iter().any(|&field| differs(&found[field], &copy[field]))
                    || !is_same_fill(&found["fill_value"], &copy["fill_value"])
                    || separator(found) != separator(copy)
                    || places(&found["codecs"]) != places(&copy["codecs"])
            }
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

/// Whether both mean one fill value: numbers are written in several ways.
fn is_same_fill(found: &Value, copy: &Value) -> bool {
    let numbers = found.as_f64().zip(copy.as_f64());
    found == copy || numbers.is_some_and(|(found, copy)| found == copy)
}

/// What separates the numbers in the names of chunks.
fn separator(document: &Value) -> &str {
    let encoding = &document["chunk_key_encoding"];
    let named = encoding.pointer("/configuration/separator");
    let named = named
        .or(document.get("dimension_separator"))
        .and_then(Value::as_str);
    let is_default = encoding.as_str().or(encoding["name"].as_str()) == Some("default");
    named.unwrap_or(if is_default { "/" } else { "." })
}

/// What codecs say of the places of elements and of their bytes: orders of dimensions and of bytes.
fn places(codecs: &Value) -> Vec<&Value> {
    let mut found = Vec::new();
    for codec in codecs.as_array().into_iter().flatten() {
        let configuration = &codec["configuration"];
        found.extend(
            ["order", "endian"]
                .iter()
                .filter_map(|&member| configuration.get(member)),
        );
        found.extend(places(&configuration["codecs"]));
    }
    found
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
        for (member, value, is_same) in [
            ("order", json!("F"), false),
            ("fill_value", json!(1), false),
            ("fill_value", json!(0), true),
            ("dimension_separator", json!("/"), false),
            ("dimension_separator", json!("."), true),
        ] {
            let array = json!({"shape": [2, 3], "order": "C", "fill_value": 0.0});
            let copy = json!({"metadata": {"X/.zarray": array.clone()}});
            let mut found = array;
            found[member] = value;
            let copies = Consolidated::of(Some(copy), None, Path::new("a.zarr"), false);
            assert_eq!(
                copies.check("X/.zarray", Some(&found)).is_ok(),
                is_same,
                "{member}"
            );
        }
        let array = |endian: &str, separator: Value| {
            json!({
                "node_type": "array", "codecs": [{"name": "bytes", "configuration": {"endian": endian}}, {"name": "zstd"}],
                "chunk_key_encoding": {"name": "default", "configuration": separator},
            })
        };
        let plain = array("little", json!({}));
        let copy = json!({"consolidated_metadata": {"metadata": {"X": plain.clone()}}});
        let copies = Consolidated::of(None, Some(copy), Path::new("a.zarr"), false);
        let is_same = |found: Value| copies.check("X/zarr.json", Some(&found)).is_ok();
        assert!(is_same(plain) && is_same(array("little", json!({"separator": "/"}))));
        assert!(!is_same(array("big", json!({}))) && !is_same(array("little", json!({"separator": "."}))));
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
