//! The examples find what the README says they find.
#![allow(clippy::unwrap_used, reason = "a test may unwrap")]
#![allow(clippy::print_stderr, reason = "a test says what it cannot do")]

#[path = "../../examples/linear/bias.rs"]
mod bias;
#[path = "../../examples/linear/mod.rs"]
mod linear;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use cellring::Store;
use cellring::plan::SamplerConfig;

/// A store of an `.h5ad`, made as a user makes it.
fn converted(source: &Path, dir: &Path) -> Arc<Store> {
    let path = dir.join("source.cellring");
    let ran = Command::new(env!("CARGO_BIN_EXE_cellring"))
        .args([
            "convert".as_ref(),
            source.as_os_str(),
            "-o".as_ref(),
            path.as_os_str(),
        ])
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    Arc::new(Store::open(&path).unwrap())
}

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/mousebrain10k.h5ad")
}

#[test]
fn a_classifier_learns_types_from_genes_that_did_not_define_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = converted(&shipped(), dir.path());
    let task = linear::Task::new(&store, None).unwrap();
    let [training, testing] = task.split(0).unwrap();
    assert_eq!((training.len(), testing.len()), (8_000, 2_000));
    let mut counts = vec![0; task.classes.len()];
    testing
        .iter()
        .for_each(|obs| counts[task.labels[obs as usize] as usize] += 1);
    let largest = f64::from(*counts.iter().max().unwrap()) / 2_000.0;
    let scores = |n_epochs| {
        let model = linear::train(&store, &task, &training, SamplerConfig::default(), n_epochs).unwrap();
        linear::test(&store, &task, &testing, &model).unwrap()
    };
    let once = scores(1);
    assert!(once.accuracy > largest + 0.25, "{once:?}, {largest} by guessing");
    assert!(once.macro_f1 > 0.5, "{once:?}");
    assert_eq!(scores(1), once, "nothing depends on chance");
}

/// What streaming, block sampling and true random order come to, by the names of the feeds.
fn assert_bias(fed: &[bias::Fed], margin: f64) {
    let of = |name: &str| fed.iter().find(|fed| fed.name == name).unwrap().scores;
    let (random, stream) = (of("true random"), of("streaming"));
    for block in [
        of("block sampling, b 16, f 16"),
        of("block sampling, b 16, f 256"),
    ] {
        assert!(
            (block.accuracy - random.accuracy).abs() < margin,
            "{block:?} {random:?}"
        );
        assert!(
            (block.macro_f1 - random.macro_f1).abs() < 2.0 * margin,
            "{block:?} {random:?}"
        );
    }
    for worse in [stream, of("streaming, shuffled within 1,024 cells")] {
        assert!(worse.accuracy < random.accuracy - 0.1, "{worse:?} {random:?}");
        assert!(worse.macro_f1 < random.macro_f1 - 0.1, "{worse:?} {random:?}");
    }
}

/// A file that does not ship with the repository.
fn baron() -> Option<PathBuf> {
    let folder = std::env::var_os("CELLRING_SHARED_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        Into::into,
    );
    let file = folder.join("baron_human1_csr_i32.h5ad");
    if file.is_file() {
        return Some(file);
    }
    eprintln!(
        "skipped: {} does not exist; set CELLRING_SHARED_DATA",
        file.display()
    );
    None
}

#[test]
fn streaming_biases_a_model_and_block_sampling_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = converted(&shipped(), dir.path());
    assert_bias(&bias::compare(&store, None, dir.path(), 2).unwrap(), 0.02);
}

/// The same with types that people gave to cells.
#[test]
fn streaming_biases_a_model_of_annotated_cells() {
    let Some(baron) = baron() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let store = converted(&baron, dir.path());
    assert_bias(
        &bias::compare(&store, Some("cell_type"), dir.path(), 2).unwrap(),
        0.05,
    );
}
