//! Minibatches.

use cellring::format::ValueBuffer;
use cellring::minibatch::{ArrayRole, Layout, MatrixTensors, ObsColumn, ObsValues, Tensors};
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyIndexError, PyKeyError};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::arrays::Array;

/// Some cells: the arrays of `cellring.Minibatch`, which is what users see.
#[pyclass(frozen, module = "cellring._cellring")]
pub(crate) struct Minibatch {
    tensors: Tensors,
}

impl Minibatch {
    pub(crate) fn new(minibatch: cellring::Minibatch) -> Self {
        Self {
            tensors: minibatch.into_tensors(),
        }
    }

    fn matrix(&self, matrix: usize) -> PyResult<&MatrixTensors> {
        self.tensors
            .matrices()
            .get(matrix)
            .ok_or_else(|| no_matrix(matrix))
    }
}

#[pymethods]
impl Minibatch {
    #[getter]
    fn number(&self) -> u64 {
        self.tensors.number()
    }

    #[getter]
    fn is_padding(&self) -> bool {
        self.tensors.is_padding()
    }

    /// "csr", "dense" or "top_k".
    fn layout(&self, matrix: usize) -> PyResult<&'static str> {
        Ok(layout_name(self.matrix(matrix)?.layout))
    }

    fn shape(&self, matrix: usize) -> PyResult<(usize, usize)> {
        let [rows, columns] = self.matrix(matrix)?.shape;
        Ok((rows, columns))
    }

    /// An array of a matrix: "indptr", "indices", "values" or "lens".
    fn array(&self, matrix: usize, role: &str) -> PyResult<Array> {
        let tensor = self.matrix(matrix)?.tensor(role_named(role)?);
        let tensor = tensor.ok_or_else(|| PyKeyError::new_err("the layout has no such array"))?;
        Ok(Array::new(tensor.clone()))
    }

    /// `indptr`, `indices` and `values` of a sparse matrix.
    fn csr(&self, matrix: usize) -> PyResult<(Array, Array, Array)> {
        Ok((
            self.array(matrix, "indptr")?,
            self.array(matrix, "indices")?,
            self.array(matrix, "values")?,
        ))
    }

    /// As `csr`, as capsules of DLPack from before version 1, which every torch takes: one call, for it is made for every minibatch.
    fn csr_capsules<'py>(&self, py: Python<'py>, matrix: usize) -> PyResult<[Bound<'py, PyCapsule>; 3]> {
        let capsule = |role: &str| self.array(matrix, role)?.capsule(py);
        Ok([capsule("indptr")?, capsule("indices")?, capsule("values")?])
    }

    /// The number of each cell, int64.
    fn ids(&self) -> Array {
        ids(self.tensors.obs())
    }

    /// Names of the obs columns.
    fn columns(&self) -> Vec<&str> {
        column_names(self.tensors.columns())
    }

    /// An obs column: its values (an array, codes as int64; or a list of texts), and whether each is there, if any is missing.
    fn column<'py>(&self, py: Python<'py>, column: usize) -> PyResult<Column<'py>> {
        values_of_column(py, self.tensors.columns(), column)
    }
}

// What minibatches in the memory of the host and of a GPU have in common.

pub(crate) fn no_matrix(matrix: usize) -> PyErr {
    PyIndexError::new_err(format!("there is no matrix {matrix}"))
}

pub(crate) fn layout_name(layout: Layout) -> &'static str {
    match layout {
        Layout::Dense => "dense",
        Layout::TopK(_) => "top_k",
        _ => "csr",
    }
}

pub(crate) fn role_named(name: &str) -> PyResult<ArrayRole> {
    Ok(match name {
        "indptr" => ArrayRole::Indptr,
        "indices" => ArrayRole::Indices,
        "values" => ArrayRole::Values,
        "lens" => ArrayRole::Lens,
        _ => return Err(PyKeyError::new_err(name.to_owned())),
    })
}

pub(crate) fn ids(obs: &[u64]) -> Array {
    let ids = obs.iter().map(|&obs| obs as i64).collect();
    Array::new(ValueBuffer::I64(ids).into())
}

pub(crate) fn column_names(columns: &[ObsColumn]) -> Vec<&str> {
    columns.iter().map(|column| column.name.as_str()).collect()
}

/// The values of an obs column, and whether each is there, if any is missing.
pub(crate) type Column<'py> = (Bound<'py, PyAny>, Option<Array>);

pub(crate) fn values_of_column<'py>(
    py: Python<'py>,
    columns: &[ObsColumn],
    place: usize,
) -> PyResult<Column<'py>> {
    let found = columns.get(place);
    let found = found.ok_or_else(|| PyIndexError::new_err(format!("there is no column {place}")))?;
    let valid = found.valid.clone();
    let valid = valid.map(|valid| Array::new(ValueBuffer::Bool(valid).into()));
    let values = match &found.values {
        ObsValues::Codes(codes) => ValueBuffer::I64(codes.iter().map(|&code| code.into()).collect()),
        ObsValues::Integers(integers) => ValueBuffer::I64(integers.clone()),
        ObsValues::Unsigned(integers) => ValueBuffer::U64(integers.clone()),
        ObsValues::Floats(floats) => ValueBuffer::F64(floats.clone()),
        ObsValues::Booleans(booleans) => ValueBuffer::Bool(booleans.clone()),
        ObsValues::Strings(texts) => return Ok((texts.as_slice().into_bound_py_any(py)?, valid)),
        _ => return Err(PyKeyError::new_err("a column of an unknown kind")),
    };
    Ok((Array::new(values.into()).into_bound_py_any(py)?, valid))
}
