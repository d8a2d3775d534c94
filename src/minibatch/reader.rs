//! Takes the values of an obs column for the rows of a minibatch, from one store or several.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{Array, ArrayRef};

use super::codes::Codebook;
use super::columns::{ColumnChoice, ColumnForm, ObsColumn, ObsValues};
use crate::format::column::{ColumnKind, code, integer, number, primitive, push_text};
use crate::format::table::Column;

/// A column that minibatches take values from.
#[derive(Clone, Debug)]
pub(crate) struct ColumnReader {
    name: String,
    /// What comes out.
    kind: ColumnKind,
    nullable: bool,
    categories: Option<ArrayRef>,
    /// One for each store.
    parts: Vec<StoreColumn>,
}

/// The column of one store.
#[derive(Clone, Debug)]
struct StoreColumn {
    /// `None` where the store lacks it.
    column: Option<Column>,
    codes: Codes,
}

/// Where the codes of a store come from.
#[derive(Clone, Debug)]
enum Codes {
    /// They are stored.
    Stored,
    /// Others are stored: these are at their places.
    Renamed(Vec<i32>),
    /// The values are stored.
    Book(Arc<Codebook>),
}

/// Why the stores' columns cannot be merged. Stores are identified by their index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// Minibatches do not carry this column's type in this form.
    Form(usize),
    /// Two columns have different kinds of values.
    Kinds(usize, usize),
}

/// Makes a reader of the columns of all stores, at least one of which has it.
pub(crate) fn read_columns(
    choice: &ColumnChoice,
    columns: Vec<Option<Column>>,
) -> Result<ColumnReader, Mismatch> {
    let present = || {
        let numbered = columns.iter().enumerate();
        numbered.filter_map(|(store, column)| Some((store, column.as_ref()?)))
    };
    // What comes out, and what the codes among it stand for: the same for each store.
    let mut made: Option<(usize, ColumnKind, ColumnKind)> = None;
    for (store, column) in present() {
        let (kind, meaning) = form_of(choice.form, column).ok_or(Mismatch::Form(store))?;
        match made {
            None => made = Some((store, kind, meaning)),
            Some((_, k, m)) if k == kind && (m == meaning || kind != ColumnKind::Codes) => {}
            Some((first, ..)) => return Err(Mismatch::Kinds(first, store)),
        }
    }
    let Some((_, kind, meaning)) = made else {
        return Err(Mismatch::Form(0));
    };
    let has_missing = |column: &Option<Column>| match column {
        Some(column) => column.batches().iter().any(|batch| batch.null_count() > 0),
        None => true,
    };
    let (codes, categories) = match kind {
        ColumnKind::Codes => merge(&columns, meaning)?,
        _ => (columns.iter().map(|_| Codes::Stored).collect(), None),
    };
    Ok(ColumnReader {
        name: choice.name.clone(),
        kind,
        nullable: columns.iter().any(has_missing),
        categories,
        parts: columns
            .into_iter()
            .zip(codes)
            .map(|(column, codes)| StoreColumn { column, codes })
            .collect(),
    })
}

/// The kind of values that come out of a column in this form, and of those that it has, categories looked up.
fn form_of(form: ColumnForm, column: &Column) -> Option<(ColumnKind, ColumnKind)> {
    let data_type = column.field().data_type();
    let stored = ColumnKind::from_data_type(data_type)?;
    let meaning = ColumnKind::of_meaning(data_type).unwrap_or(stored);
    let made = match form {
        ColumnForm::Natural => stored,
        ColumnForm::Codes if stored == ColumnKind::Floats => return None,
        ColumnForm::Codes => ColumnKind::Codes,
        ColumnForm::Floats if matches!(meaning, ColumnKind::Strings | ColumnKind::Codes) => return None,
        ColumnForm::Floats => ColumnKind::Floats,
        ColumnForm::Strings if matches!(meaning, ColumnKind::Floats | ColumnKind::Codes) => return None,
        ColumnForm::Strings => ColumnKind::Strings,
    };
    Some((made, meaning))
}

/// One list of categories for all stores, and where the codes of each store in it come from.
///
/// Categories come in the order of the first store, then those that the second adds, and so on; where no store has
/// categories, the list is sorted.
fn merge(
    columns: &[Option<Column>],
    meaning: ColumnKind,
) -> Result<(Vec<Codes>, Option<ArrayRef>), Mismatch> {
    let is_categorical =
        |column: &Column| ColumnKind::from_data_type(column.field().data_type()) == Some(ColumnKind::Codes);
    // Without rows a column has no categories, and needs none.
    let with_rows = || {
        let numbered = columns.iter().enumerate();
        numbered.filter_map(|(store, column)| {
            Some((store, column.as_ref()?, column.as_ref()?.batches().first()?))
        })
    };
    let stored = |batch: &ArrayRef| Some(batch.as_any_dictionary_opt()?.values().clone());
    let mut lists: Vec<Option<ArrayRef>> = vec![None; columns.len()];
    let mut first: Option<(usize, ArrayRef)> = None;
    let mut other = None;
    for (store, column, batch) in with_rows() {
        let of_values = || Codebook::collect(meaning, column.batches().iter().map(AsRef::as_ref), true);
        let list = match is_categorical(column) {
            true => stored(batch),
            false => of_values().map(|book| book.values().clone()),
        };
        let list = list.ok_or(Mismatch::Form(store))?;
        match &first {
            None => first = Some((store, list.clone())),
            Some((_, first)) if **first == *list => {}
            Some(_) => other = other.or(Some(store)),
        }
        lists[store] = Some(list);
    }
    let Some((first, list)) = first else {
        return Ok((columns.iter().map(|_| Codes::Stored).collect(), None));
    };
    let all_categorical = with_rows().all(|(_, column, _)| is_categorical(column));
    if all_categorical && other.is_none() {
        return Ok((columns.iter().map(|_| Codes::Stored).collect(), Some(list)));
    }
    let sorted = !with_rows().any(|(_, column, _)| is_categorical(column));
    let each = lists.iter().flatten().map(AsRef::as_ref);
    let book =
        Codebook::collect(meaning, each, sorted).ok_or(Mismatch::Kinds(first, other.unwrap_or(first)))?;
    let book = Arc::new(book);
    let codes = columns
        .iter()
        .zip(&lists)
        .map(|(column, list)| match (column, list) {
            (Some(column), Some(list)) if is_categorical(column) => {
                let code = |place| {
                    if list.is_valid(place) {
                        book.code(list, place)
                    } else {
                        -1
                    }
                };
                Codes::Renamed((0..list.len()).map(code).collect())
            }
            (Some(_), Some(_)) => Codes::Book(book.clone()),
            _ => Codes::Stored,
        });
    Ok((codes.collect(), Some(book.values().clone())))
}

impl Codes {
    #[inline]
    fn code(&self, array: &dyn Array, row: usize) -> i32 {
        match self {
            Self::Stored => code(array, row),
            Self::Renamed(codes) => usize::try_from(code(array, row))
                .ok()
                .and_then(|code| codes.get(code).copied())
                .unwrap_or(-1),
            Self::Book(book) => book.code(array, row),
        }
    }
}

impl ColumnReader {
    /// What the codes of this column stand for, as an Arrow array.
    pub(crate) fn categories(&self) -> Option<ArrayRef> {
        self.categories.clone()
    }

    /// The categories as text; empty where one is missing.
    pub(crate) fn labels(&self) -> Vec<String> {
        let Some(categories) = &self.categories else {
            return Vec::new();
        };
        let label = |place| {
            let mut label = String::new();
            if categories.is_valid(place) {
                push_text(categories.as_ref(), place, &mut label);
            }
            label
        };
        (0..categories.len()).map(label).collect()
    }

    /// An empty column to gather into.
    pub(crate) fn empty(&self) -> ObsColumn {
        let values = match self.kind {
            ColumnKind::Codes => ObsValues::Codes(Vec::new()),
            ColumnKind::Floats => ObsValues::Floats(Vec::new()),
            ColumnKind::Strings => ObsValues::Strings(Vec::new()),
            ColumnKind::Integers => ObsValues::Integers(Vec::new()),
            ColumnKind::Unsigned => ObsValues::Unsigned(Vec::new()),
            ColumnKind::Booleans => ObsValues::Booleans(Vec::new()),
        };
        ObsColumn {
            name: self.name.clone(),
            values,
            valid: self.nullable.then(Vec::new),
        }
    }

    /// Fills `out` with the values of these rows: the place of a store, and an obs of it.
    pub(crate) fn gather(
        &self,
        rows: impl ExactSizeIterator<Item = (usize, u64)> + Clone,
        out: &mut ObsColumn,
    ) {
        // The value of each row, where there is one.
        let each = || {
            rows.clone().map(|(store, obs)| {
                let part = &self.parts[store];
                let (array, row) = part.column.as_ref()?.at(obs);
                array.is_valid(row).then_some((part, array, row))
            })
        };
        if let Some(valid) = &mut out.valid {
            refill(valid, each().map(|at| at.is_some()));
        }
        match &mut out.values {
            ObsValues::Codes(out) => {
                refill(
                    out,
                    each().map(|at| at.map_or(-1, |(part, a, row)| part.codes.code(a, row))),
                );
            }
            ObsValues::Integers(out) => {
                refill(out, each().map(|at| at.map_or(0, |(_, a, row)| integer(a, row))));
            }
            ObsValues::Unsigned(out) => {
                let value = |(_, a, row)| primitive::<UInt64Type>(a, row);
                refill(out, each().map(|at| at.map_or(0, value)));
            }
            ObsValues::Floats(out) => {
                refill(
                    out,
                    each().map(|at| at.map_or(f64::NAN, |(_, a, row)| number(a, row))),
                );
            }
            ObsValues::Booleans(out) => {
                let value = |(_, a, row): (_, &dyn Array, _)| a.as_boolean().value(row);
                refill(out, each().map(|at| at.is_some_and(value)));
            }
            ObsValues::Strings(out) => {
                // Each text goes into the memory of an earlier one.
                out.resize_with(rows.len(), String::new);
                for (out, at) in out.iter_mut().zip(each()) {
                    out.clear();
                    if let Some((_, array, row)) = at {
                        push_text(array, row, out);
                    }
                }
            }
        }
    }
}

fn refill<T>(out: &mut Vec<T>, values: impl Iterator<Item = T>) {
    out.clear();
    out.extend(values);
}
