//! Classes, weights and splits from columns.

use cellring::plan::{MISSING, Subset};
use cellring::select::{SplitSpec, codes, split, weights};

use crate::table::{Cell, N_OBS, TYPES, made};

#[test]
fn codes_stand_for_values() {
    let made = made();
    let column = |name: &str| made.columns.names.iter().position(|n| *n == name).unwrap();
    let text = |cell: &Cell| match cell {
        Cell::Missing => None,
        Cell::Int(value) => Some(value.to_string()),
        Cell::Bool(value) => Some(value.to_string()),
        Cell::Text(text) => Some(text.clone()),
        other => panic!("{other:?}"),
    };
    for names in [
        &["cell_type"][..],
        &["n_genes"],
        &["huge"],
        &["is_doublet"],
        &["donor id"],
        &["louvain"],
        &["donor id", "cell_type"],
        &["louvain", "is_doublet", "n_genes"],
    ] {
        let found = codes(&made.store, names).unwrap();
        assert_eq!(found.codes.len(), N_OBS);
        let mut seen = vec![false; found.classes.len()];
        for (obs, &code) in found.codes.iter().enumerate() {
            let values: Option<Vec<String>> = names
                .iter()
                .map(|name| text(&made.columns.cells[column(name)][obs]))
                .collect();
            match values {
                None => assert_eq!(code, MISSING, "{names:?}: obs {obs}"),
                Some(values) => {
                    assert_eq!(found.classes[code as usize], values, "{names:?}: obs {obs}");
                    seen[code as usize] = true;
                }
            }
        }
        assert!(seen.iter().all(|seen| *seen), "no class without obs: {names:?}");
        let first: Vec<&str> = found.classes[0].iter().map(String::as_str).collect();
        assert_eq!(found.find(&first), Some(0));
    }
    let ascending = codes(&made.store, &["n_genes"]).unwrap().classes.concat();
    assert_eq!(ascending, ["-3", "-2", "-1", "0", "1", "2", "3"]);
    // Categories keep their order.
    assert_eq!(
        codes(&made.store, &["cell_type"]).unwrap().classes.concat(),
        TYPES
    );
    for name in ["score", "pct.mito"] {
        let error = codes(&made.store, &[name]).unwrap_err().to_string();
        assert!(
            error.contains("classes must be categories, texts, integers or booleans"),
            "{error}"
        );
    }
}

#[test]
fn weights_are_checked() {
    let made = made();
    let first = |name: &str, is: fn(&Cell) -> bool| {
        let column = made.columns.names.iter().position(|n| *n == name).unwrap();
        made.columns.cells[column].iter().position(is).unwrap()
    };
    let found = weights(&made.store, "huge").unwrap();
    assert!(
        found.len() == N_OBS
            && found
                .iter()
                .all(|weight| *weight == 18_446_744_073_709_551_615.0f32)
    );
    let bad = first("n_genes", |cell| {
        matches!(cell, Cell::Missing | Cell::Int(i128::MIN..=-1))
    });
    let error = weights(&made.store, "n_genes").unwrap_err().to_string();
    assert!(error.contains(&format!("for obs {bad}")), "{error}");
    let error = weights(&made.store, "score").unwrap_err().to_string();
    assert!(
        error.contains("has NaN for obs") || error.contains("no value for obs") || error.contains("inf"),
        "{error}"
    );
    for name in ["cell_type", "is_doublet", "louvain"] {
        let error = weights(&made.store, name).unwrap_err().to_string();
        assert!(error.contains("weights must be numbers"), "{error}");
    }
}

#[test]
fn splits_are_by_obs_or_by_group() {
    let store = &made().store;
    let parts = split(store, "train=0.8,val=0.1,test=0.1", 3, None).unwrap();
    let sizes: Vec<_> = parts
        .iter()
        .map(|(name, part)| (name.as_str(), part.len()))
        .collect();
    let n = N_OBS as f64;
    let expected = [0.8 * n, 0.1 * n, 0.1 * n].map(|size| size.round() as i64);
    for ((name, size), expected) in sizes.iter().zip(expected) {
        assert!((*size as i64 - expected).abs() <= 1, "{name}: {size}");
    }
    assert_eq!(sizes.iter().map(|(_, size)| size).sum::<u64>(), N_OBS as u64);
    assert_eq!(
        parts[0].1,
        split(store, "train=0.8,val=0.1,test=0.1", 3, None).unwrap()[0].1
    );
    assert_ne!(
        parts[0].1,
        split(store, "train=0.8,val=0.1,test=0.1", 4, None).unwrap()[0].1
    );
    let donors = codes(store, &["donor id"]).unwrap();
    let parts = split(store, "a=0.5,b=0.5", 1, Some("donor id")).unwrap();
    let of = |part: &Subset| {
        let mut donors: Vec<u32> = part.iter().map(|obs| donors.codes[obs as usize]).collect();
        donors.sort_unstable();
        donors.dedup();
        donors
    };
    let (a, b) = (of(&parts[0].1), of(&parts[1].1));
    assert_eq!((a.len(), b.len()), (2, 2));
    assert!(a.iter().all(|donor| !b.contains(donor)));
    for (spec, what) in [
        ("", "has the part \"\", which is not NAME=FRACTION"),
        ("train", "has the part \"train\", which is not NAME=FRACTION"),
        ("a=0.5,a=0.5", "has two parts named \"a\""),
        ("a=x", "has the fraction \"x\", expected a number from 0 to 1"),
        ("a=-0.5", "has the fraction \"-0.5\""),
        ("a=0.9,b=0.2", "has fractions that sum to 1.1"),
    ] {
        let error = SplitSpec::parse(spec).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
}
