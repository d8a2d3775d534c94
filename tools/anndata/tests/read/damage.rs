//! Damaged files: errors, never a panic.

use std::path::Path;

use cellring_anndata::{Input, ReadError, Selection, TableSource};

use crate::{fixture, layer};

/// Opens and reads everything in a file, whatever comes of it.
fn exercise(path: &Path, selections: &[Selection]) {
    let Ok(file) = Input::open(path) else { return };
    for selection in selections {
        if let Ok(source) = file.matrix(selection) {
            // Damage may enlarge what is claimed, never what is held at once.
            let n_obs = source.n_obs().min(1 << 16);
            for rows in source.rows(0..n_obs, 1 << 16).unwrap() {
                let Ok(rows) = rows else { break };
                assert_eq!(rows.indices.len(), rows.values.len());
                assert_eq!(rows.indptr.last().copied(), Some(rows.indices.len() as u64));
                assert!(
                    rows.indices
                        .iter()
                        .all(|&column| u64::from(column) < source.n_vars())
                );
            }
        }
    }
    let tables: [Result<TableSource, ReadError>; 3] =
        [file.obs(), file.var(&Selection::X), file.var(&Selection::Raw)];
    for table in tables.into_iter().flatten() {
        if let Ok(batch) = table.read(0..table.n_rows().min(1 << 16)) {
            assert_eq!(batch.num_columns(), table.schema().fields().len());
        }
    }
}

#[test]
fn truncated_files_are_errors_at_every_length() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.h5ad");
    for name in ["tables.h5ad", "storage_old.h5ad"] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        for len in (0..bytes.len()).step_by(97).chain([bytes.len() - 1]) {
            std::fs::write(&path, &bytes[..len]).unwrap();
            assert!(Input::open(&path).is_err(), "{name} cut to {len} bytes");
        }
    }
}

#[test]
fn flipped_bits_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flipped.h5ad");
    let storage = [
        "single_chunk_gzip",
        "fixed_array_gzip",
        "extensible_array_lzf",
        "everything",
        "mixed",
    ]
    .map(layer);
    for (name, selections, step) in [
        ("tables.h5ad", &[][..], 61),
        ("storage.h5ad", &storage[..], 29),
        (
            "storage_old.h5ad",
            &["contiguous", "btree_gzip"].map(layer)[..],
            37,
        ),
    ] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        for position in (0..bytes.len()).step_by(step) {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1 << (position % 8);
            // Every byte of a run may be wrong, as after a bad sector.
            if position % 5 == 0 {
                let end = (position + 64).min(damaged.len());
                damaged[position..end].fill(0xff);
            }
            std::fs::write(&path, &damaged).unwrap();
            exercise(&path, selections);
        }
    }
}

/// A chunk at a place between chunks, as libhdf5 refuses it: passed over, it would be read as one that was never written, of zeros.
#[test]
fn a_chunk_whose_place_is_damaged_is_not_taken_for_one_that_is_missing() {
    // Key, child, key, and so on: a key is a length, a filter mask, and the place of one more dimension than the array has.
    const NODE_HEADER_BYTES: usize = 24;
    const STEP_BYTES: usize = 24 + 8;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chunks.h5ad");
    let layers = ["btree_gzip"].map(layer);
    let bytes = std::fs::read(fixture("storage_old.h5ad")).unwrap();
    let read = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let source = Input::open(&path)?.matrix(&layers[0])?;
        let rows = source.rows(0..source.n_obs(), 1 << 16)?;
        rows.collect::<Result<Vec<_>, ReadError>>()
            .map(|rows| format!("{rows:?}"))
    };
    let sound = read(&bytes).unwrap();
    let mut n_refused = 0;
    for at in 0..bytes.len() - 512 {
        // Leaves with chunks.
        if !bytes[at..].starts_with(b"TREE\x01\x00") {
            continue;
        }
        let place = at + NODE_HEADER_BYTES + STEP_BYTES + 8;
        for wrong in [u64::MAX, 1, 1 << 63, 1 << 56] {
            let mut damaged = bytes.clone();
            damaged[place..place + 8].copy_from_slice(&wrong.to_le_bytes());
            match read(&damaged) {
                Ok(rows) => assert_eq!(rows, sound, "a chunk at {wrong}"),
                Err(_) => n_refused += 1,
            }
        }
    }
    assert!(n_refused >= 3, "{n_refused}");
}
