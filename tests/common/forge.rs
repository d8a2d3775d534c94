//! Stores that are changed behind their checksums: every one is made to hold again.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses a part of this; a test may unwrap"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use cellring::format::checksum::crc32c;
use cellring::format::shard::encode_header;
use serde_json::{Value, json};

const PIECE: usize = 1 << 20;

/// The files of a store of one matrix, and its manifest.
#[derive(Clone)]
pub(crate) struct Forge {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) manifest: Value,
}

/// The bytes of a manifest whose last member is its checksum.
pub(crate) fn seal_json(manifest: &Value) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(manifest).unwrap();
    bytes.truncate(bytes.len() - 2);
    let crc = crc32c(&bytes);
    bytes.extend_from_slice(format!(",\n  \"manifest_crc32c\": \"{crc:08x}\"\n}}\n").as_bytes());
    bytes
}

/// What a manifest says, without its checksum.
pub(crate) fn read_json(path: &Path) -> Value {
    let mut manifest: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    manifest.as_object_mut().unwrap().remove("manifest_crc32c");
    manifest
}

/// Checksums of the pieces of a file.
pub(crate) fn pieces(bytes: &[u8]) -> Value {
    bytes
        .chunks(PIECE)
        .map(|piece| format!("{:08x}", crc32c(piece)))
        .collect()
}

impl Forge {
    pub(crate) fn open(store: &Path) -> Self {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(store).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if name != "manifest.json" {
                files.insert(name, fs::read(&path).unwrap());
            }
        }
        Self {
            files,
            manifest: read_json(&store.join("manifest.json")),
        }
    }

    pub(crate) fn file(&mut self, name: &str) -> &mut Vec<u8> {
        self.files.get_mut(name).unwrap()
    }

    fn number(&self, name: &str) -> usize {
        self.manifest[name].as_u64().unwrap() as usize
    }

    /// Where the sections of the index begin, and the width of an entry of the third.
    pub(crate) fn layout(&self) -> (usize, usize, usize) {
        let (n_obs, block_size) = (self.number("n_obs"), self.number("block_size"));
        let packed_narrow = self.manifest["encoding"] == "packed" && self.number("max_obs_nnz") <= 65_535;
        let ends = (64 + 16 * n_obs.div_ceil(block_size)).next_multiple_of(64);
        let details = (ends + 4 * n_obs).next_multiple_of(64);
        (ends, details, if packed_narrow { 2 } else { 4 })
    }

    pub(crate) fn end(&self, obs: usize) -> usize {
        let at = self.layout().0 + 4 * obs;
        u32::from_le_bytes(self.files["index.bin"][at..at + 4].try_into().unwrap()) as usize
    }

    pub(crate) fn set_end(&mut self, obs: usize, end: u32) {
        let at = self.layout().0 + 4 * obs;
        self.file("index.bin")[at..at + 4].copy_from_slice(&end.to_le_bytes());
    }

    pub(crate) fn set_detail(&mut self, obs: usize, detail: u32) {
        let (_, details, width) = self.layout();
        let at = details + width * obs;
        self.file("index.bin")[at..at + width].copy_from_slice(&detail.to_le_bytes()[..width]);
    }

    /// Where the values of an obs of a raw store lie in the first shard, of whose blocks the first is meant.
    pub(crate) fn raw_values(
        &self,
        obs: usize,
        index_bytes: usize,
        value_bytes: usize,
    ) -> std::ops::Range<usize> {
        let m = self.number("n_obs").min(self.number("block_size"));
        let nnz = self.end(m - 1);
        let indices = (4 * (m + 1)).next_multiple_of(64);
        let data = (indices + nnz * index_bytes).next_multiple_of(64);
        let start = if obs == 0 { 0 } else { self.end(obs - 1) };
        let base = self.number("alignment") + data;
        base + start * value_bytes..base + self.end(obs) * value_bytes
    }

    /// Makes the CRC of an obs of a raw store hold again.
    pub(crate) fn seal_raw(&mut self, obs: usize, index_bytes: usize, value_bytes: usize) {
        let values = self.raw_values(obs, index_bytes, value_bytes);
        let m = self.number("n_obs").min(self.number("block_size"));
        let indices_at = self.number("alignment") + (4 * (m + 1)).next_multiple_of(64);
        let start = if obs == 0 { 0 } else { self.end(obs - 1) };
        let (from, to) = (
            indices_at + start * index_bytes,
            indices_at + self.end(obs) * index_bytes,
        );
        let shard = &self.files["shard-00000.bin"];
        let nnz = (values.len() / value_bytes) as u32;
        let crc = cellring::format::checksum::obs_crc(obs as u64, nnz, &[&shard[from..to], &shard[values]]);
        self.set_detail(obs, crc);
    }

    /// The store id of the content, in the manifest too. `index`: what counts of it.
    fn content_id(&mut self, index: &[u8]) -> [u8; 16] {
        let (obs, var) = (&self.files["obs.arrow"], &self.files["var.arrow"]);
        let m = &self.manifest;
        let text = [
            "n_obs",
            "n_vars",
            "nnz",
            "block_size",
            "alignment",
            "encoding",
            "value_type",
        ]
        .map(|name| m[name].to_string().replace('"', ""))
        .join(",");
        let parts = [index, obs, var, text.as_bytes()];
        let id: Vec<u8> = parts.iter().flat_map(|part| crc32c(part).to_le_bytes()).collect();
        let hex = id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        self.manifest["store_id"] = hex.into();
        id.try_into().unwrap()
    }

    /// Makes the entries of the index and the tables hold again.
    fn seal_files(&mut self) {
        for (name, file) in [("index", "index.bin"), ("obs", "obs.arrow"), ("var", "var.arrow")] {
            let bytes = &self.files[file];
            self.manifest[name] = json!({"file": file, "bytes": bytes.len(), "crc32c": pieces(bytes)});
        }
    }

    /// Makes every checksum, header and length hold again, and the store id that of the content.
    pub(crate) fn seal(&mut self) {
        let index = self.files["index.bin"][64..].to_vec();
        let id = self.content_id(&index);
        let (_, _, width) = self.layout();
        let (n_obs, block_size) = (self.number("n_obs"), self.number("block_size"));
        let encoding: u32 = if self.manifest["encoding"] == "packed" {
            1
        } else {
            2
        };
        let alignment = self.number("alignment");
        let n_blocks = n_obs.div_ceil(block_size) as u64;
        let index = self.file("index.bin");
        let mut header = b"CLRINDEX".to_vec();
        header.extend([1u32, encoding].iter().flat_map(|n| n.to_le_bytes()));
        header.extend([n_obs as u64, n_blocks].iter().flat_map(|n| n.to_le_bytes()));
        header.extend(
            [block_size as u32, width as u32]
                .iter()
                .flat_map(|n| n.to_le_bytes()),
        );
        header.extend_from_slice(&id);
        header.extend_from_slice(&[0; 4]);
        let crc = crc32c(&header);
        header.extend_from_slice(&crc.to_le_bytes());
        index[..64].copy_from_slice(&header);
        self.seal_files();
        for number in 0..self.manifest["shards"].as_array().unwrap().len() {
            let name = format!("shard-{number:05}.bin");
            let shard = self.files.get_mut(&name).unwrap();
            shard[..alignment].copy_from_slice(&encode_header(number as u32, id, alignment as u32));
            self.manifest["shards"][number]["bytes"] = shard.len().into();
        }
    }

    /// The same for a linked store, whose index says where its files are: that does not count for the store id.
    pub(crate) fn seal_linked(&mut self) {
        let word =
            |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let index = &self.files["index.bin"];
        let (end, mut at) = (64 + word(index, 32), 68);
        let mut identifying = index[64..68].to_vec();
        for _ in 0..word(index, 64) {
            at += 2 + usize::from(u16::from_le_bytes([index[at], index[at + 1]]));
            let end = at + 32 + 12 * word(index, at + 28);
            let (length, fingerprint_and_pieces) = (&index[at..at + 8], &index[at + 20..end]);
            identifying.extend([&[0; 2], length, &[0; 12], fingerprint_and_pieces].concat());
            at = end;
        }
        identifying.extend_from_slice(&index[at..end]);
        identifying.extend_from_slice(&index[end.next_multiple_of(64)..]);
        let id = self.content_id(&identifying);
        let index = self.file("index.bin");
        index[40..56].copy_from_slice(&id);
        let crc = crc32c(&index[..60]);
        index[60..64].copy_from_slice(&crc.to_le_bytes());
        self.seal_files();
    }

    pub(crate) fn write(&self, store: &Path) {
        let _ = fs::remove_dir_all(store);
        fs::create_dir(store).unwrap();
        for (name, bytes) in &self.files {
            fs::write(store.join(name), bytes).unwrap();
        }
        fs::write(store.join("manifest.json"), seal_json(&self.manifest)).unwrap();
    }
}
