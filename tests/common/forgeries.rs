//! What stores claim behind checksums that hold, each with a piece of the refusal.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses a part of this; a test may unwrap"
)]

use std::path::Path;

use cellring::format::{Encoding, ValueBuffer, ValueType};
use cellring::writer::WriterOptions;
use serde_json::{Value, json};

use crate::common::{Kind, matrix, value_type, write_store};
use crate::forge::Forge;

pub(crate) const N_VARS: u64 = 700;

pub(crate) fn options(encoding: Encoding, value_type: ValueType) -> WriterOptions {
    let mut options = WriterOptions::new(N_VARS, value_type);
    (options.encoding, options.block_size, options.alignment) = (encoding, 16, 512);
    options
}

pub(crate) fn store(dir: &Path, encoding: Encoding) -> Forge {
    let path = dir.join(encoding.name());
    let mut options = options(encoding, value_type(Kind::Counts));
    options.replace = true;
    write_store(&path, &matrix(40, N_VARS, Kind::Counts, 5), options, None).unwrap();
    Forge::open(&path)
}

/// One forgery: what is changed, and a piece of the error.
pub(crate) type Row<T> = (&'static str, fn(&mut T), &'static str);

const LIMIT: u64 = 1 << 63;

/// What a manifest claims is refused when the store is opened.
pub(crate) const MANIFESTS: &[Row<Value>] = &[
    ("block size 0", |m| m["block_size"] = 0.into(), "block_size"),
    (
        "block size 65537",
        |m| m["block_size"] = 65_537.into(),
        "block_size",
    ),
    ("alignment 0", |m| m["alignment"] = 0.into(), "alignment"),
    (
        "alignment 2^31",
        |m| m["alignment"] = (1u64 << 31).into(),
        "alignment",
    ),
    (
        "alignment 2^32 - 1",
        |m| m["alignment"] = u32::MAX.into(),
        "alignment",
    ),
    ("alignment 3", |m| m["alignment"] = 3.into(), "alignment"),
    ("n_obs 2^63", |m| m["n_obs"] = LIMIT.into(), "shape"),
    (
        "n_obs 2^47",
        |m| m["n_obs"] = (1u64 << 47).into(),
        "contradict|blocks",
    ),
    ("n_obs -1", |m| m["n_obs"] = (-1).into(), "a member"),
    ("n_obs 40.0", |m| m["n_obs"] = 40.0.into(), "a member"),
    ("n_vars 2^40", |m| m["n_vars"] = (1u64 << 40).into(), "shape"),
    (
        "n_vars 2^31 - 1",
        |m| m["n_vars"] = i32::MAX.into(),
        "var is shorter",
    ),
    (
        "12 GB for one obs",
        |m| {
            let most: u64 = i32::MAX as u64;
            (m["n_vars"], m["max_obs_nnz"], m["nnz"]) = (most.into(), most.into(), (40 * most).into());
        },
        "contradict",
    ),
    ("nnz 2^63", |m| m["nnz"] = LIMIT.into(), "nnz"),
    ("nnz 0", |m| m["nnz"] = 0.into(), "nnz"),
    (
        "max_obs_nnz 701",
        |m| m["max_obs_nnz"] = 701.into(),
        "max_obs_nnz",
    ),
    ("max_obs_nnz 0", |m| m["max_obs_nnz"] = 0.into(), "nnz"),
    (
        "max_obs_bytes 0",
        |m| m["max_obs_bytes"] = 0.into(),
        "max_obs_bytes",
    ),
    (
        "max_obs_bytes 2^32",
        |m| m["max_obs_bytes"] = (1u64 << 32).into(),
        "max_obs_bytes",
    ),
    (
        "max_obs_bytes 2^31",
        |m| m["max_obs_bytes"] = (1u64 << 31).into(),
        "max_obs_bytes",
    ),
    (
        "max_obs_bytes 2^64 - 1",
        |m| m["max_obs_bytes"] = u64::MAX.into(),
        "max_obs_bytes",
    ),
    (
        "raw type without raw",
        |m| m["raw_value_type"] = "u8".into(),
        "raw_value_type",
    ),
    (
        "no raw type",
        |m| drop(m.as_object_mut().unwrap().remove("raw_value_type")),
        "raw_value_type",
    ),
    (
        "store id in capitals",
        |m| m["store_id"] = "ABCDEF0123456789ABCDEF0123456789".into(),
        "lower-case",
    ),
    ("a short store id", |m| m["store_id"] = "ab".into(), "lower-case"),
    (
        "another store id",
        |m| m["store_id"] = "00".repeat(16).into(),
        "header",
    ),
    (
        "a shard elsewhere",
        |m| m["shards"][0]["file"] = "../shard-00000.bin".into(),
        "not the name",
    ),
    (
        "an absolute shard",
        |m| m["shards"][0]["file"] = "/dev/zero".into(),
        "not the name",
    ),
    (
        "a name with NUL",
        |m| m["shards"][0]["file"] = "a\0b".into(),
        "not the name",
    ),
    (
        "a name with an escape",
        |m| m["shards"][0]["file"] = "\u{1b}[2J".into(),
        "not the name",
    ),
    (
        "a long name",
        |m| m["shards"][0]["file"] = "x".repeat(300).into(),
        "not the name",
    ),
    (
        "another shard's name",
        |m| m["shards"][0]["file"] = "shard-00001.bin".into(),
        "a shard's name",
    ),
    (
        "a shard of no bytes",
        |m| m["shards"][0]["bytes"] = 0.into(),
        "length",
    ),
    (
        "a shard of 2^64 - 512 bytes",
        |m| m["shards"][0]["bytes"] = (u64::MAX - 511).into(),
        "2^63",
    ),
    (
        "blocks that wrap",
        |m| {
            let shard = m["shards"][0].clone();
            m["shards"] = json!([shard, shard]);
            m["shards"][1]["file"] = "shard-00001.bin".into();
            (m["shards"][0]["blocks"], m["shards"][1]["blocks"]) = (u64::MAX.into(), 4.into());
        },
        "blocks",
    ),
    (
        "the index elsewhere",
        |m| m["index"]["file"] = "../index.bin".into(),
        "not the name",
    ),
    (
        "the index called as obs",
        |m| m["index"]["file"] = "obs.arrow".into(),
        "does not have the name",
    ),
    (
        "var called otherwise",
        |m| m["var"]["file"] = "var-0001.arrow".into(),
        "does not have the name",
    ),
    (
        "the manifest as obs",
        |m| m["obs"]["file"] = "manifest.json".into(),
        "does not have the name",
    ),
    ("obs ..", |m| m["obs"]["file"] = "..".into(), "not the name"),
    (
        "a long index",
        |m| m["index"]["bytes"] = (1u64 << 40).into(),
        "index",
    ),
    (
        "obs of 2^64 - 1 bytes",
        |m| m["obs"]["bytes"] = u64::MAX.into(),
        "checksum",
    ),
    ("no checksums", |m| m["obs"]["crc32c"] = json!([]), "checksum"),
    (
        "a million checksums",
        |m| m["obs"]["crc32c"] = vec!["00000000"; 1_000_000].into(),
        "checksum",
    ),
    (
        "a checksum in capitals",
        |m| m["obs"]["crc32c"] = json!(["ABCDEF01"]),
        "lower-case",
    ),
    (
        "a checksum with a sign",
        |m| m["obs"]["crc32c"] = json!(["+1234567"]),
        "lower-case",
    ),
    ("a source that is a list", |m| m["source"] = json!([1]), "object"),
    (
        "a source of a million values",
        |m| m["source"] = json!({"a": vec![0; 1_000_000]}),
        "values",
    ),
    ("an unknown feature", |m| m["features"] = json!(["x"]), "feature"),
    (
        "a join of what is not linked",
        |m| m["features"] = json!(["joined"]),
        "feature",
    ),
    (
        "a link that is none",
        |m| m["features"] = json!(["linked", "joined"]),
        "feature",
    ),
    (
        "checksums of rows that are not linked",
        |m| m["features"] = json!(["checksums"]),
        "feature",
    ),
    (
        "a matrix without members",
        |m| m["matrices"] = json!([{"name": ""}]),
        "a member",
    ),
];

/// A store whose first obs has one value, so few bytes that no frame of as many values as there are columns has them.
pub(crate) fn sparse_store(dir: &Path) -> Forge {
    let mut rows = matrix(40, N_VARS, Kind::Counts, 5);
    let first = rows.indptr[1];
    rows.indptr.iter_mut().skip(1).for_each(|at| *at -= first - 1);
    rows.indices.drain(1..first as usize);
    if let ValueBuffer::F32(values) = &mut rows.values {
        values.drain(1..first as usize);
    }
    let path = dir.join("sparse");
    write_store(&path, &rows, options(Encoding::Packed, ValueType::F32), None).unwrap();
    Forge::open(&path)
}

/// Entries of the index, which are found by whoever reads them: `verify`, and the loader before it reads a cell.
pub(crate) const INDEXES: &[Row<Forge>] = &[
    (
        "more values than any obs",
        |f| {
            let most = f.manifest["max_obs_nnz"].as_u64().unwrap() as u32;
            f.set_detail(5, most + 1);
        },
        "entry of obs 5",
    ),
    (
        "more values than its frame holds",
        |f| {
            // An obs of few values, said to have as many as the longest.
            f.manifest["max_obs_nnz"] = N_VARS.into();
            f.manifest["nnz"] = 20_000.into();
            f.set_detail(0, N_VARS as u32);
        },
        "entry of obs 0",
    ),
    ("values without bytes", |f| f.set_detail(3, 1), "entry of obs 3"),
    ("bytes without values", |f| f.set_detail(5, 0), "entry of obs 5"),
    (
        "more bytes than any obs",
        |f| {
            let payload = f.end(15) as u32;
            (0..15).for_each(|obs| f.set_end(obs, payload));
        },
        "entry of obs",
    ),
    ("an end before the start", |f| f.set_end(5, 0), "entry of obs 5"),
    (
        "an end behind the block",
        |f| f.set_end(15, u32::MAX),
        "entry of obs 15",
    ),
    (
        "a block of 4 GiB",
        |f| f.file("index.bin")[64 + 12..64 + 16].fill(0xFF),
        "block 0 does not lie within a shard",
    ),
    (
        "a block in shard 2^32 - 1",
        |f| f.file("index.bin")[64 + 8..64 + 12].fill(0xFF),
        "block 0 does not lie within a shard",
    ),
    (
        "a block at 2^64 - 512",
        |f| {
            f.file("index.bin")[64..72].copy_from_slice(&(u64::MAX - 511).to_le_bytes());
        },
        "block 0 does not lie within a shard",
    ),
];
