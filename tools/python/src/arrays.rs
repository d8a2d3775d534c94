//! Arrays that cross the border: minibatches to Python's libraries without a copy, and lists of numbers into the library.
#![allow(
    unsafe_code,
    reason = "hands memory to C, and reads arrays by their addresses"
)]

use std::ffi::c_void;
use std::ptr::NonNull;

use cellring::gpu::dlpack::{
    CPU, Capsule, DataType, ManagedTensor, ManagedTensorVersioned, NAME, VERSIONED_NAME,
};
use cellring::minibatch::Tensor;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyDict};

use crate::error::refused;

/// An array in the memory of a minibatch: anything that takes DLPack or numpy's array interface takes it, without a copy.
///
/// It may be written to. The memory goes back to the loader when the last array of the minibatch is gone.
#[pyclass(frozen, module = "cellring._cellring")]
pub(crate) struct Array {
    tensor: Tensor,
}

impl Array {
    pub(crate) fn new(tensor: Tensor) -> Self {
        Self { tensor }
    }

    /// A capsule of DLPack from before version 1.
    pub(crate) fn capsule<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        capsule(py, self.tensor.capsule(), false)
    }

    /// The type as numpy's array interface has it; nothing for those that numpy lacks.
    fn type_string(&self) -> Option<String> {
        let of_dlpack = DataType::from(self.tensor.element_type());
        let kind = match of_dlpack.code {
            0 => 'i',
            1 => 'u',
            2 => 'f',
            6 => 'b',
            _ => return None,
        };
        let order = if of_dlpack.bits == 8 { '|' } else { '<' };
        Some(format!("{order}{kind}{}", of_dlpack.bits / 8))
    }
}

#[pymethods]
impl Array {
    /// Length of each axis.
    #[getter]
    fn shape(&self) -> Vec<usize> {
        self.tensor.shape().to_vec()
    }

    fn __dlpack_device__(&self) -> (i32, i32) {
        (CPU, 0)
    }

    #[pyo3(signature = (*, stream=None, max_version=None, dl_device=None, copy=None))]
    fn __dlpack__<'py>(
        &self,
        py: Python<'py>,
        stream: Option<Bound<'py, PyAny>>,
        max_version: Option<(u32, u32)>,
        dl_device: Option<(i32, i32)>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        if stream.is_some() {
            return Err(PyBufferError::new_err(
                "the array is in the memory of the host, where there are no streams: stream must be None",
            ));
        }
        if dl_device.is_some_and(|device| device != (CPU, 0)) {
            return Err(PyBufferError::new_err(
                "the array is in the memory of the host: move it after it was imported",
            ));
        }
        let is_versioned = max_version.is_some_and(|(major, _)| major >= 1);
        let mut shared = self.tensor.capsule();
        if copy == Some(true) {
            // With the interpreter's lock: nothing that holds it writes to the array meanwhile.
            let copied = shared.copied();
            shared = copied.ok_or_else(|| PyBufferError::new_err("only memory of the host can be copied"))?;
        }
        capsule(py, shared, is_versioned)
    }

    #[getter]
    fn __array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let Some(type_string) = self.type_string() else {
            return Err(pyo3::exceptions::PyAttributeError::new_err(
                "numpy has no bfloat16: ask for dtype=\"float32\", or use torch",
            ));
        };
        let interface = PyDict::new(py);
        interface.set_item("version", 3)?;
        interface.set_item("typestr", type_string)?;
        interface.set_item("shape", pyo3::types::PyTuple::new(py, self.tensor.shape())?)?;
        interface.set_item("data", (self.tensor.address(), false))?;
        Ok(interface)
    }
}

/// A capsule of Python: its consumer renames it and calls the tensor's deleter; if it is not consumed, it does so itself.
pub(crate) fn capsule(py: Python<'_>, tensor: Capsule, is_versioned: bool) -> PyResult<Bound<'_, PyCapsule>> {
    unsafe extern "C" fn end_versioned(capsule: *mut ffi::PyObject) {
        // SAFETY: Python calls this once with a capsule made below. Under its first name it was not consumed, and its tensor is whole.
        unsafe {
            if ffi::PyCapsule_IsValid(capsule, VERSIONED_NAME.as_ptr()) == 1 {
                let tensor: *mut ManagedTensorVersioned =
                    ffi::PyCapsule_GetPointer(capsule, VERSIONED_NAME.as_ptr()).cast();
                if let Some(delete) = (*tensor).deleter {
                    delete(tensor);
                }
            }
        }
    }
    unsafe extern "C" fn end(capsule: *mut ffi::PyObject) {
        // SAFETY: as above.
        unsafe {
            if ffi::PyCapsule_IsValid(capsule, NAME.as_ptr()) == 1 {
                let tensor: *mut ManagedTensor = ffi::PyCapsule_GetPointer(capsule, NAME.as_ptr()).cast();
                if let Some(delete) = (*tensor).deleter {
                    delete(tensor);
                }
            }
        }
    }
    let (pointer, name, destructor): (*mut c_void, _, ffi::PyCapsule_Destructor) = match is_versioned {
        true => (tensor.into_raw_versioned().cast(), VERSIONED_NAME, end_versioned),
        false => (tensor.into_raw().cast(), NAME, end),
    };
    let pointer = NonNull::new(pointer).ok_or_else(|| PyBufferError::new_err("a null tensor"))?;
    // SAFETY: the pointer is that of a managed tensor, which the destructor frees unless it was consumed.
    unsafe { PyCapsule::new_with_pointer_and_destructor(py, pointer, name, Some(destructor)) }
}

/// A number that numpy has a type for.
pub(crate) trait Number: Copy {
    const TYPE_STRING: &'static str;
}

impl Number for i64 {
    const TYPE_STRING: &'static str = "<i8";
}

impl Number for f32 {
    const TYPE_STRING: &'static str = "<f4";
}

/// The values of a one-dimensional numpy array without gaps, copied.
///
/// # Errors
/// If it is something else: the Python half makes it such an array.
pub(crate) fn values_of<T: Number>(array: &Bound<'_, PyAny>) -> PyResult<Vec<T>> {
    // Whatever else has the attribute may say anything.
    if !array.is_instance(&array.py().import("numpy")?.getattr("ndarray")?)? {
        return Err(refused(array.py(), "expected an array of numpy"));
    }
    let interface = array.getattr("__array_interface__")?;
    let (address, _): (usize, bool) = interface.get_item("data")?.extract()?;
    let shape: Vec<usize> = interface.get_item("shape")?.extract()?;
    let type_string: String = interface.get_item("typestr")?.extract()?;
    let strides = interface.get_item("strides").ok();
    let has_gaps = strides.is_some_and(|strides| !strides.is_none());
    let (&[len], false) = (shape.as_slice(), has_gaps) else {
        return Err(refused(
            array.py(),
            "expected a one-dimensional array without gaps",
        ));
    };
    if type_string != T::TYPE_STRING || !address.is_multiple_of(align_of::<T>()) {
        let sentence = format!(
            "expected an aligned array of {}, found {type_string}",
            T::TYPE_STRING
        );
        return Err(refused(array.py(), &sentence));
    }
    if len == 0 {
        return Ok(Vec::new());
    }
    let values: *const T = std::ptr::with_exposed_provenance(address);
    // SAFETY: numpy itself says that the array has `len` values of this type from this address on, without gaps, and the caller keeps it
    // for as long as this call. Writing to it meanwhile, in another thread without the interpreter's lock, is as wrong as for numpy.
    Ok(unsafe { std::slice::from_raw_parts(values, len) }.to_vec())
}
