//! Joins the indices of parts.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use super::files::verify_file;
use super::found::FoundPart;
use crate::Error;
use crate::format::FormatError;
use crate::format::constants::BLOCK_RECORD_BYTES;
use crate::format::file::{Links, open};
use crate::format::index::{BlockRecord, check_order};
use crate::writer::error::WriteError;
use crate::writer::spool::IndexSpool;

/// Appends the index of a part whose first shard gets this number, after checking each of its entries.
pub(super) fn append_index(index: &mut IndexSpool, part: &FoundPart, first_shard: u32) -> Result<(), Error> {
    let manifest = &part.manifest;
    let path = part.path.join(&manifest.index.file);
    verify_file(&path, &manifest.index)?;
    let refuse = |rule: String| Error::from(FormatError::invalid(&path, 0, rule));
    let (n_obs, n_blocks) = (manifest.n_obs, manifest.n_blocks());
    let open_at = |at: u64| -> Result<BufReader<File>, Error> {
        let mut file = open(&path, Links::Refused).map_err(WriteError::io(&path))?;
        file.seek(SeekFrom::Start(at)).map_err(WriteError::io(&path))?;
        Ok(BufReader::with_capacity(1 << 18, file))
    };
    let next_record = |from: &mut BufReader<File>| -> Result<BlockRecord, Error> {
        let mut bytes = [0; BLOCK_RECORD_BYTES];
        from.read_exact(&mut bytes).map_err(WriteError::io(&path))?;
        Ok(BlockRecord::from_bytes(bytes))
    };
    let mut records = open_at(0)?;
    let record = |_| {
        let record = next_record(&mut records)?;
        // Where it is none of the part's shards, it is refused at once.
        let shard = record.shard.saturating_add(first_shard);
        index.append_record(BlockRecord { shard, ..record });
        Ok(record)
    };
    check_order(&manifest.shards, manifest.alignment, record, |_, rule| {
        refuse(rule)
    })?;
    let ends_at = n_blocks * BLOCK_RECORD_BYTES as u64;
    let (mut records, mut ends, mut details) =
        (open_at(0)?, open_at(ends_at)?, open_at(ends_at + 4 * n_obs)?);
    let limits = manifest.entry_limits();
    let mut left = n_obs;
    while left > 0 {
        let record = next_record(&mut records)?;
        let now = left.min(u64::from(manifest.block_size)) as usize;
        let ends = read_entries(&mut ends, now).map_err(WriteError::io(&path))?;
        let details = read_entries(&mut details, now).map_err(WriteError::io(&path))?;
        let mut start = 0;
        for (k, (&end, &detail)) in ends.iter().zip(&details).enumerate() {
            if limits.place((start, end), detail, record.payload_bytes).is_none() {
                let obs = manifest.first_obs + n_obs - left + k as u64;
                return Err(refuse(format!(
                    "the entry of obs {obs} of the store fits neither its block nor the limits of an obs"
                )));
            }
            start = end;
        }
        index.append_obs(&ends, &details)?;
        left -= now as u64;
    }
    Ok(())
}

fn read_entries(from: &mut impl Read, n: usize) -> std::io::Result<Vec<u32>> {
    let mut bytes = vec![0; 4 * n];
    from.read_exact(&mut bytes)?;
    let entry = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    Ok(bytes.chunks_exact(4).map(entry).collect())
}
