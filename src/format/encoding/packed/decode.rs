//! Decodes frames.
#![allow(
    unsafe_code,
    reason = "code for an instruction set is called after the processor was asked for it"
)]

use super::arch::Kernel;
use super::arch::plain;
#[cfg(target_arch = "x86_64")]
use super::arch::{avx2, avx512};
use super::checksum::check_crc;
use super::frame::Frame;
use super::values::Matrix;
use crate::format::encoding::bytes::Padded;
use crate::format::encoding::error::FrameError;
use cellring_core::Element;
use cellring_core::ValueType;

/// Decodes frames of one store.
#[derive(Clone, Copy, Debug)]
pub struct FrameDecoder {
    matrix: Matrix,
    kernel: Kernel,
}

impl FrameDecoder {
    /// The decoder for a matrix of `n_vars` columns whose values are stored as `value_type`, with the fastest loops that
    /// this processor can run.
    ///
    /// # Panics
    /// If there are 2^31 columns or more: they are delivered as `i32`, and sums of them would wrap.
    pub fn new(n_vars: u32, value_type: ValueType) -> Self {
        assert!(i32::try_from(n_vars).is_ok(), "{n_vars} columns");
        let matrix = Matrix {
            n_vars,
            value_type,
            f32_exact: false,
        };
        Self {
            matrix,
            kernel: Kernel::detect(),
        }
    }

    /// The same, for a matrix that is said to have no value that an `f32` rounds: one that does is refused.
    pub fn with_f32_exact(mut self, f32_exact: bool) -> Self {
        self.matrix.f32_exact = f32_exact;
        self
    }

    /// The same with other loops.
    ///
    /// # Panics
    /// If this processor cannot run them.
    pub fn with_kernel(self, kernel: Kernel) -> Self {
        assert!(kernel.is_available(), "this processor cannot run {kernel:?}");
        Self { kernel, ..self }
    }

    /// Decodes the frame of an obs: columns into `indices`, values into `data`.
    ///
    /// `data` is `f32` (any stored type, rounded to the nearest) or the store's own value type (exact). Both outputs
    /// have the length that the index gives for the obs, which is not 0. They hold unspecified values after an error.
    ///
    /// # Errors
    /// [`FrameError`] where the bytes are not a whole and valid frame of this obs.
    ///
    /// # Panics
    /// If the outputs differ in length, or the type of `data` is neither `f32` nor the stored one.
    #[inline]
    pub fn decode<T: Element>(
        &self,
        frame: Padded<'_>,
        obs: u64,
        indices: &mut [i32],
        data: &mut [T],
    ) -> Result<(), FrameError> {
        assert_eq!(indices.len(), data.len(), "one value per index");
        assert!(
            u32::try_from(frame.readable.len()).is_ok(),
            "a block is shorter than 4 GiB"
        );
        let body = check_crc(frame.bytes(), obs, indices.len() as u32)?;
        let frame = Frame::parse(frame.readable, body, self.matrix.value_type)?;
        match self.kernel {
            Kernel::Plain => plain::decode(&frame, self.matrix, indices, data),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `detect` and `with_kernel` only set a kernel that this processor can run.
            Kernel::Avx2 => unsafe { avx2::decode(&frame, self.matrix, indices, data) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Kernel::Avx512 => unsafe { avx512::decode(&frame, self.matrix, indices, data) },
        }
    }
}
