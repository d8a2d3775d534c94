//! Inputs that something writes to while they are converted, and pieces of them that cannot be read.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use ::cellring::Store;
use cellring_tools::convert::{AppendOptions, ConvertOptions, Parts, append, convert};
use cellring_tools::synth::Synth;

use crate::{names, python, run_convert, scratch};

/// A way to change an input.
type Change = fn(&Path);

const CHANGES: [(&str, Change); 3] = [
    ("a byte more", |path| {
        let mut file = File::options().append(true).open(path).unwrap();
        file.write_all(b"x").unwrap();
    }),
    ("another file of this length", |path| {
        let other = path.with_extension("other");
        fs::copy(path, &other).unwrap();
        fs::rename(other, path).unwrap();
    }),
    ("cut off half-way", |path| {
        let file = File::options().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    }),
];

fn synthetic(path: &Path) {
    Synth::new(1_000, 1_500, 3).write_h5ad(path, |_| {}).unwrap();
}

/// Calls `change` at the first report of progress.
fn once(change: impl Fn() + Sync) -> impl Fn(u64, u64) + Sync {
    let once = Once::new();
    move |_, _| once.call_once(&change)
}

fn assert_changed(message: &str, input: &Path, what: &str) {
    assert!(
        message.starts_with(input.to_str().unwrap()) && message.contains("changed while it was read"),
        "{what}: {message}"
    );
    assert!(!message.contains(". "), "one sentence: {message}");
}

#[test]
fn a_file_that_changes_is_refused() {
    let directory = scratch();
    let kept = directory.path().join("kept.h5ad");
    synthetic(&kept);
    let (input, store) = (directory.path().join("input.h5ad"), directory.path().join("s"));
    let part = Some(Parts::One { number: 1, of: 2 });
    for (what, change) in CHANGES {
        for parts in [None, part] {
            fs::copy(&kept, &input).unwrap();
            let options = ConvertOptions {
                parts,
                ..ConvertOptions::default()
            };
            let progress = once(|| change(&input));
            let refused = convert(&[kept.clone(), input.clone()], &store, &options, &progress);
            assert_changed(&refused.unwrap_err().to_string(), &input, what);
            fs::copy(&kept, &input).unwrap();
            let refused = convert(
                std::slice::from_ref(&input),
                &store,
                &options,
                &once(|| change(&input)),
            );
            assert_changed(&refused.unwrap_err().to_string(), &input, what);
            assert_eq!(names(directory.path()), ["input.h5ad", "kept.h5ad"], "{what}");
        }
    }
}

#[test]
fn a_file_that_changes_is_not_appended() {
    let directory = scratch();
    let kept = directory.path().join("kept.h5ad");
    synthetic(&kept);
    let (input, store) = (directory.path().join("input.h5ad"), directory.path().join("s"));
    run_convert(&kept, &store, &ConvertOptions::default()).unwrap();
    let before = (names(&store), fs::read(store.join("manifest.json")).unwrap());
    for (what, change) in CHANGES {
        fs::copy(&kept, &input).unwrap();
        let inputs = [kept.clone(), input.clone()];
        let progress = once(|| change(&input));
        let refused = append(&store, &inputs, &AppendOptions::default(), &progress);
        assert_changed(&refused.unwrap_err().to_string(), &input, what);
        let after = (names(&store), fs::read(store.join("manifest.json")).unwrap());
        assert!(after == before, "{what}");
    }
    fs::copy(&kept, &input).unwrap();
    append(&store, &[input], &AppendOptions::default(), &|_, _| {}).unwrap();
    assert_eq!(Store::open(&store).unwrap().n_obs(), 2_000);
}

/// Makes from an `.h5ad` the same with contiguous and with compressed arrays, and zarr with small chunks; prints where the data of
/// the first two begin.
const SCRIPT: &str = "
import sys, anndata, h5py
folder = sys.argv[1]
data = anndata.read_h5ad(f'{folder}/input.h5ad')
data.write_h5ad(f'{folder}/contiguous.h5ad')
data.write_h5ad(f'{folder}/gzip.h5ad', compression='gzip')
anndata.settings.zarr_write_format = 2
data.write_zarr(f'{folder}/v2.zarr', chunks=(40000,))
anndata.settings.zarr_write_format = 3
data.write_zarr(f'{folder}/v3.zarr', chunks=(40000,))
with h5py.File(f'{folder}/gzip.h5ad') as file:
    chunk = file['X/data'].id.get_chunk_info(1)
    print(chunk.byte_offset, chunk.size, chunk.chunk_offset[0])
";

/// The chunk of this number of an array.
fn chunk_of(zarr: &Path, array: &str, number: u32) -> PathBuf {
    let array = zarr.join(array);
    let paths = [array.join(number.to_string()), array.join(format!("c/{number}"))];
    paths.into_iter().find(|path| path.exists()).unwrap()
}

#[test]
fn pieces_that_change_or_cannot_be_read_are_named() {
    let directory = scratch();
    synthetic(&directory.path().join("input.h5ad"));
    let made = Command::new(python())
        .args(["-W", "ignore", "-c", SCRIPT])
        .arg(directory.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let store = directory.path().join("s");
    let refused = |name: &str, change: &(dyn Fn() + Sync)| {
        let input = directory.path().join(name);
        let refused = convert(&[input], &store, &ConvertOptions::default(), &once(change));
        let message = refused.unwrap_err().to_string();
        let left = names(directory.path());
        assert!(
            !left.iter().any(|name| name == "s" || name.starts_with('.')),
            "{left:?}"
        );
        assert!(!message.contains(". ") && message.contains(name), "{message}");
        message
    };
    for name in ["v2.zarr", "v3.zarr"] {
        let zarr = directory.path().join(name);
        let chunk = chunk_of(&zarr, "X/data", 1);
        let bytes = fs::read(&chunk).unwrap();
        let message = refused(name, &|| fs::write(&chunk, &bytes).unwrap());
        assert_changed(&message, &zarr, "a chunk is written again");
        let message = refused(name, &|| fs::write(zarr.join("X/more"), b"x").unwrap());
        assert_changed(&message, &zarr, "a file more");

        let nothing = || {};
        for array in ["X/data", "X/indices"] {
            let chunk = chunk_of(&zarr, array, 1);
            let bytes = fs::read(&chunk).unwrap();
            fs::write(&chunk, &bytes[..bytes.len() / 2]).unwrap();
            let message = refused(name, &nothing);
            assert!(message.contains(&format!("chunk 1 of {array}")), "{message}");
            // Reading a directory fails, whoever asks.
            fs::remove_file(&chunk).unwrap();
            fs::create_dir(&chunk).unwrap();
            let message = refused(name, &nothing);
            assert!(message.contains(&format!("chunk 1 of {array}")), "{message}");
            fs::remove_dir(&chunk).unwrap();
            fs::write(&chunk, &bytes).unwrap();
        }
        // Text of obs.
        let index = "obs/barcode";
        let chunk = chunk_of(&zarr, index, 0);
        let bytes = fs::read(&chunk).unwrap();
        fs::write(&chunk, &bytes[..bytes.len() / 2]).unwrap();
        let message = refused(name, &nothing);
        assert!(message.contains(&format!("chunk 0 of {index}")), "{message}");
    }
    let said = String::from_utf8(made.stdout).unwrap();
    let numbers: Vec<usize> = said.split_whitespace().map(|n| n.parse().unwrap()).collect();
    let &[offset, n_bytes, first] = numbers.as_slice() else {
        panic!("{said}")
    };
    let path = directory.path().join("gzip.h5ad");
    let mut bytes = fs::read(&path).unwrap();
    bytes[offset + n_bytes / 2..][..20]
        .iter_mut()
        .for_each(|byte| *byte ^= 0x5a);
    fs::write(&path, &bytes).unwrap();
    let message = refused("gzip.h5ad", &|| {});
    let place = format!("element {first}, at offset {offset}");
    assert!(
        message.contains("X/data in ") && message.contains(&place),
        "{message}"
    );
    // A length that its superblock does not know.
    let path = directory.path().join("contiguous.h5ad");
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    assert!(refused("contiguous.h5ad", &|| {}).contains("is truncated"));
}
