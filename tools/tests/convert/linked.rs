//! Linked stores of real files: what they give is what a conversion gives, and what cannot be linked is refused.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cellring::engine::{Backend, EngineConfig};
use cellring::format::VarOrder;
use cellring::{Loader, LoaderConfig, SamplerConfig, Store};
use cellring_anndata::write::Compression;
use cellring_tools::convert::ConvertOptions;
use cellring_tools::export::{ExportOptions, export};
use cellring_tools::link::{LinkOptions, link};
use cellring_tools::synth::Synth;
use serde_json::Value;

use crate::{cellring, fail, names, python, report, run_convert, samples, scratch, shared_data, synthetic};

/// What may be AnnData or of 10x Genomics in a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let named = |path: &PathBuf| {
        let ending = path.extension().and_then(|ending| ending.to_str());
        matches!(ending, Some("h5ad" | "h5" | "zarr" | "zip"))
    };
    let entries = std::fs::read_dir(directory).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).filter(named).collect();
    files.sort();
    files
}

/// Every minibatch of an epoch, or what it ends with.
pub(crate) fn epoch(store: &Arc<Store>) -> Vec<String> {
    epoch_on(store, Backend::Auto)
}

fn epoch_on(store: &Arc<Store>, backend: Backend) -> Vec<String> {
    let sampler = SamplerConfig::default()
        .block_size(4)
        .batch_size(32)
        .fetch_factor(8);
    let config = LoaderConfig::default()
        .sampler(sampler)
        .engine(EngineConfig::default().backend(backend))
        .memory_bytes(256 << 20)
        .allow_rounding(true);
    let loader = Loader::new(store.clone(), config).unwrap();
    let minibatches = loader.epoch(3).unwrap();
    let shown = minibatches.map(|minibatch| match minibatch {
        Ok(minibatch) => format!("{:?} {:?}", minibatch.obs(), minibatch.csr()),
        Err(error) => error.to_string(),
    });
    shown.collect()
}

/// Has a file, or all in a directory, look as if it had been left alone for a while: linking would wait for that.
pub(crate) fn age(path: &Path) {
    if path.is_dir() && !path.is_symlink() {
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            age(&entry.path());
        }
        return;
    }
    let file = std::fs::File::options().append(true).open(path);
    let then = SystemTime::now() - Duration::from_secs(3600);
    // Some of them are not files, and some cannot be written.
    let _ = file.and_then(|file| file.set_modified(then));
}

/// Links and converts a file, and compares rows, minibatches and tables; `false` if it cannot be linked.
pub(crate) fn check(input: &Path, directory: &Path) -> bool {
    let Some((linked, held)) = compare_rows(input, directory) else {
        return false;
    };
    let shown = input.display();
    let expected = epoch(&held);
    for backend in [Backend::Auto, Backend::Pread, Backend::Mmap] {
        assert!(epoch_on(&linked, backend) == expected, "{shown}, {backend:?}");
    }
    for (own, other) in [(linked.obs(), held.obs()), (linked.var(), held.var())] {
        assert_eq!(own.schema().unwrap(), other.schema().unwrap(), "{shown}");
        for batch in 0..own.n_batches().unwrap() {
            assert_eq!(own.batch(batch).unwrap(), other.batch(batch).unwrap(), "{shown}");
        }
    }
    cellring::store::verify(&linked, 1, &|_| ()).unwrap();
    // The checksums are those of what a conversion reads; here they are compared with what a link gives.
    let options = LinkOptions {
        checksum: true,
        source_root: Some(PathBuf::from("/")),
        ..LinkOptions::default()
    };
    let checked = directory.join("checked.cellring");
    link(&[input.to_path_buf()], &checked, &options, &|_, _| ()).unwrap();
    let store = Arc::new(Store::open_below(&checked, "/").unwrap());
    assert!(store.manifest().has_row_checksums());
    cellring::store::verify(&store, 1, &|_| ()).unwrap();
    assert!(epoch(&store) == epoch(&held), "{shown}");
    std::fs::remove_dir_all(checked).unwrap();
    true
}

/// Links and converts a file, compares the rows, and gives both stores; `None` if it cannot be linked.
pub(crate) fn compare_rows(input: &Path, directory: &Path) -> Option<(Arc<Store>, Arc<Store>)> {
    let (linked, held) = (directory.join("linked.cellring"), directory.join("held.cellring"));
    let shown = input.display();
    let options = LinkOptions {
        source_root: Some(PathBuf::from("/")),
        force: true,
        ..LinkOptions::default()
    };
    let report = match link(&[input.to_path_buf()], &linked, &options, &|_, _| ()) {
        Ok(report) => report,
        Err(error) => {
            let error = error.to_string();
            assert!(!error.contains(". "), "one sentence: {error}");
            return None;
        }
    };
    let options = ConvertOptions {
        var_order: Some(VarOrder::Source),
        force: true,
        ..ConvertOptions::default()
    };
    run_convert(input, &held, &options).unwrap();
    let linked = Arc::new(Store::open_below(&linked, "/").unwrap());
    let held = Arc::new(Store::open(&held).unwrap());
    assert_eq!(
        (report.n_obs, report.n_vars),
        (held.n_obs(), held.n_vars()),
        "{shown}"
    );
    // As text: NaN is not equal to itself.
    let rows = |store: &Store| format!("{:?}", store.rows(0..store.n_obs()).unwrap());
    assert!(rows(&linked) == rows(&held), "{shown}");
    Some((linked, held))
}

#[test]
fn files_that_are_linked_give_what_their_conversion_gives() {
    let directory = scratch();
    samples::write_all(directory.path());
    let mut inputs = files(directory.path());
    inputs.extend(files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("data")));
    if let Some(data) = shared_data() {
        for folder in ["", "compat", "multi", "zarr"] {
            inputs.extend(files(&data.join(folder)));
        }
    }
    for input in &inputs {
        if input.starts_with(directory.path()) {
            age(input);
        }
        let name = input.file_name().unwrap().to_str().unwrap();
        let is_refused = REFUSED.contains(&name);
        assert_eq!(check(input, directory.path()), !is_refused, "{name} is linked");
    }
}

/// Files that are not linked: without an X, cut, stored by columns, or compressed once more by a zip.
const REFUSED: [&str; 8] = [
    "anndata-rs_sample_noX.h5ad",
    "anndata_v0.11.4.zarr.zip",
    "anndata_v0.11.4_noX.h5ad",
    "anndata_v0.7.0.zarr.zip",
    "anndata_v0.7.8.zarr.zip",
    "pbmc3k_1200_v3_csc_sharded.zarr",
    "pbmc3k_csc_gzip_v012.h5ad",
    "scp_truncated.h5ad",
];

/// The second reader, which was written from the text of the format.
pub(crate) fn spec_reader(args: &[&Path]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/spec_reader.py");
    let output = Command::new(python()).arg(script).args(args).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn every_compression_and_length_of_chunks_is_read_by_both_readers() {
    let directory = scratch();
    let at = |name: &str| directory.path().join(name);
    let input = at("synthetic.h5ad");
    Synth::new(200, 3_000, 3).write_h5ad(&input, |_| {}).unwrap();
    run_convert(&input, &at("held"), &ConvertOptions::default()).unwrap();
    let gzip = "gzip".parse::<Compression>().unwrap();
    let others = ["none", "lzf", "zstd"].map(|name| name.parse::<Compression>().unwrap());
    let mut forms: Vec<(Compression, u32)> = [64, 1_000, 100_000].map(|chunk| (gzip, chunk)).to_vec();
    forms.extend(others.map(|compression| (compression, 5_000)));
    for (compression, chunk_len) in forms {
        let path = at("form.h5ad");
        let options = ExportOptions {
            compression: Some(compression),
            chunk_len: Some(chunk_len),
            force: true,
            ..ExportOptions::default()
        };
        export(&at("held"), &path, &options, &|_, _| ()).unwrap();
        age(&path);
        assert!(check(&path, directory.path()), "{compression:?} {chunk_len}");
        // It knows deflate, and what is not compressed.
        if compression == gzip || compression == "none".parse::<Compression>().unwrap() {
            let (held, dump) = (at("held.cellring"), at("held.npz"));
            spec_reader(&[&held, &dump]);
            let root = at("linked.cellring");
            let options = LinkOptions {
                force: true,
                ..LinkOptions::default()
            };
            link(&[path], &root, &options, &|_, _| ()).unwrap();
            spec_reader(&[&root, Path::new("--compare"), &dump]);
        }
    }
}

#[test]
fn the_command_links_refuses_and_says_what_it_did() {
    let directory = scratch();
    let input = synthetic(directory.path());
    let (input, store) = (input.to_str().unwrap(), directory.path().join("s.cellring"));
    let store = store.to_str().unwrap();
    let found = report(&["link", input, "-o", store]);
    assert_eq!(
        (found["n_obs"].as_u64(), found["chunk_values"].as_u64()),
        (Some(1500), None)
    );
    // 2 bytes for each obs, 8 for each 64 of them, and little besides.
    assert!(found["index_bytes_per_obs"].as_f64().unwrap() < 3.0, "{found}");
    assert_eq!(report(&["info", store])["encoding"], "linked");
    let epoch = |of: &str| report(&["epoch", of, "--digest", "--block-size", "4"])["digest"].clone();
    let converted = directory.path().join("c.cellring");
    let converted = converted.to_str().unwrap();
    report(&["convert", input, "-o", converted, "--var-order", "source"]);
    assert_eq!(epoch(store), epoch(converted));
    assert!(fail(&["link", input, "-o", store]).contains("--force"));
    let root = directory.path().join("elsewhere");
    std::fs::create_dir(&root).unwrap();
    let there = root.join("s.cellring");
    let error = fail(&["link", input, "-o", there.to_str().unwrap()]);
    assert!(error.contains("--source-root"), "{error}");
    assert_eq!(names(&root), [""; 0], "nothing is left");
    // What was exported of it is the input again.
    let back = directory.path().join("back.h5ad");
    report(&["export", store, back.to_str().unwrap()]);
    let again = directory.path().join("again.cellring");
    let again = again.to_str().unwrap();
    report(&[
        "convert",
        back.to_str().unwrap(),
        "-o",
        again,
        "--var-order",
        "source",
    ]);
    assert_eq!(epoch(again), epoch(converted));
    // Changed, it is named, and linked again.
    std::fs::File::options()
        .append(true)
        .open(input)
        .unwrap()
        .set_modified(SystemTime::now() - Duration::from_secs(77))
        .unwrap();
    let error = fail(&["info", store]);
    assert!(
        error.contains("has changed since it was linked") && error.contains("link it again"),
        "{error}"
    );
    report(&["link", "--refresh", store]);
    assert_eq!(epoch(store), epoch(converted));
}

/// Defects that were found by trying.
#[test]
fn what_was_found_by_trying_stays_mended() {
    let directory = scratch();
    let at = |name: &str| directory.path().join(name);
    let shown = |path: &Path| path.to_str().unwrap().to_owned();
    let input = at("cells.h5ad");
    Synth::new(300, 200, 3).write_h5ad(&input, |_| {}).unwrap();
    let (input, store) = (shown(&input), shown(&at("s.cellring")));
    report(&["link", &input, "-o", &store]);
    let digest = |store: &str| report(&["epoch", store, "--digest"])["digest"].clone();
    let expected = digest(&store);
    // A matrix that is asked for twice is refused before a store is replaced.
    let (code, _, said) = cellring(&[
        "link", &input, "-o", &store, "--force", "--layer", "a", "--layer", "a",
    ]);
    assert!(code == 2 && said.contains("is given twice"), "{said}");
    assert_eq!(digest(&store), expected);
    // By way of a link to the store, its file is still beside the store.
    std::fs::create_dir(at("links")).unwrap();
    std::os::unix::fs::symlink(&store, at("links/s")).unwrap();
    assert_eq!(digest(&shown(&at("links/s"))), expected);
    // Every bit of the index counts.
    let index = at("s.cellring/index.bin");
    let bytes = std::fs::read(&index).unwrap();
    for byte in (0..bytes.len()).step_by(97) {
        let mut flipped = bytes.clone();
        flipped[byte] ^= 4;
        std::fs::write(&index, flipped).unwrap();
        let error = Store::open(&store).unwrap_err();
        assert!(
            matches!(
                error.kind(),
                cellring::ErrorKind::Damaged | cellring::ErrorKind::Io | cellring::ErrorKind::Changed
            ),
            "byte {byte}: {error}"
        );
    }
    std::fs::write(&index, bytes).unwrap();
    // Names that are long in bytes, and processes that begin together.
    let long = shown(&at(&format!("{}.h5ad", "日本".repeat(40))));
    std::fs::copy(&input, &long).unwrap();
    let cache = at("cache");
    let runs: Vec<_> = (0..6)
        .map(|_| {
            Command::new(env!("CARGO_BIN_EXE_cellring"))
                .args(["epoch", &long, "--digest", "--json"])
                .env("XDG_CACHE_HOME", &cache)
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::piped())
                .spawn()
        })
        .collect();
    for run in runs {
        let output = run.unwrap().wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(found["digest"], expected);
    }
    assert_eq!(
        names(&cache.join("cellring")).len(),
        2,
        "the store, and the file that processes wait for"
    );
}

#[test]
fn groups_within_files_are_linked() {
    let Some(data) = shared_data() else { return };
    let directory = scratch();
    let script = "import h5py, sys\n\
                  with h5py.File(sys.argv[1]) as a, h5py.File(sys.argv[2], 'w') as b:\n    \
                  a.copy(a['/'], b, 'mod/rna')\n    \
                  b['mod/rna'].attrs.update(dict(a.attrs))";
    let input = directory.path().join("mu.h5mu");
    let done = Command::new(python())
        .args(["-c", script])
        .args([&data.join("pbmc3k_csr_gzip_v012.h5ad"), &input])
        .status()
        .unwrap();
    assert!(done.success());
    let (linked, held) = (directory.path().join("l"), directory.path().join("h"));
    let [input, linked, held] = [&input, &linked, &held].map(|path| path.to_str().unwrap());
    report(&["link", input, "--group", "mod/rna", "-o", linked]);
    report(&[
        "convert",
        input,
        "--group",
        "mod/rna",
        "-o",
        held,
        "--var-order",
        "source",
    ]);
    let digest = |store: &str| report(&["epoch", store, "--digest"])["digest"].clone();
    assert_eq!(digest(linked), digest(held));
    // The store knows the group, for whoever links or converts it again.
    let expected = digest(linked);
    report(&["link", "--refresh", linked]);
    let again = directory.path().join("again");
    let again = again.to_str().unwrap();
    report(&["convert", linked, "-o", again, "--var-order", "source"]);
    assert_eq!([digest(linked), digest(again)], [expected.clone(), expected]);
}
