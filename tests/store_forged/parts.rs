//! Parts of a store: each case is merged, and either refused, with nothing changed, or makes a store that is whole.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use cellring::format::checksum::crc32c;
use cellring::format::constants::TABLE_BATCH_ROWS;
use cellring::format::shard::encode_header;
use cellring::format::{CsrRows, Encoding, ValueType};
use cellring::writer::{
    BlockEncoder, Part, StoreWriter, TableKind, WriterOptions, merge, part_path, parts_of,
};
use serde_json::{Value, json};

use crate::common::{Kind, matrix, obs_table, var_table};
use crate::forge::{pieces, read_json, seal_json};
use crate::tables::Places;
use crate::{ENOUGH, alone, measured, verify_path};

const N_OBS: usize = 150;
const N_VARS: u64 = 200;
const BLOCK_SIZE: usize = 64;

/// Writes part `number` of two.
fn write_part(store: &Path, rows: &CsrRows, number: u32, encoding: Encoding, stripe: &[PathBuf]) {
    let blocks = Part::blocks(number, 2, N_OBS.div_ceil(BLOCK_SIZE) as u64);
    let range = blocks.start as usize * BLOCK_SIZE..(blocks.end as usize * BLOCK_SIZE).min(N_OBS);
    let mut options = WriterOptions::new(N_VARS, ValueType::F32);
    (options.encoding, options.block_size, options.stripe) = (encoding, BLOCK_SIZE as u32, stripe.to_vec());
    let encoder = BlockEncoder {
        encoding,
        n_vars: N_VARS,
        raw_value_type: ValueType::F32,
        column_of_source: None,
    };
    let mut writer = StoreWriter::create(&part_path(store, number, 2), options).unwrap();
    for first in range.clone().step_by(BLOCK_SIZE) {
        let block = encoder.encode(first as u64, rows, first..(first + BLOCK_SIZE).min(N_OBS));
        writer.append(&block.unwrap()).unwrap();
    }
    const { assert!(N_OBS < TABLE_BATCH_ROWS, "the first part has all of obs") };
    let (schema, obs) = obs_table(N_OBS);
    let obs = if number == 1 { obs } else { vec![] };
    let ok = |batches: Vec<_>| batches.into_iter().map(Ok::<_, cellring::Error>);
    writer.write_table(TableKind::Obs, &schema, ok(obs)).unwrap();
    let (schema, var) = var_table(&(0..N_VARS as u32).collect::<Vec<_>>());
    writer.write_table(TableKind::Var, &schema, ok(var)).unwrap();
    let part = Part {
        number,
        of: 2,
        first_obs: range.start as u64,
        n_obs_of_store: N_OBS as u64,
        settings: json!({"a": 1}),
        counts: BTreeMap::from([("n".into(), 1)]),
        counts_of_all: BTreeMap::new(),
    };
    writer.finish_part(part).unwrap();
}

/// Two parts of a store, and files beside them that are none of its business.
struct Place {
    dir: tempfile::TempDir,
    manifests: [Value; 2],
}

impl Place {
    fn new(encoding: Encoding, stripe: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let rows = matrix(N_OBS, N_VARS, Kind::Counts, 5);
        fs::create_dir_all(dir.path().join("w/deep")).unwrap();
        fs::create_dir(dir.path().join("disk")).unwrap();
        let disks = if stripe {
            vec![dir.path().join("disk")]
        } else {
            vec![]
        };
        let store = dir.path().join("w/mg");
        (1..=2).for_each(|number| write_part(&store, &rows, number, encoding, &disks));
        for (name, byte) in [("victim.bin", b'V'), ("w/deep/precious.bin", b'P')] {
            fs::write(dir.path().join(name), vec![byte; 8192]).unwrap();
        }
        let manifests = [1, 2].map(|number| read_json(&part_path(&store, number, 2).join("part.json")));
        Self { dir, manifests }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn store(&self) -> PathBuf {
        self.path("w/mg")
    }

    fn part(&self, k: usize) -> PathBuf {
        part_path(&self.store(), k as u32 + 1, 2)
    }

    /// Changes the same member of both manifests.
    fn both(&mut self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        self.manifests
            .iter_mut()
            .for_each(|manifest| manifest[name] = value.clone());
    }

    /// Replaces a file of a part, and its entry where it has checksums.
    fn replace(&mut self, k: usize, member: &str, bytes: &[u8]) {
        let file = self.manifests[k][member]["file"].as_str().unwrap().to_owned();
        fs::write(self.part(k).join(file), bytes).unwrap();
        self.manifests[k][member]["bytes"] = bytes.len().into();
        self.manifests[k][member]["crc32c"] = pieces(bytes);
    }

    fn index(&self, k: usize) -> Vec<u8> {
        fs::read(self.part(k).join("index.part")).unwrap()
    }

    fn shard(&self, k: usize) -> PathBuf {
        self.part(k).join("shard-00000.bin")
    }

    /// Everything there is, by name and content.
    fn snapshot(&self) -> BTreeMap<String, (u64, u32)> {
        fn walk(root: &Path, dir: &Path, into: &mut BTreeMap<String, (u64, u32)>) {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                let about = fs::symlink_metadata(&path).unwrap();
                if about.is_dir() {
                    walk(root, &path, into);
                }
                let content = match about.is_file() {
                    true => fs::read(&path).unwrap(),
                    false => fs::read_link(&path).map_or(vec![], |to| to.to_str().unwrap().into()),
                };
                into.insert(name, (about.ino(), crc32c(&content)));
            }
        }
        let mut found = BTreeMap::new();
        walk(self.dir.path(), self.dir.path(), &mut found);
        found
    }

    /// Writes the manifests, merges, and sees that nothing is changed that must not be. What `merge` says.
    fn merge(&self, name: &str) -> Result<(), String> {
        for (k, manifest) in self.manifests.iter().enumerate() {
            let file = self.part(k).join("part.json");
            // What is in its place stays there.
            if fs::symlink_metadata(&file).is_ok_and(|about| about.is_file()) {
                fs::write(&file, seal_json(manifest)).unwrap();
            }
        }
        let before = self.snapshot();
        let parts = parts_of(&self.store()).unwrap();
        let (merged, bytes) = measured(|| merge(&parts, &self.store(), false, &|_, _| ()));
        assert!(bytes < ENOUGH, "{name}: {bytes} bytes");
        let after = self.snapshot();
        match merged {
            Ok(_) => {
                verify_path(&self.store()).unwrap_or_else(|error| panic!("{name}: published: {error}"));
                let outside = |names: &BTreeMap<String, (u64, u32)>| {
                    let own =
                        |name: &str| name.starts_with("w/mg") || name.starts_with("disk") || name == "w";
                    names
                        .clone()
                        .into_iter()
                        .filter(|(name, _)| !own(name))
                        .collect::<Vec<_>>()
                };
                assert_eq!(outside(&before), outside(&after), "{name}");
                assert!(!self.part(0).exists() && !self.part(1).exists(), "{name}");
                Ok(())
            }
            Err(error) => {
                assert_eq!(before, after, "{name}: {error}");
                let message = error.to_string();
                assert!(
                    !message.contains(char::is_control) && message.len() < 600,
                    "{name}: {message:?}"
                );
                Err(message)
            }
        }
    }
}

/// A case: what is changed, and a piece of the refusal; `None` where a sound store is made.
type Case = (&'static str, fn(&mut Place), Option<&'static str>);

fn record(place: &mut Place, k: usize, offset: u64, shard: u32, bytes: u32) {
    let mut index = place.index(k);
    index[..8].copy_from_slice(&offset.to_le_bytes());
    index[8..12].copy_from_slice(&shard.to_le_bytes());
    index[12..16].copy_from_slice(&bytes.to_le_bytes());
    place.replace(k, "index", &index);
}

fn alignment(place: &mut Place, alignment: u64) {
    place.both("alignment", alignment);
}

const CASES: &[Case] = &[
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
            let at = Places::of(&obs).buffers[2];
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

#[test]
fn parts_are_refused_or_make_a_sound_store() {
    let _alone = alone();
    for (name, change, expected) in CASES {
        let mut place = Place::new(Encoding::Packed, false);
        change(&mut place);
        match (place.merge(name), expected) {
            (Ok(()), None) => {}
            (Err(message), Some(expected)) => {
                assert!(
                    message.contains(expected),
                    "{name}: {message:?}, expected: {expected}"
                );
            }
            (found, expected) => panic!("{name}: {found:?}, expected: {expected:?}"),
        }
    }
}

/// Shards on other disks: those of the part are taken, a link to anything else is not.
#[test]
fn shards_elsewhere_are_those_of_the_part() {
    let _alone = alone();
    for encoding in [Encoding::Packed, Encoding::Raw] {
        Place::new(encoding, true).merge("striped").unwrap();
        let mut place = Place::new(encoding, true);
        // The shard of the other part, which lies in a directory that is not this part's.
        let (own, other) = (place.shard(0), fs::read_link(place.shard(1)).unwrap());
        assert!(fs::symlink_metadata(&own).unwrap().is_symlink());
        place.manifests[0]["shards"][0]["bytes"] = fs::metadata(&other).unwrap().len().into();
        fs::remove_file(&own).unwrap();
        symlink(other, &own).unwrap();
        let message = place.merge("the other part's").unwrap_err();
        assert!(message.contains("outside this part"), "{message}");
    }
}

/// A merge that was refused is run again when the part is sound, and one that was killed after it had written headers.
#[test]
fn parts_are_kept_until_their_store_is_verified() {
    let _alone = alone();
    let place = Place::new(Encoding::Packed, false);
    let good = fs::read(place.shard(1)).unwrap();
    let mut bad = good.clone();
    bad[4200] ^= 1;
    fs::write(place.shard(1), &bad).unwrap();
    assert!(
        place
            .merge("damaged")
            .unwrap_err()
            .contains("do not make a sound store")
    );
    fs::write(place.shard(1), &good).unwrap();
    let mut shard = fs::read(place.shard(0)).unwrap();
    shard[..4096].copy_from_slice(&encode_header(0, [7; 16], 4096));
    fs::write(place.shard(0), shard).unwrap();
    place.merge("repaired").unwrap();
}
