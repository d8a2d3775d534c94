//! The numbers of the format. They never change within a version; `tests` pins them.

/// Version of the format that this crate writes and reads.
pub const VERSION: u32 = 1;
/// First bytes of a shard.
pub const SHARD_MAGIC: [u8; 8] = *b"CLRSHARD";
/// First bytes of the index.
pub const INDEX_MAGIC: [u8; 8] = *b"CLRINDEX";
/// First bytes of the index of a linked store.
pub const LINK_MAGIC: [u8; 8] = *b"CLRLINKS";
/// What the manifest of a linked store names among its features.
pub const LINKED_FEATURE: &str = "linked";
/// What it names besides if its obs are those of several inputs.
pub const JOINED_FEATURE: &str = "joined";
/// What it names after these if its index has a checksum of each row.
pub const CHECKSUMS_FEATURE: &str = "checksums";
/// Length of the index header in bytes.
pub const INDEX_HEADER_BYTES: usize = 64;
/// Length of a block record in the index in bytes.
pub const BLOCK_RECORD_BYTES: usize = 16;
/// Alignment of the sections of the index and of a raw block, in bytes.
pub const SECTION_ALIGNMENT: usize = 64;
/// Entries in a full group of a packed frame.
pub const GROUP_LEN: usize = 128;
/// Length of a group descriptor in bytes.
pub const DESCRIPTOR_BYTES: usize = 3;
/// Largest bit width of gaps and codes in a group.
pub const MAX_WIDTH: u32 = 31;
/// Largest number of exceptions of one kind in a group.
pub const MAX_EXCEPTIONS: usize = 63;
/// Length of the checksum at the end of a frame in bytes.
pub const FRAME_CRC_BYTES: usize = 4;
/// Largest number of entries in the dictionary of a frame.
pub const MAX_DICTIONARY: usize = 65_536;
/// Default number of obs in a block.
pub const DEFAULT_BLOCK_SIZE: u32 = 256;
/// Largest number of obs in a block.
pub const MAX_BLOCK_SIZE: u32 = 65_536;
/// Default alignment of blocks in bytes: right for 512e and 4Kn devices.
pub const DEFAULT_ALIGNMENT: u32 = 4096;
/// Smallest and largest alignment of blocks in bytes.
pub const ALIGNMENT_RANGE: std::ops::RangeInclusive<u32> = 512..=1 << 20;
/// Rows in a record batch of a table.
pub const TABLE_BATCH_ROWS: usize = 65_536;
/// Length of the pieces of a file that the manifest holds a checksum for, in bytes.
pub const CHECKSUM_PIECE_BYTES: usize = 1 << 20;
/// Columns up to this number are stored as u16 in the raw encoding.
pub const MAX_U16_VARS: u64 = 65_536;

/// Most bytes of a manifest, of a store or of a part: enough for the checksums of three terabytes of index and tables.
pub const MAX_MANIFEST_BYTES: u64 = 64 << 20;
/// Most values in the part of a manifest that is meant for people.
pub const MAX_JSON_VALUES: usize = 1 << 18;
/// Most bytes of the footer of a table.
pub const MAX_FOOTER_BYTES: usize = 16 << 20;
/// Most bytes of the name of a file.
pub const MAX_NAME_BYTES: usize = 255;

/// Name of the manifest.
pub const MANIFEST_FILE: &str = "manifest.json";
/// Name of what tells about one part of a conversion. It is not a part of a store.
pub const PART_FILE: &str = "part.json";
/// Name of the index.
pub const INDEX_FILE: &str = "index.bin";
/// Name of the obs table.
pub const OBS_FILE: &str = "obs.arrow";
/// Name of the var table.
pub const VAR_FILE: &str = "var.arrow";

/// Metadata key that tells what a field of a table is for.
pub const ROLE_KEY: &str = "cellring.role";
/// Role of the field that holds the names.
pub const ROLE_INDEX: &str = "index";
/// Role, and name behind the prefix `cellring.`, of the field that holds each column's place in the source.
pub const ROLE_SOURCE_POSITION: &str = "source_position";
/// Name of that field.
pub const SOURCE_POSITION_FIELD: &str = "cellring.source_position";

/// Name of a shard's file.
pub fn shard_file(number: u32) -> String {
    format!("shard-{number:05}.bin")
}

/// Directory of further matrix `number` within the store.
pub fn matrix_directory(number: usize) -> String {
    format!("{MATRICES_DIRECTORY}/{number:05}")
}

/// What holds the directories of further matrices.
pub const MATRICES_DIRECTORY: &str = "matrices";

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
