//! Filters, classes, weights and splits of a real obs table, against a twin that goes row by row.
#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

mod common;

use std::cmp::Ordering;
use std::sync::{Arc, OnceLock};

use arrow_array::types::Int16Type;
use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, Float32Array, Float64Array, Int16Array, Int64Array,
    LargeStringArray, RecordBatch, StringArray, UInt64Array,
};
use arrow_schema::{Field, Schema};
use cellring::Store;
use cellring::format::constants::{ROLE_INDEX, TABLE_BATCH_ROWS};
use cellring::format::{CsrRows, ValueBuffer};
use cellring::plan::{MISSING, Subset};
use cellring::select::{
    Filter, Matches, SelectError, SelectWarning, SplitSpec, codes, filter, split, weights,
};
use cellring::writer::WriterOptions;
use common::{Kind, Mix, role, value_type, write_store_with_obs};
use proptest::prelude::*;

/// More than a batch of the table, so that places in it matter.
const N_OBS: usize = TABLE_BATCH_ROWS + 700;

fn matches(store: &Store, text: &str) -> Matches {
    Filter::parse(text).unwrap().matches(store).unwrap()
}

/// A value of the twin.
#[derive(Clone, Debug, PartialEq)]
enum Cell {
    Missing,
    Int(i128),
    Single(f32),
    Double(f64),
    Bool(bool),
    Text(String),
}

struct Columns {
    names: Vec<&'static str>,
    arrays: Vec<ArrayRef>,
    cells: Vec<Vec<Cell>>,
}

const TYPES: [&str; 5] = ["B", "T cell", "d'or", "NK", ""];

fn columns() -> Columns {
    let mut mix = Mix(11);
    let mut draw = |n: u64, missing: bool| -> Vec<Option<u64>> {
        (0..N_OBS)
            .map(|_| {
                let value = mix.below(n);
                (!missing || mix.below(9) > 0).then_some(value)
            })
            .collect()
    };
    let or = |value: &Option<u64>, cell: &dyn Fn(u64) -> Cell| value.map_or(Cell::Missing, cell);
    let mut all = Columns {
        names: vec![],
        arrays: vec![],
        cells: vec![],
    };
    let mut add = |name, array: ArrayRef, cells| {
        all.names.push(name);
        all.arrays.push(array);
        all.cells.push(cells);
    };
    let values = draw(5, true);
    let keys: Int16Array = values.iter().map(|v| v.map(|v| v as i16)).collect();
    let names = StringArray::from_iter_values(TYPES);
    add(
        "cell_type",
        Arc::new(DictionaryArray::<Int16Type>::try_new(keys, Arc::new(names)).unwrap()),
        values
            .iter()
            .map(|v| or(v, &|v| Cell::Text(TYPES[v as usize].into())))
            .collect(),
    );
    let values = draw(7, true);
    add(
        "n_genes",
        Arc::new(
            values
                .iter()
                .map(|v| v.map(|v| v as i64 - 3))
                .collect::<Int64Array>(),
        ),
        values
            .iter()
            .map(|v| or(v, &|v| Cell::Int(i128::from(v) - 3)))
            .collect(),
    );
    let values = draw(4, false);
    add(
        "huge",
        Arc::new(
            values
                .iter()
                .map(|v| v.map(|v| u64::MAX - v))
                .collect::<UInt64Array>(),
        ),
        values
            .iter()
            .map(|v| or(v, &|v| Cell::Int(i128::from(u64::MAX - v))))
            .collect(),
    );
    let values = draw(6, true);
    let tenth = |v: u64| if v == 5 { f32::NAN } else { v as f32 / 10.0 };
    add(
        "pct.mito",
        Arc::new(values.iter().map(|v| v.map(tenth)).collect::<Float32Array>()),
        values
            .iter()
            .map(|v| {
                or(v, &|v| {
                    if v == 5 {
                        Cell::Missing
                    } else {
                        Cell::Single(tenth(v))
                    }
                })
            })
            .collect(),
    );
    let values = draw(6, true);
    let half = |v: u64| [f64::NAN, -0.0, 0.0, 2.5, f64::INFINITY, 3.0][v as usize];
    add(
        "score",
        Arc::new(values.iter().map(|v| v.map(half)).collect::<Float64Array>()),
        values
            .iter()
            .map(|v| {
                or(v, &|v| {
                    if v == 0 {
                        Cell::Missing
                    } else {
                        Cell::Double(half(v))
                    }
                })
            })
            .collect(),
    );
    let values = draw(2, true);
    add(
        "is_doublet",
        Arc::new(values.iter().map(|v| v.map(|v| v == 1)).collect::<BooleanArray>()),
        values.iter().map(|v| or(v, &|v| Cell::Bool(v == 1))).collect(),
    );
    let values = draw(4, true);
    let donor = |v: u64| format!("d{v}");
    add(
        "donor id",
        Arc::new(values.iter().map(|v| v.map(donor)).collect::<LargeStringArray>()),
        values.iter().map(|v| or(v, &|v| Cell::Text(donor(v)))).collect(),
    );
    // Categories that are numbers, with one that is missing.
    let values = draw(3, true);
    let keys: Int16Array = values.iter().map(|v| v.map(|v| v as i16)).collect();
    let numbers = Int64Array::from(vec![Some(40), None, Some(-2)]);
    add(
        "louvain",
        Arc::new(DictionaryArray::<Int16Type>::try_new(keys, Arc::new(numbers)).unwrap()),
        values
            .iter()
            .map(|v| {
                or(v, &|v| {
                    [Cell::Int(40), Cell::Missing, Cell::Int(-2)][v as usize].clone()
                })
            })
            .collect(),
    );
    all
}

struct Made {
    store: Store,
    columns: Columns,
    _dir: tempfile::TempDir,
}

/// A store with an obs table of all kinds of columns, and hardly any values.
fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let columns = columns();
        let mut fields = vec![role(
            Field::new("barcode", arrow_schema::DataType::Utf8, false),
            ROLE_INDEX,
        )];
        let names = StringArray::from_iter_values((0..N_OBS).map(|i| format!("cell_{i}")));
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(names)];
        for (name, array) in columns.names.iter().zip(&columns.arrays) {
            fields.push(Field::new(*name, array.data_type().clone(), true));
            arrays.push(array.clone());
        }
        let table = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
        let rows = CsrRows {
            indptr: vec![0; N_OBS + 1],
            indices: vec![],
            values: ValueBuffer::F32(vec![]),
        };
        let batches = (0..N_OBS)
            .step_by(TABLE_BATCH_ROWS)
            .map(|start| table.slice(start, (N_OBS - start).min(TABLE_BATCH_ROWS)))
            .collect();
        let options = WriterOptions::new(3, value_type(Kind::Counts));
        write_store_with_obs(&path, &rows, options, None, (table.schema(), batches)).unwrap();
        let store = Store::open(&path).unwrap();
        Made {
            store,
            columns,
            _dir: dir,
        }
    })
}

/// A filter of the twin.
#[derive(Clone, Debug)]
enum Twin {
    And(Box<Twin>, Box<Twin>),
    Or(Box<Twin>, Box<Twin>),
    Not(Box<Twin>),
    Compare(usize, &'static str, Cell),
    In(usize, Vec<Cell>),
    Missing(usize),
}

fn compare(cell: &Cell, with: &Cell) -> Option<Ordering> {
    match (cell, with) {
        (Cell::Missing, _) => None,
        (Cell::Int(a), Cell::Int(b)) => Some(a.cmp(b)),
        // All integers of this test but `huge` are small, and halves are exact.
        (Cell::Int(a), Cell::Double(b)) => Some(match *a > 1 << 60 {
            true => Ordering::Greater,
            false => (*a as f64).partial_cmp(b).unwrap(),
        }),
        (Cell::Single(a), Cell::Int(b)) => a.partial_cmp(&(*b as f32)),
        (Cell::Single(a), Cell::Double(b)) => a.partial_cmp(&(*b as f32)),
        (Cell::Double(a), Cell::Int(b)) => a.partial_cmp(&(*b as f64)),
        (Cell::Double(a), Cell::Double(b)) => a.partial_cmp(b),
        (Cell::Bool(a), Cell::Bool(b)) => Some(a.cmp(b)),
        (Cell::Text(a), Cell::Text(b)) => Some(a.cmp(b)),
        other => panic!("{other:?}"),
    }
}

impl Twin {
    /// True, false, or `None` for unknown.
    fn of(&self, row: usize, cells: &[Vec<Cell>]) -> Option<bool> {
        match self {
            Self::And(a, b) => match (a.of(row, cells), b.of(row, cells)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Self::Or(a, b) => match (a.of(row, cells), b.of(row, cells)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Self::Not(a) => a.of(row, cells).map(|value| !value),
            Self::Compare(column, operator, value) => {
                let found = compare(&cells[*column][row], value)?;
                Some(match *operator {
                    "==" => found.is_eq(),
                    "!=" => found.is_ne(),
                    "<" => found.is_lt(),
                    "<=" => found.is_le(),
                    ">" => found.is_gt(),
                    _ => found.is_ge(),
                })
            }
            Self::In(column, values) => match &cells[*column][row] {
                Cell::Missing => None,
                cell => Some(
                    values
                        .iter()
                        .any(|value| compare(cell, value) == Some(Ordering::Equal)),
                ),
            },
            Self::Missing(column) => Some(cells[*column][row] == Cell::Missing),
        }
    }

    fn text(&self) -> String {
        let name = |column: &usize| match made().columns.names[*column] {
            name if name.contains(' ') => format!("`{name}`"),
            name => name.to_owned(),
        };
        match self {
            Self::And(a, b) => format!("({} and {})", a.text(), b.text()),
            Self::Or(a, b) => format!("({} or {})", a.text(), b.text()),
            Self::Not(a) => format!("not {}", a.text()),
            Self::Compare(column, operator, value) => format!("{}{operator} {}", name(column), show(value)),
            Self::In(column, values) => {
                let values: Vec<_> = values.iter().map(show).collect();
                format!("{} in [{}]", name(column), values.join(","))
            }
            Self::Missing(column) => format!("{} is missing", name(column)),
        }
    }
}

fn show(value: &Cell) -> String {
    match value {
        Cell::Int(value) => value.to_string(),
        Cell::Double(value) => format!("{value:?}"),
        Cell::Bool(value) => value.to_string(),
        Cell::Text(text) => format!("'{}'", text.replace('\'', "\\'")),
        other => panic!("{other:?}"),
    }
}

/// A value that the column is compared with.
fn value(column: usize) -> BoxedStrategy<Cell> {
    match column {
        0 => prop::sample::select(TYPES.to_vec())
            .prop_map(|text| Cell::Text(text.into()))
            .boxed(),
        1 | 7 => prop_oneof![
            (-4i128..5).prop_map(Cell::Int),
            (-8i32..9).prop_map(|half| Cell::Double(f64::from(half) / 2.0)),
            Just(Cell::Int(40)),
        ]
        .boxed(),
        2 => (0u64..6)
            .prop_map(|v| Cell::Int(i128::from(u64::MAX) - i128::from(v) + 1))
            .boxed(),
        3 => (0u32..6).prop_map(|v| Cell::Double(f64::from(v) / 10.0)).boxed(),
        4 => prop_oneof![
            (-1i128..4).prop_map(Cell::Int),
            Just(Cell::Double(2.5)),
            Just(Cell::Double(-0.0)),
            Just(Cell::Double(1e300))
        ]
        .boxed(),
        5 => any::<bool>().prop_map(Cell::Bool).boxed(),
        _ => (0u32..6).prop_map(|v| Cell::Text(format!("d{v}"))).boxed(),
    }
}

fn twin() -> impl Strategy<Value = Twin> {
    let leaf = (0usize..8).prop_flat_map(|column| {
        let operators = match column {
            5 => vec!["==", "!="],
            _ => vec!["==", "!=", "<", "<=", ">", ">="],
        };
        prop_oneof![
            4 => (prop::sample::select(operators), value(column))
                .prop_map(move |(operator, value)| Twin::Compare(column, operator, value)),
            2 => prop::collection::vec(value(column), 0..4).prop_map(move |values| Twin::In(column, values)),
            1 => Just(Twin::Missing(column)),
        ]
    });
    leaf.prop_recursive(5, 24, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Twin::And(Box::new(a), Box::new(b))),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Twin::Or(Box::new(a), Box::new(b))),
            inner.prop_map(|a| Twin::Not(Box::new(a))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_filter_takes_what_its_twin_takes(twin in twin()) {
        let made = made();
        let found = matches(&made.store, &twin.text()).subset;
        let expected = Subset::from_fn(N_OBS as u64, |obs| {
            twin.of(obs as usize, &made.columns.cells) == Some(true)
        });
        prop_assert_eq!(found, expected.unwrap(), "{}", twin.text());
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in r#"([a-c ]|and|or|not|in|is|missing|==|<=|[\[\](),'"`\\<>=!.0-9eE+-]|\PC){0,40}"#) {
        if let Err(error) = Filter::parse(&text) {
            prop_assert!(matches!(error, SelectError::Filter { .. }), "{}", error);
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
                matches!(error, SelectError::NothingTaken { n_obs, .. } if n_obs == N_OBS as u64),
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
        let reviewed = bound.review(parts.iter().cloned().map(Ok::<_, SelectError>));
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
        let SelectError::Filter {
            at: found_at,
            what: found,
            ..
        } = error
        else {
            panic!("{text}: {error}")
        };
        assert_eq!(found_at, at, "{text}: {found}");
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
