//! What errors and warnings about filters say.

use std::sync::Arc;

use arrow_array::types::Int16Type;
use arrow_array::{ArrayRef, DictionaryArray, Int16Array, RecordBatch, StringArray};
use cellring::__internal::Cause;
use cellring::select::{Filter, SelectError, SelectWarning, filter};

use crate::table::{N_OBS, made, matches};

/// The values that a filter asks for and no obs has.
fn absent(text: &str) -> Vec<(String, Vec<String>, String)> {
    let found = matches(&made().store, text);
    assert!(!found.subset.is_empty(), "{text}");
    let of_warning = |warning: SelectWarning| match warning {
        SelectWarning::AbsentValues {
            column, values, held, ..
        } => (column, values, held),
        other => panic!("{other}"),
    };
    found.warnings.into_iter().map(of_warning).collect()
}

#[test]
fn values_that_no_obs_has_are_named_beside_those_that_there_are() {
    for quiet in [
        "cell_type in ['B', 'NK', \"d'or\"]",
        "cell_type != 'B' and n_genes in [-3, 3]",
        "n_genes > 1000 or is_doublet",
        "score in [0, 2.5] or pct.mito == 0.1",
        "cell_type is missing",
    ] {
        assert_eq!(absent(quiet), [], "{quiet}");
    }
    let held = r#"its 5 values are "B", "T cell", "d'or", "NK", """#;
    for (text, column, values) in [
        (
            "cell_type in ['B', 'b', 'T cel']",
            "cell_type",
            &["\"b\"", "\"T cel\""][..],
        ),
        ("cell_type == 'b' or is_doublet", "cell_type", &["\"b\""]),
        // All obs with a value, which the author may not have meant.
        ("cell_type != 'b'", "cell_type", &["\"b\""]),
        ("cell_type not in ['b', 'B']", "cell_type", &["\"b\""]),
        ("not (cell_type == 'b' and is_doublet)", "cell_type", &["\"b\""]),
        ("n_genes in [1, 99, 2, 1.5]", "n_genes", &["99", "1.5"]),
        ("score == 17 or is_doublet", "score", &["17"]),
    ] {
        let found = absent(text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert_eq!(
            (found[0].0.as_str(), found[0].1.as_slice()),
            (
                column,
                &*values.iter().map(ToString::to_string).collect::<Vec<_>>()
            ),
            "{text}"
        );
        if column == "cell_type" {
            let sorted = |text: &str| {
                let mut words: Vec<char> = text.chars().collect();
                words.sort_unstable();
                words
            };
            // In the order of the categories or of the obs.
            assert_eq!(sorted(&found[0].2), sorted(held), "{}", found[0].2);
        }
    }
    assert_eq!(absent("n_genes in [1, 99]")[0].2, "its values are from -3 to 3");
    let warning = matches(&made().store, "cell_type in ['B', 'b']").warnings[0].to_string();
    assert!(
        warning.starts_with("no obs has \"b\" in the obs column \"cell_type\" (its 5 values are"),
        "{warning}"
    );
}

#[test]
fn a_filter_that_takes_nothing_is_an_error_with_the_reason() {
    let store = &made().store;
    for (text, parts) in [
        (
            "cell_type == 'b'",
            &["no obs has \"b\" in the obs column \"cell_type\"", "\"B\", "][..],
        ),
        ("n_genes > 3", &["\"n_genes\" (its values are from -3 to 3)"]),
        (
            "n_genes == 77 and cell_type == 'B'",
            &["no obs has 77", "from -3 to 3"],
        ),
        (
            "is_doublet and not is_doublet",
            &["\"is_doublet\" (its 2 values are"],
        ),
        // The value that nobody has comes first, whatever else was asked.
        ("n_genes > -9 and cell_type == 'b'", &["obs: no obs has \"b\""]),
        ("pct.mito > 1e9", &["(its values are from 0 to 0.4"]),
        ("cell_type in []", &["\"cell_type\" (its 5 values are"]),
    ] {
        for error in [
            filter(store, text).unwrap_err(),
            matches(store, text).some().unwrap_err(),
        ] {
            let message = error.to_string();
            assert!(
                matches!(error.cause(), Cause::Select(SelectError::NothingTaken { n_obs, .. }) if *n_obs == N_OBS as u64),
                "{message}"
            );
            assert!(
                message.starts_with("the filter matches none of the 66236 obs: "),
                "{message}"
            );
            assert!(message.ends_with(&format!(": {text}")), "{message}");
            for part in parts {
                assert!(message.contains(part), "{part}: {message}");
            }
        }
    }
}

/// Categories that no cell has, many values, and plain texts in several batches.
#[test]
fn of_many_values_the_nearest_are_named() {
    let types: Vec<String> = (0..40).map(|n| format!("type {n}")).collect();
    let names = StringArray::from_iter_values(types.iter().map(String::as_str).chain(["unused type"]));
    let keys: Int16Array = (0..100).map(|row| Some(row % 40)).collect();
    let categories = DictionaryArray::<Int16Type>::try_new(keys, Arc::new(names)).unwrap();
    let texts: StringArray = (0..100).map(|row| Some(types[row % 40].as_str())).collect();
    let both = ["categories", "texts"].into_iter();
    let batch =
        RecordBatch::try_from_iter(both.zip([Arc::new(categories) as ArrayRef, Arc::new(texts)])).unwrap();
    let parts = [batch.slice(0, 50), batch.slice(50, 50)];
    let review = |text: &str| {
        let mut bound = Filter::parse(text).unwrap().bind(&batch.schema()).unwrap();
        let n_taken: usize = parts
            .iter()
            .map(|part| bound.mask(part).into_iter().filter(|taken| *taken).count())
            .sum();
        let reviewed = bound.review(parts.iter().cloned().map(Ok::<_, cellring::Error>));
        (n_taken, reviewed)
    };
    for column in ["categories", "texts"] {
        let (n_taken, reviewed) = review(&format!("{column} == 'Type 17'"));
        let message = reviewed.unwrap_err().to_string();
        assert_eq!(n_taken, 0);
        assert!(
            message.contains("(the nearest of its 40 values are \"type 17\", "),
            "{message}"
        );
        let (n_taken, reviewed) = review(&format!("{column} in ['type 3', 'unused type', 'type 39']"));
        let warnings = reviewed.unwrap();
        assert_eq!((n_taken, warnings.len()), (5, 1));
        assert!(
            warnings[0]
                .to_string()
                .starts_with("no obs has \"unused type\" in")
        );
        // Values of the last batch count.
        assert_eq!(
            review(&format!("{column} in ['type 39', 'type 19']")).1.unwrap(),
            []
        );
    }
}

#[test]
fn errors_point_at_the_place() {
    let store = &made().store;
    let cases = [
        (
            "",
            1,
            "expected the name of an obs column, not, or (, found the end",
        ),
        (
            "n_genes >= ",
            11,
            "expected a number, a text in quotes, true or false, found the end",
        ),
        (
            "cell_type == B",
            14,
            "expected a number, a text in quotes, true or false, found the name \"B\"",
        ),
        ("n_genes = 3", 9, "= is not an operator; write == for equality"),
        ("is_doublet & is_doublet", 12, "& is not an operator; write and"),
        ("(n_genes == 3", 14, "expected and, or, or ), found the end"),
        ("n_genes == 3)", 13, "expected and, or, or the end, found )"),
        ("n_genes in [1 2]", 15, "expected , or ], found 2"),
        ("cell_type == 'B", 14, "the text that begins with ' is not closed"),
        ("n_genes == 1x", 12, "\"1x\" is not a number"),
        (
            "n_genes is 3",
            12,
            "expected missing (values are compared by ==), found 3",
        ),
        (
            "n_genes",
            1,
            "the column holds numbers, which cannot be compared with true or false (column \"n_genes\")",
        ),
        (
            "n_genes == '3'",
            9,
            "the column holds numbers, which cannot be compared with a text: leave out the quotes",
        ),
        (
            "cell_type in ['B', 3]",
            11,
            "the column holds texts, which cannot be compared with a number: write it in quotes",
        ),
        ("is_doublet < true", 12, "booleans are compared by == and != only"),
        (
            "'\u{fc}\u{fc}' == 3",
            1,
            "expected the name of an obs column, not, or (, found the text",
        ),
        (
            "`\u{fc}` == 3 or cel_type == 'B'",
            1,
            "there is no obs column \"\u{fc}\" (there are: cell_type, n_genes,",
        ),
        (
            "n_genes == 1 or cel_type == 'B'",
            17,
            "there is no obs column \"cel_type\" (there are: cell_type, n_genes,",
        ),
    ];
    for (text, at, what) in cases {
        let error = filter(store, text).unwrap_err();
        assert!(error.to_string().ends_with(text), "{error}");
        let Cause::Select(
            SelectError::Filter {
                at: found_at,
                what: found,
                ..
            }
            | SelectError::FilterColumn {
                at: found_at,
                what: found,
                ..
            },
        ) = error.cause()
        else {
            panic!("{text}: {error}")
        };
        assert_eq!(*found_at, at, "{text}: {found}");
        assert!(found.starts_with(what), "{text}: {found}");
    }
    for opening in ["(", "not ", "not ("] {
        let error = Filter::parse(&opening.repeat(200_000)).unwrap_err().to_string();
        assert!(
            error.contains("more than 100 levels are nested"),
            "{}",
            &error[..90]
        );
    }
    let deep = format!("{}is_doublet{}", "(".repeat(100), ")".repeat(100));
    assert_eq!(
        filter(store, &deep).unwrap(),
        filter(store, "is_doublet").unwrap()
    );
}
