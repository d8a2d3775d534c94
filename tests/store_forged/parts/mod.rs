//! Parts of a store: each case is merged, and either refused, with nothing changed, or makes a store that is whole.

mod cases;

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

use self::cases::CASES;
use crate::common::{Kind, matrix, obs_table, var_table};
use crate::forge::{pieces, read_json, seal_json};
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
