//! What the result of one read means. Every backend hands its results to [`judge`], and nothing else decides.

use std::io;

/// How often in a row a read may come back with nothing gained - interrupted, told to try again, or too short
/// to go on from - before it fails. A read that gains bytes starts again.
pub(super) const RETRY_BUDGET: u16 = 64;

/// What is to be done about a read that has come back.
#[derive(Debug)]
pub(super) enum Verdict {
    /// All bytes that are needed have arrived.
    Done,
    /// Read again, without the first `skip_bytes`, which have arrived.
    Again {
        /// A multiple of the alignment, less than the length asked for.
        skip_bytes: u32,
    },
    /// The file ends before the bytes that are needed.
    Truncated {
        /// How many bytes of this read were found.
        found_bytes: u32,
    },
    /// The kernel says that it cannot be read.
    Failed(io::Error),
}

/// Judges a read of which `needed_bytes` lie inside the file as it was opened.
///
/// `fruitless` counts how often in a row this read came back with nothing gained before. A short read goes on
/// from the last multiple of `alignment` that it reached: direct I/O cannot start elsewhere. A read that
/// stops at the same odd place each time has met the end of a file that was cut there.
pub(super) fn judge(result: io::Result<u32>, needed_bytes: u32, alignment: u32, fruitless: u16) -> Verdict {
    match result {
        Ok(bytes) if bytes >= needed_bytes => Verdict::Done,
        Ok(0) => Verdict::Truncated { found_bytes: 0 },
        Ok(bytes) => {
            let skip_bytes = bytes - bytes % alignment;
            if skip_bytes == 0 && fruitless >= RETRY_BUDGET {
                return Verdict::Truncated { found_bytes: bytes };
            }
            Verdict::Again { skip_bytes }
        }
        Err(error) if is_transient(&error) && fruitless < RETRY_BUDGET => Verdict::Again { skip_bytes: 0 },
        Err(error) => Verdict::Failed(error),
    }
}

/// xfs reports EAGAIN even to those who are willing to wait.
fn is_transient(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::error::errno;

    fn again(verdict: Verdict) -> Option<u32> {
        if let Verdict::Again { skip_bytes } = verdict {
            Some(skip_bytes)
        } else {
            None
        }
    }

    #[test]
    fn enough_bytes_are_done_even_when_fewer_than_asked_for() {
        assert!(matches!(judge(Ok(4096), 4096, 512, 0), Verdict::Done));
        assert!(matches!(judge(Ok(700), 700, 512, RETRY_BUDGET), Verdict::Done));
        assert!(matches!(judge(Ok(0), 0, 512, 0), Verdict::Done));
    }

    #[test]
    fn short_reads_go_on_from_the_last_aligned_byte() {
        assert_eq!(again(judge(Ok(1536), 4096, 512, 0)), Some(1536));
        assert_eq!(again(judge(Ok(1537), 4096, 512, 0)), Some(1536));
        assert_eq!(again(judge(Ok(1537), 4096, 1, 0)), Some(1537));
        assert_eq!(again(judge(Ok(511), 4096, 512, 0)), Some(0));
        assert_eq!(again(judge(Ok(512), 4096, 512, RETRY_BUDGET)), Some(512));
    }

    #[test]
    fn nothing_before_the_needed_end_is_truncation() {
        assert!(matches!(
            judge(Ok(0), 1, 512, 0),
            Verdict::Truncated { found_bytes: 0 }
        ));
        assert!(matches!(
            judge(Ok(100), 4096, 512, RETRY_BUDGET),
            Verdict::Truncated { found_bytes: 100 }
        ));
    }

    #[test]
    fn transient_errors_are_retried_only_so_often_and_others_never() {
        for code in [libc::EINTR, libc::EAGAIN] {
            assert_eq!(again(judge(errno(-code), 512, 512, RETRY_BUDGET - 1)), Some(0));
            let Verdict::Failed(error) = judge(errno(-code), 512, 512, RETRY_BUDGET) else {
                panic!("not failed")
            };
            assert_eq!(error.raw_os_error(), Some(code));
        }
        assert!(matches!(
            judge(errno(-libc::EIO), 512, 512, 0),
            Verdict::Failed(_)
        ));
    }
}
