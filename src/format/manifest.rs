//! The manifest (`FORMAT.md`, section 2).

use std::collections::HashSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::constants::{
    ALIGNMENT_RANGE, CHECKSUM_PIECE_BYTES, MAX_BLOCK_SIZE, VERSION, matrix_directory, shard_file,
};
use super::error::FormatError;
use super::index::IndexLayout;
use super::value::ValueType;

/// How the blocks are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u32)]
pub enum Encoding {
    /// One compressed frame per obs.
    Packed = 1,
    /// CSR as it lies in memory.
    Raw = 2,
}

impl Encoding {
    /// The name in the manifest.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Packed => "packed",
            Self::Raw => "raw",
        }
    }
}

/// How the writer ordered the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VarOrder {
    /// As in the source.
    Source,
    /// By the number of obs in which they occur, most frequent first.
    Detection,
}

impl VarOrder {
    /// The name in the manifest.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Detection => "detection",
        }
    }
}

/// One shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "FORMAT.md, section 2")]
pub struct ShardEntry {
    pub file: String,
    pub bytes: u64,
    pub blocks: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_id: Option<String>,
}

/// A file with checksums of its pieces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "FORMAT.md, section 2")]
pub struct FileEntry {
    pub file: String,
    pub bytes: u64,
    #[serde(with = "hex_list")]
    pub crc32c: Vec<u32>,
}

/// The members of the manifest; `FORMAT.md`, section 2, gives their meaning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "FORMAT.md, section 2")]
pub struct Manifest {
    pub format: String,
    pub version: u32,
    pub features: Vec<String>,
    pub store_id: String,
    pub n_obs: u64,
    pub n_vars: u64,
    pub nnz: u64,
    pub encoding: Encoding,
    pub value_type: ValueType,
    pub raw_value_type: Option<ValueType>,
    pub f32_exact: bool,
    pub block_size: u32,
    pub alignment: u32,
    pub max_obs_nnz: u32,
    pub max_obs_bytes: u64,
    pub var_order: VarOrder,
    pub shards: Vec<ShardEntry>,
    pub index: FileEntry,
    pub obs: FileEntry,
    pub var: FileEntry,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matrices: Vec<MatrixEntry>,
    pub source: serde_json::Value,
}

/// A further matrix of the same obs (`FORMAT.md`, section 10). Its members have the meaning that they have in the
/// [`Manifest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "FORMAT.md, sections 2 and 10")]
pub struct MatrixEntry {
    pub name: String,
    pub directory: String,
    pub store_id: String,
    pub n_vars: u64,
    pub nnz: u64,
    pub encoding: Encoding,
    pub value_type: ValueType,
    pub raw_value_type: Option<ValueType>,
    pub f32_exact: bool,
    pub max_obs_nnz: u32,
    pub max_obs_bytes: u64,
    pub var_order: VarOrder,
    pub shards: Vec<ShardEntry>,
    pub index: FileEntry,
    pub var: FileEntry,
    pub source: serde_json::Value,
}

impl MatrixEntry {
    /// The entry of matrix `number` of a store, which was written as this manifest says.
    pub fn new(name: String, number: usize, manifest: Manifest) -> Self {
        Self {
            name,
            directory: matrix_directory(number),
            store_id: manifest.store_id,
            n_vars: manifest.n_vars,
            nnz: manifest.nnz,
            encoding: manifest.encoding,
            value_type: manifest.value_type,
            raw_value_type: manifest.raw_value_type,
            f32_exact: manifest.f32_exact,
            max_obs_nnz: manifest.max_obs_nnz,
            max_obs_bytes: manifest.max_obs_bytes,
            var_order: manifest.var_order,
            shards: manifest.shards,
            index: manifest.index,
            var: manifest.var,
            source: manifest.source,
        }
    }
}

/// What stands between the manifest's last member and the checksum.
const TAIL_HEAD: &str = ",\n  \"manifest_crc32c\": \"";
const TAIL_END: &str = "\"\n}\n";

impl Manifest {
    /// The bytes of the file.
    ///
    /// # Errors
    /// Where the members cannot be written as JSON, which no manifest made by a writer causes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        seal(self)
    }

    /// Reads and checks a manifest: version and features first, so that a newer store is named as such.
    ///
    /// # Errors
    /// [`FormatError`] that tells what is wrong.
    pub fn from_bytes(bytes: &[u8], file: &Path) -> Result<Self, FormatError> {
        let not_a_store = |reason: String| FormatError::NotAStore {
            path: file.to_path_buf(),
            reason,
        };
        let json: Option<serde_json::Value> = serde_json::from_slice(bytes).ok();
        let version = json.as_ref().and_then(|json| json.get("version")?.as_u64());
        let format = json.as_ref().and_then(|json| json.get("format")?.as_str());
        if let Some(found) = version.filter(|&v| v > u64::from(VERSION) && format == Some("cellring")) {
            return Err(FormatError::Version {
                file: file.to_path_buf(),
                found,
                expected: VERSION,
            });
        }
        check_crc(bytes, file)?;
        let json = json.ok_or_else(|| not_a_store("the manifest is not JSON".into()))?;
        if json.get("format").and_then(|f| f.as_str()) != Some("cellring")
            || version != Some(u64::from(VERSION))
        {
            return Err(not_a_store(
                "the manifest does not say format cellring, version 1".into(),
            ));
        }
        if let Some(feature) = json.get("features").and_then(|f| f.as_array()?.first()) {
            let feature = feature.as_str().unwrap_or_default().to_string();
            return Err(FormatError::Feature {
                file: file.to_path_buf(),
                feature,
            });
        }
        let manifest: Self = serde_json::from_value(json).map_err(|error| {
            FormatError::invalid(file, 0, format!("a member of the manifest is wrong: {error}"))
        })?;
        manifest.check(file)?;
        manifest.check_matrices(file)?;
        Ok(manifest)
    }

    /// The further matrices have names and places of their own, and each follows the rules of a store.
    fn check_matrices(&self, file: &Path) -> Result<(), FormatError> {
        let mut names: HashSet<&str> = self.name.iter().map(String::as_str).collect();
        for (number, entry) in self.matrices.iter().enumerate() {
            if entry.name.is_empty()
                || !names.insert(&entry.name)
                || entry.directory != matrix_directory(number)
            {
                let rule = format!("the name or directory of matrix {number} is not what the format says");
                return Err(FormatError::invalid(file, 0, rule));
            }
            self.of_matrix(entry).check(file)?;
        }
        Ok(())
    }

    /// A further matrix as a store of its own: what it shares is that of this one.
    pub fn of_matrix(&self, entry: &MatrixEntry) -> Self {
        let entry = entry.clone();
        Self {
            format: self.format.clone(),
            version: self.version,
            features: Vec::new(),
            store_id: entry.store_id,
            n_obs: self.n_obs,
            n_vars: entry.n_vars,
            nnz: entry.nnz,
            encoding: entry.encoding,
            value_type: entry.value_type,
            raw_value_type: entry.raw_value_type,
            f32_exact: entry.f32_exact,
            block_size: self.block_size,
            alignment: self.alignment,
            max_obs_nnz: entry.max_obs_nnz,
            max_obs_bytes: entry.max_obs_bytes,
            var_order: entry.var_order,
            shards: entry.shards,
            index: entry.index,
            obs: self.obs.clone(),
            var: entry.var,
            name: Some(entry.name),
            matrices: Vec::new(),
            source: entry.source,
        }
    }

    /// Checks what the members say of each other, so that nothing later needs to.
    fn check(&self, file: &Path) -> Result<(), FormatError> {
        let rule = |holds: bool, rule: &str| {
            if holds {
                Ok(())
            } else {
                Err(FormatError::invalid(file, 0, rule))
            }
        };
        rule(
            (1..=MAX_BLOCK_SIZE).contains(&self.block_size),
            "block_size is not within 1..=65536",
        )?;
        rule(
            self.alignment.is_power_of_two() && ALIGNMENT_RANGE.contains(&self.alignment),
            "alignment is not a power of two within 512..=1048576",
        )?;
        rule(
            self.n_vars < 1 << 31 && self.n_obs < 1 << 48,
            "the shape is beyond 2^48 obs or 2^31 vars",
        )?;
        rule(
            u64::from(self.max_obs_nnz) <= self.n_vars,
            "max_obs_nnz is above n_vars",
        )?;
        rule(
            self.max_obs_bytes <= u64::from(u32::MAX),
            "max_obs_bytes is above 2^32 - 1",
        )?;
        rule(
            self.raw_value_type.is_some() == (self.encoding == Encoding::Raw),
            "raw_value_type belongs to the raw encoding, and to it alone",
        )?;
        rule(
            self.stored_type_fits(),
            "raw_value_type is neither value_type nor u8, u16 or u32",
        )?;
        rule(
            [Some(&self.store_id)]
                .into_iter()
                .chain(self.shards.iter().map(|shard| shard.store_id.as_ref()))
                .flatten()
                .all(|id| parse_id(id).is_some()),
            "store_id is not 32 hexadecimal digits",
        )?;
        rule(
            self.shards
                .iter()
                .try_fold(0u64, |n, shard| n.checked_add(shard.blocks))
                == Some(self.index_layout().n_blocks),
            "the blocks of the shards do not add up to those of the store",
        )?;
        rule(
            self.shards.iter().enumerate().all(|(i, shard)| {
                shard.file == shard_file(i as u32) && shard.bytes % u64::from(self.alignment) == 0
            }),
            "a shard's name or length is not what the format says",
        )?;
        rule(
            self.index.bytes == self.index_layout().file_bytes,
            "the index's length is not what the shape asks for",
        )?;
        rule(
            [&self.index, &self.obs, &self.var].iter().all(|f| {
                f.crc32c.len() as u64 == f.bytes.div_ceil(CHECKSUM_PIECE_BYTES as u64)
                    && is_plain_name(&f.file)
            }),
            "a file has not one checksum for each piece of 1048576 bytes",
        )
    }

    fn stored_type_fits(&self) -> bool {
        use ValueType::{U8, U16, U32};
        self.raw_value_type
            .is_none_or(|t| t == self.value_type || matches!(t, U8 | U16 | U32))
    }

    /// Where the sections of the index lie.
    pub const fn index_layout(&self) -> IndexLayout {
        IndexLayout::new(
            self.n_obs,
            self.block_size,
            self.encoding,
            self.max_obs_nnz as u64,
        )
    }

    /// The type in which values lie in the blocks.
    pub fn stored_value_type(&self) -> ValueType {
        self.raw_value_type.unwrap_or(self.value_type)
    }

    /// The store id as bytes; zero where the text is not one, which [`Manifest::from_bytes`] refuses.
    pub fn store_id(&self) -> [u8; 16] {
        parse_id(&self.store_id).unwrap_or_default()
    }

    /// The id in the header of a shard: that of the store, or the one it had when the shard was written.
    ///
    /// # Panics
    /// Where there is no such shard.
    pub fn shard_store_id(&self, shard: usize) -> [u8; 16] {
        let own = self.shards[shard].store_id.as_deref().and_then(parse_id);
        own.unwrap_or_else(|| self.store_id())
    }

    /// Bytes of the matrix: shards, index and manifest, with headers, checksums and padding, but without the tables.
    ///
    /// `manifest_bytes` is the length of the manifest itself.
    pub fn matrix_bytes(&self, manifest_bytes: u64) -> u64 {
        self.shards.iter().map(|shard| shard.bytes).sum::<u64>() + self.index.bytes + manifest_bytes
    }
}

/// A file name that does not lead out of the store.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('/') && name != ".." && name != "."
}

fn parse_id(text: &str) -> Option<[u8; 16]> {
    let mut id = [0; 16];
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    for (byte, pair) in id.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(id)
}

/// An object as JSON that ends with its checksum.
pub(crate) fn seal(object: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = serde_json::to_vec_pretty(object)?;
    // "\n}" closes a pretty object; the checksum becomes its last member.
    bytes.truncate(bytes.len() - 2);
    let crc = super::checksum::crc32c(&bytes);
    bytes.extend_from_slice(format!("{TAIL_HEAD}{crc:08x}{TAIL_END}").as_bytes());
    Ok(bytes)
}

/// Compares the checksum in the last member with the bytes before it.
pub(crate) fn check_crc(bytes: &[u8], file: &Path) -> Result<(), FormatError> {
    let tail_bytes = TAIL_HEAD.len() + 8 + TAIL_END.len();
    let split = bytes.len().checked_sub(tail_bytes).filter(|&at| {
        let tail = &bytes[at..];
        let hex = &tail[TAIL_HEAD.len()..TAIL_HEAD.len() + 8];
        tail.starts_with(TAIL_HEAD.as_bytes())
            && tail.ends_with(TAIL_END.as_bytes())
            && hex.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    });
    let Some(at) = split else {
        let reason = "the manifest does not end with its checksum: it is damaged or cut off".into();
        return Err(FormatError::NotAStore {
            path: file.to_path_buf(),
            reason,
        });
    };
    let hex = &bytes[at + TAIL_HEAD.len()..at + TAIL_HEAD.len() + 8];
    let expected = hex.iter().fold(0, |crc, &digit| {
        crc << 4 | (digit as char).to_digit(16).unwrap_or(0)
    });
    let found = super::checksum::crc32c(&bytes[..at]);
    if expected == found {
        Ok(())
    } else {
        Err(FormatError::Checksum {
            file: file.to_path_buf(),
            start: 0,
            end: at as u64,
            expected,
            found,
        })
    }
}

/// Checksums as 8 hexadecimal digits each.
mod hex_list {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(list: &[u32], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(list.iter().map(|crc| format!("{crc:08x}")))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u32>, D::Error> {
        let texts = Vec::<String>::deserialize(from)?;
        let parse = |text: &String| match text.len() {
            8 => u32::from_str_radix(text, 16).map_err(D::Error::custom),
            _ => Err(D::Error::custom("a checksum is not 8 hexadecimal digits")),
        };
        texts.iter().map(parse).collect()
    }
}
