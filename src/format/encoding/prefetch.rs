//! Asking for bytes before they are needed.
#![allow(unsafe_code, reason = "prefetch instructions take pointers")]

/// Bytes that the processor fetches at a time.
#[cfg(target_arch = "x86_64")]
const LINE_BYTES: usize = 64;

/// Has the processor fetch `bytes` into its cache while it goes on.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn prefetch(bytes: &[u8]) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    for line in bytes.chunks(LINE_BYTES) {
        // SAFETY: every x86-64 processor has the instruction, and it never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
}

/// Does nothing: on this processor the bytes come when they are needed.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(super) fn prefetch(_bytes: &[u8]) {}
