//! What the manifest says of the files of a store.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::file::FileName;
use super::hex::parse_crc;

/// One shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "FORMAT.md, section 2")]
pub struct ShardEntry {
    pub file: FileName,
    pub bytes: u64,
    pub blocks: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_id: Option<String>,
}

/// A file with checksums of its pieces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "FORMAT.md, section 2")]
pub struct FileEntry {
    pub file: FileName,
    pub bytes: u64,
    /// Shared, since other matrices have the same obs.
    #[serde(with = "hex_list")]
    pub crc32c: Arc<[u32]>,
}

/// Checksums as 8 hexadecimal digits each.
mod hex_list {
    use std::borrow::Cow;
    use std::fmt;
    use std::sync::Arc;

    use serde::de::{Deserializer, Error, SeqAccess, Visitor};
    use serde::{Deserialize, Serializer};

    use super::parse_crc;

    pub(super) fn serialize<S: Serializer>(list: &[u32], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(list.iter().map(|crc| format!("{crc:08x}")))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<[u32]>, D::Error> {
        from.deserialize_seq(Checksums)
    }

    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

    /// Takes them one by one: a text of each would take ten times the memory.
    struct Checksums;

    impl<'de> Visitor<'de> for Checksums {
        type Value = Arc<[u32]>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of checksums")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Arc<[u32]>, A::Error> {
            let mut list = Vec::new();
            while let Some(Text(text)) = from.next_element()? {
                let crc = parse_crc(&text);
                list.push(
                    crc.ok_or_else(|| A::Error::custom("a checksum is not 8 lower-case hexadecimal digits"))?,
                );
            }
            Ok(list.into())
        }
    }
}
