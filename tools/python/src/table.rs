//! The `obs` and `var` tables, as Arrow.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{Array as _, ArrayRef, RecordBatch, RecordBatchReader, new_empty_array, types};
use arrow_schema::ffi::FFI_ArrowSchema;
use arrow_schema::{ArrowError, DataType, Field, SchemaRef};
use cellring::Store;
use cellring::format::ValueBuffer;
use cellring::format::constants::{ROLE_KEY, ROLE_SOURCE_POSITION};
use cellring_anndata::__internal::values_of;
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyDict, PyList};

use crate::arrays::Array;
use crate::error::{detached, refused, to_python};

/// A table of a store: anything that takes Arrow's PyCapsule interface takes it (pyarrow, polars, duckdb, pandas).
#[pyclass(frozen, module = "cellring._cellring")]
pub(crate) struct Table {
    store: Arc<Store>,
    is_obs: bool,
}

impl Table {
    pub(crate) fn new(store: Arc<Store>, is_obs: bool) -> Self {
        Self { store, is_obs }
    }

    fn table(&self) -> &cellring::format::table::Table {
        table(&self.store, self.is_obs)
    }

    /// The fields that come from the source, with their places: all but the places in the source.
    fn kept(&self, py: Python<'_>) -> PyResult<(Vec<usize>, SchemaRef)> {
        let schema = self.table().schema().map_err(|error| to_python(py, &error))?;
        let fields = schema.fields().iter().enumerate();
        let kept: Vec<usize> = fields
            .filter(|(_, field)| role(field) != Some(ROLE_SOURCE_POSITION))
            .map(|(place, _)| place)
            .collect();
        let schema = schema.project(&kept).map_err(arrow)?;
        Ok((kept, Arc::new(schema)))
    }
}

fn table(store: &Store, is_obs: bool) -> &cellring::format::table::Table {
    match is_obs {
        true => store.obs(),
        false => store.var(),
    }
}

fn role(field: &Field) -> Option<&str> {
    field.metadata().get(ROLE_KEY).map(String::as_str)
}

#[pymethods]
impl Table {
    #[getter]
    fn n_rows(&self) -> u64 {
        self.table().n_rows()
    }

    /// Name of each column, and what the source says of it besides Arrow's type; the first is the index.
    fn fields(&self, py: Python<'_>) -> PyResult<Vec<(String, HashMap<String, String>)>> {
        let (_, schema) = self.kept(py)?;
        let fields = schema.fields().iter();
        Ok(fields
            .map(|field| {
                let metadata = field.metadata().iter();
                let metadata = metadata.map(|(key, value)| (key.to_string(), value.to_string()));
                (field.name().clone(), metadata.collect())
            })
            .collect())
    }

    /// A column by its place in `fields`.
    fn column<'py>(&self, py: Python<'py>, place: usize) -> PyResult<Bound<'py, PyDict>> {
        let (kept, _) = self.kept(py)?;
        let place = *kept
            .get(place)
            .ok_or_else(|| PyIndexError::new_err(format!("there is no column {place}")))?;
        let table = self.table();
        let arrays = detached(py, || {
            // That column alone: others would take their memory, too.
            let mut arrays = table.column_at(place)?.batches().to_vec();
            if arrays.is_empty() {
                // A table without rows has no batch, but columns of some type.
                arrays.push(new_empty_array(table.schema()?.field(place).data_type()));
            }
            Ok(arrays)
        })?;
        column(py, &arrays)
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        let (_, schema) = self.kept(py)?;
        let schema = FFI_ArrowSchema::try_from(schema.as_ref()).map_err(arrow)?;
        PyCapsule::new_with_value(py, schema, c"arrow_schema")
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        // The protocol lets a producer give what it has.
        drop(requested_schema);
        let (kept, schema) = self.kept(py)?;
        let reader = Batches {
            store: self.store.clone(),
            is_obs: self.is_obs,
            kept,
            schema,
            next: 0,
        };
        let stream = FFI_ArrowArrayStream::new(Box::new(reader));
        PyCapsule::new_with_value(py, stream, c"arrow_array_stream")
    }
}

/// A column as arrays that numpy takes: `kind` ("number", "text" or "category"), `values` (codes, of categories, -1 where one is
/// missing), `valid` (or None if nothing is missing), `categories` (a column of its own).
fn column<'py>(py: Python<'py>, arrays: &[ArrayRef]) -> PyResult<Bound<'py, PyDict>> {
    let made = PyDict::new(py);
    let valid = || {
        let valid = arrays
            .iter()
            .flat_map(|array| (0..array.len()).map(|row| array.is_valid(row)));
        Array::new(ValueBuffer::Bool(valid.collect()).into())
    };
    let has_nulls = arrays.iter().any(|array| array.null_count() > 0);
    made.set_item("valid", has_nulls.then(valid))?;
    let first = &arrays[0];
    match first.data_type() {
        DataType::Dictionary(..) => {
            let mut codes = Vec::new();
            for array in arrays {
                let dictionary = array.as_any_dictionary();
                let keys = dictionary.keys();
                // Without a category every value is missing, and arrow has no place for those.
                let places = match dictionary.values().is_empty() {
                    true => vec![0; keys.len()],
                    false => dictionary.normalized_keys(),
                };
                codes.extend((0..keys.len()).map(|row| match keys.is_valid(row) {
                    true => places[row] as i32,
                    false => -1,
                }));
            }
            made.set_item("kind", "category")?;
            made.set_item("values", Array::new(ValueBuffer::I32(codes).into()))?;
            made.set_item(
                "categories",
                column(py, &[first.as_any_dictionary().values().clone()])?,
            )?;
        }
        DataType::Utf8 | DataType::LargeUtf8 => {
            let list = PyList::empty(py);
            for array in arrays {
                match array.data_type() {
                    DataType::Utf8 => add_texts(&list, array.as_string::<i32>().iter())?,
                    _ => add_texts(&list, array.as_string::<i64>().iter())?,
                }
            }
            made.set_item("kind", "text")?;
            made.set_item("values", list)?;
        }
        _ => {
            made.set_item("kind", "number")?;
            made.set_item("is_half", *first.data_type() == DataType::Float16)?;
            made.set_item("values", numbers(py, arrays)?)?;
        }
    }
    Ok(made)
}

fn add_texts<'a>(list: &Bound<'_, PyList>, mut texts: impl Iterator<Item = Option<&'a str>>) -> PyResult<()> {
    texts.try_for_each(|text| list.append(text))
}

/// Numbers of all batches in one array; float16 as the uint16 with its bits.
fn numbers(py: Python<'_>, arrays: &[ArrayRef]) -> PyResult<Array> {
    if arrays[0].data_type() == &DataType::Float16 {
        let halves = arrays
            .iter()
            .flat_map(|array| array.as_primitive::<types::Float16Type>().values().iter());
        let bits = ValueBuffer::U16(halves.map(|half| half.to_bits()).collect());
        return Ok(Array::new(bits.into()));
    }
    let no_numbers = || {
        let found = arrays[0].data_type();
        let sentence = format!("a column of type {found} has no counterpart in numpy; read it with pyarrow");
        refused(py, &sentence)
    };
    let mut values = values_of(&arrays[0]).ok_or_else(no_numbers)?;
    for array in &arrays[1..] {
        values.append(&mut values_of(array).ok_or_else(no_numbers)?);
    }
    Ok(Array::new(values.into()))
}

fn arrow(error: ArrowError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// Reads a table batch by batch.
struct Batches {
    store: Arc<Store>,
    is_obs: bool,
    kept: Vec<usize>,
    schema: SchemaRef,
    next: usize,
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let table = table(&self.store, self.is_obs);
        let number = self.next;
        self.next += 1;
        let batch = table
            .n_batches()
            .and_then(|n| (number < n).then(|| table.batch(number)).transpose());
        let batch = batch
            .map_err(|error| ArrowError::ExternalError(Box::new(error)))
            .transpose()?;
        Some(batch.and_then(|batch| batch.project(&self.kept)))
    }
}

impl RecordBatchReader for Batches {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}
