//! The encodings of the blocks: how the values of an obs are stored.
//!
//! Each is a folder with an implementation of `BlockCodec` and a row in the table below. Nothing outside this module tells one of
//! them from another. The rows of linked stores lie in other files, and not in blocks: they are decoded here too, once they have been
//! brought together.

mod bytes;
mod codec;
mod decoder;
pub(super) mod error;
pub(crate) mod linked;
pub mod packed;
mod prefetch;
pub mod raw;
mod values;

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

pub use bytes::Padded;
pub(crate) use codec::{BlockBytes, BlockShape, Entries, StoredMatrix, TooLong};
use codec::{BlockCodec, Codec, DecodeObs, EncodeBlock};
pub use decoder::ObsDecoder;
pub use error::FrameError;

use super::error::FormatError;
use super::index::record::{BlockRecord, ObsPlace};
use super::obs::ByteRange;
use super::var_order::VarOrder;
use super::window::{ShardFile, Window};
use cellring_core::Element;

/// The table of the encodings of blocks: each with its number in the header of an index, and its codec. Hands the rows to another macro.
macro_rules! encodings {
    ($use:ident!($($arguments:tt)*)) => {
        $use! {
            ($($arguments)*)
            /// One compressed frame per obs.
            Packed = 1 => packed::PackedCodec,
            /// CSR as it is in memory.
            Raw = 2 => raw::RawCodec,
        }
    };
}

/// Makes the types that have a variant for each encoding.
macro_rules! define {
    (() $($(#[$doc:meta])* $Name:ident = $number:literal => $C:ty,)*) => {
        /// How the values are encoded.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        #[repr(u32)]
        pub enum Encoding {
            $($(#[$doc])* $Name = $number,)*
            /// Not in blocks, but in the file that they come from. The number is in no file.
            Linked = 3,
        }

        impl Encoding {
            /// Those of blocks: what a writer can be asked for.
            pub const ALL: &[Self] = &[$(Self::$Name),*];
        }

        /// The decoder of any of them.
        #[derive(Clone, Copy, Debug)]
        enum AnyDecoder {
            $($Name(<$C as Codec>::Decoder),)*
            Linked(<linked::LinkedCodec as Codec>::Decoder),
        }

        impl AnyDecoder {
            fn new(encoding: Encoding, matrix: StoredMatrix) -> Self {
                match encoding {
                    $(Encoding::$Name => Self::$Name(DecodeObs::new(matrix)),)*
                    Encoding::Linked => Self::Linked(DecodeObs::new(matrix)),
                }
            }

            #[inline]
            fn decode<T: Element>(
                &self,
                obs: u64,
                crc: u32,
                parts: [Padded<'_>; 2],
                indices: &mut [i32],
                data: &mut [T],
            ) -> Result<(), FrameError> {
                match self {
                    $(Self::$Name(decoder) => DecodeObs::decode(decoder, obs, crc, parts, indices, data),)*
                    Self::Linked(decoder) => DecodeObs::decode(decoder, obs, crc, parts, indices, data),
                }
            }
        }

        /// Makes one block.
        pub(crate) enum BlockEncoder<T: Element> {
            $($Name(<$C as BlockCodec>::Encoder<T>),)*
        }

        impl<T: Element> BlockEncoder<T> {
            /// Begins a block.
            pub(crate) fn new(encoding: Encoding, shape: BlockShape) -> Self {
                match encoding {
                    $(Encoding::$Name => Self::$Name(EncodeBlock::<T>::new(shape)),)*
                    Encoding::Linked => no_blocks(),
                }
            }

            /// Adds the next row: its columns, which ascend strictly, and their values.
            pub(crate) fn push(&mut self, indices: &[u32], values: &[T]) -> Result<(), TooLong> {
                match self {
                    $(Self::$Name(encoder) => encoder.push(indices, values),)*
                }
            }

            /// The bytes of the block, and its entries for the index.
            pub(crate) fn finish(self) -> Result<BlockBytes, TooLong> {
                match self {
                    $(Self::$Name(encoder) => EncodeBlock::<T>::finish(encoder),)*
                }
            }
        }
    };
}

encodings!(define!());

/// A linked store has neither an index of blocks nor shards: whoever asks for them has not looked which it is.
#[cold]
const fn no_blocks() -> ! {
    panic!("a linked store has no blocks")
}

/// Runs `$body` with the type `$C` bound to the codec of an encoding.
macro_rules! with_codec {
    ($encoding:expr, $C:ident => $body:expr) => {
        encodings!(select!($encoding, $C, $body, {
            type $C = linked::LinkedCodec;
            $body
        }))
    };
}

/// The same for encodings of blocks.
///
/// # Panics
/// If the store is linked.
macro_rules! with_block_codec {
    ($encoding:expr, $C:ident => $body:expr) => {
        encodings!(select!($encoding, $C, $body, no_blocks()))
    };
}

macro_rules! select {
    (($encoding:expr, $C:ident, $body:expr, $linked:expr)
     $($(#[$doc:meta])* $Name:ident = $number:literal => $Codec:ty,)*) => {
        match $encoding {
            $(Encoding::$Name => {
                type $C = $Codec;
                $body
            })*
            Encoding::Linked => $linked,
        }
    };
}

impl Encoding {
    /// The name in the manifest.
    pub const fn name(self) -> &'static str {
        with_codec!(self, C => C::NAME)
    }

    /// The encoding of blocks of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|encoding| encoding.name() == name)
    }

    /// Whether values may be stored in a narrower type than the source's, which the manifest gives as `raw_value_type`.
    pub const fn has_raw_value_type(self) -> bool {
        with_codec!(self, C => C::HAS_RAW_VALUE_TYPE)
    }

    /// The order of columns that suits the encoding.
    pub const fn preferred_var_order(self) -> VarOrder {
        with_codec!(self, C => C::VAR_ORDER)
    }

    /// In how many pieces an obs is stored, 1 or 2.
    pub(crate) const fn n_parts(self) -> usize {
        with_block_codec!(self, C => C::N_PARTS)
    }

    /// Width of an entry of the index's third section, the details: 2 or 4 bytes.
    pub(super) fn detail_bytes(self, max_obs_nnz: u64) -> u32 {
        with_block_codec!(self, C => C::detail_bytes(max_obs_nnz))
    }

    /// The least and the largest number of bytes that an obs of `nnz` values takes.
    pub(super) fn obs_bytes(self, nnz: u32, matrix: &StoredMatrix) -> RangeInclusive<u64> {
        with_codec!(self, C => C::obs_bytes(nnz, matrix))
    }

    /// What the entries of the index say of an obs: where it begins and ends, and its detail. Not checked.
    #[inline]
    pub(super) fn place(self, range: (u32, u32), detail: u32) -> ObsPlace {
        with_block_codec!(self, C => C::place(range, detail))
    }

    /// The detail of an obs.
    pub(super) fn detail(self, place: ObsPlace) -> u32 {
        with_block_codec!(self, C => C::detail(place))
    }

    /// Whether an obs can be there, in a block of `payload_bytes`.
    #[inline]
    pub(super) fn fits(self, place: ObsPlace, payload_bytes: u32, max_obs_bytes: u64) -> bool {
        with_block_codec!(self, C => C::fits(place, payload_bytes, max_obs_bytes))
    }

    /// The bytes of an obs in its shard; empty parts come last.
    #[inline]
    pub(super) fn parts(
        self,
        index: &impl Entries,
        obs: u64,
        place: ObsPlace,
        block: u64,
        record: BlockRecord,
    ) -> Result<[ByteRange; 2], FormatError> {
        with_block_codec!(self, C => C::parts(index, obs, place, block, record))
    }

    /// Checks the bytes of a block that are not those of an obs, but for its padding, which ends at `padded`. Gives for each part how
    /// far the bytes that follow may be read with it.
    pub(crate) fn check_block(
        self,
        index: &impl Entries,
        block: u64,
        record: BlockRecord,
        padded: u64,
        file: &ShardFile,
        window: &mut Window,
    ) -> Result<[u64; 2], FormatError> {
        with_block_codec!(self, C => C::check_block(index, block, record, padded, file, window))
    }

    /// Compares the bytes of an obs with its checksum, which is `crc` or within them.
    pub(crate) fn check_obs(self, obs: u64, nnz: u32, crc: u32, parts: [&[u8]; 2]) -> Result<(), FrameError> {
        with_block_codec!(self, C => C::check_obs(obs, nnz, crc, parts))
    }
}

#[cfg(test)]
mod tests;
