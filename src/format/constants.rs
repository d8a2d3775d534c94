//! The numbers of the format. They never change within a version; `tests` pins them. Those that the documentation does not show are for the tools.

/// Version of the format that this crate writes and reads.
pub(crate) const VERSION: u32 = 1;
/// First bytes of a shard.
pub(crate) const SHARD_MAGIC: [u8; 8] = *b"CLRSHARD";
/// First bytes of the index.
pub(crate) const INDEX_MAGIC: [u8; 8] = *b"CLRINDEX";
/// First bytes of the index of a linked store.
pub(crate) const LINK_MAGIC: [u8; 8] = *b"CLRLINKS";
/// Version of that index.
pub(crate) const LINK_VERSION: u32 = 2;
/// What the manifest of a linked store names among its features.
pub(crate) const LINKED_FEATURE: &str = "linked";
/// What it names besides if its obs are those of several inputs.
pub(crate) const JOINED_FEATURE: &str = "joined";
/// What it names after these if its index has a checksum of each row.
pub(crate) const CHECKSUMS_FEATURE: &str = "checksums";
/// Length of the index header in bytes.
pub(crate) const INDEX_HEADER_BYTES: usize = 64;
/// Length of a block record in the index in bytes.
pub(crate) const BLOCK_RECORD_BYTES: usize = 16;
/// Alignment of the sections of the index and of a raw block, in bytes.
pub(crate) const SECTION_ALIGNMENT: usize = 64;
/// Entries in a full group of a packed frame.
pub(crate) const GROUP_LEN: usize = 128;
/// Length of a group descriptor in bytes.
pub(crate) const DESCRIPTOR_BYTES: usize = 3;
/// Largest bit width of gaps and codes in a group.
pub(crate) const MAX_WIDTH: u32 = 31;
/// Largest number of exceptions of one kind in a group.
pub(crate) const MAX_EXCEPTIONS: usize = 63;
/// Length of the checksum at the end of a frame in bytes.
pub(crate) const FRAME_CRC_BYTES: usize = 4;
/// Largest number of entries in the dictionary of a frame.
pub(crate) const MAX_DICTIONARY: usize = 65_536;
/// Default number of obs in a block.
#[doc(hidden)]
pub const DEFAULT_BLOCK_SIZE: u32 = 256;
/// Largest number of obs in a block.
#[doc(hidden)]
pub const MAX_BLOCK_SIZE: u32 = 65_536;
/// Default alignment of blocks in bytes: right for 512e and 4Kn devices.
pub(crate) const DEFAULT_ALIGNMENT: u32 = 4096;
/// Smallest and largest alignment of blocks in bytes.
pub(crate) const ALIGNMENT_RANGE: std::ops::RangeInclusive<u32> = 512..=1 << 20;
/// Rows in a record batch of a table.
pub const TABLE_BATCH_ROWS: usize = 65_536;
/// Length of the pieces of a file that the manifest holds a checksum for, in bytes.
pub(crate) const CHECKSUM_PIECE_BYTES: usize = 1 << 20;
/// Columns up to this number are stored as u16 in the raw encoding.
pub(crate) const MAX_U16_VARS: u64 = 65_536;

/// Most bytes of a manifest, of a store or of a part: enough for the checksums of three terabytes of index and tables.
pub(crate) const MAX_MANIFEST_BYTES: u64 = 64 << 20;
/// Most values in the part of a manifest that is meant for people.
pub(crate) const MAX_JSON_VALUES: usize = 1 << 18;
/// Most bytes of the footer of a table.
pub(crate) const MAX_FOOTER_BYTES: usize = 16 << 20;
/// Most bytes of the name of a file.
pub(crate) const MAX_NAME_BYTES: usize = 255;

/// Name of the manifest.
#[doc(hidden)]
pub const MANIFEST_FILE: &str = "manifest.json";
/// Name of what tells about one part of a conversion. It is not a part of a store.
#[doc(hidden)]
pub const PART_FILE: &str = "part.json";
/// Name of the index.
#[doc(hidden)]
pub const INDEX_FILE: &str = "index.bin";
/// Name of the obs table.
pub(crate) const OBS_FILE: &str = "obs.arrow";
/// Name of the var table.
pub(crate) const VAR_FILE: &str = "var.arrow";

/// Metadata key that tells what a field of a table is for.
pub const ROLE_KEY: &str = "cellring.role";
/// Role of the field that holds the names.
pub const ROLE_INDEX: &str = "index";
/// Role, and name after the prefix `cellring.`, of the field that holds each column's place in the source.
pub const ROLE_SOURCE_POSITION: &str = "source_position";
/// Name of that field.
#[doc(hidden)]
pub const SOURCE_POSITION_FIELD: &str = "cellring.source_position";

/// Name of a shard's file.
pub(crate) fn shard_file(number: u32) -> String {
    format!("shard-{number:05}.bin")
}

/// Directory of the other matrix `number` within the store.
pub(crate) fn matrix_directory(number: usize) -> String {
    format!("{MATRICES_DIRECTORY}/{number:05}")
}

/// What holds the directories of other matrices.
pub(crate) const MATRICES_DIRECTORY: &str = "matrices";

const _: () = assert!(DESCRIPTOR_BYTES * 8 >= 5 + 5 + 1 + 1 + 6 + 6);
const _: () = assert!(MAX_EXCEPTIONS < 1 << 6 && MAX_WIDTH < 1 << 5 && GROUP_LEN <= 256);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_version_1_never_change() {
        assert_eq!(VERSION, 1);
        assert_eq!((&SHARD_MAGIC, &INDEX_MAGIC), (b"CLRSHARD", b"CLRINDEX"));
        assert_eq!(
            (INDEX_HEADER_BYTES, BLOCK_RECORD_BYTES, SECTION_ALIGNMENT),
            (64, 16, 64)
        );
        assert_eq!(
            (GROUP_LEN, DESCRIPTOR_BYTES, MAX_WIDTH, MAX_EXCEPTIONS),
            (128, 3, 31, 63)
        );
        assert_eq!((FRAME_CRC_BYTES, MAX_DICTIONARY), (4, 65_536));
        assert_eq!(
            (TABLE_BATCH_ROWS, CHECKSUM_PIECE_BYTES, MAX_U16_VARS),
            (65_536, 1 << 20, 65_536)
        );
        assert_eq!(shard_file(7), "shard-00007.bin");
    }
}
