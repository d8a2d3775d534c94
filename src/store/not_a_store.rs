//! What is under a path that is not a store.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::format::FormatError;
use crate::format::constants::PART_FILE;
use cellring_core::obstacle;

/// How an HDF5 file begins, and a zip file.
const HDF5: [u8; 8] = *b"\x89HDF\r\n\x1a\n";
const ZIP: [u8; 4] = *b"PK\x03\x04";

/// Why `path` is not a store, given that its manifest cannot be looked at.
pub(super) fn instead_of_a_store(path: &Path, error: io::Error) -> FormatError {
    let reason = match obstacle(path) {
        // Whether it is one cannot be told.
        Some(_) if error.kind() == io::ErrorKind::PermissionDenied => return FormatError::io(path)(error),
        Some(obstacle) => obstacle,
        None if error.kind() == io::ErrorKind::PermissionDenied => {
            return FormatError::Io {
                file: path.to_path_buf(),
                error: io::Error::new(
                    error.kind(),
                    "the directory cannot be entered (permission denied)",
                ),
            };
        }
        None => what(path),
    };
    FormatError::NotAStore {
        path: path.to_path_buf(),
        reason,
    }
}

fn what(path: &Path) -> String {
    let is = |name: &str| path.join(name).is_file();
    let convert = |what: &str| {
        format!(
            "{what}; convert it first: cellring convert {} -o STORE",
            path.display()
        )
    };
    if path.is_dir() {
        if is(PART_FILE) {
            return "it is one part of a store; make the store of all its parts with `cellring merge`"
                .to_owned();
        }
        if [".zgroup", "zarr.json"].into_iter().any(is) {
            return convert("it is a zarr directory, perhaps of AnnData");
        }
        if ["matrix.mtx", "matrix.mtx.gz"].into_iter().any(is) {
            return convert("it is a Matrix Market directory");
        }
        return "it has no manifest.json; make one with `cellring convert`".to_owned();
    }
    if begins_with(path, &HDF5) {
        return convert("it is an AnnData file (HDF5)");
    }
    if begins_with(path, &ZIP) {
        return convert("it is a zip file, perhaps of zarr");
    }
    "it is a file, but a store is a directory; make one with `cellring convert`".to_owned()
}

fn begins_with<const N: usize>(path: &Path, expected: &[u8; N]) -> bool {
    let mut start = [0; N];
    // Opening a pipe would wait for a writer.
    path.is_file()
        && File::open(path).is_ok_and(|mut file| file.read_exact(&mut start).is_ok())
        && start == *expected
}
