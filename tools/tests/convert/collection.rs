//! Every file of the shared collection of real data: converted and exported equal, or refused for a stated reason.

use std::path::PathBuf;

use cellring_anndata::ReadError;
use cellring_tools::convert::{ConvertError, ConvertOptions};

use crate::round_trip::{check, selections};
use crate::{run_convert, scratch, shared_data};

/// The data sets that are refused, and the words that say why. All others have an X that comes back equal.
const REFUSED: [(&str, &str); 4] = [
    ("compat/anndata-rs_sample_noX.h5ad", "has no X"),
    ("compat/anndata_v0.11.4_noX.h5ad", "has no X"),
    (
        "compat/scp_truncated.h5ad",
        "is truncated: its header says 243544 bytes, but it has 240602",
    ),
    ("zarr/anndata_v0.11.4.zarr.zip", "has no X"),
];

/// The names in the first column of the collection's own table.
fn listed(folder: &std::path::Path) -> Vec<String> {
    let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| "));
    let names = rows.filter_map(|row| row.split(" |").next());
    let names = names.filter(|name| name.contains(".h5ad") || name.contains(".zarr"));
    names.map(str::to_owned).collect()
}

#[test]
fn every_file_comes_back_equal_or_is_refused_with_its_reason() {
    let Some(folder) = shared_data() else { return };
    let names = listed(&folder);
    assert_eq!(names.len(), 62, "data sets of the collection: {names:?}");
    let mut files: Vec<PathBuf> = vec![];
    for name in &names {
        let path = folder.join(name);
        assert!(path.exists(), "{name}");
        let Some((_, part)) = REFUSED.iter().find(|(refused, _)| refused == name) else {
            files.push(path);
            continue;
        };
        let directory = scratch();
        let store = directory.path().join("x.cellring");
        let error = run_convert(&path, &store, &ConvertOptions::default()).unwrap_err();
        assert!(matches!(error, ConvertError::Source(_)), "{name}: {error:?}");
        let message = error.to_string();
        assert!(
            message.contains(part) && !message.contains(". "),
            "{name}: {message}"
        );
        assert!(crate::names(directory.path()).is_empty(), "{name}");
    }
    // What a file has, all of it is read: the only thing refused is a raw matrix that is not there.
    for path in &files {
        for error in selections(path).1 {
            assert!(
                matches!(error, ReadError::NoMatrix { .. }),
                "{}: {error}",
                path.display()
            );
        }
    }
    let converted = check(&files);
    assert_eq!(converted.len(), names.len() - REFUSED.len());
    assert!(converted.iter().all(|&(_, n)| n > 0), "{converted:?}");
    for (name, n) in [
        ("pbmc3k_600_raw_layers_denseX.h5ad", 5),
        ("anndata_v0.5.0_pbmc68k.h5ad", 2),
        ("anndata_v0.7.0.zarr.zip", 4),
    ] {
        let found = converted.iter().find(|(file, _)| file == name).map(|&(_, n)| n);
        assert_eq!(found, Some(n), "{name}");
    }
}
