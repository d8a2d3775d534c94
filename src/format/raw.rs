//! The raw encoding: a block is a CSR matrix as it lies in memory (`FORMAT.md`, section 6).

use bytemuck::Pod;
use sprs::{CsMatViewI, SpIndex};

use super::checksum::obs_crc;
use super::constants::{MAX_U16_VARS, SECTION_ALIGNMENT};
use super::element::{Element, put};
use super::packed::{FrameError, check_bools, check_exact, check_large_count, may_round, safe_codes};
use super::value::ValueType;

/// Where the sections of a raw block lie, in bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawLayout {
    /// Number of obs.
    pub n_obs: usize,
    /// Number of values.
    pub nnz: usize,
    /// Width of a column index: 2 or 4 bytes.
    pub index_bytes: usize,
    /// Width of a value.
    pub value_bytes: usize,
    /// Start of the indices.
    pub indices_at: usize,
    /// Start of the values.
    pub data_at: usize,
    /// Length of the payload.
    pub payload_bytes: usize,
}

impl RawLayout {
    /// The layout of a block of `n_obs` obs with `nnz` values.
    pub const fn new(n_obs: usize, nnz: usize, n_vars: u64, value_type: ValueType) -> Self {
        let index_bytes = index_bytes(n_vars);
        let value_bytes = value_type.size_bytes();
        let indices_at = ((n_obs + 1) * 4).next_multiple_of(SECTION_ALIGNMENT);
        let data_at = (indices_at + nnz * index_bytes).next_multiple_of(SECTION_ALIGNMENT);
        Self {
            n_obs,
            nnz,
            index_bytes,
            value_bytes,
            indices_at,
            data_at,
            payload_bytes: data_at + nnz * value_bytes,
        }
    }
}

/// Width of a column index in bytes.
pub const fn index_bytes(n_vars: u64) -> usize {
    if n_vars <= MAX_U16_VARS { 2 } else { 4 }
}

/// Appends the payload of a block, whose start in `out` must be the end of `out` as it is, and gives the CRC of each obs.
///
/// `values` are in the source's type `T`; `stored` is `T`'s own type or an unsigned integer that holds them all.
///
/// # Panics
/// Where a value is not representable in `stored`: the writer has determined it from all values.
pub fn encode_block<T: Element>(
    first_obs: u64,
    indptr: &[u32],
    indices: &[u32],
    values: &[T],
    n_vars: u64,
    stored: ValueType,
    out: &mut Vec<u8>,
) -> Vec<u32> {
    let start = out.len();
    let layout = RawLayout::new(indptr.len() - 1, indices.len(), n_vars, stored);
    indptr
        .iter()
        .for_each(|end| out.extend_from_slice(&end.to_le_bytes()));
    out.resize(start + layout.indices_at, 0);
    for index in indices {
        out.extend_from_slice(&index.to_le_bytes()[..layout.index_bytes]);
    }
    out.resize(start + layout.data_at, 0);
    for &value in values {
        if stored == T::VALUE_TYPE {
            put(value, out);
        } else {
            let Some(count) = value.as_count() else {
                panic!("a value is not a count, although the store's type holds only counts")
            };
            let bytes = count.to_le_bytes();
            assert!(
                bytes[layout.value_bytes..].iter().all(|&b| b == 0),
                "{count} does not fit {stored:?}"
            );
            out.extend_from_slice(&bytes[..layout.value_bytes]);
        }
    }
    let block = &out[start..];
    let crc = |j: usize| {
        let (from, to) = (indptr[j] as usize, indptr[j + 1] as usize);
        let part = |at: usize, width: usize| &block[at + from * width..at + to * width];
        let parts = [
            part(layout.indices_at, layout.index_bytes),
            part(layout.data_at, layout.value_bytes),
        ];
        obs_crc(first_obs + j as u64, (to - from) as u32, &parts)
    };
    (0..layout.n_obs).map(crc).collect()
}

/// What values of a raw store are: those of the source, and how they lie in the blocks.
#[derive(Clone, Copy, Debug)]
pub struct RawValues {
    /// Element type of the source.
    pub value_type: ValueType,
    /// The type in which they are stored: the same, or u8, u16 or u32.
    pub stored: ValueType,
    /// Whether the manifest says that an `f32` rounds none of them.
    pub f32_exact: bool,
}

impl RawValues {
    /// Checks values as they are stored: each is a value of the source's type, and one that `T` does not round where it must not.
    #[inline]
    fn check<T: Element>(self, values: &[u8]) -> Result<(), FrameError> {
        let Self {
            value_type,
            stored,
            f32_exact,
        } = self;
        let must_be_exact = f32_exact && may_round::<T>(value_type);
        if stored == value_type {
            check_bools(values, value_type)?;
            return match must_be_exact {
                true => check_exact(values, value_type),
                false => Ok(()),
            };
        }
        // As for counts of a frame, which are one more than their code.
        let safe = match must_be_exact {
            true => safe_codes(value_type).min(safe_codes(ValueType::F32)),
            false => safe_codes(value_type),
        };
        if stored.size_bytes() < 4 && safe >> (8 * stored.size_bytes()) != 0 {
            return Ok(());
        }
        let counts = || {
            values.chunks_exact(stored.size_bytes()).map(|bytes| {
                let mut le = [0; 4];
                le[..bytes.len()].copy_from_slice(bytes);
                u32::from_le_bytes(le)
            })
        };
        if counts().fold(0, |all, count| all | count) < safe {
            return Ok(());
        }
        // A writer stores no 0 in this way, but one is a value of every type.
        counts()
            .filter(|&count| count > 0)
            .try_for_each(|count| check_large_count(count, value_type, must_be_exact))
    }
}

/// Decodes one obs from its indices and its values as they lie in the block, checked against the CRC in the index.
///
/// # Errors
/// [`FrameError`] where the bytes are not those that were written for this obs, a column is out of order or range, or a value is
/// none of the source's type.
#[expect(
    clippy::too_many_arguments,
    reason = "the parts of a raw obs lie apart; a struct would only rename them"
)]
pub fn decode_obs<T: Element>(
    index_part: &[u8],
    value_part: &[u8],
    obs: u64,
    crc: u32,
    n_vars: u32,
    kind: RawValues,
    indices: &mut [i32],
    data: &mut [T],
) -> Result<(), FrameError> {
    let stored = kind.stored;
    let found = obs_crc(obs, indices.len() as u32, &[index_part, value_part]);
    if found != crc {
        return Err(FrameError::Checksum { expected: crc, found });
    }
    let width = index_bytes(u64::from(n_vars));
    if index_part.len() != indices.len() * width || value_part.len() != data.len() * stored.size_bytes() {
        return Err(FrameError::Layout(
            "the parts of an obs do not have the length that its number of values requires",
        ));
    }
    let mut after = 0;
    for (index, bytes) in indices.iter_mut().zip(index_part.chunks_exact(width)) {
        let column = match *bytes {
            [a, b] => u32::from(u16::from_le_bytes([a, b])),
            [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
            _ => 0,
        };
        if column >= n_vars {
            return Err(FrameError::Column {
                column: u64::from(column),
                n_vars,
            });
        }
        if column < after {
            return Err(FrameError::Layout("the columns of an obs do not ascend"));
        }
        *index = column as i32;
        after = column + 1;
    }
    kind.check::<T>(value_part)?;
    for (value, bytes) in data.iter_mut().zip(value_part.chunks_exact(stored.size_bytes())) {
        *value = if stored == T::VALUE_TYPE || T::VALUE_TYPE == ValueType::F32 {
            T::from_stored(stored, bytes)
        } else {
            count_from_stored(stored, bytes)?
        };
    }
    Ok(())
}

/// Reads a value of a type other than `f32` that is stored as a narrower unsigned integer, and was found to be one.
fn count_from_stored<T: Element>(stored: ValueType, bytes: &[u8]) -> Result<T, FrameError> {
    let mut le = [0u8; 4];
    match stored {
        ValueType::U8 | ValueType::U16 | ValueType::U32 => le[..bytes.len()].copy_from_slice(bytes),
        _ => {
            return Err(FrameError::Layout(
                "values are stored in a type that their own type is not read from",
            ));
        }
    }
    Ok(T::from_count(u32::from_le_bytes(le)))
}

/// A raw block in a buffer as a sparse matrix, without a copy.
///
/// `I` is `u16` or `u32` (the width of an index for `n_vars`), `T` the stored value type. Only the structure is
/// checked (indptr ascending, columns ascending and in range, by `sprs`): compare checksums with the index before
/// trusting the values.
///
/// # Errors
/// [`FrameError::Layout`] where `block` is too short or its start is not aligned for the types, or the structure is
/// not that of a CSR matrix.
pub fn block_view<'a, T: Pod, I: SpIndex + Pod>(
    block: &'a [u8],
    layout: &RawLayout,
    n_vars: usize,
) -> Result<CsMatViewI<'a, T, I, u32>, FrameError> {
    if layout.index_bytes != size_of::<I>() || layout.value_bytes != size_of::<T>() {
        return Err(FrameError::Layout(
            "the block is viewed with types of another width than it is stored in",
        ));
    }
    let part = |from: usize, to: usize| {
        block.get(from..to).ok_or(FrameError::Short {
            bytes: block.len(),
            part: "block",
        })
    };
    let indptr = part(0, (layout.n_obs + 1) * 4)?;
    let indices = part(
        layout.indices_at,
        layout.indices_at + layout.nnz * layout.index_bytes,
    )?;
    let data = part(layout.data_at, layout.payload_bytes)?;
    let unaligned = |_| FrameError::Layout("the block does not lie aligned in memory");
    let indptr = bytemuck::try_cast_slice(indptr).map_err(unaligned)?;
    let indices = bytemuck::try_cast_slice(indices).map_err(unaligned)?;
    let data = bytemuck::try_cast_slice(data).map_err(unaligned)?;
    CsMatViewI::try_new((layout.n_obs, n_vars), indptr, indices, data)
        .map_err(|_| FrameError::Layout("the block is not a CSR matrix"))
}
