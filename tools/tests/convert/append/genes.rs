//! Genes and columns are found by name, and what does not fit is refused.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float32Array, Int64Array, StringArray};
use cellring::Store;
use cellring::format::{CsrRows, ValueBuffer};

use super::{categorical, check, column, content, obs, rows, small, text, var};
use crate::command::{json, succeed, write_h5ad};
use crate::{fail, names, scratch};

#[test]
fn genes_and_columns_are_found_by_name() {
    let directory = scratch();
    let store = small(directory.path());
    let before: Vec<_> = names(&store)
        .iter()
        .map(|name| (name.clone(), std::fs::read(store.join(name)).unwrap()))
        .collect();
    let more = directory.path().join("more.h5ad");
    // No gene b, another order, a new gene; other types, a new category, a column too many and one too few.
    let table = obs(
        vec![
            ("count", Arc::new(Int64Array::from(vec![7, 8])) as ArrayRef),
            ("other", Arc::new(Float32Array::from(vec![0.5, 0.5]))),
            ("kind", categorical(&["z", "y"])),
        ],
        2,
    );
    let matrix = rows(&[&[(0, 6.0), (1, 7.0), (2, 8.0)], &[(3, 9.0)]]);
    write_h5ad(&more, &matrix, 4, &table, &var(&["d", "new", "a", "c"]));
    let message = fail(&["append", text(&store), text(&more)]);
    assert!(
        message.contains("1 genes") && message.contains("new") && message.contains("--ignore-new-genes"),
        "{message}"
    );
    let after: Vec<_> = names(&store)
        .iter()
        .map(|name| (name.clone(), std::fs::read(store.join(name)).unwrap()))
        .collect();
    assert_eq!(before, after, "a refusal changes nothing");

    let report = json(&["append", text(&store), text(&more), "--ignore-new-genes"]);
    assert_eq!(
        (&report["n_genes_ignored"], &report["n_genes_missing"]),
        (&1.into(), &1.into())
    );
    let warnings = report["warnings"].as_array().unwrap();
    let sentences: Vec<&str> = warnings.iter().map(|w| w["message"].as_str().unwrap()).collect();
    assert!(
        sentences.len() == 3 && sentences[0].contains("other"),
        "{warnings:?}"
    );
    assert!(sentences[1].contains("note"), "{warnings:?}");
    assert!(sentences[2].contains("lacks 1 of the 4 genes"), "{warnings:?}");
    let kinds: Vec<_> = warnings.iter().map(|warning| &warning["kind"]).collect();
    assert_eq!(kinds, ["obs", "obs", "genes"]);
    check(&store);
    let opened = Store::open(&store).unwrap();
    let bits = |value: f32| u64::from(value.to_bits());
    let expected = [
        vec![(0, bits(1.0)), (2, bits(2.0))],
        vec![(1, bits(3.0)), (2, bits(4.0)), (3, bits(5.0))],
        vec![(0, bits(8.0)), (3, bits(6.0))],
        vec![(2, bits(9.0))],
    ];
    assert_eq!(content(&opened), expected);
    let some = |texts: &[&str]| {
        texts
            .iter()
            .map(|text| Some((*text).to_owned()))
            .collect::<Vec<_>>()
    };
    assert_eq!(column(&opened, "kind"), some(&["y", "x", "z", "y"]));
    assert_eq!(column(&opened, "count"), some(&["1", "2", "7", "8"]));
    assert_eq!(
        column(&opened, "note"),
        [some(&["one", "two"]), vec![None, None]].concat()
    );
    assert_eq!(column(&opened, ""), some(&["c0", "c1", "c0", "c1"]));
    assert_eq!(opened.obs().column_names().unwrap(), ["kind", "count", "note"]);
    // AnnData takes what is missing.
    let back = directory.path().join("back.h5ad");
    succeed(&["export", text(&store), text(&back)]);
    let script = "import sys, anndata; o = anndata.read_h5ad(sys.argv[1]).obs; \
                  assert list(o['kind']) == ['y', 'x', 'z', 'y'] and list(o['count']) == [1, 2, 7, 8]; \
                  assert o['note'].isna().tolist() == [False, False, True, True]";
    let ran = Command::new(crate::python())
        .args(["-c", script, text(&back)])
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn what_does_not_fit_is_refused() {
    let directory = scratch();
    let store = small(directory.path());
    let more = directory.path().join("more.h5ad");
    let write = |matrix: &CsrRows, columns: Vec<(&str, ArrayRef)>, genes: &[&str]| {
        write_h5ad(
            &more,
            matrix,
            genes.len(),
            &obs(columns, matrix.n_rows()),
            &var(genes),
        );
    };
    let genes = ["a", "b", "c", "d"];
    let one = rows(&[&[(0, 1.0)]]);
    let refused = |part: &str| {
        let message = fail(&["append", text(&store), text(&more)]);
        assert!(message.contains(part), "{message}");
    };
    write(
        &one,
        vec![("count", Arc::new(StringArray::from(vec!["x"])))],
        &genes,
    );
    refused("obs column count");
    write(
        &one,
        vec![("count", Arc::new(Int64Array::from(vec![1 << 40])))],
        &genes,
    );
    refused("1099511627776");
    write(&one, vec![], &["a", "a", "c", "d"]);
    refused("several genes with the same name");
    refused("among them a");
    let mut fractions = rows(&[&[(1, 0.1)]]);
    fractions.values = ValueBuffer::F64(vec![0.1]);
    write(&fractions, vec![], &["a", "c", "b", "d"]);
    let message = fail(&["append", text(&store), text(&more)]);
    assert!(
        message.contains("holds 0.1 for obs 0 and gene c") && message.contains("float32"),
        "{message}"
    );
    let mut flags = one.clone();
    flags.values = ValueBuffer::Bool(vec![true]);
    write(&flags, vec![], &genes);
    refused("values of type bool");
    // A raw store holds its values in the narrowest type.
    let raw = directory.path().join("raw");
    succeed(&[
        "convert",
        text(&directory.path().join("small.h5ad")),
        "-o",
        text(&raw),
        "--encoding",
        "raw",
    ]);
    write(&rows(&[&[(0, 300.0)]]), vec![], &genes);
    let message = fail(&["append", text(&raw), text(&more)]);
    assert!(
        message.contains("holds 300") && message.contains("uint8"),
        "{message}"
    );
    // Several matrices.
    let several = directory.path().join("several");
    let matrices = Path::new(env!("CARGO_MANIFEST_DIR")).join("anndata/tests/data/matrices.h5ad");
    let made = crate::cellring(&[
        "convert",
        text(&matrices),
        "-o",
        text(&several),
        "--x",
        "--layer",
        "float32",
    ]);
    if made.0 == 0 {
        let message = fail(&["append", text(&several), text(&more)]);
        assert!(message.contains("several matrices"), "{message}");
    } else {
        panic!("{}", made.2);
    }
    let message = fail(&["append", text(directory.path()), text(&more)]);
    assert!(message.contains("not a cellring store"), "{message}");
    check(&store);
    assert_eq!(Store::open(&store).unwrap().n_obs(), 2);
}
