//! What numpy sees of a minibatch by way of DLPack.

use std::path::{Path, PathBuf};
use std::process::Command;

use cellring::format::Encoding;
use cellring::{Loader, LoaderConfig};
use serde_json::json;

/// The library of `examples/dlpack.rs`, which `cargo test` builds; not where one test file alone is asked for.
fn library() -> Option<PathBuf> {
    let tests = std::env::current_exe().ok()?;
    let path = tests.parent()?.parent()?.join("examples/libdlpack.so");
    path.exists().then_some(path)
}

/// The interpreter: `CELLRING_PYTHON`, else `.venv` of this repository, else `python3`. It must have numpy.
fn python() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    match std::env::var_os("CELLRING_PYTHON") {
        Some(python) => python.into(),
        None if own.exists() => own,
        None => "python3".into(),
    }
}

#[test]
fn numpy_reads_a_minibatch_where_it_lies() {
    let Some(library) = library() else {
        eprintln!("skipped: examples/dlpack.rs has not been built; run cargo build --example dlpack");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let store = super::store(dir.path(), Encoding::Packed);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/dlpack_numpy.py");
    let ran = Command::new(python())
        .arg(script)
        .arg(library)
        .arg(store.path())
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let seen: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    let loader = Loader::new(store, LoaderConfig::default()).unwrap();
    let first = loader.epoch(0).unwrap().next().unwrap().unwrap();
    for (kind, writeable) in [("versioned", false), ("old", seen["old"]["writeable"] == true)] {
        let expected = json!({
            "dtypes": ["int32", "int32", "float32"],
            "arrays": [first.indptr(), first.indices(), first.data()],
            "shared": true,
            "writeable": writeable,
        });
        assert_eq!(seen[kind], expected);
    }
}
