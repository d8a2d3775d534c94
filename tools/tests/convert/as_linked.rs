//! Conversions of linked stores read more of the inputs than the store watches: nothing of that may be something else than was linked.

use std::path::Path;

use cellring::Store;
use cellring_anndata::write::ZarrFormat;
use cellring_tools::synth::Synth;

use crate::command::succeed;
use crate::linked::age;
use crate::linked_zarr::zarr;
use crate::{fail, names, report, scratch};

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Writes bytes over those at a place of a file, and sets its time back.
pub(crate) fn overwrite(path: &Path, at: usize, new: &[u8]) {
    let modified = path.metadata().unwrap().modified().unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at..at + new.len()].copy_from_slice(new);
    std::fs::write(path, bytes).unwrap();
    let file = std::fs::File::options().append(true).open(path).unwrap();
    file.set_modified(modified).unwrap();
}

#[test]
fn rows_of_a_zarr_that_begin_elsewhere_are_noticed() {
    let directory = scratch();
    let at = |name: &str| directory.path().join(name);
    for (format, chunk) in [(ZarrFormat::V2, "X/indptr/0"), (ZarrFormat::V3, "X/indptr/c/0")] {
        let (_, path) = zarr(directory.path(), format, "none");
        let (store, converted) = (at("s.cellring"), at("converted.cellring"));
        report(&["link", shown(&path), "-o", shown(&store), "--checksum", "--force"]);
        report(&["convert", shown(&store), "-o", shown(&converted), "--force"]);
        std::fs::remove_dir_all(&converted).unwrap();
        // One value goes from a row to the one before it.
        let chunk = path.join(chunk);
        let bytes = std::fs::read(&chunk).unwrap();
        let width = bytes.len() / 301;
        let place = 100 * width;
        let start = i32::from_le_bytes(bytes[place..place + 4].try_into().unwrap());
        overwrite(&chunk, place, &(start + 1).to_le_bytes());
        for args in [
            &["verify", shown(&store)][..],
            &["convert", shown(&store), "-o", shown(&converted)],
        ] {
            let said = fail(args);
            assert!(
                said.contains(shown(&chunk))
                    && said.contains("some of its bytes differ")
                    && !converted.exists(),
                "{said}"
            );
        }
        overwrite(&chunk, place, &start.to_le_bytes());
        report(&["convert", shown(&store), "-o", shown(&converted)]);
        std::fs::remove_dir_all(&converted).unwrap();
    }
}

#[test]
fn tables_and_rows_that_were_changed_in_place_are_noticed() {
    let directory = scratch();
    let at = |name: &str| directory.path().join(name);
    let (input, store, converted) = (at("cells.h5ad"), at("s.cellring"), at("converted.cellring"));
    Synth::new(6_000, 3_000, 5).write_h5ad(&input, |_| {}).unwrap();
    age(&input);
    report(&["link", shown(&input), "-o", shown(&store), "--checksum"]);
    let rows = Store::open(&store).unwrap().rows(0..6_000).unwrap();
    let bytes = std::fs::read(&input).unwrap();
    let find = |pattern: &[u8]| {
        let mut places = (0..bytes.len()).filter(|&at| bytes[at] == pattern[0]);
        places.find(|&at| bytes[at..].starts_with(pattern))
    };
    // Where some rows begin, as numbers of either width.
    let starts = |width: usize| -> Vec<u8> {
        let some = rows.indptr[3_000..3_020].iter();
        some.flat_map(|start| start.to_le_bytes()[..width].to_vec())
            .collect()
    };
    let indptr = find(&starts(8)).or_else(|| find(&starts(4))).unwrap();
    // The name of a cell, and of a gene.
    let cell = find(b"cell_000003000").unwrap();
    let genes = Store::open(&store).unwrap().var_names().unwrap();
    let gene = find(genes[1_500].as_bytes()).unwrap();
    for (place, expected) in [(indptr, "some of its bytes differ"), (cell, "obs"), (gene, "var")] {
        let old = bytes[place..place + 8].to_vec();
        let mut new = old.clone();
        new[if place == indptr { 0 } else { 7 }] ^= 1;
        overwrite(&input, place, &new);
        let said = fail(&["convert", shown(&store), "-o", shown(&converted)]);
        assert!(
            said.contains(expected) && !converted.exists(),
            "{expected}: {said}"
        );
        overwrite(&input, place, &old);
    }
    report(&["convert", shown(&store), "-o", shown(&converted)]);
}

#[test]
fn parts_of_a_zarr_that_were_moved_alone_are_not_converted_from_where_they_were() {
    let directory = scratch();
    let at = |name: &str| directory.path().join(name);
    let (_, path) = zarr(directory.path(), ZarrFormat::V3, "zstd");
    let (store, converted, elsewhere) = (at("s.cellring"), at("converted.cellring"), at("elsewhere"));
    report(&["link", shown(&path), "-o", shown(&store)]);
    std::fs::create_dir_all(elsewhere.join("data/c")).unwrap();
    for file in ["zarr.json"].into_iter().map(str::to_owned).chain(
        names(&path.join("X/data/c"))
            .iter()
            .map(|name| format!("c/{name}")),
    ) {
        let (from, to) = (
            path.join("X/data").join(&file),
            elsewhere.join("data").join(&file),
        );
        std::fs::copy(&from, &to).unwrap();
        let modified = from.metadata().unwrap().modified().unwrap();
        let copy = std::fs::File::options().append(true).open(&to).unwrap();
        copy.set_modified(modified).unwrap();
    }
    report(&[
        "link",
        "--relocate",
        "cells.zarr/X/data",
        shown(&elsewhere.join("data")),
        shown(&store),
    ]);
    report(&["verify", shown(&store)]);
    let said = fail(&["convert", shown(&store), "-o", shown(&converted)]);
    assert!(
        said.contains("elsewhere/data") && said.contains("put the part back") && !converted.exists(),
        "{said}"
    );
}

#[test]
fn stores_within_their_input_are_refused() {
    let directory = scratch();
    let (_, path) = zarr(directory.path(), ZarrFormat::V2, "none");
    let (within, beside) = (path.join("s.cellring"), directory.path().join("s.cellring"));
    let before = names(&path);
    for (output, root) in [(&within, None), (&beside, Some(&path))] {
        let mut args = vec!["link", shown(&path), "-o", shown(output)];
        args.extend(root.iter().flat_map(|root| ["--source-root", shown(root)]));
        let said = fail(&args);
        assert!(
            said.contains("which is in this input") && !output.exists(),
            "{said}"
        );
    }
    assert_eq!(names(&path), before);
}

/// What a store was made of may hold more than the store does.
#[test]
fn an_export_does_not_replace_what_its_store_leads_to() {
    let directory = scratch();
    let (_, as_zarr) = zarr(directory.path(), ZarrFormat::V3, "zstd");
    let as_hdf5 = directory.path().join("input.h5ad");
    Synth::new(60, 40, 1).write_h5ad(&as_hdf5, |_| {}).unwrap();
    for input in [&as_zarr, &as_hdf5] {
        age(input);
        let store = directory.path().join("own.cellring");
        succeed(&["link", shown(input), "-o", shown(&store), "--force"]);
        let before = names(input.parent().unwrap());
        let alias = directory.path().join("alias");
        std::os::unix::fs::symlink(input.file_name().unwrap(), &alias).unwrap();
        for output in [input, &alias] {
            let kind = match input.is_dir() {
                true => "zarr",
                false => "h5ad",
            };
            let said = fail(&[
                "export",
                shown(&store),
                shown(output),
                "--container",
                kind,
                "--force",
            ]);
            assert!(said.contains("are in it"), "{said}");
        }
        std::fs::remove_file(&alias).unwrap();
        assert_eq!(names(input.parent().unwrap()), before);
        succeed(&["verify", shown(&store)]);
    }
}

/// The directory has the name of the last part of the group in it.
#[test]
fn a_group_of_the_name_of_its_zarr_is_found_again() {
    let directory = scratch();
    let at = |name: &str| directory.path().join(name);
    let (_, path) = zarr(directory.path(), ZarrFormat::V3, "none");
    let (input, store, converted) = (at("table"), at("s.cellring"), at("converted.cellring"));
    std::fs::create_dir_all(input.join("tables")).unwrap();
    std::fs::rename(&path, input.join("tables/table")).unwrap();
    for group in ["zarr.json", "tables/zarr.json"] {
        let text = r#"{"zarr_format": 3, "node_type": "group", "attributes": {}}"#;
        std::fs::write(input.join(group), text).unwrap();
    }
    age(&input);
    report(&[
        "link",
        shown(&input),
        "--group",
        "tables/table",
        "-o",
        shown(&store),
    ]);
    report(&["convert", shown(&store), "-o", shown(&converted)]);
    report(&["link", "--refresh", shown(&store)]);
}
