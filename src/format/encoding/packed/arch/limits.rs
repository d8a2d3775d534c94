//! Up to where the fast loops are right.

use crate::format::constants::GROUP_LEN;

/// The sum of the gaps of a group cannot overflow 32 bits while each is below this and the columns before below 2^31.
pub(super) const SAFE_GAP: u32 = 1 << 24;
const _: () = assert!((GROUP_LEN as u64) * (SAFE_GAP as u64) + (1 << 31) <= 1 << 32);

/// Entry widths for which 4 bytes hold an entry wherever its first bit lies within a byte: 7 + 25 = 32.
#[cfg(target_arch = "x86_64")]
pub(super) const MAX_SIMD_WIDTH: usize = 25;
