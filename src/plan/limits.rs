//! How large a plan may be.

/// The largest number of obs that can be planned.
pub const MAX_OBS: u64 = 1 << 48;

/// The largest number of obs in one fetch: their numbers alone then take 512 MiB.
pub const MAX_FETCH_OBS: u64 = 1 << 26;

/// The most ranks, summed over all but the last entry of a history, that a resumed plan follows.
pub(crate) const MAX_HISTORY_RANKS: u64 = 1 << 20;
