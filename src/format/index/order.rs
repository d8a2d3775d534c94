//! The order of the blocks.

use super::record::BlockRecord;
use crate::format::entries::ShardEntry;

/// Checks that blocks follow each other, without gaps, in the shards that the manifest gives them to.
///
/// `record` reads the record of the next block. `broken` makes the error of a rule that is broken: by the record of a block, or at the
/// end of a shard, at this byte.
pub(crate) fn check_order<E>(
    shards: &[ShardEntry],
    alignment: u32,
    mut record: impl FnMut(u64) -> Result<BlockRecord, E>,
    broken: impl Fn(Misplaced, String) -> E,
) -> Result<(), E> {
    let alignment = u64::from(alignment);
    let mut block = 0;
    for (number, shard) in shards.iter().enumerate() {
        let mut next = alignment;
        for _ in 0..shard.blocks {
            let found = record(block)?;
            if (found.shard as usize, found.offset_bytes) != (number, next) {
                let rule = format!(
                    "block {block} is at shard {}, byte {}; expected shard {number}, byte {next}",
                    found.shard, found.offset_bytes
                );
                return Err(broken(Misplaced::Block(block), rule));
            }
            // Below 2^63 before and 2^32 more.
            next += u64::from(found.payload_bytes).next_multiple_of(alignment);
            if next > shard.bytes {
                let rule = format!("block {block} ends at byte {next} of {}", shard.bytes);
                return Err(broken(Misplaced::Block(block), rule));
            }
            block += 1;
        }
        // Where obs were appended, the last block before them was written again elsewhere, and the old one is still there.
        if next != shard.bytes && shard.store_id.is_none() {
            let rule = format!(
                "the shard's blocks end at byte {next}, the file at {}",
                shard.bytes
            );
            return Err(broken(
                Misplaced::End {
                    shard: number,
                    at: next,
                },
                rule,
            ));
        }
    }
    Ok(())
}

/// Where blocks do not lie as they should.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Misplaced {
    /// By the record of this block.
    Block(u64),
    /// After the last block of this shard.
    End {
        /// Number of the shard.
        shard: usize,
        /// Where the block ends.
        at: u64,
    },
}
