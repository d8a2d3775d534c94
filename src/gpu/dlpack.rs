//! Arrays as DLPack tensors: the way in which Python's libraries and others hand each other memory without copying it.
//!
//! The structures are those of the DLPack C API, version 1 (<https://dmlc.github.io/dlpack/latest/c_api.html>); how a capsule of Python
//! is made of one is told in <https://dmlc.github.io/dlpack/latest/python_spec.html>: a `PyCapsule` with the pointer of
//! [`Capsule::into_raw_versioned`] and the name [`VERSIONED_NAME`], or, for consumers from before version 1, of [`Capsule::into_raw`]
//! and [`NAME`]. Whoever consumes it renames the capsule and calls the deleter once.
//!
//! The memory is only lent: it goes back to the loader, or is free for the next copy, when the deleter is called.
#![allow(unsafe_code, reason = "hands memory to C, and frees what C gives back")]

use std::any::Any;
use std::ffi::{CStr, c_void};
use std::fmt;

use super::array::{ArraySpec, DeviceArray, ElementType};

/// Name of a Python capsule with the pointer of [`Capsule::into_raw_versioned`].
pub const VERSIONED_NAME: &CStr = c"dltensor_versioned";
/// Name of a Python capsule with the pointer of [`Capsule::into_raw`].
pub const NAME: &CStr = c"dltensor";

/// `DLPackVersion`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in dlpack.h")]
pub struct Version {
    pub major: u32,
    pub minor: u32,
}

/// The version of the structures here.
pub const VERSION: Version = Version { major: 1, minor: 0 };

/// `DLDevice`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in dlpack.h")]
pub struct Device {
    pub device_type: i32,
    pub device_id: i32,
}

/// `kDLCPU`.
pub const CPU: i32 = 1;
/// `kDLCUDA`.
pub const CUDA: i32 = 2;

/// `DLDataType`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in dlpack.h")]
pub struct DataType {
    pub code: u8,
    pub bits: u8,
    pub lanes: u16,
}

impl From<ElementType> for DataType {
    fn from(element_type: ElementType) -> Self {
        Self {
            code: element_type.dlpack_code(),
            bits: 8 * element_type.size_bytes() as u8,
            lanes: 1,
        }
    }
}

/// `DLTensor`.
#[repr(C)]
#[derive(Debug)]
#[allow(missing_docs, reason = "named as in dlpack.h")]
pub struct Tensor {
    pub data: *mut c_void,
    pub device: Device,
    pub ndim: i32,
    pub dtype: DataType,
    pub shape: *mut i64,
    pub strides: *mut i64,
    pub byte_offset: u64,
}

/// `DLManagedTensor`.
#[repr(C)]
#[derive(Debug)]
#[allow(missing_docs, reason = "named as in dlpack.h")]
pub struct ManagedTensor {
    pub dl_tensor: Tensor,
    pub manager_ctx: *mut c_void,
    pub deleter: Option<unsafe extern "C" fn(*mut ManagedTensor)>,
}

/// `DLManagedTensorVersioned`.
#[repr(C)]
#[derive(Debug)]
#[allow(missing_docs, reason = "named as in dlpack.h")]
pub struct ManagedTensorVersioned {
    pub version: Version,
    pub manager_ctx: *mut c_void,
    pub deleter: Option<unsafe extern "C" fn(*mut ManagedTensorVersioned)>,
    pub flags: u64,
    pub dl_tensor: Tensor,
}

// The layout of C on 64-bit machines.
#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<Tensor>() == 48);
    assert!(size_of::<ManagedTensor>() == 64);
    assert!(size_of::<ManagedTensorVersioned>() == 80);
    assert!(std::mem::offset_of!(ManagedTensorVersioned, flags) == 24);
    assert!(std::mem::offset_of!(ManagedTensorVersioned, dl_tensor) == 32);
};

/// An array, with what keeps its memory as it is: dropped or deleted, it lets go of it.
pub struct Capsule {
    data: u64,
    device: Device,
    form: ArraySpec,
    is_writable: bool,
    is_copied: bool,
    owner: Box<dyn Any + Send>,
}

/// A managed tensor and all it points to, in one allocation.
#[repr(C)]
struct Managed<T> {
    // First: its address is that of the whole.
    tensor: T,
    shape: [i64; 2],
    strides: [i64; 2],
    _owner: Box<dyn Any + Send>,
}

impl Capsule {
    /// Memory of the host, page-locked or not: `kDLCPU`, which every library takes.
    ///
    /// The bytes must stay where and as they are as long as `owner` lives.
    pub(crate) fn host(bytes: &[u8], form: ArraySpec, owner: Box<dyn Any + Send>) -> Self {
        let device = Device {
            device_type: CPU,
            device_id: 0,
        };
        Self {
            data: bytes.as_ptr() as usize as u64,
            device,
            form,
            is_writable: false,
            is_copied: false,
            owner,
        }
    }

    /// Memory of the host that may be written to: this library does not look at it any more.
    ///
    /// It must stay where it is as long as `owner` lives.
    pub(crate) fn writable(address: usize, form: ArraySpec, owner: Box<dyn Any + Send>) -> Self {
        let device = Device {
            device_type: CPU,
            device_id: 0,
        };
        Self {
            data: address as u64,
            device,
            form,
            is_writable: true,
            is_copied: false,
            owner,
        }
    }

    /// Memory of a device.
    pub(crate) fn device(array: DeviceArray, ordinal: u32, owner: Box<dyn Any + Send>) -> Self {
        let DeviceArray {
            address,
            element_type,
            shape,
            n_axes,
        } = array;
        Self {
            data: address,
            device: Device {
                device_type: CUDA,
                device_id: ordinal as i32,
            },
            form: ArraySpec {
                element_type,
                shape,
                n_axes,
            },
            // The place is the consumer's until the last capsule is gone.
            is_writable: true,
            is_copied: false,
            owner,
        }
    }

    /// The same array in memory of its own, which may be written to and is freed with the capsule; `None` if it is in memory of a device.
    ///
    /// Nothing may write to the array meanwhile.
    pub fn copied(&self) -> Option<Self> {
        /// As much as many consumers want an array aligned to.
        #[repr(C, align(64))]
        #[derive(Clone, Copy)]
        struct Line([u8; 64]);
        if self.device.device_type != CPU {
            return None;
        }
        let n_elements: usize = self.form.shape().iter().product();
        let len_bytes = n_elements * self.form.element_type.size_bytes();
        let mut lines = vec![Line([0; 64]); len_bytes.div_ceil(64).max(1)];
        let source: *const u8 = std::ptr::with_exposed_provenance(self.data as usize);
        // SAFETY: the array is in memory of the host, which the owner keeps, and has this length; that of the lines is new, and as long.
        unsafe { std::ptr::copy_nonoverlapping(source, lines.as_mut_ptr().cast(), len_bytes) };
        let address = lines.as_mut_ptr().expose_provenance();
        let mut copy = Self::writable(address, self.form, Box::new(lines));
        copy.is_copied = true;
        Some(copy)
    }

    /// The tensor as a `DLManagedTensorVersioned`. Its deleter must be called once, on any thread, or its memory is leaked.
    ///
    /// If the flag `READ_ONLY` is set, do not write to it: the memory may be lent to others at the same time. `IS_COPIED` is set if the
    /// capsule is the only one of its memory.
    pub fn into_raw_versioned(self) -> *mut ManagedTensorVersioned {
        const READ_ONLY: u64 = 1;
        const IS_COPIED: u64 = 1 << 1;
        unsafe extern "C" fn delete(tensor: *mut ManagedTensorVersioned) {
            // SAFETY: a consumer gives back, once, the pointer that it was given: that of a box.
            drop(unsafe { Box::from_raw(tensor.cast::<Managed<ManagedTensorVersioned>>()) });
        }
        let read_only = if self.is_writable { 0 } else { READ_ONLY };
        let flags = read_only | if self.is_copied { IS_COPIED } else { 0 };
        let managed = self.managed(|dl_tensor| ManagedTensorVersioned {
            version: VERSION,
            manager_ctx: std::ptr::null_mut(),
            deleter: Some(delete),
            flags,
            dl_tensor,
        });
        // SAFETY: the box was just made, and is whole.
        unsafe { point_within(managed, |managed| &raw mut (*managed).tensor.dl_tensor) }
    }

    /// The tensor as a `DLManagedTensor`, for consumers from before version 1. As above; it has no flag that says so.
    pub fn into_raw(self) -> *mut ManagedTensor {
        unsafe extern "C" fn delete(tensor: *mut ManagedTensor) {
            // SAFETY: as above.
            drop(unsafe { Box::from_raw(tensor.cast::<Managed<ManagedTensor>>()) });
        }
        let managed = self.managed(|dl_tensor| ManagedTensor {
            dl_tensor,
            manager_ctx: std::ptr::null_mut(),
            deleter: Some(delete),
        });
        // SAFETY: the box was just made, and is whole.
        unsafe { point_within(managed, |managed| &raw mut (*managed).tensor.dl_tensor) }
    }

    fn managed<T>(self, of: impl FnOnce(Tensor) -> T) -> Box<Managed<T>> {
        let [rows, columns] = self.form.shape.map(|len| len as i64);
        let tensor = Tensor {
            data: self.data as usize as *mut c_void,
            device: self.device,
            ndim: self.form.n_axes as i32,
            dtype: self.form.element_type.into(),
            shape: std::ptr::null_mut(),
            strides: std::ptr::null_mut(),
            byte_offset: 0,
        };
        Box::new(Managed {
            tensor: of(tensor),
            shape: [rows, columns],
            // In elements; that of the only axis is 1, for the second has one place.
            strides: [columns, 1],
            _owner: self.owner,
        })
    }
}

/// Lets a tensor point to its shape and strides, and gives the box away as a pointer to its beginning.
///
/// # Safety
/// `tensor` must point into what it is given.
unsafe fn point_within<T>(
    managed: Box<Managed<T>>,
    tensor: impl FnOnce(*mut Managed<T>) -> *mut Tensor,
) -> *mut T {
    let managed = Box::into_raw(managed);
    let tensor = tensor(managed);
    // SAFETY: the box is whole and no other code knows of it; the pointers stay valid until the deleter frees it.
    unsafe {
        (*tensor).shape = (&raw mut (*managed).shape).cast();
        (*tensor).strides = (&raw mut (*managed).strides).cast();
    }
    managed.cast()
}

impl fmt::Debug for Capsule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capsule")
            .field("device", &self.device)
            .field("form", &self.form)
            .finish_non_exhaustive()
    }
}
