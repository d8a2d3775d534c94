//! The manifest (`FORMAT.md`, section 2).

use std::collections::HashSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::checksum::crc32c;
use super::constants::{CHECKSUMS_FEATURE, JOINED_FEATURE, LINKED_FEATURE, VERSION, matrix_directory};
use super::encoding::{Encoding, StoredMatrix};
use super::error::FormatError;
use super::hex::{parse_crc, parse_id};
use super::index::{EntryLimits, IndexLayout};
use super::json::with_allowance;
use super::linked::{GROUP_OBS, Totals};
use super::names::version_of;
use super::rules::Claims;
use super::var_order::VarOrder;
use cellring_core::ValueType;

pub use super::entries::{FileEntry, ShardEntry};

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
    #[serde(deserialize_with = "present")]
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
    #[serde(deserialize_with = "super::json::limited_object")]
    pub source: serde_json::Value,
}

/// Another matrix of the same obs (`FORMAT.md`, section 10). Its members have the meaning that they have in the
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
    #[serde(deserialize_with = "present")]
    pub raw_value_type: Option<ValueType>,
    pub f32_exact: bool,
    pub max_obs_nnz: u32,
    pub max_obs_bytes: u64,
    pub var_order: VarOrder,
    pub shards: Vec<ShardEntry>,
    pub index: FileEntry,
    pub var: FileEntry,
    #[serde(deserialize_with = "super::json::limited_object")]
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
    /// If the members cannot be written as JSON, which no manifest made by a writer causes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        seal(self)
    }

    /// Reads and checks a manifest: version and features first, so that a newer store is named as such.
    ///
    /// # Errors
    /// If it is not valid: the message says what is wrong.
    pub fn from_bytes(bytes: &[u8], file: &Path) -> Result<Self, FormatError> {
        if let Err(damaged) = check_crc(bytes, file) {
            // A later version may end otherwise.
            return Err(match Head::from_json(bytes) {
                Some(head) => head.check_version(file).err().unwrap_or(damaged),
                None => damaged,
            });
        }
        let not_a_store = |reason: &str| FormatError::NotAStore {
            path: file.to_path_buf(),
            reason: reason.into(),
        };
        let head = Head::from_json(bytes).ok_or_else(|| {
            not_a_store(
                "the manifest is not JSON, or does not declare its format; convert again or restore it",
            )
        })?;
        head.check_version(file)?;
        if head.format != "cellring" || head.version != u64::from(VERSION) {
            return Err(not_a_store(
                "the manifest does not declare the format cellring, version 1; convert again or restore it",
            ));
        }
        let unknown = |feature: &String| FormatError::Feature {
            file: file.to_path_buf(),
            feature: feature.clone(),
        };
        let is_unknown = |feature: &&String| {
            ![LINKED_FEATURE, JOINED_FEATURE, CHECKSUMS_FEATURE].contains(&feature.as_str())
        };
        if let Some(feature) = head.feature.iter().find(is_unknown) {
            return Err(unknown(feature));
        }
        let manifest: Self = with_allowance(|| serde_json::from_slice(bytes)).map_err(|error| {
            FormatError::invalid(file, 0, format!("a member of the manifest is wrong: {error}"))
        })?;
        if let Some(feature) = manifest.features.iter().find(is_unknown) {
            return Err(unknown(feature));
        }
        let expected = match manifest.is_linked() {
            true => linked_features(manifest.is_joined(), manifest.has_row_checksums()),
            false => Vec::new(),
        };
        if manifest.features != expected {
            let rule = "a store has the feature \"linked\" if and only if it is linked, and only after that \"joined\", and then \"checksums\"";
            return Err(FormatError::invalid(file, 0, rule));
        }
        manifest.check(file)?;
        manifest.check_matrices(file)?;
        Ok(manifest)
    }

    /// Whether the values lie in other files than those of the store: of all matrices, or of none.
    pub fn is_linked(&self) -> bool {
        self.encoding == Encoding::Linked
    }

    /// Whether the index of a linked store describes its inputs one by one.
    pub(crate) fn is_joined(&self) -> bool {
        self.features.iter().any(|feature| feature == JOINED_FEATURE)
    }

    /// Whether the index of a linked store has a checksum of each row.
    pub fn has_row_checksums(&self) -> bool {
        self.features.iter().any(|feature| feature == CHECKSUMS_FEATURE)
    }

    /// What the index of a linked store has to agree with.
    pub(crate) fn totals(&self) -> Totals {
        Totals {
            n_obs: self.n_obs,
            n_vars: self.n_vars,
            nnz: self.nnz,
            value_type: self.value_type,
            is_joined: self.is_joined(),
        }
    }

    /// The other matrices have names and places of their own, and each follows the rules of a store.
    fn check_matrices(&self, file: &Path) -> Result<(), FormatError> {
        let mut names: HashSet<&str> = self.name.iter().map(String::as_str).collect();
        for (number, entry) in self.matrices.iter().enumerate() {
            if entry.name.is_empty()
                || !names.insert(&entry.name)
                || entry.directory != matrix_directory(number)
            {
                let rule =
                    format!("the name or directory of matrix {number} is not what the format prescribes");
                return Err(FormatError::invalid(file, 0, rule));
            }
            if (entry.encoding == Encoding::Linked) != self.is_linked() {
                let rule = format!("matrix {number} and the store are not both linked");
                return Err(FormatError::invalid(file, 0, rule));
            }
            if entry.name.starts_with(LAYERS) && entry.n_vars != self.n_vars {
                let rule = format!(
                    "matrix {number} is a layer of {} columns, the store has {}",
                    entry.n_vars, self.n_vars
                );
                return Err(FormatError::invalid(file, 0, rule));
            }
            self.of_matrix(entry).check(file)?;
        }
        Ok(())
    }

    /// Another matrix as a store of its own: what it shares is that of this one.
    pub fn of_matrix(&self, entry: &MatrixEntry) -> Self {
        let entry = entry.clone();
        Self {
            format: self.format.clone(),
            version: self.version,
            features: self.features.clone(),
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
        let refuse = |rule: String| FormatError::invalid(file, 0, rule);
        if self.raw_value_type.is_some() != self.encoding.has_raw_value_type() {
            return Err(refuse(
                "raw_value_type belongs to the raw encoding, and to it alone".into(),
            ));
        }
        if parse_id(&self.store_id).is_none() {
            return Err(refuse("store_id is not 32 lower-case hexadecimal digits".into()));
        }
        if self.is_linked()
            && (u64::from(self.block_size), self.var_order, self.f32_exact)
                != (GROUP_OBS, VarOrder::Source, true)
        {
            return Err(refuse(
                "block_size, var_order or f32_exact is not that of a linked store".into(),
            ));
        }
        let is_called =
            |entry: &FileEntry, stem, extension| version_of(&entry.file, stem, extension).is_some();
        if !is_called(&self.index, "index", "bin")
            || !is_called(&self.obs, "obs", "arrow")
            || self.var.file != *super::constants::VAR_FILE
        {
            return Err(refuse(
                "the index or a table does not have the name that the format prescribes".into(),
            ));
        }
        let claims = Claims {
            n_obs: self.n_obs,
            nnz: self.nnz,
            encoding: self.encoding,
            matrix: self.stored_matrix(),
            block_size: self.block_size,
            alignment: self.alignment,
            max_obs_nnz: self.max_obs_nnz,
            is_joined: self.is_joined(),
            max_obs_bytes: self.max_obs_bytes,
            shards: &self.shards,
            index: &self.index,
            obs: &self.obs,
            var: &self.var,
        };
        let index_bytes = || match self.is_linked() {
            // What it leads to is in it, so its length is compared when it is opened.
            true => self.index.bytes,
            false => self.index_layout().file_bytes,
        };
        claims.check(index_bytes).map_err(refuse)
    }

    /// Where the sections of the index lie.
    ///
    /// # Panics
    /// If the store is linked.
    pub fn index_layout(&self) -> IndexLayout {
        IndexLayout::new(
            self.n_obs,
            self.block_size,
            self.encoding,
            self.max_obs_nnz as u64,
        )
    }

    /// What every entry of the index keeps to.
    pub(crate) const fn entry_limits(&self) -> EntryLimits {
        EntryLimits {
            encoding: self.encoding,
            max_obs_nnz: self.max_obs_nnz,
            max_obs_bytes: self.max_obs_bytes,
        }
    }

    /// The type in which values lie in the blocks.
    pub fn stored_value_type(&self) -> ValueType {
        self.raw_value_type.unwrap_or(self.value_type)
    }

    /// What an encoding needs to know of the matrix.
    pub(crate) fn stored_matrix(&self) -> StoredMatrix {
        StoredMatrix {
            n_vars: self.n_vars,
            value_type: self.value_type,
            stored: self.stored_value_type(),
            f32_exact: self.f32_exact,
            has_row_checksums: self.has_row_checksums(),
        }
    }

    /// The id of a store with this shape and these CRCs of the sections of its index and of its tables (`FORMAT.md`, section 7).
    pub(crate) fn id_of_content(&self, sections: u32, obs: u32, var: u32) -> [u8; 16] {
        let text = format!(
            "{},{},{},{},{},{},{}",
            self.n_obs,
            self.n_vars,
            self.nnz,
            self.block_size,
            self.alignment,
            self.encoding.name(),
            self.value_type.name(),
        );
        let mut id = [0; 16];
        let crcs = [sections, obs, var, crc32c(text.as_bytes())];
        for (bytes, crc) in id.chunks_mut(4).zip(crcs) {
            bytes.copy_from_slice(&crc.to_le_bytes());
        }
        id
    }

    /// The store id as bytes; zero where the text is not one, which [`Manifest::from_bytes`] refuses.
    pub fn store_id(&self) -> [u8; 16] {
        parse_id(&self.store_id).unwrap_or_default()
    }

    /// The id in the header of a shard: that of the store, or the one it had when the shard was written.
    ///
    /// # Panics
    /// If there is no such shard.
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

/// A member that is there, if only as null.
fn present<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(from)
}

/// How the name of a layer begins.
pub(crate) const LAYERS: &str = "layers/";

/// What says which version a manifest has, whatever else it holds.
#[derive(Deserialize)]
struct Head {
    format: String,
    version: u64,
    /// The first feature.
    #[serde(
        default,
        rename = "features",
        deserialize_with = "crate::format::json::first_text"
    )]
    feature: Option<String>,
}

impl Head {
    fn from_json(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    fn check_version(&self, file: &Path) -> Result<(), FormatError> {
        if self.format == "cellring" && self.version > u64::from(VERSION) {
            return Err(FormatError::Version {
                file: file.to_path_buf(),
                found: self.version,
                expected: VERSION,
            });
        }
        Ok(())
    }
}

/// A store id as the manifest writes it.
pub(crate) fn id_text(id: [u8; 16]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An object as JSON that ends with its checksum.
pub(crate) fn seal(object: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = serde_json::to_vec_pretty(object)?;
    // "\n}" closes a pretty object; the checksum becomes its last member.
    bytes.truncate(bytes.len() - 2);
    let crc = crc32c(&bytes);
    bytes.extend_from_slice(format!("{TAIL_HEAD}{crc:08x}{TAIL_END}").as_bytes());
    Ok(bytes)
}

/// Compares the checksum in the last member with the bytes before it.
pub(crate) fn check_crc(bytes: &[u8], file: &Path) -> Result<(), FormatError> {
    let at = bytes.len().saturating_sub(TAIL_HEAD.len() + 8 + TAIL_END.len());
    let stated = std::str::from_utf8(&bytes[at..])
        .ok()
        .and_then(|tail| tail.strip_prefix(TAIL_HEAD)?.strip_suffix(TAIL_END))
        .and_then(parse_crc);
    let Some(expected) = stated else {
        let reason = "the manifest does not end with its checksum: it is damaged or cut off; convert again or restore it".into();
        return Err(FormatError::NotAStore {
            path: file.to_path_buf(),
            reason,
        });
    };
    let found = crc32c(&bytes[..at]);
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

/// What the manifest of a linked store names among its features.
pub(crate) fn linked_features(is_joined: bool, has_row_checksums: bool) -> Vec<String> {
    let features = [
        (true, LINKED_FEATURE),
        (is_joined, JOINED_FEATURE),
        (has_row_checksums, CHECKSUMS_FEATURE),
    ];
    let named = features.into_iter().filter(|(is, _)| *is);
    named.map(|(_, feature)| feature.to_owned()).collect()
}
