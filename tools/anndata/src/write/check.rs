//! What an AnnData file cannot hold, found in a table before it is written: here, and when it is converted to a store, so that
//! no store has what its export would refuse.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, GenericStringArray, OffsetSizeTrait, RecordBatch};
use arrow_schema::{DataType, Field, Schema};

use super::column::{number, number_bytes};
use super::error::{ColumnFault, ColumnProblem};

/// Deepest nesting of a column whose name has slashes.
const MAX_NAME_PARTS: usize = 16;

/// Looks at a table, batch by batch.
#[derive(Debug)]
pub struct TableCheck {
    names: Vec<String>,
    /// The column that has the name of the index: it must be equal to it.
    twin: Option<usize>,
    /// The categories of each column that were looked at last.
    categories: Vec<Option<ArrayRef>>,
    rows: u64,
}

impl TableCheck {
    /// Looks at names and types. The first field is the index.
    ///
    /// # Errors
    /// The first column that AnnData cannot hold.
    pub fn new(schema: &Schema) -> Result<Self, ColumnFault> {
        let names: Vec<String> = names(schema);
        let mut taken = Names::default();
        let mut twin = None;
        for (place, (name, field)) in names.iter().zip(schema.fields()).enumerate() {
            let fault = |problem| ColumnFault::new(name, problem);
            check_type(field.data_type()).map_err(fault)?;
            if place > 0 && twin.is_none() && *name == names[0] && name != "_index" {
                twin = Some(place);
                continue;
            }
            if place > 0 && name == "_index" {
                return Err(fault(ColumnProblem::Name));
            }
            if !is_possible(name) {
                return Err(fault(ColumnProblem::Name));
            }
            if !taken.take(name) {
                return Err(fault(ColumnProblem::Collision));
            }
        }
        Ok(Self {
            categories: vec![None; names.len()],
            names,
            twin,
            rows: 0,
        })
    }

    /// The column that has the name, and the values, of the index.
    pub(super) fn twin(&self) -> Option<usize> {
        self.twin
    }

    /// Looks at the next rows, which have the columns of the schema.
    ///
    /// # Errors
    /// The first column that AnnData cannot hold.
    pub fn batch(&mut self, batch: &RecordBatch) -> Result<(), ColumnFault> {
        for (place, array) in batch.columns().iter().enumerate() {
            self.column(place, array)
                .map_err(|problem| ColumnFault::new(&self.names[place], problem))?;
        }
        if let Some(twin) = self.twin
            && batch.column(0) != batch.column(twin)
        {
            return Err(ColumnFault::new(&self.names[twin], ColumnProblem::UnlikeIndex));
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    fn column(&mut self, place: usize, array: &ArrayRef) -> Result<(), ColumnProblem> {
        if place == 0 && array.null_count() > 0 {
            return Err(ColumnProblem::NullIndex);
        }
        match array.data_type() {
            DataType::Dictionary(..) => {
                let labels = array.as_any_dictionary().values();
                let known = self.categories[place].as_ref();
                if known.is_none_or(|known| !Arc::ptr_eq(known, labels)) {
                    check_categories(labels)?;
                    self.categories[place] = Some(Arc::clone(labels));
                }
                Ok(())
            }
            _ => check_texts(array, self.rows),
        }
    }
}

/// Names of the members of a table: that of the index, then those of the columns.
pub(super) fn names(schema: &Schema) -> Vec<String> {
    let fields = schema.fields().iter().enumerate();
    fields
        .map(|(place, field)| match place {
            0 => index_name(field).to_owned(),
            _ => field.name().clone(),
        })
        .collect()
}

/// The index's name in AnnData, where `_index` stands for an index without name.
fn index_name(field: &Field) -> &str {
    field
        .metadata()
        .get("anndata.index_name")
        .map(String::as_str)
        .filter(|name| !name.is_empty())
        .unwrap_or("_index")
}

/// Whether AnnData takes this name for a column of a table.
pub(crate) fn is_column_name(name: &str) -> bool {
    name != "_index" && is_possible(name)
}

/// Whether a member of a table may have this name. One with slashes nests as groups, as it does when anndata writes it; so every part
/// must be a possible name.
fn is_possible(name: &str) -> bool {
    !name.contains('\0')
        && name.split('/').count() <= MAX_NAME_PARTS
        && name.split('/').all(|part| !part.is_empty() && part != ".")
}

/// Paths that have been given away.
#[derive(Debug, Default)]
struct Names {
    members: HashSet<String>,
    groups: HashSet<String>,
}

impl Names {
    /// Whether the path is free: neither taken, nor below one that is, nor above one.
    fn take(&mut self, path: &str) -> bool {
        let above: Vec<&str> = path.match_indices('/').map(|(at, _)| &path[..at]).collect();
        let is_free = !self.members.contains(path)
            && !self.groups.contains(path)
            && above.iter().all(|above| !self.members.contains(*above));
        self.groups.extend(above.into_iter().map(str::to_owned));
        self.members.insert(path.to_owned());
        is_free
    }
}

fn check_type(data_type: &DataType) -> Result<(), ColumnProblem> {
    let is_plain = |data_type: &DataType| {
        matches!(data_type, DataType::Utf8 | DataType::LargeUtf8) || number(data_type).is_some()
    };
    let is_known = match data_type {
        DataType::Dictionary(_, labels) => is_plain(labels),
        other => is_plain(other),
    };
    match is_known {
        true => Ok(()),
        false => Err(ColumnProblem::Type(data_type.clone())),
    }
}

/// Looks for NUL in text. `first_row` is the number of the first element.
fn check_texts(array: &dyn Array, first_row: u64) -> Result<(), ColumnProblem> {
    match array.data_type() {
        DataType::Utf8 => check_strings(array.as_string::<i32>(), first_row),
        DataType::LargeUtf8 => check_strings(array.as_string::<i64>(), first_row),
        _ => Ok(()),
    }
}

fn check_strings<O: OffsetSizeTrait>(
    strings: &GenericStringArray<O>,
    first_row: u64,
) -> Result<(), ColumnProblem> {
    let offsets = strings.value_offsets();
    let (Some(start), Some(end)) = (offsets.first(), offsets.last()) else {
        return Ok(());
    };
    // All texts at once, since nearly none has any.
    if !strings.value_data()[start.as_usize()..end.as_usize()].contains(&0) {
        return Ok(());
    }
    let has_nul = |text: Option<&str>| text.is_some_and(|text| text.contains('\0'));
    match strings.iter().position(has_nul) {
        Some(row) => Err(ColumnProblem::Nul {
            row: first_row + row as u64,
        }),
        None => Ok(()),
    }
}

/// Pandas needs categories to be unique and present.
fn check_categories(labels: &ArrayRef) -> Result<(), ColumnProblem> {
    check_texts(labels, 0)?;
    match category_keys(labels) {
        Some(keys) if labels.null_count() == 0 => {
            let mut seen = HashSet::with_capacity(keys.len());
            match keys
                .iter()
                .all(|key| key.as_ref().is_some_and(|key| seen.insert(key)))
            {
                true => Ok(()),
                false => Err(ColumnProblem::BadCategories),
            }
        }
        Some(_) => Err(ColumnProblem::BadCategories),
        None => Err(ColumnProblem::Type(labels.data_type().clone())),
    }
}

/// What tells categories apart, as pandas does: `None` for one that is missing, of which NaN is one; -0 and 0 are alike. Nothing if the
/// type has no categories.
pub(crate) fn category_keys(labels: &dyn Array) -> Option<Vec<Option<Vec<u8>>>> {
    macro_rules! floats {
        ($type:ty, $zero:expr) => {
            labels
                .as_primitive::<$type>()
                .iter()
                .map(|label| {
                    let label = label.filter(|label| !label.is_nan())?;
                    let label = if label == $zero { $zero } else { label };
                    Some(label.to_le_bytes().to_vec())
                })
                .collect()
        };
    }
    let of_text = |text: Option<&str>| text.map(|text| text.as_bytes().to_vec());
    Some(match labels.data_type() {
        DataType::Utf8 => labels.as_string::<i32>().iter().map(of_text).collect(),
        DataType::LargeUtf8 => labels.as_string::<i64>().iter().map(of_text).collect(),
        DataType::Float16 => floats!(Float16Type, Default::default()),
        DataType::Float32 => floats!(Float32Type, 0.0),
        DataType::Float64 => floats!(Float64Type, 0.0),
        other => {
            let datatype = number(other)?;
            let bytes = number_bytes(labels, datatype, None);
            let keys = bytes.chunks_exact(datatype.size_bytes()).enumerate();
            keys.map(|(row, key)| labels.is_valid(row).then(|| key.to_vec()))
                .collect()
        }
    })
}
