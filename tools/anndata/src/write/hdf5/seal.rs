//! Checksums of structures.

use hdf5_core::jenkins_lookup3;

/// Appends the checksum that ends every checksummed structure.
pub(super) fn seal(bytes: &mut Vec<u8>) {
    let checksum = jenkins_lookup3(bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
}
