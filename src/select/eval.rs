//! Applies filters to the obs table of a store, or to batches of any other one.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_data::ArrayData;
use arrow_schema::{Field, Schema};

use super::compare::{Check, FALSE, Outcome, TRUE, kind_of};
use super::error::SelectError;
use super::parse::{Node, Test, parse};
use super::review::{Matches, Reviewed, SelectWarning, review};
use super::sought::SoughtValues;
use crate::Error;
use crate::format::column::{ColumnKind, categories_of};
use crate::format::constants::ROLE_KEY;
use crate::plan::Subset;
use crate::store::Store;

/// A filter over the columns of obs: see the [module](super) for the language.
///
/// ```
/// use cellring::select::Filter;
///
/// let filter = Filter::parse(r#"cell_type in ["T", "NK"] and not (n_genes < 200 or is_doublet)"#)?;
/// assert_eq!(filter.columns(), ["cell_type", "is_doublet", "n_genes"]);
/// let error = Filter::parse("n_genes = 200").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "in the filter at character 9, = is not an operator; write == for equality: n_genes = 200"
/// );
/// # Ok::<(), cellring::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Filter {
    text: String,
    root: Node<Test>,
}

/// A filter that fits the columns of a table, whatever this is kept in: it tells of each of its batches which rows are taken.
#[derive(Clone, Debug)]
pub struct BatchFilter {
    text: String,
    root: Node<Bound>,
    /// Names of the columns, sorted.
    columns: Vec<String>,
    /// Rows that were seen, and those of them that were taken.
    n_rows: u64,
    n_taken: u64,
}

/// A test that is bound to its column.
#[derive(Clone, Debug)]
struct Bound {
    /// Which of the filter's columns.
    place: usize,
    check: Check,
    sought: SoughtValues,
    /// Of a categorical column its categories, as last seen, and the outcome of each.
    categories: Option<(ArrayData, Vec<Outcome>)>,
}

impl Filter {
    /// Parses a filter.
    ///
    /// # Errors
    /// If it is not valid: the message has the place, and what was expected there.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let root = parse(text).map_err(|(at, what)| wrong(text, at, what))?;
        let text = text.to_owned();
        Ok(Self { text, root })
    }

    /// Names of the columns that it asks about, sorted, each once.
    pub fn columns(&self) -> Vec<&str> {
        fn collect<'a>(node: &'a Node<Test>, names: &mut Vec<&'a str>) {
            match node {
                Node::All(nodes) | Node::Any(nodes) => nodes.iter().for_each(|node| collect(node, names)),
                Node::Not(node) => collect(node, names),
                Node::Test(test) => names.push(&test.column),
            }
        }
        let mut names = Vec::new();
        collect(&self.root, &mut names);
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The obs that it takes. Values that it asks for and that no obs has are told to `tracing`, as warnings;
    /// [`Self::matches`] returns them.
    ///
    /// # Errors
    /// As [`Self::matches`], and if it takes none.
    pub fn apply(&self, store: &Store) -> Result<Subset, Error> {
        let (subset, warnings) = self.matches(store)?.some()?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        Ok(subset)
    }

    /// The obs that it takes, which may be none, and what is odd about it.
    ///
    /// # Errors
    /// If the store lacks a column, a column holds what it is not compared with,
    /// or the table is damaged.
    pub fn matches(&self, store: &Store) -> Result<Matches, Error> {
        let mut bound = self.bind(store.obs().schema()?)?;
        let columns = self.columns().into_iter().map(|name| store.obs().column(name));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let (mut batch, mut start, mut mask) = (0, 0, Vec::new());
        let subset = Subset::from_fn(store.n_obs(), |obs| {
            let mut row = obs as usize - start;
            if row >= mask.len() {
                (start, row) = (obs as usize, 0);
                let arrays: Vec<_> = columns
                    .iter()
                    .filter_map(|column| column.batches().get(batch))
                    .collect();
                mask = bound.mask_of(&arrays);
                batch += 1;
            }
            mask.get(row) == Some(&true)
        })?;
        let mut batch = 0;
        let reviewed = bound.review_arrays(|| {
            let arrays: Option<Vec<ArrayRef>> = columns
                .iter()
                .map(|column| column.batches().get(batch).cloned())
                .collect();
            batch += 1;
            arrays.map(Ok::<_, SelectError>)
        })?;
        Ok(Matches::new(subset, reviewed))
    }

    /// The filter for batches of a table of these fields. Those that the format adds (with the metadata
    /// [`ROLE_KEY`], so also the names of obs) are no columns.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use arrow_array::{Int32Array, RecordBatch};
    /// use cellring::select::Filter;
    ///
    /// let batch = RecordBatch::try_from_iter([("n_genes", Arc::new(Int32Array::from(vec![100, 300])) as _)])?;
    /// let mut filter = Filter::parse("n_genes >= 200")?.bind(&batch.schema())?;
    /// assert_eq!(filter.mask(&batch), [false, true]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If a column does not exist or holds what it is not compared with.
    pub fn bind(&self, schema: &Schema) -> Result<BatchFilter, Error> {
        let columns: Vec<String> = self.columns().into_iter().map(str::to_owned).collect();
        let mut bind = |test: &Test| {
            let place = columns.binary_search(&test.column).unwrap_or_default();
            self.bind_test(schema, test, place)
        };
        let root = self.root.map(&mut bind)?;
        Ok(BatchFilter {
            text: self.text.clone(),
            root,
            columns,
            n_rows: 0,
            n_taken: 0,
        })
    }

    fn bind_test(&self, schema: &Schema, test: &Test, place: usize) -> Result<Bound, Error> {
        let Some(field) = column_of(schema, &test.column) else {
            let fields = schema.fields().iter().filter(|field| is_column(field));
            let columns: Vec<&str> = fields.map(|field| field.name().as_str()).collect();
            let columns = if columns.is_empty() {
                "none"
            } else {
                &columns.join(", ")
            };
            let what = format!("there is no obs column {:?} (there are: {columns})", test.column);
            return Err(SelectError::FilterColumn {
                filter: self.text.clone(),
                at: character(&self.text, test.column_at),
                what,
            }
            .into());
        };
        let field = schema.field(field);
        let kind = kind_of(field.data_type()).ok_or_else(|| SelectError::ColumnType {
            column: test.column.clone(),
            data_type: field.data_type().to_string(),
            expected: "but filters support numbers, texts, booleans and categories of these",
        })?;
        let refused = |what| wrong(&self.text, test.at, format!("{what} (column {:?})", test.column));
        let check = Check::new(&test.condition, kind).map_err(refused)?;
        let is_ordered = field
            .metadata()
            .get("anndata.ordered")
            .is_some_and(|ordered| ordered == "true");
        if check.orders() && is_ordered && kind == ColumnKind::Strings {
            let what =
                "the categories have an order of their own, so they are compared by ==, != and in only";
            return Err(refused(what.into()).into());
        }
        Ok(Bound {
            place,
            check,
            sought: SoughtValues::in_condition(&test.condition),
            categories: None,
        })
    }
}

impl BatchFilter {
    /// Which rows of a batch are taken.
    ///
    /// # Panics
    /// If the batch lacks a column, or has one of another type than it was told.
    pub fn mask(&mut self, batch: &RecordBatch) -> Vec<bool> {
        self.mask_of(&self.arrays(batch))
    }

    /// The filter's columns of a batch.
    fn arrays<'a>(&self, batch: &'a RecordBatch) -> Vec<&'a ArrayRef> {
        let find = |name: &String| column_of(&batch.schema(), name).map(|place| batch.column(place));
        self.columns.iter().filter_map(find).collect()
    }

    /// What is odd about the filter, once [`Self::mask`] has seen every batch of the table: values that it asks for and that no
    /// row has. `batches` are all of the table once more; they are only read where there is something to say.
    ///
    /// # Errors
    /// If no row was taken, and those of `batches`.
    pub fn review<E: From<Error>>(
        &self,
        mut batches: impl Iterator<Item = Result<RecordBatch, E>>,
    ) -> Result<Vec<SelectWarning>, E> {
        let reviewed = self.review_arrays(|| {
            let batch = batches.next()?;
            Some(batch.map(|batch| self.arrays(&batch).into_iter().cloned().collect()))
        })?;
        Ok(reviewed?)
    }

    fn review_arrays<E>(
        &self,
        next: impl FnMut() -> Option<Result<Vec<ArrayRef>, E>>,
    ) -> Result<Result<Vec<SelectWarning>, Error>, E> {
        fn collect<'a>(node: &'a Node<Bound>, tests: &mut Vec<Reviewed<'a>>) {
            match node {
                Node::All(nodes) | Node::Any(nodes) => nodes.iter().for_each(|node| collect(node, tests)),
                Node::Not(node) => collect(node, tests),
                Node::Test(Bound { place, sought, .. }) => tests.push(Reviewed {
                    place: *place,
                    sought,
                }),
            }
        }
        let mut tests = Vec::new();
        collect(&self.root, &mut tests);
        let counts = (self.n_taken, self.n_rows);
        review(&self.text, &self.columns, &tests, counts, next)
    }

    fn mask_of(&mut self, arrays: &[&ArrayRef]) -> Vec<bool> {
        assert_eq!(
            arrays.len(),
            self.columns.len(),
            "a batch has the columns of its table"
        );
        let outcomes = evaluate(&mut self.root, arrays);
        let mask: Vec<bool> = outcomes.into_iter().map(|outcome| outcome == TRUE).collect();
        self.n_rows += mask.len() as u64;
        self.n_taken += mask.iter().filter(|is_taken| **is_taken).count() as u64;
        mask
    }
}

/// Whether a field is a column, and not one that the format adds.
fn is_column(field: &Field) -> bool {
    !field.metadata().contains_key(ROLE_KEY)
}

/// Where the column of this name is.
fn column_of(schema: &Schema, name: &str) -> Option<usize> {
    let fields = schema.fields();
    fields
        .iter()
        .position(|field| field.name() == name && is_column(field))
}

/// The number of the character at this byte, from 1.
fn character(text: &str, at: usize) -> usize {
    1 + text.get(..at).map_or(0, |before| before.chars().count())
}

fn wrong(filter: &str, at: usize, what: String) -> SelectError {
    let at = character(filter, at);
    let filter = filter.to_owned();
    SelectError::Filter { filter, at, what }
}

/// The outcomes for the rows of a batch.
fn evaluate(node: &mut Node<Bound>, arrays: &[&ArrayRef]) -> Vec<Outcome> {
    let fold = |nodes: &mut [Node<Bound>], join: fn(Outcome, Outcome) -> Outcome| {
        let mut nodes = nodes.iter_mut();
        let mut outcomes = nodes.next().map_or_else(Vec::new, |node| evaluate(node, arrays));
        for node in nodes {
            for (outcome, other) in outcomes.iter_mut().zip(evaluate(node, arrays)) {
                *outcome = join(*outcome, other);
            }
        }
        outcomes
    };
    match node {
        Node::All(nodes) => fold(nodes, Outcome::min),
        Node::Any(nodes) => fold(nodes, Outcome::max),
        Node::Not(node) => {
            let mut outcomes = evaluate(node, arrays);
            outcomes.iter_mut().for_each(|outcome| *outcome = TRUE - *outcome);
            outcomes
        }
        Node::Test(test) => test.outcomes(arrays[test.place]),
    }
}

impl Bound {
    fn outcomes(&mut self, array: &ArrayRef) -> Vec<Outcome> {
        self.sought.see(array.as_ref());
        let Some(dictionary) = array.as_any_dictionary_opt() else {
            return self.check.outcomes(array);
        };
        // Batches of a table share their categories.
        let values = dictionary.values().to_data();
        let known = self.categories.take().filter(|(known, _)| known.ptr_eq(&values));
        let (_, categories) = self.categories.insert(match known {
            Some(known) => known,
            None => (values, self.check.outcomes(dictionary.values())),
        });
        let mut outcomes = Vec::with_capacity(array.len());
        categories_of(array, |category| {
            let outcome = match category {
                Some(place) => categories.get(place).copied().unwrap_or(FALSE),
                None => self.check.of_missing(),
            };
            outcomes.push(outcome);
        });
        outcomes
    }
}
