//! Raw blocks as sparse matrices.

use bytemuck::Pod;
use sprs::{CsMatViewI, SpIndex};

use super::layout::RawLayout;
use crate::format::encoding::error::FrameError;

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
