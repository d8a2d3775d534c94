//! The limits of an obs.

use super::record::ObsPlace;
use crate::format::encoding::Encoding;

/// What the manifest says of every obs, against which each entry of an index is checked when it is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryLimits {
    pub(crate) encoding: Encoding,
    pub(crate) max_obs_nnz: u32,
    pub(crate) max_obs_bytes: u64,
}

impl EntryLimits {
    /// Place of the obs whose entries these are; `start` is the end of the obs before it in the same block. `None` where they do
    /// not fit the payload of the block, the limits, or each other: then memory for its values must not be taken.
    #[inline]
    pub(crate) fn place(self, (start, end): (u32, u32), detail: u32, payload_bytes: u32) -> Option<ObsPlace> {
        if start > end {
            return None;
        }
        let place = self.encoding.place((start, end), detail);
        let fits = self.encoding.fits(place, payload_bytes, self.max_obs_bytes);
        (fits && place.nnz <= self.max_obs_nnz).then_some(place)
    }
}
