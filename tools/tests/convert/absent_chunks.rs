//! Chunks that are not there: they are read as the fill value, and whoever links, converts or appends them is told.

use std::path::Path;
use std::process::Command;

use cellring_anndata::write::ZarrFormat;
use cellring_tools::synth::Synth;
use serde_json::Value;

use crate::linked::age;
use crate::linked_zarr::zarr;
use crate::{digest, names, python, report, scratch};

/// What a run says of chunks: these sentences begin so, after the file, and there are no others.
fn check(report: &Value, expected: &[String]) {
    let all = report["warnings"].as_array().cloned().unwrap_or_default();
    let of_values: Vec<Value> = all.into_iter().filter(|each| each["kind"] == "values").collect();
    let said =
        |(warning, expected): (&Value, &String)| warning["message"].as_str().unwrap().contains(expected);
    let all_said = of_values.iter().zip(expected).all(said);
    assert!(
        of_values.len() == expected.len() && all_said,
        "{expected:?}: {of_values:?}"
    );
}

fn run_python(script: &str, path: &Path) -> String {
    let ran = Command::new(python())
        .args(["-W", "ignore", "-c", script])
        .arg(path)
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

/// As the library that wrote the file reads them; and whoever links it is told.
#[test]
fn chunks_that_were_never_written_are_the_fill_value() {
    let directory = scratch();
    let at = |name: &str| directory.path().join(name);
    let (input, whole) = (at("absent.h5ad"), at("whole.h5ad"));
    Synth::new(200, 1_000, 3).write_h5ad(&input, |_| {}).unwrap();
    let script = "import h5py, shutil, sys
with h5py.File(sys.argv[1], 'r+') as file:
    values = file['X/data'][:]
    attributes = dict(file['X/data'].attrs)
    del file['X/data']
    data = file['X'].create_dataset('data', values.shape, values.dtype, chunks=(500,), fillvalue=7, compression='gzip')
    data.attrs.update(attributes)
    data[:1000] = values[:1000]
    data[2000:] = values[2000:]
    assert data.id.get_num_chunks() == -(-len(values) // 500) - 2
    found = data[:]
    assert (found[1000:2000] == 7).all()
shutil.copy(sys.argv[1], sys.argv[2])
with h5py.File(sys.argv[2], 'r+') as file:
    del file['X/data']
    file['X'].create_dataset('data', data=found)
print(-(-len(values) // 500))";
    let made = Command::new(python())
        .args(["-c", script])
        .args([&input, &whole])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let n_chunks = String::from_utf8(made.stdout).unwrap();
    age(&input);
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let said = report(&["link", &path(&input), "-o", &path(&at("link"))]);
    let expected = [format!(
        "2 of {} chunks of X/data were never written",
        n_chunks.trim()
    )];
    check(&said, &expected);
    let convert = |input: &Path, store: &str| {
        let store = path(&at(store));
        report(&["convert", &path(input), "-o", &store, "--var-order", "source"])
    };
    check(&convert(&input, "held"), &expected);
    check(&convert(&whole, "whole"), &[]);
    check(&convert(&at("link"), "again"), &expected);
    let whole_digest = digest(&path(&at("whole")), &[]);
    assert_eq!(digest(&path(&at("link")), &[]), whole_digest);
    assert_eq!(digest(&path(&at("held")), &[]), whole_digest);
    age(&whole);
    let said = report(&["link", &path(&whole), "-o", &path(&at("link")), "--force"]);
    check(&said, &[]);
    // Only some of the obs, or in another order.
    for options in [["--max-obs", "50"], ["--sort-by", "drug"]] {
        let store = path(&at("part"));
        let said = report(&[&["convert", &path(&input), "-o", &store, "--force"], &options[..]].concat());
        check(&said, &expected);
    }
    let said = report(&["append", &path(&at("whole")), &path(&input), &path(&whole)]);
    check(&said, &expected);
}

/// A file of chunks that is lost is read as zeros; if it is of `indptr`, its rows go to the next one.
#[test]
fn lost_files_of_a_zarr_are_counted() {
    let directory = scratch();
    let (_, path) = zarr(directory.path(), ZarrFormat::V2, "gzip");
    let store = directory.path().join("s.cellring");
    let convert = || {
        let [path, store] = [&path, &store].map(|path| path.to_str().unwrap());
        report(&["convert", path, "-o", store, "--force"])
    };
    check(&convert(), &[]);
    let is_chunk = |name: &String| !name.starts_with('.');
    let n_chunks = names(&path.join("X/data")).into_iter().filter(is_chunk).count();
    std::fs::remove_file(path.join("X/data/1")).unwrap();
    std::fs::remove_file(path.join("X/data/3")).unwrap();
    let of_data = format!("2 of {n_chunks} chunks of X/data were never written or are lost");
    check(&convert(), std::slice::from_ref(&of_data));
    let script = "import sys, zarr
X = zarr.open_group(sys.argv[1] + '/X', mode='r+', use_consolidated=False)
starts, attributes = X['indptr'][:], dict(X['indptr'].attrs)
del X['indptr']
indptr = X.create_array('indptr', shape=starts.shape, dtype=starts.dtype, chunks=(50,))
indptr.attrs.update(attributes)
indptr[:] = starts";
    run_python(script, &path);
    std::fs::remove_file(path.join(".zmetadata")).unwrap();
    check(&convert(), std::slice::from_ref(&of_data));
    std::fs::remove_file(path.join("X/indptr/0")).unwrap();
    check(
        &convert(),
        &[of_data, "1 of 7 chunks of X/indptr were never written".to_owned()],
    );
}

/// zarr leaves out chunks that hold nothing but the fill value, in shards and without.
#[test]
fn chunks_that_zarr_leaves_out_are_counted() {
    let directory = scratch();
    let at = |name: &str| directory.path().join(name);
    let mut digests = Vec::new();
    for (format, shards) in [(2, "None"), (3, "None"), (3, "(20, 10)")] {
        let path = at("dense.zarr");
        // Of 5 x 3 chunks the last column reaches beyond the array. A shard has 2 x 2 of them.
        let script = format!(
            "import anndata, numpy, pandas, shutil, sys, zarr
path = sys.argv[1]
shutil.rmtree(path, ignore_errors=True)
values = numpy.arange(1, 1 + 50 * 13, dtype='f4').reshape(50, 13)
values[10:20] = 0
values[40:, 5:] = 0
names = lambda n: pandas.DataFrame(index=[str(i) for i in range(n)])
anndata.settings.zarr_write_format = {format}
anndata.AnnData(values, names(50), names(13)).write_zarr(path)
root = zarr.open_group(path, mode='r+')
attributes = dict(root['X'].attrs)
del root['X']
X = root.create_array('X', shape=values.shape, dtype='f4', chunks=(10, 5), shards={shards})
X.attrs.update(attributes)
X[:] = values
zarr.consolidate_metadata(path)
whole = anndata.read_zarr(path)
assert (whole.X == values).all()
whole.write_h5ad(path + '.h5ad')"
        );
        run_python(&script, &path);
        let convert = |input: &str| {
            let store = at("s.cellring");
            let said = report(&[
                "convert",
                at(input).to_str().unwrap(),
                "-o",
                store.to_str().unwrap(),
                "--force",
            ]);
            (said, digest(store.to_str().unwrap(), &[]))
        };
        let (said, found) = convert("dense.zarr");
        check(&said, &["5 of 15 chunks of X were never written".to_owned()]);
        let (said, expected) = convert("dense.zarr.h5ad");
        check(&said, &[]);
        assert_eq!(found, expected);
        digests.push(found);
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]));
}
