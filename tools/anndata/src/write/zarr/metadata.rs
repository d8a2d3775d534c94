//! The JSON documents of groups and arrays.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::write::compress::Compression;
use crate::write::options::ZarrFormat;
use crate::write::tree::{Attribute, Attributes, Dataset, Datatype};

/// Names and contents of the files that describe a group.
pub(super) fn group(format: ZarrFormat, about: &Attributes) -> Vec<(&'static str, Value)> {
    match format {
        ZarrFormat::V2 => vec![
            (".zgroup", json!({ "zarr_format": 2 })),
            (".zattrs", attributes(about)),
        ],
        ZarrFormat::V3 => vec![(
            "zarr.json",
            json!({ "zarr_format": 3, "node_type": "group", "attributes": attributes(about) }),
        )],
    }
}

/// Names and contents of the files that describe an array of chunks of `chunk_len` elements or rows.
pub(super) fn array(
    format: ZarrFormat,
    dataset: &Dataset,
    chunk_len: u32,
    compression: Compression,
) -> Vec<(&'static str, Value)> {
    let columns = dataset.columns.map(u64::from);
    let shape: Vec<u64> = std::iter::once(dataset.len).chain(columns).collect();
    let chunks: Vec<u64> = std::iter::once(u64::from(chunk_len))
        .chain(columns.map(|n| n.max(1)))
        .collect();
    let fill_value = match dataset.datatype {
        Datatype::Integer { .. } => json!(0),
        Datatype::Float { .. } => json!(0.0),
        Datatype::Bool => json!(false),
        Datatype::Text => json!(""),
    };
    match format {
        ZarrFormat::V2 => {
            let document = json!({
                "zarr_format": 2,
                "shape": shape,
                "chunks": chunks,
                "dtype": numpy_name(dataset.datatype),
                "fill_value": fill_value,
                "order": "C",
                "filters": match dataset.datatype {
                    Datatype::Text => json!([{ "id": "vlen-utf8" }]),
                    _ => Value::Null,
                },
                "dimension_separator": ".",
                "compressor": match compression {
                    Compression::Gzip(level) => json!({ "id": "gzip", "level": level }),
                    Compression::Zstd(level) => json!({ "id": "zstd", "level": level, "checksum": false }),
                    Compression::None | Compression::Lzf => Value::Null,
                },
            });
            vec![
                (".zarray", document),
                (".zattrs", attributes(&dataset.attributes)),
            ]
        }
        ZarrFormat::V3 => {
            let mut codecs = vec![match dataset.datatype {
                Datatype::Text => json!({ "name": "vlen-utf8" }),
                other if other.size_bytes() == 1 => json!({ "name": "bytes" }),
                _ => json!({ "name": "bytes", "configuration": { "endian": "little" } }),
            }];
            match compression {
                Compression::Gzip(level) => {
                    codecs.push(json!({ "name": "gzip", "configuration": { "level": level } }));
                }
                Compression::Zstd(level) => {
                    let about = json!({ "level": level, "checksum": false });
                    codecs.push(json!({ "name": "zstd", "configuration": about }));
                }
                Compression::None | Compression::Lzf => {}
            }
            let document = json!({
                "zarr_format": 3,
                "node_type": "array",
                "shape": shape,
                "data_type": v3_name(dataset.datatype),
                "chunk_grid": { "name": "regular", "configuration": { "chunk_shape": chunks } },
                "chunk_key_encoding": { "name": "default", "configuration": { "separator": "/" } },
                "fill_value": fill_value,
                "codecs": codecs,
                "attributes": attributes(&dataset.attributes),
                "storage_transformers": [],
            });
            vec![("zarr.json", document)]
        }
    }
}

fn attributes(attributes: &Attributes) -> Value {
    let entries = attributes.iter().map(|(name, value)| {
        let value = match value {
            Attribute::Text(text) => json!(text),
            Attribute::Texts(texts) => json!(texts),
            Attribute::Bool(value) => json!(value),
            Attribute::Integers(values) => json!(values),
            Attribute::NoFloats => json!([]),
        };
        ((*name).to_owned(), value)
    });
    Value::Object(entries.collect::<Map<_, _>>())
}

fn numpy_name(datatype: Datatype) -> String {
    let order = |size_bytes| if size_bytes == 1 { '|' } else { '<' };
    match datatype {
        Datatype::Integer { size_bytes, signed } => {
            let kind = if signed { 'i' } else { 'u' };
            format!("{}{kind}{size_bytes}", order(size_bytes))
        }
        Datatype::Float { size_bytes } => format!("<f{size_bytes}"),
        Datatype::Bool => "|b1".to_owned(),
        Datatype::Text => "|O".to_owned(),
    }
}

fn v3_name(datatype: Datatype) -> String {
    match datatype {
        Datatype::Integer { size_bytes, signed } => {
            format!("{}int{}", if signed { "" } else { "u" }, 8 * size_bytes)
        }
        Datatype::Float { size_bytes } => format!("float{}", 8 * size_bytes),
        Datatype::Bool => "bool".to_owned(),
        Datatype::Text => "string".to_owned(),
    }
}

/// `.zmetadata`, of all documents by their paths.
pub(super) fn consolidated_v2(documents: &BTreeMap<String, Value>) -> Value {
    json!({ "zarr_consolidated_format": 1, "metadata": documents })
}

/// The root's `zarr.json` with those of all objects below it.
pub(super) fn consolidated_v3(documents: &BTreeMap<String, Value>) -> Value {
    let below = documents
        .iter()
        .filter_map(|(path, document)| Some((path.strip_suffix("/zarr.json")?.to_owned(), document.clone())));
    let mut root = documents.get("zarr.json").cloned().unwrap_or_default();
    root["consolidated_metadata"] = json!({
        "kind": "inline",
        "must_understand": false,
        "metadata": below.collect::<Map<_, _>>(),
    });
    root
}
