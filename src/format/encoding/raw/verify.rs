//! The bytes of a raw block that are not those of an obs.

use super::layout::layout_of;
use crate::format::encoding::codec::Entries;
use crate::format::error::FormatError;
use crate::format::index::record::BlockRecord;
use crate::format::window::{ShardFile, Window};

/// The block's indptr is that of the index, and the sections have zeros between. Gives where the indices end, and the block with its
/// padding, which ends at `padded`.
pub(super) fn check_block(
    index: &impl Entries,
    block: u64,
    record: BlockRecord,
    padded: u64,
    file: &ShardFile,
    window: &mut Window,
) -> Result<[u64; 2], FormatError> {
    let obs = index.obs_of_block(block);
    let offset = record.offset_bytes;
    let layout = layout_of(index, block, record.payload_bytes)?;
    let indptr_bytes = (layout.n_obs + 1) * 4;
    let indptr = window.part(file, offset, indptr_bytes, offset + layout.indices_at as u64)?;
    let mut expected = 0;
    for (k, entry) in indptr.chunks_exact(4).enumerate() {
        let found = u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]);
        if k > 0 {
            expected = index.end(obs.start + k as u64 - 1, record.payload_bytes)?;
        }
        if found != expected {
            let rule = format!("indptr[{k}] of block {block} is {found}, the index says {expected}");
            return Err(FormatError::invalid(file.path(), offset + k as u64 * 4, rule));
        }
    }
    let gaps = [
        (indptr_bytes, layout.indices_at),
        (
            layout.indices_at + layout.nnz * layout.index_bytes,
            layout.data_at,
        ),
    ];
    gaps.into_iter()
        .try_for_each(|(from, to)| window.check_zero(file, offset + from as u64..offset + to as u64))?;
    Ok([offset + layout.data_at as u64, padded])
}
