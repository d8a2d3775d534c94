//! Filters take what a twin takes that goes row by row.

use cellring::__internal::Cause;
use cellring::plan::Subset;
use cellring::select::{Filter, SelectError, filter};
use proptest::prelude::*;

use crate::table::{N_OBS, made, matches};
use crate::twin::twin;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_filter_takes_what_its_twin_takes(twin in twin()) {
        let made = made();
        let found = matches(&made.store, &twin.text()).subset;
        let expected = Subset::from_fn(N_OBS as u64, |obs| {
            twin.holds_for(obs as usize, &made.columns.cells) == Some(true)
        });
        prop_assert_eq!(found, expected.unwrap(), "{}", twin.text());
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in r#"([a-c ]|and|or|not|in|is|missing|==|<=|[\[\](),'"`\\<>=!.0-9eE+-]|\PC){0,40}"#) {
        if let Err(error) = Filter::parse(&text) {
            prop_assert!(matches!(error.cause(), Cause::Select(SelectError::Filter { .. })), "{}", error);
        }
    }
}

#[test]
fn words_bind_as_the_grammar_says() {
    let store = &made().store;
    let same =
        |a: &str, b: &str| assert_eq!(filter(store, a).unwrap(), filter(store, b).unwrap(), "{a} | {b}");
    same(
        "n_genes > 0 or n_genes < -1 and is_doublet",
        "n_genes > 0 or (n_genes < -1 and is_doublet == true)",
    );
    same(
        "not is_doublet and n_genes == 1",
        "(not is_doublet) and n_genes == 1",
    );
    same("n_genes not in [1, 2]", "not n_genes in [1,2]");
    same("n_genes is not missing", "not (n_genes is missing)");
    same("n_genes != 1", "not n_genes == 1");
    same("n_genes == 1e0", "n_genes == +1");
    same("cell_type == \"d'or\"", r"cell_type == 'd\'or'");
    let all = filter(store, "is_doublet or not is_doublet or is_doublet is missing").unwrap();
    assert_eq!(all.len(), N_OBS as u64);
    let is_empty = |text: &str| matches(store, text).subset.is_empty();
    assert!(is_empty("cell_type == 'unheard of'"));
    assert!(!filter(store, "cell_type != 'unheard of'").unwrap().is_empty());
    // One above what a double can tell apart.
    let exact = filter(store, "huge == 18446744073709551615").unwrap();
    assert!(!exact.is_empty() && exact.len() < N_OBS as u64 / 2);
    assert!(is_empty("huge == 18446744073709551616"));
    assert!(is_empty("huge in [1.8446744073709552e19]"));
}
