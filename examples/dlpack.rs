//! Python takes a minibatch without a copy: a library with three C functions, and numpy at the other end.
//!
//! ```sh
//! cargo build --release --example dlpack
//! python tests/python/dlpack_numpy.py target/release/examples/libdlpack.so mouse.cellring
//! ```
//!
//! The script shows how a capsule is made of what [`cellring_tensor`] returns. PyTorch, CuPy and JAX take the same object.
#![allow(unsafe_code, reason = "functions for C")]

use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::Arc;

use cellring::minibatch::ArrayRole;
use cellring::{Loader, LoaderConfig, Minibatch, Store};

/// The first minibatch of epoch 0 of a store; null where there is none.
///
/// # Safety
/// `path` must end with a 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cellring_first(path: *const c_char) -> *mut c_void {
    // SAFETY: the caller's promise.
    let path = unsafe { CStr::from_ptr(path) }.to_string_lossy().into_owned();
    let first = || {
        let store = Arc::new(Store::open(path).ok()?);
        let loader = Loader::new(store, LoaderConfig::default()).ok()?;
        loader.epoch(0).ok()?.next()?.ok()
    };
    first().map_or(ptr::null_mut(), |minibatch| {
        Box::into_raw(Box::new(Arc::new(minibatch))).cast()
    })
}

/// Its `indptr` (0), `indices` (1) or values (2) as a `DLManagedTensorVersioned`, or as the `DLManagedTensor` of old.
///
/// # Safety
/// `minibatch` must come from [`cellring_first`], and not have been given to [`cellring_drop`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cellring_tensor(
    minibatch: *const c_void,
    part: u32,
    versioned: bool,
) -> *mut c_void {
    // SAFETY: the caller's promise.
    let minibatch = unsafe { &*minibatch.cast::<Arc<Minibatch>>() };
    let part = match part {
        0 => ArrayRole::Indptr,
        1 => ArrayRole::Indices,
        _ => ArrayRole::Values,
    };
    match (minibatch.dlpack(0, part), versioned) {
        (Some(capsule), true) => capsule.into_raw_versioned().cast(),
        (Some(capsule), false) => capsule.into_raw().cast(),
        (None, _) => ptr::null_mut(),
    }
}

/// Lets go of a minibatch. Tensors of it stay valid.
///
/// # Safety
/// As [`cellring_tensor`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cellring_drop(minibatch: *mut c_void) {
    // SAFETY: the caller's promise.
    drop(unsafe { Box::from_raw(minibatch.cast::<Arc<Minibatch>>()) });
}
