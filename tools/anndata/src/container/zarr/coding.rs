//! What has to be undone to get at the numbers of a chunk, as filters that need no library of zarr.

use cellring_filters::{Filter, Pipeline, zarr};
use serde_json::Value;

/// How the chunks of an array of numbers are encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Coding {
    /// In the order in which they were applied.
    pub(super) filters: Vec<Filter>,
    /// Whether the most significant byte of a number comes first.
    pub(super) big_endian: bool,
}

impl Coding {
    /// That of an array of v3 with these codecs, or within its shards, of elements of so many bytes.
    ///
    /// # Errors
    /// In one clause, which of them has no filter.
    pub(super) fn of_v3(codecs: &Value, element_bytes: usize) -> Result<Self, String> {
        let listed = codecs.as_array().map(Vec::as_slice).unwrap_or_default();
        if let [codec] = listed
            && codec["name"] == "sharding_indexed"
        {
            let within = &codec["configuration"]["codecs"];
            let nested = within.as_array().into_iter().flatten();
            if { nested }.any(|codec| codec["name"] == "sharding_indexed") {
                return Err("it has shards within shards".to_owned());
            }
            return Self::of_v3(within, element_bytes);
        }
        let mut big_endian = false;
        let mut filters = Vec::new();
        for codec in listed {
            let name = codec
                .as_str()
                .or_else(|| codec["name"].as_str())
                .unwrap_or_default();
            let configuration = &codec["configuration"];
            match name {
                "bytes" | "endian" if configuration["endian"].is_string() || element_bytes == 1 => {
                    big_endian = configuration["endian"] == "big";
                }
                "bytes" | "endian" => {
                    return Err("it does not say which byte of a number comes first".to_owned());
                }
                _ => filters.extend(filter(name, configuration)?),
            }
        }
        Self::new(filters, big_endian)
    }

    /// That of an array of v2.
    ///
    /// # Errors
    /// In one clause, which of its codecs has no filter.
    pub(super) fn of_v2(document: &Value) -> Result<Self, String> {
        let n_dimensions = document["shape"].as_array().map_or(0, Vec::len);
        if document["order"] == "F" && n_dimensions > 1 {
            return Err("its chunks are stored by columns".to_owned());
        }
        let big_endian = document["dtype"]
            .as_str()
            .is_some_and(|dtype| dtype.starts_with('>'));
        let listed = document["filters"].as_array().into_iter().flatten();
        let mut filters = Vec::new();
        for codec in listed.chain(Some(&document["compressor"]).filter(|codec| !codec.is_null())) {
            filters.extend(filter(codec["id"].as_str().unwrap_or_default(), codec)?);
        }
        Self::new(filters, big_endian)
    }

    fn new(filters: Vec<Filter>, big_endian: bool) -> Result<Self, String> {
        // The element's width matters to no filter that `filter` makes.
        Pipeline::new(&filters, 1).map_err(|unknown| unknown.to_string())?;
        Ok(Self { filters, big_endian })
    }
}

/// The filter of a codec; `None` of one that leaves what it stored as it is.
fn filter(name: &str, configuration: &Value) -> Result<Option<Filter>, String> {
    let plain = name.strip_prefix("numcodecs.").unwrap_or(name);
    let (id, client_data) = match plain {
        "zlib" => (1, vec![]),
        "shuffle" => {
            let bytes = configuration["elementsize"].as_u64().unwrap_or(4);
            let bytes = u32::try_from(bytes).map_err(|_| format!("it is shuffled by {bytes} bytes"))?;
            (2, vec![bytes.max(1)])
        }
        "fletcher32" => (3, vec![]),
        "blosc" => (32001, vec![]),
        "zstd" => (32015, vec![]),
        "gzip" => (zarr::GZIP, vec![]),
        "crc32c" if configuration["location"] != "start" => (zarr::CRC32C, vec![]),
        "lz4" => (zarr::LZ4, vec![]),
        // They round before they store.
        "bitround" => return Ok(None),
        _ => return Err(format!("zarr codec {name} is decoded by a conversion only")),
    };
    Ok(Some(Filter {
        id,
        name: None,
        client_data,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ids(coding: &Coding) -> Vec<u16> {
        coding.filters.iter().map(|filter| filter.id).collect()
    }

    #[test]
    fn codecs_of_both_versions_become_filters() {
        let sharded = json!([{"name": "sharding_indexed", "configuration": {
            "chunk_shape": [10], "index_codecs": [{"name": "crc32c"}],
            "codecs": [{"name": "bytes", "configuration": {"endian": "big"}}, {"name": "zstd", "configuration": {"level": 0}}, {"name": "crc32c"}],
        }}]);
        let coding = Coding::of_v3(&sharded, 4).unwrap();
        assert_eq!(
            (ids(&coding), coding.big_endian),
            (vec![32015, zarr::CRC32C], true)
        );
        let shuffled = json!({
            "dtype": "<f4", "filters": [{"id": "shuffle", "elementsize": 4}], "compressor": {"id": "zlib", "level": 1}
        });
        let coding = Coding::of_v2(&shuffled).unwrap();
        assert_eq!((ids(&coding), coding.big_endian), (vec![2, 1], false));
        assert_eq!(coding.filters[0].client_data, [4]);
        let plain = json!({"dtype": ">i8", "filters": null, "compressor": null});
        let coding = Coding::of_v2(&plain).unwrap();
        assert_eq!((ids(&coding), coding.big_endian), (vec![], true));
    }

    #[test]
    fn what_has_no_filter_is_refused_by_name() {
        for (codecs, word) in [
            (json!([{"name": "transpose"}, {"name": "bytes"}]), "transpose"),
            (json!([{"name": "bytes"}]), "comes first"),
            (
                json!([{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "numcodecs.bz2"}]),
                "numcodecs.bz2",
            ),
            (json!([{"name": "zstd"}, {"name": "gzip"}]), "second compression"),
            (
                json!([{"name": "sharding_indexed", "configuration": {"codecs": [{"name": "sharding_indexed"}]}}]),
                "shards within shards",
            ),
        ] {
            let said = Coding::of_v3(&codecs, 4).unwrap_err();
            assert!(said.contains(word), "{said}");
        }
        assert!(Coding::of_v3(&json!([{"name": "bytes"}]), 1).is_ok());
        let by_column =
            json!({"dtype": "<f4", "order": "F", "shape": [3, 4], "filters": null, "compressor": null});
        assert!(Coding::of_v2(&by_column).unwrap_err().contains("by columns"));
        let delta = json!({"dtype": "<i4", "filters": [{"id": "delta", "dtype": "<i4"}], "compressor": null});
        assert!(Coding::of_v2(&delta).unwrap_err().contains("delta"));
    }
}
