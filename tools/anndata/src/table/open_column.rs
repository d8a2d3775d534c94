//! Opens the columns of a data frame, as each is encoded.

use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef, StringArray};
use arrow_schema::{DataType, Field};

use super::column::{Column, NamedLabels};
use super::leaf::Leaf;
use super::repair::repaired;
use crate::container::{Array, Class, Enumeration, IntKind, Kind, Member, SourceFile};
use crate::error::{ReadError, Result};
use crate::metadata::{CATEGORIES_ENCODING, CATEGORIES_NA_VALUE, ENCODING, NA_VALUE, ORDERED};

/// What was repaired in a column, on its way to the warnings of its table.
pub(super) const NOTE: &str = "note";

/// A column and its field (of a provisional name), or why its encoding is not known.
pub(super) enum Opened {
    Column(Box<Column>, Field),
    Unknown(String),
}

/// Opens the column at `path`, which must have `n_rows` rows if that is known.
pub(super) fn open(file: &Arc<SourceFile>, path: &str, n_rows: Option<u64>) -> Result<Opened> {
    let Some(kind) = file.kind(path)? else {
        return Ok(Opened::Unknown("is listed but does not exist".to_owned()));
    };
    let encoding = file.text_attribute(path, kind, "encoding-type")?;
    let opened = match kind {
        // Before 0.8 a categorical was a dataset of codes that refers to its labels.
        Kind::Dataset if file.attribute(path, kind, "categories")?.is_some() => {
            let (group, name) = path.rsplit_once('/').unwrap_or(("", path));
            let labels = format!("{group}/__categories/{name}");
            open_coded(file, path, Array::open(file, path)?, &labels, &labels)?
        }
        Kind::Dataset => match open_leaf(file, path)? {
            Ok(Plain::Named(members)) => open_named(path, Array::open(file, path)?, members)?,
            Ok(Plain::Leaf(leaf)) => {
                let encoding = encoding.unwrap_or_else(|| leaf.encoding().to_owned());
                let field = Field::new(path, leaf.data_type().clone(), false);
                Opened::Column(
                    Box::new(Column::Plain(leaf)),
                    with(field, &[(ENCODING, &encoding)]),
                )
            }
            Err(why) => Opened::Unknown(why),
        },
        Kind::Group => match encoding.as_deref() {
            Some("categorical") => open_categorical(file, path)?,
            Some(encoding) if encoding.starts_with("nullable-") => open_nullable(file, path, encoding)?,
            Some(other) => Opened::Unknown(format!("has encoding-type {other}, which is not known")),
            None => Opened::Unknown("is a group without encoding-type".to_owned()),
        },
    };
    if let Opened::Column(column, _) = &opened
        && let Some(n_rows) = n_rows
        && column.len() != n_rows
    {
        return Err(file.invalid(path, format!("it has {} rows, its table {n_rows}", column.len())));
    }
    Ok(opened)
}

/// A column of one-byte integers as booleans; any other as it is.
pub(super) fn as_flags(opened: Opened) -> Opened {
    match opened {
        Opened::Column(column, field) => {
            let column = match *column {
                Column::Plain(leaf) => Column::Plain(leaf.into_flags()),
                other => other,
            };
            let field = match &column {
                Column::Plain(leaf) => field.with_data_type(leaf.data_type().clone()),
                _ => field,
            };
            Opened::Column(Box::new(column), field)
        }
        unknown => unknown,
    }
}

/// A dataset of one dimension.
enum Plain {
    Leaf(Leaf),
    /// Of an enum.
    Named(Arc<Enumeration>),
}

/// Opens a dataset of one dimension and a known element type, or says why it is not one.
fn open_leaf(file: &Arc<SourceFile>, path: &str) -> Result<std::result::Result<Plain, String>> {
    let description = file.describe(path)?;
    if description.shape.len() != 1 {
        return Ok(Err(format!(
            "has {} dimensions, expected 1",
            description.shape.len()
        )));
    }
    if let Class::Enum(members) = description.element.class {
        return Ok(Ok(Plain::Named(members)));
    }
    match Leaf::data_type_of(&description.element) {
        Some(data_type) => Ok(Ok(Plain::Leaf(Leaf::new(Array::open(file, path)?, data_type)))),
        None => Ok(Err(format!(
            "holds {}, which is not known",
            description.element.name()
        ))),
    }
}

fn open_nullable(file: &Arc<SourceFile>, path: &str, encoding: &str) -> Result<Opened> {
    let values = match open_leaf(file, &member(file, path, "values")?)? {
        // Not every writer has booleans.
        Ok(Plain::Leaf(values)) if encoding == "nullable-boolean" => match values.into_truths() {
            Some(values) => values,
            None => return Ok(Opened::Unknown("has values that are not boolean".to_owned())),
        },
        Ok(Plain::Leaf(values)) => values,
        Ok(Plain::Named(_)) => return Ok(Opened::Unknown("has values of an enum".to_owned())),
        Err(why) => return Ok(Opened::Unknown(format!("/values {why}"))),
    };
    let mask = match open_leaf(file, &member(file, path, "mask")?)? {
        Ok(Plain::Leaf(mask)) => match mask.into_truths() {
            Some(mask) => mask,
            None => return Ok(Opened::Unknown("has a mask that is not boolean".to_owned())),
        },
        Ok(Plain::Named(_)) => return Ok(Opened::Unknown("has a mask that is not boolean".to_owned())),
        Err(why) => return Ok(Opened::Unknown(format!("/mask {why}"))),
    };
    if values.len() != mask.len() {
        let detail = format!("it has {} values and a mask of {}", values.len(), mask.len());
        return Err(file.invalid(path, detail));
    }
    let mut field = with(
        Field::new(path, values.data_type().clone(), true),
        &[(ENCODING, encoding)],
    );
    if let Some(na_value) = file.text_attribute(path, Kind::Group, "na-value")? {
        field = with(field, &[(NA_VALUE, &na_value)]);
    }
    Ok(Opened::Column(Box::new(Column::Nullable { values, mask }), field))
}

fn open_categorical(file: &Arc<SourceFile>, path: &str) -> Result<Opened> {
    let codes_path = member(file, path, "codes")?;
    let codes = Array::open(file, &codes_path)?;
    let labels = member(file, path, "categories")?;
    open_coded(file, path, codes, &labels, path)
}

/// Whether an object is a categorical of AnnData, of 0.8 and later or of before.
fn is_categorical(file: &SourceFile, path: &str) -> Result<bool> {
    let Some(kind) = file.kind(path)? else {
        return Ok(false);
    };
    let encoding = file.text_attribute(path, kind, "encoding-type")?;
    Ok(encoding.as_deref() == Some("categorical")
        || (kind == Kind::Dataset && file.attribute(path, kind, "categories")?.is_some()))
}

/// Opens a categorical column of these codes. The attribute `ordered` is that of the object `about`.
fn open_coded(
    file: &Arc<SourceFile>,
    path: &str,
    codes: Array,
    labels_path: &str,
    about: &str,
) -> Result<Opened> {
    let element = codes.element();
    let Some(kind) = IntKind::for_element(element) else {
        let name = element.name();
        return Ok(Opened::Unknown(format!("has codes of {name}, expected integers")));
    };
    // Keys are signed; unsigned codes need the next width.
    let is_signed = element.class == Class::Int { signed: true };
    let key = match (element.size_bytes, is_signed) {
        (1, true) => DataType::Int8,
        (1, false) | (2, true) => DataType::Int16,
        (2, false) | (4, true) => DataType::Int32,
        _ => DataType::Int64,
    };
    let nested = || {
        Ok(Opened::Unknown(
            "has categories that are categorical themselves".to_owned(),
        ))
    };
    // Before they are opened: a link may lead back to the column itself.
    if is_categorical(file, labels_path)? {
        return nested();
    }
    let (labels, labels_field) = match open_labels(file, labels_path)? {
        Opened::Column(_, field) if matches!(field.data_type(), DataType::Dictionary(..)) => return nested(),
        Opened::Column(column, field) => (column.read(0..column.len())?, field),
        Opened::Unknown(why) => return Ok(Opened::Unknown(format!("/categories {why}"))),
    };
    let ordered = match file.kind(about)? {
        Some(kind) => file.flag_attribute(about, kind, "ordered")?.unwrap_or(false),
        None => false,
    };
    let data_type = DataType::Dictionary(Box::new(key.clone()), Box::new(labels.data_type().clone()));
    let field = Field::new(path, data_type, true).with_dict_is_ordered(ordered);
    let field = with(
        field,
        &[
            (ENCODING, "categorical"),
            (ORDERED, if ordered { "true" } else { "false" }),
        ],
    );
    let field = with_encoding_of(field, &labels_field);
    let repair = repaired(&labels);
    let column = Column::Categorical {
        codes: Box::new(codes),
        kind,
        key: key.clone(),
        labels,
    };
    Ok(match repair {
        None => Opened::Column(Box::new(column), field),
        Some((categories, note)) => {
            let inner = Box::new(column);
            let column = Column::Repaired {
                inner,
                key,
                categories,
            };
            Opened::Column(Box::new(column), with(field, &[(NOTE, &note)]))
        }
    })
}

/// Opens the labels of a categorical. AnnData before 0.7 wrote a single label as a scalar.
fn open_labels(file: &Arc<SourceFile>, path: &str) -> Result<Opened> {
    match file.kind(path)? {
        Some(Kind::Dataset) if file.describe(path)?.shape.is_empty() => {
            Ok(open_plain(path.to_owned(), Array::open_scalar(file, path)?))
        }
        _ => open(file, path, None),
    }
}

/// A column of numbers, booleans or texts.
fn open_plain(path: String, array: Array) -> Opened {
    let Some(data_type) = Leaf::data_type_of(array.element()) else {
        let name = array.element().name();
        return Opened::Unknown(format!("holds {name}, which is not known"));
    };
    let leaf = Leaf::new(array, data_type);
    let field = Field::new(path, leaf.data_type().clone(), false);
    let field = with(field, &[(ENCODING, leaf.encoding())]);
    Opened::Column(Box::new(Column::Plain(leaf)), field)
}

/// Notes how the labels of a categorical are stored, where that is another way than a plain array.
fn with_encoding_of(field: Field, labels: &Field) -> Field {
    let about = |key| labels.metadata().get(key).map(String::as_str);
    let Some(encoding) = about(ENCODING).filter(|encoding| encoding.starts_with("nullable-")) else {
        return field;
    };
    let field = with(field, &[(CATEGORIES_ENCODING, encoding)]);
    match about(NA_VALUE) {
        Some(na_value) => with(field, &[(CATEGORIES_NA_VALUE, na_value)]),
        None => field,
    }
}

/// Opens a column of an enum, whose members mean what they are called.
fn open_named(path: &str, codes: Array, members: Arc<Enumeration>) -> Result<Opened> {
    let Some(kind) = IntKind::of_numbered(codes.element()) else {
        let name = codes.element().name();
        return Ok(Opened::Unknown(format!("holds {name}, which is not known")));
    };
    let flag = |name: &String| match name.to_ascii_uppercase().as_str() {
        "FALSE" => Some(Some(false)),
        "TRUE" => Some(Some(true)),
        "NA" => Some(None),
        _ => None,
    };
    let flags: Option<Vec<Option<bool>>> = members.names.iter().map(flag).collect();
    let (labels, field) = match flags {
        Some(flags) => {
            let field = Field::new(path, DataType::Boolean, true);
            (
                NamedLabels::Flags(flags),
                with(field, &[(ENCODING, "nullable-boolean")]),
            )
        }
        None => {
            let names: ArrayRef = Arc::new(StringArray::from(members.names.clone()));
            let key = Box::new(DataType::Int32);
            let data_type = DataType::Dictionary(key, Box::new(names.data_type().clone()));
            let field = with(
                Field::new(path, data_type, true),
                &[(ENCODING, "categorical"), (ORDERED, "false")],
            );
            (NamedLabels::Categories(names), field)
        }
    };
    let column = Column::Named {
        codes: Box::new(codes),
        kind,
        members,
        labels,
    };
    Ok(Opened::Column(Box::new(column), field))
}

/// Opens a member of a table of records (AnnData before 0.7). The labels of categoricals lie in `uns/NAME_categories`.
pub(super) fn open_record(file: &Arc<SourceFile>, table: &str, record: &Member) -> Result<Opened> {
    let path = format!("{table}/{}", record.name);
    let array = Array::open_member(file, table, record)?;
    let labels = format!("uns/{}_categories", record.name);
    if matches!(record.element.class, Class::Int { .. }) && file.kind(&labels)? == Some(Kind::Dataset) {
        return open_coded(file, &path, array, &labels, &labels);
    }
    if let Class::Enum(members) = &record.element.class {
        return open_named(&path, array, Arc::clone(members));
    }
    Ok(open_plain(path, array))
}

/// Path of a dataset or group that an encoding requires.
fn member(file: &Arc<SourceFile>, path: &str, name: &str) -> Result<String> {
    let path = format!("{path}/{name}");
    if file.kind(&path)?.is_none() {
        return Err(ReadError::Missing {
            file: file.path().to_owned(),
            object: path,
            expected: "a part of that column",
        });
    }
    Ok(path)
}

fn with(field: Field, entries: &[(&str, &str)]) -> Field {
    let mut metadata = field.metadata().clone();
    metadata.extend(
        entries
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned())),
    );
    field.with_metadata(metadata)
}
