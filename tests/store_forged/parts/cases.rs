//! What is changed in two parts of a store, and what `merge` says of it.

use std::fs;
use std::os::unix::fs::symlink;

use cellring::format::shard::encode_header;
use serde_json::{Value, json};

use super::{Case, N_VARS, alignment, record};
use crate::tables::Places;

pub(super) const CASES: &[Case] = &[
    ("control", |_| (), None),
    (
        "a shard above",
        |p| p.manifests[0]["shards"][0]["file"] = "../../victim.bin".into(),
        Some("not the name"),
    ),
    (
        "an absolute shard",
        |p| p.manifests[0]["shards"][0]["file"] = p.path("w/deep/precious.bin").to_str().unwrap().into(),
        Some("not the name"),
    ),
    (
        "a shard that is a link",
        |p| {
            fs::remove_file(p.shard(0)).unwrap();
            symlink(p.path("victim.bin"), p.shard(0)).unwrap();
            p.manifests[0]["shards"][0]["bytes"] = 8192.into();
        },
        Some("outside this part"),
    ),
    (
        "a shard that leads nowhere",
        |p| {
            fs::remove_file(p.shard(0)).unwrap();
            symlink(p.path("nothing"), p.shard(0)).unwrap();
        },
        Some("shard-00000.bin: No such file"),
    ),
    (
        "a shard that is another file of zeros",
        |p| {
            let len = fs::metadata(p.shard(0)).unwrap().len();
            fs::write(p.path("victim.bin"), vec![0; len as usize]).unwrap();
            fs::remove_file(p.shard(0)).unwrap();
            fs::hard_link(p.path("victim.bin"), p.shard(0)).unwrap();
        },
        Some("do not make a sound store"),
    ),
    (
        "a shard that is also another store's",
        |p| {
            let mut shard = fs::read(p.shard(1)).unwrap();
            shard[..4096].copy_from_slice(&encode_header(0, [7; 16], 4096));
            fs::write(p.path("victim.bin"), shard).unwrap();
            fs::remove_file(p.shard(1)).unwrap();
            fs::hard_link(p.path("victim.bin"), p.shard(1)).unwrap();
        },
        Some("also a shard of another store"),
    ),
    (
        "a shard of other bytes",
        |p| {
            let len = fs::metadata(p.shard(0)).unwrap().len();
            fs::write(p.shard(0), vec![b'V'; len as usize]).unwrap();
        },
        Some("is not a shard of a part"),
    ),
    (
        "var that is a link",
        |p| {
            fs::rename(p.part(0).join("var.arrow"), p.path("w/deep/var.arrow")).unwrap();
            symlink(p.path("w/deep/var.arrow"), p.part(0).join("var.arrow")).unwrap();
        },
        Some("symbolic link"),
    ),
    (
        "a part that is a link",
        |p| {
            fs::rename(p.part(1), p.path("w/deep/part")).unwrap();
            symlink(p.path("w/deep/part"), p.part(1)).unwrap();
        },
        Some("symbolic link"),
    ),
    ("block size 0", |p| p.both("block_size", 0), Some("block_size")),
    (
        "block size 0 throughout",
        |p| {
            for k in 0..2 {
                let n = p.manifests[k]["n_obs"].as_u64().unwrap();
                p.manifests[k]["block_size"] = 0.into();
                p.manifests[k]["shards"][0]["blocks"] = n.into();
                let mut index = p.index(k);
                index.resize(n as usize * 24, 0);
                p.replace(k, "index", &index);
            }
        },
        Some("block_size"),
    ),
    (
        "another block size",
        |p| p.both("block_size", 32),
        Some("contradict"),
    ),
    ("alignment 0", |p| alignment(p, 0), Some("alignment")),
    ("alignment 1", |p| alignment(p, 1), Some("alignment")),
    ("alignment 3", |p| alignment(p, 3), Some("alignment")),
    ("alignment 8", |p| alignment(p, 8), Some("alignment")),
    (
        "alignment 512",
        |p| alignment(p, 512),
        Some("expected shard 0, byte 512"),
    ),
    ("alignment 2^31", |p| alignment(p, 1 << 31), Some("alignment")),
    (
        "alignment 2^32 - 1",
        |p| alignment(p, u64::from(u32::MAX)),
        Some("alignment"),
    ),
    (
        "2^32 - 1 parts",
        |p| p.both("parts", u32::MAX),
        Some("4294967293 of 4294967295 parts are missing (3, 4, 5, 6, 7, ...)"),
    ),
    (
        "10^8 parts",
        |p| p.both("parts", 100_000_000),
        Some("parts are missing"),
    ),
    ("no parts", |p| p.both("parts", 0), Some("part is not within")),
    ("one part", |p| p.both("parts", 1), Some("part is not within")),
    (
        "part 0",
        |p| p.manifests[0]["part"] = 0.into(),
        Some("part is not within"),
    ),
    (
        "the same part twice",
        |p| p.manifests[0]["part"] = 2.into(),
        Some("missing (1)"),
    ),
    (
        "n_obs that wraps",
        |p| {
            p.manifests[0]["n_obs"] = (1u64 << 63).into();
            p.manifests[0]["index"]["bytes"] = ((1u64 << 63) / 64 * 16).into();
        },
        Some("shape"),
    ),
    (
        "n_obs 2^48 - 1 of the store",
        |p| p.both("n_obs_of_store", (1u64 << 48) - 1),
        Some("contradict"),
    ),
    (
        "first_obs 2^64 - 64",
        |p| p.manifests[1]["first_obs"] = (u64::MAX - 63).into(),
        Some("beyond"),
    ),
    (
        "first_obs 1",
        |p| p.manifests[1]["first_obs"] = 1.into(),
        Some("whole blocks"),
    ),
    ("no vars", |p| p.both("n_vars", 0), Some("n_vars")),
    ("2^40 vars", |p| p.both("n_vars", 1u64 << 40), Some("shape")),
    (
        "2^31 - 1 vars",
        |p| p.both("n_vars", i32::MAX),
        Some("var is shorter"),
    ),
    ("2^63 values twice", |p| p.both("nnz", 1u64 << 63), Some("nnz")),
    (
        "another number of values",
        |p| p.manifests[0]["nnz"] = 1000.into(),
        Some("do not make a sound store"),
    ),
    (
        "max_obs_nnz 2^32 - 1",
        |p| p.both("max_obs_nnz", u32::MAX),
        Some("max_obs_nnz"),
    ),
    (
        "a larger max_obs_nnz",
        |p| p.both("max_obs_nnz", N_VARS),
        Some("do not make a sound store"),
    ),
    (
        "a smaller max_obs_nnz",
        |p| p.both("max_obs_nnz", 40),
        Some("fits neither its block nor the limits"),
    ),
    (
        "max_obs_bytes 2^64 - 1",
        |p| p.both("max_obs_bytes", u64::MAX),
        Some("max_obs_bytes"),
    ),
    (
        "a smaller max_obs_bytes",
        |p| p.both("max_obs_bytes", 20),
        Some("fits neither its block nor the limits"),
    ),
    (
        "the other encoding",
        |p| p.both("encoding", "raw"),
        Some("contradict"),
    ),
    // A count is an f64 as well.
    ("value type f64", |p| p.both("value_type", "f64"), None),
    (
        "value type bool",
        |p| p.both("value_type", "bool"),
        Some("do not make a sound store"),
    ),
    (
        "a lie about rounding",
        |p| p.manifests[0]["f32_exact"] = false.into(),
        Some("do not make a sound store"),
    ),
    (
        "the same shard twice",
        |p| {
            let shard = p.manifests[0]["shards"][0].clone();
            p.manifests[0]["shards"] = json!([shard, shard]);
            p.manifests[0]["shards"][1]["blocks"] = 0.into();
        },
        Some("a shard's name"),
    ),
    (
        "a shard with a store id",
        |p| p.manifests[0]["shards"][0]["store_id"] = "00".repeat(16).into(),
        Some("id of a store"),
    ),
    (
        "a shard with no store id",
        |p| p.manifests[0]["shards"][0]["store_id"] = "zz".into(),
        Some("lower-case"),
    ),
    (
        "a block in shard 2^32 - 1",
        |p| record(p, 0, u64::MAX - 4095, u32::MAX, u32::MAX),
        Some("expected shard 0"),
    ),
    (
        "the same in part 2",
        |p| record(p, 1, u64::MAX - 4095, u32::MAX, u32::MAX),
        Some("expected shard 0"),
    ),
    (
        "a block of 4 GiB",
        |p| record(p, 0, 4096, 0, u32::MAX),
        Some("ends at byte"),
    ),
    (
        "100,000 checksums",
        |p| p.manifests[0]["index"]["crc32c"] = vec!["00000000"; 100_000].into(),
        Some("checksum"),
    ),
    (
        "no checksums",
        |p| {
            ["index", "obs", "var"]
                .iter()
                .for_each(|file| p.manifests[0][file]["crc32c"] = json!([]));
        },
        Some("checksum"),
    ),
    ("no settings", |p| p.both("settings", Value::Null), None),
    (
        "a million settings",
        |p| p.both("settings", vec![0; 1_000_000]),
        Some("more than"),
    ),
    (
        "other settings",
        |p| p.manifests[1]["settings"] = json!({"a": 2}),
        Some("other settings"),
    ),
    (
        "a source that is a list",
        |p| p.both("source", json!([1])),
        Some("object"),
    ),
    (
        "counts that wrap",
        |p| p.both("counts", json!({"n": u64::MAX})),
        Some("more values"),
    ),
    (
        "obs above",
        |p| p.manifests[0]["obs"]["file"] = "../../victim.bin".into(),
        Some("not the name"),
    ),
    (
        "obs in place of var",
        |p| p.manifests[0]["var"] = p.manifests[0]["obs"].clone(),
        Some("the name of a file of a part"),
    ),
    (
        "obs_rows that wrap",
        |p| {
            p.manifests[0]["obs_rows"] = (1u64 << 63).into();
            p.manifests[1]["obs_rows"] = ((1u64 << 63) + 150).into();
        },
        Some("obs_rows"),
    ),
    (
        "obs_rows that are shifted",
        |p| {
            p.manifests[0]["obs_rows"] = 0.into();
            p.manifests[1]["obs_rows"] = 150.into();
        },
        Some("obs_rows"),
    ),
    (
        "part.json without end",
        |p| {
            fs::remove_file(p.part(0).join("part.json")).unwrap();
            symlink("/dev/zero", p.part(0).join("part.json")).unwrap();
        },
        Some("symbolic link"),
    ),
    (
        "part.json that is a pipe",
        |p| {
            let file = p.part(0).join("part.json");
            fs::remove_file(&file).unwrap();
            assert!(
                std::process::Command::new("mkfifo")
                    .arg(&file)
                    .status()
                    .unwrap()
                    .success()
            );
        },
        Some("not a regular file"),
    ),
    (
        "an index that is a pipe",
        |p| {
            let file = p.part(0).join("index.part");
            fs::remove_file(&file).unwrap();
            assert!(
                std::process::Command::new("mkfifo")
                    .arg(&file)
                    .status()
                    .unwrap()
                    .success()
            );
        },
        Some("not a regular file"),
    ),
    (
        "a table with an offset beyond it",
        |p| {
            let mut obs = fs::read(p.part(0).join("obs.arrow")).unwrap();
            let at = Places::find(&obs).buffers[2];
            obs[at..at + 8].copy_from_slice(&(1u64 << 40).to_le_bytes());
            p.replace(0, "obs", &obs);
        },
        Some("obs.arrow"),
    ),
    (
        "a flipped bit in a frame",
        |p| {
            let mut shard = fs::read(p.shard(0)).unwrap();
            shard[4200] ^= 1;
            fs::write(p.shard(0), shard).unwrap();
        },
        Some("part-0001-of-0002/shard-00000.bin: obs"),
    ),
    (
        "a byte between blocks",
        |p| {
            let mut shard = fs::read(p.shard(0)).unwrap();
            *shard.last_mut().unwrap() = 1;
            fs::write(p.shard(0), shard).unwrap();
        },
        Some("padding is 1"),
    ),
];
