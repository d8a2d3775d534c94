//! What the metadata document of an array says.

use std::num::NonZeroU64;

use serde_json::Value;

use super::chain::{Chain, lengths};
use super::element::{element_of_v2, element_of_v3};
use super::fill::fill_of;
use crate::container::limits::MAX_ELEMENT_BYTES;
use crate::container::{Class, ElementType, Fault};

/// The members of a v3 document of an array. Others may only be passed over if they say so.
const KNOWN: [&str; 11] = [
    "attributes",
    "chunk_grid",
    "chunk_key_encoding",
    "codecs",
    "data_type",
    "dimension_names",
    "fill_value",
    "node_type",
    "shape",
    "storage_transformers",
    "zarr_format",
];

/// The shape and the type of an array, without the place of its chunks.
pub(super) struct Outline {
    pub(super) shape: Vec<u64>,
    pub(super) element: ElementType,
}

/// All that is needed to read an array of two dimensions at most.
pub(super) struct Metadata {
    pub(super) shape: Vec<u64>,
    pub(super) element: ElementType,
    /// Shape of a chunk or, if it is sharded, of a shard.
    pub(super) chunk: Vec<NonZeroU64>,
    pub(super) chain: Chain,
    /// An element that is not stored.
    pub(super) fill: Vec<u8>,
    pub(super) keys: Keys,
}

/// The names of chunks.
#[derive(Debug)]
pub(super) struct Keys {
    /// What all of them begin with.
    prefix: String,
    /// Whether what follows begins with a `c`.
    is_marked: bool,
    separator: char,
}

impl Outline {
    /// That of a v2 document.
    pub(super) fn of_v2(document: &Value) -> Result<Self, Fault> {
        let element = element_of_v2(&document["dtype"], &document["filters"]);
        Self::new(document, element, 2)
    }

    /// That of a v3 document.
    pub(super) fn of_v3(document: &Value) -> Result<Self, Fault> {
        Self::new(document, element_of_v3(document), 3)
    }

    fn new(document: &Value, element: ElementType, format: u64) -> Result<Self, Fault> {
        let found = &document["zarr_format"];
        if found.as_u64() != Some(format) {
            return Err(format!("its zarr_format is {found}, expected {format}").into());
        }
        let listed = document["shape"].as_array();
        let shape = listed.and_then(|shape| shape.iter().map(Value::as_u64).collect());
        let shape: Vec<u64> = shape.ok_or_else(|| "its shape is not a list of lengths".to_owned())?;
        Ok(Self { shape, element })
    }

    /// Whether the array can be read: of two dimensions at most, of a type that is.
    pub(super) fn is_read(&self) -> bool {
        self.shape.len() <= 2 && !matches!(self.element.class, Class::Other(_))
    }

    /// Refuses chunks of other dimensions, and elements that no array has.
    fn check(&self, chunk: &[NonZeroU64]) -> Result<(), Fault> {
        let (found, expected) = (chunk.len(), self.shape.len());
        if found != expected {
            return Err(format!("its chunks have {found} dimensions, expected {expected}").into());
        }
        let n_bytes = self.element.size_bytes as u64;
        match n_bytes <= MAX_ELEMENT_BYTES {
            true => Ok(()),
            false => {
                Err(format!("its elements have {n_bytes} bytes, expected at most {MAX_ELEMENT_BYTES}").into())
            }
        }
    }
}

impl Metadata {
    /// The rest of what the v2 document of the array at `path` says.
    pub(super) fn of_v2(outline: Outline, path: &str, document: &Value) -> Result<Self, Fault> {
        let chunk = lengths(document.get("chunks"))?;
        outline.check(&chunk)?;
        let Outline { shape, element } = outline;
        let keys = Keys::new(path, false, &document["dimension_separator"], '.')?;
        Ok(Self {
            chain: Chain::of_v2(document, &element.class, element.big_endian)?,
            fill: fill_of(&document["fill_value"], &element)?,
            shape,
            element,
            chunk,
            keys,
        })
    }

    /// The rest of what the v3 document of the array at `path` says.
    pub(super) fn of_v3(outline: Outline, path: &str, document: &Value) -> Result<Self, Fault> {
        let unread = |detail: String| {
            let remedy = "open it with anndata and write it again".to_owned();
            Err(Fault::Unsupported { detail, remedy })
        };
        match &document["storage_transformers"] {
            Value::Null => {}
            Value::Array(transformers) if transformers.is_empty() => {}
            _ => return unread("its storage is transformed".to_owned()),
        }
        for (name, member) in document.as_object().into_iter().flatten() {
            if !KNOWN.contains(&name.as_str()) && member["must_understand"] != false {
                return unread(format!("its metadata have a member {name}, which is not known"));
            }
        }
        let grid = &document["chunk_grid"];
        if grid["name"] != "regular" {
            return unread(format!(
                "its chunks form a grid called {}, and only regular ones are read",
                grid["name"]
            ));
        }
        let chunk = lengths(grid.pointer("/configuration/chunk_shape"))?;
        outline.check(&chunk)?;
        let Outline { shape, mut element } = outline;
        let chain = Chain::of_v3(&document["codecs"], &chunk, &element.class, element.size_bytes)?;
        element.big_endian = chain.big_endian();
        if document["fill_value"].is_null() {
            return Err("it has no fill value".to_owned().into());
        }
        let encoding = &document["chunk_key_encoding"];
        let separator = &encoding["configuration"]["separator"];
        let keys = match encoding.as_str().or(encoding["name"].as_str()) {
            Some("default") => Keys::new(path, true, separator, '/')?,
            Some("v2") => Keys::new(path, false, separator, '.')?,
            name => {
                let name = name.unwrap_or("without a name");
                return unread(format!("its chunks are named by encoding {name}"));
            }
        };
        Ok(Self {
            fill: fill_of(&document["fill_value"], &element)?,
            shape,
            element,
            chunk,
            chain,
            keys,
        })
    }
}

impl Keys {
    fn new(path: &str, is_marked: bool, separator: &Value, default: char) -> Result<Self, Fault> {
        let separator = match separator.as_str() {
            None if separator.is_null() => default,
            Some("/") => '/',
            Some(".") => '.',
            _ => return Err(format!("the names of its chunks are separated by {separator}").into()),
        };
        let prefix = match path {
            "" => String::new(),
            path => format!("{path}/"),
        };
        Ok(Self {
            prefix,
            is_marked,
            separator,
        })
    }

    /// The name of a chunk, counted in chunks along each dimension.
    pub(super) fn of(&self, at: &[u64]) -> String {
        let mut key = self.prefix.clone();
        if self.is_marked {
            key.push('c');
        }
        for (dimension, number) in at.iter().enumerate() {
            if self.is_marked || dimension > 0 {
                key.push(self.separator);
            }
            key.push_str(&number.to_string());
        }
        if at.is_empty() && !self.is_marked {
            key.push('0');
        }
        key
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn chunks_are_named_as_both_versions_do() {
        let keys =
            |path, is_marked, separator, default| Keys::new(path, is_marked, &separator, default).unwrap();
        let v3 = keys("X/data", true, json!(null), '/');
        assert_eq!(
            [&[][..], &[3], &[3, 4]].map(|at| v3.of(at)),
            ["X/data/c", "X/data/c/3", "X/data/c/3/4"]
        );
        let v2 = keys("X", false, json!(null), '.');
        assert_eq!(
            [&[][..], &[3], &[3, 4]].map(|at| v2.of(at)),
            ["X/0", "X/3", "X/3.4"]
        );
        assert_eq!(keys("", false, json!("/"), '.').of(&[1, 2]), "1/2");
        assert_eq!(keys("a", true, json!("."), '/').of(&[1]), "a/c.1");
        assert!(Keys::new("a", true, &json!("-"), '/').is_err());
    }

    #[test]
    fn what_a_document_demands_is_understood_or_refused() {
        let document = json!({
            "zarr_format": 3, "node_type": "array", "shape": [10], "data_type": "int32", "fill_value": 0,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
            "attributes": {}, "storage_transformers": [], "dimension_names": [null],
            "hint": {"must_understand": false},
        });
        let read = |document: &Value| {
            let outline = Outline::of_v3(document)?;
            Metadata::of_v3(outline, "a", document)
        };
        assert!(read(&document).is_ok());
        for (pointer, value, word) in [
            (
                "/storage_transformers",
                json!([{"name": "cipher"}]),
                "transformed",
            ),
            ("/hint", json!({"must_understand": true}), "member hint"),
            ("/hint", json!(3), "member hint"),
            ("/zarr_format", json!(4), "expected 3"),
            ("/storage_transformers", json!({"name": "cipher"}), "transformed"),
            ("/chunk_key_encoding", json!("hashed"), "hashed"),
            ("/chunk_grid/name", json!("rectangular"), "rectangular"),
            (
                "/chunk_grid/configuration/chunk_shape",
                json!([4, 4]),
                "2 dimensions",
            ),
            ("/chunk_grid/configuration/chunk_shape", json!([0]), "from 1 on"),
            ("/chunk_key_encoding/name", json!("hashed"), "hashed"),
            ("/shape", json!([-1]), "list of lengths"),
            ("/fill_value", json!(null), "no fill value"),
            ("/fill_value", json!(1u64 << 40), "not an element of type int32"),
            ("/codecs", json!([]), "makes bytes"),
        ] {
            let mut changed = document.clone();
            *changed.pointer_mut(pointer).unwrap() = value;
            let said = read(&changed).err().unwrap().detail();
            assert!(said.contains(word), "{pointer}: {said}");
        }
    }
}
