//! Runs `tests/spec_reader.py`, the reader written from the text of FORMAT.md alone.
#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

use std::collections::BTreeMap;
use std::fs;
use std::iter::zip;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use cellring::Store;
use cellring::format::Encoding;
use cellring::store::verify;

use crate::forge::Forge;
use crate::forgeries::{INDEXES, MANIFESTS, sparse_store, store};
use crate::stores::{Golden, files, goldens};

/// What a run of the reader gave.
struct Run {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

/// The interpreter: `CELLRING_PYTHON`, else `.venv` of this repository, else `python3`. It must have numpy.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
        let python = match std::env::var_os("CELLRING_PYTHON") {
            Some(python) => PathBuf::from(python),
            None if own.exists() => own,
            None => PathBuf::from("python3"),
        };
        let works = Command::new(&python).args(["-c", "import numpy"]).output();
        assert!(
            works.is_ok_and(|output| output.status.success()),
            "{} does not run or has no numpy, which tests/spec_reader.py needs; run tests/all.sh, which sets it up, or \
             name another interpreter in CELLRING_PYTHON",
            python.display()
        );
        python
    })
}

fn spec_reader<S: AsRef<Path>>(stores: &[S], args: &[&str]) -> Run {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/spec_reader.py");
    let mut command = Command::new(python());
    command
        .arg(script)
        .args(stores.iter().map(AsRef::as_ref))
        .args(args);
    let output = command.output().unwrap();
    Run {
        status: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn golden(name: &str) -> Golden {
    goldens().into_iter().find(|golden| golden.name == name).unwrap()
}

/// Every golden store is sound and holds its matrix; together they hold all that the format can say.
#[test]
fn spec_reader_agrees_on_every_golden_store() {
    let dir = tempfile::tempdir().unwrap();
    let mut total = BTreeMap::<String, u64>::new();
    for golden in goldens() {
        let dump = golden.dump(dir.path());
        let run = spec_reader(
            &[golden.whole(dir.path())],
            &["--compare", dump.to_str().unwrap(), "--stats"],
        );
        assert_eq!((run.status, &*run.stderr), (Some(0), ""), "{}", golden.name);
        let stats: BTreeMap<String, u64> = serde_json::from_str(&run.stdout).unwrap();
        let wide_index = stats["index entry width"] == 4 && golden.name.starts_with("packed");
        *total.entry("packed, wide details".into()).or_default() += u64::from(wide_index);
        let count = |key: &str| stats.get(key).copied().unwrap_or_default();
        let shards = count("shards");
        *total.entry("several shards".into()).or_default() += u64::from(shards > 1);
        *total.entry("no obs".into()).or_default() += u64::from(count("obs") == 0);
        for (key, value) in stats {
            *total.entry(key).or_default() += value;
        }
    }
    for (kind, least) in [
        ("frames with mode counts", 20),
        ("frames with mode dictionary", 5),
        ("frames with mode plain", 5),
        ("full groups", 20),
        ("groups with gap exceptions", 10),
        ("groups with wide gap exceptions", 2),
        ("groups with code exceptions", 10),
        ("groups with wide code exceptions", 2),
        ("groups with gap width 0", 2),
        ("groups with code width 0", 2),
        ("groups with unused gap bits", 5),
        ("groups with unused code bits", 5),
        ("empty obs", 5),
        ("empty blocks", 1),
        ("several shards", 2),
        ("packed, wide details", 1),
        ("no obs", 2),
    ] {
        let found = total.get(kind).copied().unwrap_or_default();
        assert!(
            found >= least,
            "the golden stores have {found} of `{kind}`, expected {least} or more: {total:#?}"
        );
    }
}

#[test]
fn what_spec_reader_writes_equals_what_it_compares() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.npz");
    let out = out.to_str().unwrap();
    let store = golden("packed-counts").committed();
    assert_eq!(spec_reader(&[&store], &[out]).status, Some(0));
    assert_eq!(spec_reader(&[&store], &["--compare", out]).status, Some(0));
    let run = spec_reader(&[golden("packed-detection").committed()], &["--compare", out]);
    assert_eq!(run.status, Some(1));
    assert!(run.stderr.starts_with("different: "), "{}", run.stderr);
    let run = spec_reader(&[dir.path()], &[]);
    assert_eq!(run.status, Some(1));
    assert!(run.stderr.starts_with("damaged: "), "{}", run.stderr);
}

/// Flips one bit of each of these kinds of fields, at a place that `spec_reader.py` names, each in a copy of a store.
///
/// The reader must notice it. Of the kinds not in `only_by_crc` it must also notice it, by its other checks or by what
/// it decodes, when it does not look at checksums: so the bit does bear what the text says of it.
fn flip_each(golden: &Golden, kinds: &[&str], only_by_crc: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let (store, dump) = (golden.whole(dir.path()), golden.dump(dir.path()));
    let run = spec_reader(&[&store], &["--places"]);
    let places: BTreeMap<String, (String, usize, u32)> = serde_json::from_str(&run.stdout).unwrap();
    let files = files(&store);
    let copy = |name: &str| {
        let path = dir.path().join(name);
        fs::create_dir(&path).unwrap();
        for (name, bytes) in &files {
            fs::write(path.join(name), bytes).unwrap();
        }
        path
    };
    let mut copies = vec![];
    for kind in kinds {
        let Some((file, byte, bit)) = places.get(*kind) else {
            panic!("{} has no {kind}", golden.name)
        };
        let path = copy(kind);
        let mut bytes = files[file].clone();
        bytes[*byte] ^= 1 << bit;
        fs::write(path.join(file), bytes).unwrap();
        copies.push((
            path,
            format!("{} {kind} ({file}, byte {byte}, bit {bit})", golden.name),
        ));
    }
    let compare = ["--ignore-crc", "--compare", dump.to_str().unwrap()];
    let (paths, places): (Vec<_>, Vec<_>) = copies.iter().cloned().unzip();
    assert_noticed(&places, &spec_reader(&paths, &[]), &["damaged: "]);
    let (paths, places): (Vec<_>, Vec<_>) = zip(copies, kinds)
        .filter_map(|(copy, kind)| (!only_by_crc.contains(kind)).then_some(copy))
        .unzip();
    assert_noticed(
        &places,
        &spec_reader(&paths, &compare),
        &["damaged: ", "different: "],
    );
    // A copy as such is sound, and one damage suffices for the exit status.
    let sound = copy("sound");
    let run = spec_reader(&[&sound], &compare);
    assert_eq!((run.status, &*run.stderr), (Some(0), ""), "{}", golden.name);
    assert_eq!(
        spec_reader(&[&paths[0], &sound], &[]).status,
        Some(1),
        "{}",
        golden.name
    );
}

/// One sentence for each damaged store, in their order, and nothing else.
fn assert_noticed(places: &[String], run: &Run, beginnings: &[&str]) {
    assert_eq!(run.status, Some(1), "{}", run.stderr);
    let mut lines = run.stderr.lines();
    for place in places {
        let line = lines.next().unwrap_or_default();
        let kind = place.split(" (").next().unwrap().split_once(' ').unwrap().1;
        let begins = beginnings.iter().any(|beginning| line.starts_with(beginning));
        assert!(
            begins && line.contains(&format!("/{kind}: ")) && line.ends_with('.'),
            "{place} is not noticed, what follows is: {line}"
        );
    }
    assert_eq!(lines.next(), None);
}

const MANIFEST: &[&str] = &[
    "manifest crc",
    "manifest n_obs",
    "manifest n_vars",
    "manifest nnz",
    "manifest encoding",
    "manifest value_type",
    "manifest block_size",
    "manifest alignment",
    "manifest max_obs_nnz",
    "manifest max_obs_bytes",
];

/// The index and the shards, as far as both encodings have them, and the tables.
const COMMON: &[&str] = &[
    "index header magic",
    "index header version",
    "index header encoding",
    "index header n_obs",
    "index header n_blocks",
    "index header block_size",
    "index header entry width",
    "index header store id",
    "index header zero",
    "index header crc",
    "index gap",
    "index ends",
    "index details",
    "block offset",
    "block shard",
    "block length",
    "block padding",
    "shard header magic",
    "shard header version",
    "shard header number",
    "shard header store id",
    "shard header zero",
    "shard header crc",
    "obs.arrow content",
    "var.arrow content",
];

/// Checksums themselves, and what only they cover.
const ONLY_BY_CRC: &[&str] = &[
    "manifest crc",
    "index header crc",
    "shard header crc",
    "frame crc",
    "obs.arrow content",
    "var.arrow content",
];

#[test]
fn every_kind_of_flip_is_noticed_in_packed_stores() {
    let frame = &[
        "frame mode",
        "frame crc",
        "descriptor gap width",
        "descriptor code width",
        "descriptor gap wide",
        "descriptor code wide",
        "descriptor gap exceptions",
        "descriptor code exceptions",
        "gap bits",
        "gap unused bits",
        "code bits",
        "code unused bits",
        "gap exception position",
        "gap high part",
        "code exception position",
        "code wide high part",
    ];
    flip_each(
        &golden("packed-counts"),
        &[MANIFEST, COMMON, frame].concat(),
        ONLY_BY_CRC,
    );
}

#[test]
fn flips_of_dictionaries_and_plain_values_are_noticed() {
    flip_each(
        &golden("packed-lognormalised"),
        &["dictionary length", "dictionary value"],
        ONLY_BY_CRC,
    );
    flip_each(&golden("packed-anything"), &["plain value"], ONLY_BY_CRC);
}

#[test]
fn flips_of_wide_gaps_are_noticed() {
    flip_each(&golden("packed-wide"), &["gap wide high part"], ONLY_BY_CRC);
}

#[test]
fn every_kind_of_flip_is_noticed_in_raw_stores() {
    let block = &["raw indptr", "raw gap", "raw indices", "raw data"];
    // The details of a raw store are the checksums of its obs.
    let only_by_crc = [ONLY_BY_CRC, &["index details"]].concat();
    flip_each(&golden("raw-counts"), &[COMMON, block].concat(), &only_by_crc);
}

/// What a manifest or an index claims without right is refused by the reader of the text as by ours, though every checksum holds.
#[test]
fn forged_claims_are_refused_by_both_readers() {
    let dir = tempfile::tempdir().unwrap();
    let mut copies = vec![];
    let mut put = |name: &str, forged: &Forge| {
        let path = dir.path().join(format!("{:03}", copies.len()));
        forged.write(&path);
        let found = Store::open(&path).and_then(|store| verify(&store, 1, &|_| ()));
        copies.push((path, name.to_owned(), found.is_ok()));
    };
    let sound = store(dir.path(), Encoding::Packed);
    put("sound", &sound);
    for (name, change, _) in MANIFESTS {
        let mut forged = sound.clone();
        change(&mut forged.manifest);
        put(name, &forged);
    }
    let sparse = sparse_store(dir.path());
    for (name, change, _) in INDEXES {
        let mut forged = sparse.clone();
        change(&mut forged);
        forged.seal();
        put(name, &forged);
    }
    let paths: Vec<&Path> = copies.iter().map(|(path, ..)| path.as_path()).collect();
    let run = spec_reader(&paths, &[]);
    for (path, name, is_ok) in &copies {
        let taken = !run.stderr.contains(&format!("damaged: {}: ", path.display()));
        assert_eq!(
            (taken, *is_ok),
            (name == "sound", name == "sound"),
            "{name}: {}",
            run.stderr
        );
    }
    assert!(copies.len() > 50, "{} forgeries", copies.len());
}
