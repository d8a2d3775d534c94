//! Opens the data frames of a file: which columns there are, and what is odd about them.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_schema::Field;

use super::frame::Frame;
use super::open_column::{self as column, Opened};
use super::source::TableSource;
use crate::container::{Class, Kind, SourceFile};
use crate::error::{ReadError, Result};
use crate::metadata::{INDEX_NAME, ROLE};

/// The frame of a file as it is found: what its columns are called, and how each is opened.
struct Listing {
    index_name: String,
    index: Opened,
    columns: Vec<(String, Opened)>,
    warnings: Vec<String>,
}

/// Opens the data frame at `group`.
pub(crate) fn open(file: &Arc<SourceFile>, group: &str) -> Result<TableSource> {
    let legacy_raw = group.replace('/', ".");
    let (group, kind) = match (file.kind(group)?, file.kind(&legacy_raw)?) {
        (Some(kind), _) => (group, kind),
        // As AnnData before 0.7 wrote raw/var.
        (None, Some(kind)) => (legacy_raw.as_str(), kind),
        (None, None) => {
            return Err(ReadError::Missing {
                file: file.path().to_owned(),
                object: group.to_owned(),
                expected: "a data frame",
            });
        }
    };
    let listing = match kind {
        Kind::Group => list_group(file, group)?,
        Kind::Dataset => list_records(file, group)?,
    };
    assemble(file, group, listing)
}

/// A dataset that is to be a column.
pub(crate) struct Member {
    /// Name of the column.
    pub(crate) name: String,
    /// Where the dataset is.
    pub(crate) path: String,
    /// Whether its numbers stand for booleans.
    pub(crate) is_flag: bool,
}

/// Opens a table of these members of a file; the first is the index. All must be there.
pub(crate) fn of_members(
    file: &Arc<SourceFile>,
    group: &str,
    members: Vec<Member>,
    warnings: Vec<String>,
) -> Result<TableSource> {
    let mut opened = Vec::with_capacity(members.len());
    let mut n_rows = None;
    for member in members {
        let mut column = column::open(file, &member.path, n_rows)?;
        if member.is_flag {
            column = column::as_flags(column);
        }
        if let Opened::Column(column, _) = &column {
            n_rows = Some(column.len());
        }
        opened.push((member.name, column));
    }
    let (index_name, index) = opened.remove(0);
    let listing = Listing {
        index_name,
        index,
        columns: opened,
        warnings,
    };
    assemble(file, group, listing)
}

/// A data frame of AnnData 0.7 and later: a group with a member for each column.
fn list_group(file: &Arc<SourceFile>, group: &str) -> Result<Listing> {
    let refuse = |form: String| {
        Err(ReadError::UnsupportedTable {
            file: file.path().to_owned(),
            object: group.to_owned(),
            form,
        })
    };
    let encoding = file.text_attribute(group, Kind::Group, "encoding-type")?;
    let version = file.text_attribute(group, Kind::Group, "encoding-version")?;
    match (encoding.as_deref(), version.as_deref()) {
        (Some("dataframe"), Some("0.2.0" | "0.1.0")) => {}
        (None, _) => return refuse("a group without encoding-type".to_owned()),
        (Some(encoding), version) => {
            let version = version.unwrap_or("missing");
            return refuse(format!("of encoding-type {encoding}, encoding-version {version}"));
        }
    }
    let Some(index_name) = file.text_attribute(group, Kind::Group, "_index")? else {
        let detail = "it has no attribute _index that names its index".to_owned();
        return Err(file.invalid(group, detail));
    };
    let Some(order) = file.texts_attribute(group, Kind::Group, "column-order")? else {
        let detail = "it has no attribute column-order that lists its columns".to_owned();
        return Err(file.invalid(group, detail));
    };
    let index = column::open(file, &format!("{group}/{index_name}"), None)?;
    let n_rows = match &index {
        Opened::Column(column, _) => Some(column.len()),
        Opened::Unknown(_) => None,
    };
    let mut columns = Vec::new();
    let mut warnings = Vec::new();
    let mut seen = HashSet::new();
    for name in order {
        let path = format!("{group}/{name}");
        if !seen.insert(name.clone()) {
            warnings.push(format!(
                "{path} is listed twice in column-order; the second one is skipped"
            ));
            continue;
        }
        let column = column::open(file, &path, n_rows)?;
        columns.push((name, column));
    }
    Ok(Listing {
        index_name,
        index,
        columns,
        warnings,
    })
}

/// A data frame of AnnData before 0.7: records, whose first member is the index.
fn list_records(file: &Arc<SourceFile>, table: &str) -> Result<Listing> {
    let description = file.describe(table)?;
    let Class::Compound(members) = &description.element.class else {
        return Err(ReadError::UnsupportedTable {
            file: file.path().to_owned(),
            object: table.to_owned(),
            form: format!("a dataset of {}", description.element.name()),
        });
    };
    let mut opened = Vec::with_capacity(members.len());
    for member in members {
        opened.push((member.name.clone(), column::open_record(file, table, member)?));
    }
    if opened.is_empty() {
        return Err(file.invalid(table, "its records have no members".to_owned()));
    }
    let (index_name, index) = opened.remove(0);
    Ok(Listing {
        index_name,
        index,
        columns: opened,
        warnings: Vec::new(),
    })
}

/// Puts a frame together: the index first, then the columns that could be opened.
fn assemble(file: &Arc<SourceFile>, group: &str, listing: Listing) -> Result<TableSource> {
    let index_name = listing.index_name;
    let mut warnings = listing.warnings;
    let (index, index_field) = match listing.index {
        Opened::Column(column, field) => (column, field),
        Opened::Unknown(why) => return Err(file.invalid(group, format!("its index {index_name} {why}"))),
    };
    let n_rows = index.len();
    let columns_of_listing = without_reserved_name(group, &index_name, listing.columns, &mut warnings);
    let mut field_name = index_name.clone();
    // AnnData reserves `_index`, so that this is nearly always enough.
    while columns_of_listing.iter().any(|(name, _)| *name == field_name) {
        field_name = if field_name == index_name && index_name != "_index" {
            "_index".to_owned()
        } else {
            format!("_{field_name}")
        };
    }
    let mut metadata = index_field.metadata().clone();
    let note = metadata.remove(column::NOTE);
    warnings.extend(note.map(|note| format!("{group}/{index_name} {note}")));
    metadata.insert(ROLE.to_owned(), "index".to_owned());
    metadata.insert(INDEX_NAME.to_owned(), index_name);
    let mut fields: Vec<Field> = vec![index_field.with_name(field_name).with_metadata(metadata)];
    let mut columns = vec![*index];
    for (name, opened) in columns_of_listing {
        match opened {
            Opened::Column(column, field) => {
                let mut metadata = field.metadata().clone();
                let note = metadata.remove(column::NOTE);
                warnings.extend(note.map(|note| format!("{group}/{name} {note}")));
                fields.push(field.with_name(name).with_metadata(metadata));
                columns.push(*column);
            }
            Opened::Unknown(why) => warnings.push(format!("{group}/{name} {why}; the column is skipped")),
        }
    }
    let (rows, place) = (Frame(columns), (file.path(), group));
    Ok(TableSource::new(place, n_rows, fields, rows, warnings))
}

/// The columns, none of which is called `_index`: anndata reserves that name for indexes and refuses to write such a column.
fn without_reserved_name(
    group: &str,
    index_name: &str,
    mut columns: Vec<(String, Opened)>,
    warnings: &mut Vec<String>,
) -> Vec<(String, Opened)> {
    const RESERVED: &str = "_index";
    if index_name == RESERVED {
        columns.retain(|(name, _)| {
            let is_index = name == RESERVED;
            if is_index {
                warnings.push(format!(
                    "{group}/{RESERVED} is the index but also listed in column-order; it is kept as the index only"
                ));
            }
            !is_index
        });
        return columns;
    }
    let candidates = std::iter::once("index".to_owned()).chain((1..).map(|number| format!("index_{number}")));
    let is_free = |wanted: &String| wanted != index_name && columns.iter().all(|(name, _)| name != wanted);
    let free = candidates.into_iter().find(is_free).unwrap_or_default();
    if let Some((name, _)) = columns.iter_mut().find(|(name, _)| name == RESERVED) {
        warnings.push(format!(
            "{group}/{RESERVED} has a name that anndata reserves; the column is renamed to {free}"
        ));
        *name = free;
    }
    columns
}
