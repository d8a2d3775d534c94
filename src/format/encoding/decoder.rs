//! Decodes the obs of a store, whatever its encoding.

use super::AnyDecoder;
use super::bytes::Padded;
use super::codec::StoredMatrix;
use super::error::FrameError;
use crate::format::manifest::Manifest;
use cellring_core::Element;

/// Turns the bytes of obs into columns and values. Everything that reads obs goes through here.
#[derive(Clone, Copy, Debug)]
pub struct ObsDecoder(AnyDecoder);

impl ObsDecoder {
    /// The decoder for a store.
    pub fn new(manifest: &Manifest) -> Self {
        Self(AnyDecoder::new(manifest.encoding, manifest.stored_matrix()))
    }

    /// The same, but values that an `f32` rounds are rounded, whatever the manifest says of them.
    pub(crate) fn rounding(manifest: &Manifest) -> Self {
        let matrix = StoredMatrix {
            f32_exact: false,
            ..manifest.stored_matrix()
        };
        Self(AnyDecoder::new(manifest.encoding, matrix))
    }

    /// Decodes an obs; `parts` are the bytes that its [`Location`](crate::format::obs::Location) names, the outputs have its `nnz` as length.
    ///
    /// The checksum is compared first. After an error the outputs hold unspecified values.
    ///
    /// # Errors
    /// [`FrameError`] where the bytes are not those that were written for this obs.
    ///
    /// # Panics
    /// If the outputs differ in length, or `T` is neither `f32` nor the store's type.
    #[inline]
    pub fn decode<T: Element>(
        &self,
        obs: u64,
        crc: u32,
        parts: [Padded<'_>; 2],
        indices: &mut [i32],
        data: &mut [T],
    ) -> Result<(), FrameError> {
        self.0.decode(obs, crc, parts, indices, data)
    }
}
