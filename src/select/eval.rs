//! Applies filters to the obs table.

use arrow_array::Array;
use arrow_array::cast::AsArray;

use super::compare::{Check, FALSE, Kind, Outcome, TRUE, categories_of};
use super::error::SelectError;
use super::parse::{Node, Test, parse};
use crate::format::FormatError;
use crate::format::table::Column;
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
///     "in the filter at character 9, = means nothing; equality is written ==: n_genes = 200"
/// );
/// # Ok::<(), cellring::select::SelectError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Filter {
    text: String,
    root: Node<Test>,
}

/// A test that is bound to its column.
struct Bound {
    column: Column,
    check: Check,
    /// Of a categorical column, the outcome of each category.
    categories: Option<Vec<Outcome>>,
}

impl Filter {
    /// Parses a filter.
    ///
    /// # Errors
    /// [`SelectError::Filter`] with the place where it stops making sense, and what was expected there.
    pub fn parse(text: &str) -> Result<Self, SelectError> {
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

    /// The obs that it takes.
    ///
    /// # Errors
    /// [`SelectError::Filter`] where the store lacks a column or a column holds what it is not compared with;
    /// [`SelectError::Format`] where the table is damaged.
    pub fn apply(&self, store: &Store) -> Result<Subset, SelectError> {
        let bound = self.root.map(&mut |test| self.bind(store, test))?;
        let (mut batch, mut start, mut outcomes) = (0, 0, Vec::new());
        let subset = Subset::from_fn(store.n_obs(), |obs| {
            let mut row = obs as usize - start;
            if row >= outcomes.len() {
                (start, row) = (obs as usize, 0);
                outcomes = evaluate(&bound, batch);
                batch += 1;
            }
            outcomes.get(row) == Some(&TRUE)
        })?;
        Ok(subset)
    }

    fn bind(&self, store: &Store, test: &Test) -> Result<Bound, SelectError> {
        let column = match store.obs().column(&test.column) {
            Ok(column) => column,
            Err(FormatError::NoColumn { columns, .. }) => {
                let columns = if columns.is_empty() { "none" } else { &columns };
                let what = format!("there is no obs column {:?} (there are: {columns})", test.column);
                return Err(wrong(&self.text, test.column_at, what));
            }
            Err(error) => return Err(error.into()),
        };
        let field = column.field();
        let kind = Kind::of(field.data_type()).ok_or_else(|| SelectError::ColumnType {
            column: test.column.clone(),
            data_type: field.data_type().to_string(),
            expected: "and filters know numbers, texts, booleans and categories of them",
        })?;
        let refused = |what| wrong(&self.text, test.at, format!("{what} (column {:?})", test.column));
        let check = Check::new(&test.question, kind).map_err(refused)?;
        let is_ordered = field
            .metadata()
            .get("anndata.ordered")
            .is_some_and(|ordered| ordered == "true");
        if check.orders() && is_ordered && kind == Kind::Texts {
            let what =
                "the categories have an order of their own, so they are compared by ==, != and in only";
            return Err(refused(what.into()));
        }
        let dictionary = column
            .batches()
            .first()
            .and_then(|batch| batch.as_any_dictionary_opt());
        let categories = dictionary.map(|dictionary| check.outcomes(dictionary.values()));
        Ok(Bound {
            column,
            check,
            categories,
        })
    }
}

fn wrong(filter: &str, at: usize, what: String) -> SelectError {
    let at = 1 + filter.get(..at).map_or(0, |before| before.chars().count());
    let filter = filter.to_owned();
    SelectError::Filter { filter, at, what }
}

/// The outcomes for the rows of a batch.
fn evaluate(node: &Node<Bound>, batch: usize) -> Vec<Outcome> {
    let fold = |nodes: &[Node<Bound>], join: fn(Outcome, Outcome) -> Outcome| {
        let mut nodes = nodes.iter();
        let mut outcomes = nodes.next().map_or_else(Vec::new, |node| evaluate(node, batch));
        for node in nodes {
            for (outcome, other) in outcomes.iter_mut().zip(evaluate(node, batch)) {
                *outcome = join(*outcome, other);
            }
        }
        outcomes
    };
    match node {
        Node::All(nodes) => fold(nodes, Outcome::min),
        Node::Any(nodes) => fold(nodes, Outcome::max),
        Node::Not(node) => {
            let mut outcomes = evaluate(node, batch);
            outcomes.iter_mut().for_each(|outcome| *outcome = TRUE - *outcome);
            outcomes
        }
        Node::Test(test) => test.outcomes(batch),
    }
}

impl Bound {
    fn outcomes(&self, batch: usize) -> Vec<Outcome> {
        let Some(array) = self.column.batches().get(batch) else {
            return Vec::new();
        };
        match &self.categories {
            None => self.check.outcomes(array),
            Some(categories) => {
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
    }
}
