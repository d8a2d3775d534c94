//! Bytes that belong to nothing.

use std::path::Path;

use crate::Error;
use crate::format::FormatError;

/// Checks that these bytes of a file, the first of which is at `at`, are zero.
pub(super) fn check_zero(file: &Path, bytes: &[u8], at: u64) -> Result<(), Error> {
    match bytes.iter().position(|&byte| byte != 0) {
        None => Ok(()),
        Some(k) => Err(FormatError::invalid(
            file,
            at + k as u64,
            format!("padding is {}, expected 0", bytes[k]),
        )
        .into()),
    }
}
