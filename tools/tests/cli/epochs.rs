//! `epoch --digest`: it covers the cells in their order, and nothing else.

use cellring::format::{CsrRows, Encoding, ValueBuffer};
use serde_json::Value;
use xxhash_rust::xxh3::Xxh3;

use crate::common::Kind;
use crate::plans::{obs, plan};
use crate::{TestStore, cellring};

/// The digest of minibatches of these obs, computed from the matrix that the store was made of.
pub(crate) fn digest_of<'a>(rows: &CsrRows, minibatches: impl IntoIterator<Item = &'a Value>) -> String {
    let ValueBuffer::F32(values) = &rows.values else {
        panic!("f32 expected")
    };
    let mut digest = Xxh3::new();
    for line in minibatches {
        let obs = obs(line);
        let (mut indptr, mut indices, mut data) = (vec![0i32], Vec::new(), Vec::new());
        for &obs in &obs {
            let row = rows.indptr[obs as usize] as usize..rows.indptr[obs as usize + 1] as usize;
            indices.extend(rows.indices[row.clone()].iter().flat_map(|k| k.to_le_bytes()));
            data.extend(values[row].iter().flat_map(|value| value.to_le_bytes()));
            indptr.push(indices.len() as i32 / 4);
        }
        digest.update(&(obs.len() as u64).to_le_bytes());
        digest.update(&(indices.len() as u64 / 4).to_le_bytes());
        obs.iter().for_each(|obs| digest.update(&obs.to_le_bytes()));
        indptr.iter().for_each(|end| digest.update(&end.to_le_bytes()));
        digest.update(&indices);
        digest.update(&data);
    }
    format!("{:032x}", digest.digest128())
}

const SAMPLER: [&str; 8] = [
    "--batch-size",
    "16",
    "--fetch-factor",
    "8",
    "--block-size",
    "4",
    "--seed",
    "7",
];

#[test]
fn an_epoch_delivers_what_is_planned_and_what_the_source_holds() {
    for (kind, encoding) in [
        (Kind::Counts, Encoding::Packed),
        (Kind::Counts, Encoding::Raw),
        (Kind::LogNormalised, Encoding::Packed),
    ] {
        let store = TestStore::new(700, 300, kind, encoding);
        for more in [
            &[][..],
            &["--epoch", "3"],
            &["--strategy", "sequential"],
            &["--rank", "1", "--world-size", "3"],
            &["--drop-last"],
        ] {
            let args = [&SAMPLER[..], more].concat();
            let planned = plan(&store, &args);
            let report = store.json("epoch", &[&args[..], &["--digest"]].concat());
            assert_eq!(
                report["digest"],
                digest_of(&store.rows, &planned),
                "{kind:?} {encoding:?} {more:?}"
            );
            assert_eq!(report["minibatches"], planned.len());
            assert_eq!(
                report["cells"],
                planned.iter().map(|line| obs(line).len()).sum::<usize>()
            );
        }
    }
}

/// Whether a way of reading can be had here; says so where it cannot.
fn available(store: &TestStore, way: &[&str]) -> bool {
    let ran = cellring(&[&["epoch", store.path()], way].concat());
    if ran.code == 1 && ran.stderr.contains("was requested but is not available") {
        eprintln!("skipped {way:?}: {}", ran.stderr.trim_end());
        return false;
    }
    assert_eq!(ran.code, 0, "{way:?}: {}", ran.stderr);
    true
}

#[test]
fn the_digest_is_the_same_whatever_reads_and_decodes() {
    for encoding in [Encoding::Packed, Encoding::Raw] {
        let store = TestStore::new(700, 300, Kind::Counts, encoding);
        let expected = digest_of(&store.rows, &plan(&store, &SAMPLER));
        let ways = [
            &["--backend", "auto"][..],
            &["--backend", "uring", "--direct", "on"],
            &["--backend", "uring", "--direct", "off"],
            &["--backend", "uring", "--depth", "1"],
            &["--backend", "uring", "--depth", "64"],
            &["--backend", "pread", "--direct", "on"],
            &["--backend", "pread", "--direct", "off"],
            &["--backend", "mmap"],
            &["--threads", "1"],
            &["--threads", "2"],
            &["--memory", "5MB"],
            &["--obs-columns", "plate,score"],
        ];
        for way in ways {
            if available(&store, way) {
                assert_eq!(
                    store.digest(&[&SAMPLER[..], way].concat()),
                    expected,
                    "{encoding:?} {way:?}"
                );
            }
        }
    }
}

#[test]
fn another_order_has_another_digest() {
    let store = TestStore::counts(700, 300);
    let mut digests = vec![store.digest(&SAMPLER)];
    for change in [
        &["--seed", "8"][..],
        &["--epoch", "1"],
        &["--block-size", "5"],
        &["--batch-size", "17"],
        &["--fetch-factor", "9"],
        &["--strategy", "sequential"],
        &["--drop-last"],
        &["--world-size", "2"],
    ] {
        // The last of two equal options would be an error, so the first goes.
        let kept = SAMPLER.chunks(2).filter(|pair| pair[0] != change[0]);
        let args = kept.flatten().chain(change).copied().collect::<Vec<_>>();
        digests.push(store.digest(&args));
    }
    let n = digests.len();
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), n);
}

#[test]
fn a_timed_run_goes_on_with_the_next_epochs() {
    let store = TestStore::counts(100, 50);
    let report = store.json(
        "epoch",
        &[&SAMPLER[..], &["--seconds", "0.3", "--digest"]].concat(),
    );
    let epochs = report["epochs"].as_u64().unwrap();
    let n = report["minibatches"].as_u64().unwrap() as usize;
    // However far it came, it is the epochs one behind the other.
    let mut planned = Vec::new();
    for epoch in 0..epochs {
        planned.extend(plan(
            &store,
            &[&SAMPLER[..], &["--epoch", &epoch.to_string()]].concat(),
        ));
        if planned.len() >= n {
            break;
        }
    }
    assert!(n > 0 && n <= planned.len(), "{n} of {}", planned.len());
    assert_eq!(report["digest"], digest_of(&store.rows, &planned[..n]));
    // Where there are no minibatches, there is nothing to wait for.
    let empty = store.json(
        "epoch",
        &["--batch-size", "101", "--drop-last", "--seconds", "1000"],
    );
    assert_eq!((&empty["cells"], &empty["minibatches"]), (&0.into(), &0.into()));
}
