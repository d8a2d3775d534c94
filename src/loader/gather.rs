//! Puts the rows of linked stores together that the batches of a fetch have brought.

use super::extents::SlotRange;
use super::pending::{FilledFetch, PendingFetch, StagedBatch};
use crate::Error;
use crate::linked::Link;
use crate::linked::rows::gather as gather_parts;

/// Tells for each row where its parts are, once the files are known to be what they were when their bytes were read.
///
/// # Errors
/// If a file has changed.
pub(super) fn gather(links: &[&Link], mut pending: PendingFetch) -> Result<FilledFetch, Error> {
    links.iter().try_for_each(|link| link.check())?;
    let batches = std::mem::take(&mut pending.staged);
    let split = |batch: StagedBatch| (batch.staged, batch.reservation);
    let (staged, reservations) = batches.into_iter().map(split).unzip();
    let n_obs = pending.fetch.obs.len();
    let buffers = gather_parts(staged, |row, role, kept| {
        let (matrix, position) = (row as usize / n_obs, row as usize % n_obs);
        pending.placed[matrix][position].parts[role as usize] = SlotRange {
            slot: kept.buffer,
            offset_bytes: kept.offset_bytes,
            len_bytes: kept.len_bytes,
        };
    });
    Ok(FilledFetch {
        slots: std::mem::take(&mut pending.slots),
        pending,
        buffers,
        _reservations: reservations,
    })
}

/// What is wrong: a file that has changed may look like one that is damaged.
pub(super) fn explained(links: &[&Link], error: Error) -> Error {
    let changed = links.iter().find_map(|link| link.check().err());
    changed.map_or(error, Into::into)
}
