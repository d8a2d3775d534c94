//! The columns of a table that several inputs have.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, Field, SchemaRef};

use super::error::JoinError;
use super::unify::{cast, code_type, merge, unify, value_type};
use crate::TableSource;
use crate::error::{ReadError, Result};
use crate::metadata::{ENCODING, INDEX_NAME, NA_VALUE, ORDERED, ROLE};
use crate::table::{JoinedColumn, JoinedKind, blame};

/// A table of an input.
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) schema: SchemaRef,
    /// Of each field that is categorical, its categories.
    categories: Vec<Option<ArrayRef>>,
}

impl Found {
    /// Looks at the columns of a table, and at its categories.
    pub(super) fn new(path: &Path, table: &TableSource) -> Result<Self> {
        let none = table.read(0..0)?;
        let categories = |column: &ArrayRef| {
            let codes = column.as_any_dictionary_opt()?;
            Some(codes.values().clone())
        };
        Ok(Self {
            path: path.to_owned(),
            schema: table.schema().clone(),
            categories: none.columns().iter().map(categories).collect(),
        })
    }

    fn is_nullable(&self, field: usize) -> bool {
        let field = self.schema.field(field);
        let encoding = field.metadata().get(ENCODING);
        encoding.is_some_and(|encoding| encoding.starts_with("nullable-"))
    }

    fn is_ordered(&self, field: usize) -> bool {
        let metadata = self.schema.field(field).metadata();
        metadata.get(ORDERED).is_some_and(|ordered| ordered == "true")
    }
}

/// The index and all columns that any of the tables has, in the order in which they are met; of those that are not wanted only
/// the ones that can be joined.
pub(super) fn join(
    table: &'static str,
    found: &[Found],
    wanted: Option<&[String]>,
    warnings: &mut Vec<String>,
) -> Result<Vec<JoinedColumn>> {
    let mut names: Vec<&str> = Vec::new();
    let mut known = HashSet::new();
    let mut places: Vec<HashMap<&str, usize>> = Vec::with_capacity(found.len());
    for table in found {
        let fields = table.schema.fields().iter().enumerate().skip(1);
        let of_table: HashMap<&str, usize> = fields
            .map(|(place, field)| (field.name().as_str(), place))
            .collect();
        let in_order = table
            .schema
            .fields()
            .iter()
            .skip(1)
            .map(|field| field.name().as_str());
        names.extend(in_order.filter(|name| known.insert(*name)));
        places.push(of_table);
    }
    let mut joined = vec![index(table, found, &known, warnings)?];
    for name in names {
        let places: Vec<Option<usize>> = places.iter().map(|places| places.get(name).copied()).collect();
        match column(table, name, found, places, warnings) {
            Ok(column) => joined.push(column),
            Err(ReadError::Join(_)) if wanted.is_some_and(|wanted| !wanted.iter().any(|w| w == name)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(joined)
}

/// The index keeps its name where all inputs agree on it. Names of different kinds become texts, as anndata makes them.
fn index(
    table: &'static str,
    found: &[Found],
    columns: &HashSet<&str>,
    warnings: &mut Vec<String>,
) -> Result<JoinedColumn> {
    let named = |table: &Found| table.schema.field(0).metadata().get(INDEX_NAME).cloned();
    let first = found.first().and_then(named);
    let agreed = first.filter(|first| found.iter().all(|table| named(table).as_ref() == Some(first)));
    let index_name = agreed.unwrap_or_else(|| "_index".to_owned());
    let mut name = index_name.clone();
    while columns.contains(name.as_str()) {
        name = format!("_{name}");
    }
    let places = vec![Some(0); found.len()];
    let (data_type, kind) = match plain_type(table, "index", found, &places).map_err(|error| *error) {
        Ok((data_type, _)) => (data_type, JoinedKind::Plain),
        Err(JoinError::ColumnKinds {
            first,
            first_type,
            other,
            other_type,
            ..
        }) => {
            warnings.push(format!(
                "the index of {table} holds {first_type} in {} and {other_type} in {}; all become texts, as in anndata",
                first.display(),
                other.display()
            ));
            let suffixes = vec![String::new(); found.len()];
            (DataType::Utf8, JoinedKind::Suffixed { suffixes })
        }
        Err(error) => return Err(error.into()),
    };
    let encoding = match &data_type {
        DataType::Utf8 => "string-array",
        _ => "array",
    };
    let metadata = HashMap::from([
        (ROLE.to_owned(), "index".to_owned()),
        (INDEX_NAME.to_owned(), index_name),
        (ENCODING.to_owned(), encoding.to_owned()),
    ]);
    Ok(JoinedColumn {
        field: Field::new(name, data_type, false).with_metadata(metadata),
        kind,
        places,
    })
}

/// One type for the values in all inputs, and how many of these have categories.
fn plain_type(
    table: &'static str,
    name: &str,
    found: &[Found],
    places: &[Option<usize>],
) -> std::result::Result<(DataType, usize), Box<JoinError>> {
    let mut so_far: Option<(DataType, &Found, usize)> = None;
    let (mut of_empty, mut n_categorical) = (None, 0);
    for (found, place) in found.iter().zip(places) {
        let Some(place) = *place else { continue };
        let data_type = found.schema.field(place).data_type();
        let values = value_type(data_type);
        if let Some(categories) = &found.categories[place] {
            n_categorical += 1;
            // No category is of any type; pandas writes these as of floats.
            if categories.is_empty() {
                of_empty.get_or_insert_with(|| values.clone());
                continue;
            }
        }
        so_far = Some(match so_far {
            None => (values.clone(), found, place),
            Some((before, first, first_place)) => match unify(&before, values) {
                Some(both) => (both, first, first_place),
                None => {
                    return Err(Box::new(JoinError::ColumnKinds {
                        table,
                        column: name.to_owned(),
                        first: first.path.clone(),
                        first_type: shown(first.schema.field(first_place).data_type()),
                        other: found.path.clone(),
                        other_type: shown(data_type),
                        remedy: match table {
                            "obs" => " with `obs_columns`",
                            _ => "",
                        },
                    }));
                }
            },
        });
    }
    let data_type = so_far.map(|(data_type, ..)| data_type).or(of_empty);
    Ok((data_type.unwrap_or(DataType::Utf8), n_categorical))
}

fn column(
    table: &'static str,
    name: &str,
    found: &[Found],
    places: Vec<Option<usize>>,
    warnings: &mut Vec<String>,
) -> Result<JoinedColumn> {
    let (data_type, n_categorical) = plain_type(table, name, found, &places).map_err(|error| *error)?;
    let n_having = places.iter().flatten().count();
    if n_categorical == n_having {
        return categorical(table, name, &data_type, found, places, warnings);
    }
    if n_categorical > 0 {
        warnings.push(format!(
            "the {table} column {name} is categorical in {n_categorical} of the {n_having} inputs that have it; it becomes a column of {}",
            shown(&data_type)
        ));
    }
    let having = || {
        found
            .iter()
            .zip(&places)
            .filter_map(|(found, place)| Some((found, (*place)?)))
    };
    let is_nullable = n_having < found.len()
        || n_categorical > 0
        || having().any(|(found, place)| found.is_nullable(place));
    let encoding = match (&data_type, is_nullable) {
        (DataType::Utf8, false) => "string-array",
        (DataType::Utf8, true) => "nullable-string-array",
        (DataType::Boolean, true) => "nullable-boolean",
        (data_type, true) if data_type.is_integer() => "nullable-integer",
        _ => "array",
    };
    let mut metadata = HashMap::from([(ENCODING.to_owned(), encoding.to_owned())]);
    let na_value = having().find_map(|(found, place)| found.schema.field(place).metadata().get(NA_VALUE));
    if let (true, Some(na_value)) = (encoding == "nullable-string-array", na_value) {
        metadata.insert(NA_VALUE.to_owned(), na_value.clone());
    }
    Ok(JoinedColumn {
        field: Field::new(name, data_type, is_nullable).with_metadata(metadata),
        kind: JoinedKind::Plain,
        places,
    })
}

/// Categories of all inputs in one list. It is ordered where all inputs' are and agree.
fn categorical(
    table: &'static str,
    name: &str,
    values: &DataType,
    found: &[Found],
    places: Vec<Option<usize>>,
    warnings: &mut Vec<String>,
) -> Result<JoinedColumn> {
    let wide = Field::new(name, values.clone(), true);
    let mut lists = Vec::with_capacity(found.len());
    let (mut n_ordered, mut n_having) = (0, 0);
    for (found, place) in found.iter().zip(&places) {
        let categories = place.and_then(|place| found.categories[place].as_ref());
        lists.push(match (categories, place) {
            (Some(categories), Some(place)) if !categories.is_empty() => {
                n_having += 1;
                n_ordered += usize::from(found.is_ordered(*place));
                cast(categories, values).map_err(|error| blame(error, &found.path, table, 0, &wide))?
            }
            _ => arrow_array::new_empty_array(values),
        });
    }
    let path = found
        .first()
        .map(|found| found.path.as_path())
        .unwrap_or(Path::new(""));
    let merged = merge(&lists, values).map_err(|error| blame(error, path, table, 0, &wide))?;
    let ordered = n_ordered > 0 && n_ordered == n_having && merged.orders_agree;
    if n_ordered > 0 && !ordered {
        warnings.push(format!(
            "the categories of the {table} column {name} are ordered in {n_ordered} of {n_having} inputs, or their orders do not agree, so the joined column has no order"
        ));
    }
    let key = code_type(merged.labels.len());
    let data_type = DataType::Dictionary(Box::new(key), Box::new(values.clone()));
    let metadata = HashMap::from([
        (ENCODING.to_owned(), "categorical".to_owned()),
        (ORDERED.to_owned(), ordered.to_string()),
    ]);
    let field = Field::new(name, data_type, true).with_dict_is_ordered(ordered);
    Ok(JoinedColumn {
        field: field.with_metadata(metadata),
        kind: JoinedKind::Categorical {
            labels: merged.labels,
            maps: merged.maps,
        },
        places,
    })
}

/// A type as messages name it.
fn shown(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 => "texts".to_owned(),
        DataType::Boolean => "booleans".to_owned(),
        DataType::Dictionary(_, values) => format!("categories of {}", shown(values)),
        other => format!("numbers ({other})").to_lowercase(),
    }
}
