use cellring_filters::zarr;
use serde_json::json;

use super::*;

const NUMBERS: Class = Class::Int { signed: true };

fn shape(lengths: &[u64]) -> Vec<NonZeroU64> {
    lengths.iter().map(|&n| NonZeroU64::new(n).unwrap()).collect()
}

fn v3(codecs: &Value, lengths: &[u64]) -> Result<Chain, Fault> {
    Chain::of_v3(codecs, &shape(lengths), &NUMBERS, 4)
}

fn little() -> Value {
    json!({"name": "bytes", "configuration": {"endian": "little"}})
}

fn sharded(chunk: &[u64], codecs: &Value) -> Value {
    json!({"name": "sharding_indexed", "configuration": {
        "chunk_shape": chunk, "codecs": codecs, "index_codecs": [little(), "crc32c"],
    }})
}

fn ids(coding: &Coding) -> Vec<u16> {
    coding.filters.iter().map(|filter| filter.id).collect()
}

#[test]
fn codecs_of_both_versions_become_filters() {
    let big = json!({"name": "bytes", "configuration": {"endian": "big"}});
    let codecs = json!([sharded(
        &[10],
        &json!([big, {"name": "zstd", "configuration": {"level": 0}}, "crc32c"])
    )]);
    let shards = v3(&codecs, &[20]).unwrap().into_shards().unwrap();
    let coding = shards.inner.coding(1).unwrap();
    assert_eq!(
        (ids(&coding), coding.big_endian),
        (vec![32015, zarr::CRC32C], true)
    );
    let shuffled = json!({
        "order": "C", "dtype": "<f4", "filters": [{"id": "shuffle", "elementsize": 4}], "compressor": {"id": "zlib", "level": 1}
    });
    let coding = Chain::of_v2(&shuffled, &NUMBERS, false)
        .unwrap()
        .coding(1)
        .unwrap();
    assert_eq!((ids(&coding), coding.big_endian), (vec![2, 1], false));
    assert_eq!(coding.filters[0].client_data, [4]);
    let plain = json!({"order": "C", "dtype": ">i8", "filters": null, "compressor": null});
    let coding = Chain::of_v2(&plain, &NUMBERS, true).unwrap().coding(1).unwrap();
    assert_eq!((ids(&coding), coding.big_endian), (vec![], true));
}

/// numcodecs takes the width of the array's elements in v3, and 4 in v2.
#[test]
fn shuffles_of_no_width_have_that_of_their_version() {
    let shuffle = |configuration: Value| json!([little(), {"name": "numcodecs.shuffle", "configuration": configuration}]);
    let width = |codecs: &Value| {
        let chain = Chain::of_v3(codecs, &shape(&[4]), &NUMBERS, 8)?;
        Ok::<_, Fault>(chain.coding(1).unwrap().filters[0].client_data.clone())
    };
    assert_eq!(width(&shuffle(json!({}))).unwrap(), [8]);
    assert_eq!(width(&shuffle(json!({"elementsize": null}))).unwrap(), [8]);
    assert_eq!(width(&shuffle(json!({"elementsize": 2}))).unwrap(), [2]);
    let of_four = v3(&shuffle(json!({"elementsize": null})), &[4]).unwrap();
    assert_eq!(of_four.coding(1).unwrap().filters[0].client_data, [4]);
    for wrong in [json!(-8), json!("8"), json!(8.0), json!(true), json!(1 << 20)] {
        assert!(
            width(&shuffle(json!({ "elementsize": wrong }))).is_err(),
            "{wrong}"
        );
    }
    let v2 = |codec: Value| {
        let document = json!({"order": "C", "filters": [codec], "compressor": null});
        Chain::of_v2(&document, &NUMBERS, false).map(|chain| chain.coding(1).unwrap())
    };
    assert_eq!(v2(json!({"id": "shuffle"})).unwrap().filters[0].client_data, [4]);
    assert!(v2(json!({"id": "shuffle", "elementsize": null})).is_err());
    // A chunk that the width does not divide is refused, as by numcodecs.
    let chain = v3(
        &json!([little(), {"name": "shuffle", "configuration": {"elementsize": 3}}]),
        &[4],
    )
    .unwrap();
    assert!(!chain.shuffles_evenly(16) && chain.shuffles_evenly(12));
    let element = ElementBytes {
        size_bytes: 4,
        fill: &[0; 4],
    };
    assert!(chain.decode(vec![0; 16], &shape(&[4]), element).is_err());
}

#[test]
fn what_has_no_filter_is_refused_by_name() {
    let transposed = json!([{"name": "transpose", "configuration": {"order": [1, 0]}}, little()]);
    let nested = json!([sharded(&[5], &json!([little()]))]);
    for (codecs, lengths, word) in [
        (transposed, &[4, 5][..], "by columns"),
        (json!([little(), "numcodecs.bz2"]), &[4], "bz2"),
        (json!([little(), "zstd", "gzip"]), &[4], "second compression"),
        (json!([sharded(&[10], &nested), "zstd"]), &[20], "shards"),
    ] {
        let said = v3(&codecs, lengths).unwrap().coding(lengths.len()).unwrap_err();
        assert!(said.contains(word), "{said}");
    }
    let by_column = json!({"order": "F", "filters": null, "compressor": null});
    let chain = Chain::of_v2(&by_column, &NUMBERS, false).unwrap();
    assert!(chain.coding(2).unwrap_err().contains("by columns"));
    assert!(chain.coding(1).is_ok());
}

#[test]
fn chains_that_cannot_be_are_refused() {
    for (codecs, word) in [
        (json!([]), "makes bytes of elements"),
        (json!(["bytes"]), "comes first"),
        (json!(["zstd", little()]), "zstd comes before"),
        (json!([little(), "vlen-utf8"]), "vlen-utf8 follows"),
        (json!([little(), {"name": "transpose"}]), "transpose follows"),
        (json!(["vlen-utf8"]), "does not hold"),
        (
            json!([{"name": "transpose", "configuration": {"order": [1, 0]}}, little()]),
            "in order [1,0]",
        ),
        (json!([little(), "delta"]), "codec delta"),
        (
            json!([little(), {"name": "crc32c", "configuration": {"location": "start"}}]),
            "codec crc32c",
        ),
        (
            Value::Array([vec![little()], vec![json!("crc32c"); 40]].concat()),
            "40 codecs",
        ),
        (
            json!([(0..3).fold(little(), |inner, _| sharded(&[20], &json!([inner])))]),
            "within 2 others",
        ),
        (json!([sharded(&[3], &json!([little()]))]), "whole chunks"),
        (json!([sharded(&[5, 5], &json!([little()]))]), "whole chunks"),
        (
            json!([{"name": "sharding_indexed", "configuration": {
                "chunk_shape": [5], "codecs": [little()], "index_codecs": [little(), "zstd"],
            }}]),
            "is compressed",
        ),
    ] {
        let said = v3(&codecs, &[20]).unwrap_err().detail();
        assert!(said.contains(word), "{said}");
    }
    let text = Chain::of_v3(&json!(["bytes"]), &shape(&[4]), &Class::VarText, 16).unwrap_err();
    assert!(text.detail().contains("expected vlen-utf8"));
    let delta = json!({"order": "C", "filters": [{"id": "delta", "dtype": "<i4"}], "compressor": null});
    let said = Chain::of_v2(&delta, &NUMBERS, false).unwrap_err().detail();
    assert!(said.contains("delta"), "{said}");
}

/// Shards within shards, transposed and compressed as a whole, with an absent chunk: what zarr's specification says of each.
#[test]
fn shards_are_decoded_whole_where_they_must_be() {
    let element = ElementBytes {
        size_bytes: 4,
        fill: &7i32.to_le_bytes(),
    };
    let inner = json!([sharded(&[1, 2], &json!([little()]))]);
    let codecs = json!([
        {"name": "transpose", "configuration": {"order": [1, 0]}}, sharded(&[2, 2], &inner), "zstd",
    ]);
    // Two rows of four; transposed four rows of two: two chunks of 2 x 2, each of two of 1 x 2, of which the last is not stored.
    let chain = v3(&codecs, &[2, 4]).unwrap();
    let shard = |pieces: &[Option<Vec<u8>>]| {
        let mut all = Vec::new();
        let mut index = Vec::new();
        for piece in pieces {
            let (offset, n) = piece
                .as_ref()
                .map_or(ABSENT, |piece| (all.len() as u64, piece.len() as u64));
            index.extend([offset, n].map(u64::to_le_bytes).concat());
            all.extend(piece.iter().flatten());
        }
        let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &index) as u32;
        [all, index, sum.to_le_bytes().to_vec()].concat()
    };
    let pair = |a: i32, b: i32| Some([a, b].map(i32::to_le_bytes).concat());
    let whole = shard(&[
        Some(shard(&[pair(0, 1), pair(2, 3)])),
        Some(shard(&[pair(4, 5), None])),
    ]);
    let stored = ::zstd::bulk::compress(&whole, 1).unwrap();
    let decoded = chain.decode(stored.clone(), &shape(&[2, 4]), element).unwrap();
    let numbers: Vec<i32> = decoded
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| i32::from_le_bytes(*bytes))
        .collect();
    assert_eq!(numbers, [0, 2, 4, 7, 1, 3, 5, 7]);
    for n in 0..stored.len() {
        assert!(
            chain
                .decode(stored[..n].to_vec(), &shape(&[2, 4]), element)
                .is_err(),
            "cut at {n}"
        );
    }
    let plain = v3(&json!([sharded(&[2, 2], &json!([little()])), "zstd"]), &[4, 2]).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x81;
        // Never a panic; what is not in an index has no checksum.
        let _ = plain.decode(
            ::zstd::bulk::compress(&damaged, 1).unwrap(),
            &shape(&[4, 2]),
            element,
        );
    }
}
