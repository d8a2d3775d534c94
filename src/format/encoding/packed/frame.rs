//! A frame, parsed as far as its groups.

use super::group::{Descriptor, Mode, Packed, Stream};
use crate::format::constants::{DESCRIPTOR_BYTES, GROUP_LEN};
use crate::format::encoding::error::FrameError;
use crate::format::encoding::values::check_bools;
use cellring_core::ValueType;

/// A frame whose checksum holds, parsed as far as its groups.
pub(super) struct Frame<'a> {
    /// The frame and what may be loaded after it.
    pub(super) readable: &'a [u8],
    /// The frame without its checksum.
    pub(super) body: &'a [u8],
    /// Start of the groups in it.
    pub(super) groups_at: usize,
    pub(super) mode: Mode,
    /// The bytes of the dictionary's values; empty in other modes.
    pub(super) dictionary: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads the head of a frame whose values are stored as `value_type`.
    pub(super) fn parse(
        readable: &'a [u8],
        body: &'a [u8],
        value_type: ValueType,
    ) -> Result<Self, FrameError> {
        let short = |part| FrameError::Short {
            bytes: body.len(),
            part,
        };
        let &mode = body.first().ok_or(short("mode"))?;
        let mode = Mode::from_byte(mode).ok_or(FrameError::Mode(mode))?;
        if mode != Mode::Dictionary {
            return Ok(Self {
                readable,
                body,
                groups_at: 1,
                mode,
                dictionary: &[],
            });
        }
        let length = body.get(1..3).ok_or(short("dictionary length"))?;
        let entries = usize::from(u16::from_le_bytes([length[0], length[1]])) + 1;
        let groups_at = 3 + entries * value_type.size_bytes();
        let dictionary = body.get(3..groups_at).ok_or(short("dictionary"))?;
        check_bools(dictionary, value_type)?;
        Ok(Self {
            readable,
            body,
            groups_at,
            mode,
            dictionary,
        })
    }

    /// The stream of the codes of the group at `at`, which has been split.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn code_stream(&self, at: usize) -> Stream {
        let head = self.body[at..].first_chunk().copied();
        Descriptor::from_bytes(head.unwrap_or_default()).code
    }

    /// Splits the group of `m` entries at `at` into its gaps and its codes; also gives where it ends.
    #[inline(always)]
    pub(super) fn split_group(&self, at: usize, m: usize) -> Result<(Packed, Packed, usize), FrameError> {
        let body = self.body;
        let short = FrameError::Short {
            bytes: body.len(),
            part: "group",
        };
        let Some(head) = body
            .get(at..)
            .and_then(|rest| rest.first_chunk::<DESCRIPTOR_BYTES>())
        else {
            return Err(short);
        };
        let descriptor = Descriptor::from_bytes(*head);
        let gaps_at = at + DESCRIPTOR_BYTES;
        let codes_at = gaps_at + descriptor.gap.packed_bytes(m);
        let gap_exceptions_at = codes_at + descriptor.code.packed_bytes(m);
        let code_exceptions_at = gap_exceptions_at + descriptor.gap.exception_bytes();
        let end = code_exceptions_at + descriptor.code.exception_bytes();
        if end > body.len() {
            return Err(short);
        }
        if m < GROUP_LEN {
            // Whole groups end on a byte.
            check_tail(&body[gaps_at..codes_at], m, descriptor.gap)?;
            check_tail(&body[codes_at..gap_exceptions_at], m, descriptor.code)?;
        }
        let packed = |stream, at: usize, exceptions_at: usize| Packed {
            stream,
            m: m as u32,
            at: at as u32,
            exceptions_at: exceptions_at as u32,
        };
        let gap = packed(descriptor.gap, gaps_at, gap_exceptions_at);
        let code = packed(descriptor.code, codes_at, code_exceptions_at);
        Ok((gap, code, end))
    }
}

/// Groups that are split before the first of them is decoded. Of what is wrong with a frame, the first fault of these is
/// reported before any in the entries of the groups.
pub(super) const AHEAD: usize = 8;

/// The lengths of the next groups of `n` entries, at most [`AHEAD`] groups.
#[inline(always)]
pub(super) fn group_lengths(n: usize) -> impl Iterator<Item = usize> {
    (0..n.div_ceil(GROUP_LEN)).map(move |group| (n - group * GROUP_LEN).min(GROUP_LEN))
}

/// Checks the bits after the last of `m` entries.
fn check_tail(bytes: &[u8], m: usize, stream: Stream) -> Result<(), FrameError> {
    let used = m * stream.width as usize % 8;
    match bytes.last() {
        Some(&last) if used > 0 && last >> used != 0 => Err(FrameError::Tail),
        _ => Ok(()),
    }
}
