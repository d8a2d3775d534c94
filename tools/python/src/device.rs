//! Minibatches on a GPU: copied there ahead of the consumer, and handed over by DLPack.
#![allow(
    unsafe_code,
    reason = "takes the streams of Python's libraries by their addresses"
)]

use std::ffi::c_void;
use std::sync::Arc;

use cellring::gpu::dlpack::CUDA;
use cellring::gpu::{Gpu, OnDevice, Stream};
use cellring::minibatch::{ArrayRole, Layout};
use pyo3::exceptions::{PyBufferError, PyKeyError};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::arrays::{self, Array};
use crate::error::to_python;
use crate::minibatch::{self, Column};

/// A GPU, and the stream that minibatches are copied on.
#[derive(Clone)]
pub(crate) struct Device {
    pub(crate) gpu: Gpu,
    pub(crate) copies: Stream,
}

impl Device {
    /// # Errors
    /// If there is no such device.
    pub(crate) fn open(ordinal: u32) -> cellring::Result<Self> {
        let gpu = Gpu::open(ordinal)?;
        let copies = gpu.stream()?;
        Ok(Self { gpu, copies })
    }
}

/// As `Minibatch`, with the arrays of its matrices on a GPU.
#[pyclass(frozen, module = "cellring._cellring")]
pub(crate) struct DeviceMinibatch {
    minibatch: Arc<OnDevice<cellring::Minibatch>>,
}

impl DeviceMinibatch {
    pub(crate) fn new(minibatch: OnDevice<cellring::Minibatch>) -> Self {
        let minibatch = Arc::new(minibatch);
        Self { minibatch }
    }

    fn form(&self, matrix: usize) -> PyResult<(Layout, [usize; 2])> {
        let form = self.minibatch.form(matrix);
        form.ok_or_else(|| minibatch::no_matrix(matrix))
    }
}

#[pymethods]
impl DeviceMinibatch {
    #[getter]
    fn number(&self) -> u64 {
        self.minibatch.number()
    }

    #[getter]
    fn is_padding(&self) -> bool {
        self.minibatch.is_padding()
    }

    /// As of `Minibatch`.
    fn layout(&self, matrix: usize) -> PyResult<&'static str> {
        Ok(minibatch::layout_name(self.form(matrix)?.0))
    }

    fn shape(&self, matrix: usize) -> PyResult<(usize, usize)> {
        let (_, [rows, columns]) = self.form(matrix)?;
        Ok((rows, columns))
    }

    /// An array of a matrix: "indptr", "indices", "values" or "lens".
    fn array(&self, matrix: usize, role: &str) -> PyResult<DeviceArray> {
        Ok(DeviceArray {
            minibatch: self.minibatch.clone(),
            matrix,
            role: minibatch::role_named(role)?,
        })
    }

    /// `indptr`, `indices` and `values` of a sparse matrix.
    fn csr(&self, matrix: usize) -> PyResult<(DeviceArray, DeviceArray, DeviceArray)> {
        let array = |role| self.array(matrix, role);
        Ok((array("indptr")?, array("indices")?, array("values")?))
    }

    /// The number of each cell, int64; in the memory of the host.
    fn ids(&self) -> Array {
        minibatch::ids(self.minibatch.obs())
    }

    /// Names of the obs columns.
    fn columns(&self) -> Vec<&str> {
        minibatch::column_names(self.minibatch.columns())
    }

    /// As of `Minibatch`; in the memory of the host.
    fn column<'py>(&self, py: Python<'py>, column: usize) -> PyResult<Column<'py>> {
        minibatch::values_of_column(py, self.minibatch.columns(), column)
    }
}

/// An array in the memory of a GPU: anything that takes DLPack takes it, without a copy.
///
/// It may be written to. The memory is written again when the last array of the minibatch is gone, and what was then on the streams of its
/// consumers is done.
#[pyclass(frozen, module = "cellring._cellring")]
pub(crate) struct DeviceArray {
    minibatch: Arc<OnDevice<cellring::Minibatch>>,
    matrix: usize,
    role: ArrayRole,
}

#[pymethods]
impl DeviceArray {
    fn __dlpack_device__(&self) -> (i32, u32) {
        (CUDA, self.minibatch.gpu().ordinal())
    }

    #[pyo3(signature = (*, stream=None, max_version=None, dl_device=None, copy=None))]
    fn __dlpack__<'py>(
        &self,
        py: Python<'py>,
        stream: Option<i64>,
        max_version: Option<(u32, u32)>,
        dl_device: Option<(i32, u32)>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        // The protocol's numbers: none, and 1, are the default stream, and 0 is what torch calls that.
        let stream = match stream {
            None | Some(0 | 1) => 0,
            Some(address) if address > 2 => address as usize,
            Some(other) => {
                return Err(PyBufferError::new_err(format!(
                    "stream={other} does not say which stream uses the array, after which its memory is used again: give the stream"
                )));
            }
        };
        if dl_device.is_some_and(|device| device != self.__dlpack_device__()) || copy == Some(true) {
            return Err(PyBufferError::new_err(
                "the array is handed over where it is, without a copy: import it, then copy or move it",
            ));
        }
        // SAFETY: by the protocol it is a stream of the consumer, in the context that all libraries of a process use. Those of torch live as
        // long as the process; whoever makes one of his own has to keep it as long as he keeps the array.
        let stream = unsafe { self.minibatch.gpu().stream_from_raw(stream as *mut c_void) };
        let capsule = self.minibatch.dlpack(self.matrix, self.role, &stream);
        let capsule = capsule.map_err(|error| to_python(py, &error))?;
        let capsule = capsule.ok_or_else(|| PyKeyError::new_err("the layout has no such array"))?;
        let is_versioned = max_version.is_some_and(|(major, _)| major >= 1);
        arrays::capsule(py, capsule, is_versioned)
    }
}
