//! The part of zarr, versions 2 and 3, that AnnData needs: a directory of chunk files and JSON, written as the data come.
//!
//! The whole grows in a directory of another name beside the final one. An array's chunks gather in a directory of their
//! own, which is moved to its place in the tree when that is known, at the end. Metadata are consolidated as zarr-python does
//! it.

mod metadata;
mod stored;

pub(super) use stored::Stored;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use cellring_core::{sync_directory, unfinished};
use serde_json::Value;

use super::compress::Compression;
use super::error::WriteErrorKind;
use super::options::ZarrFormat;
use super::temporary::{TemporaryDirectory, not_replaceable, temporary_directory};
use super::tree::{Dataset, Group, Node, Stored as StoredData};
use crate::write::temporary::directory_of;

/// Where arrays gather until they have their place. Not a name that AnnData gives.
const ARRAYS: &str = ".arrays";

/// Size of the chunks of an array of `len` elements: what zarr-python guesses.
///
/// It aims at 256 KiB for 1 MiB of data and doubles that with each power of ten, between 128 KiB and 64 MiB; here 8 MiB are
/// the most, so that little memory is needed.
pub(super) fn usual_chunk_bytes(len: Option<u64>, element_bytes: usize) -> usize {
    let mebibytes = len.unwrap_or(1 << 32) as f64 * element_bytes as f64 / (1 << 20) as f64;
    let target = 262_144.0 * mebibytes.max(f64::MIN_POSITIVE).log10().exp2();
    target.clamp(131_072.0, 8_388_608.0) as usize
}

/// The directory being written.
pub(super) struct Output {
    root: TemporaryDirectory,
    format: ZarrFormat,
    n_arrays: u64,
}

/// The chunks of an array, each a file.
pub(super) struct Chunks {
    directory: PathBuf,
    format: ZarrFormat,
    rank: usize,
    n_chunks: u64,
}

impl Chunks {
    /// Writes the next chunk.
    pub(super) fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Chunks of two dimensions span all columns.
        let name = match (self.format, self.rank) {
            (ZarrFormat::V2, 1) => format!("{}", self.n_chunks),
            (ZarrFormat::V2, _) => format!("{}.0", self.n_chunks),
            (ZarrFormat::V3, 1) => format!("c/{}", self.n_chunks),
            (ZarrFormat::V3, _) => format!("c/{}/0", self.n_chunks),
        };
        let path = self.directory.join(name);
        let _making = unfinished::begin()?;
        if let Some(parent) = path.parent()
            && (self.n_chunks == 0 || self.rank > 1)
        {
            fs::create_dir_all(parent)?;
        }
        self.n_chunks += 1;
        fs::write(path, bytes)
    }

    pub(super) fn close(self, chunk_len: u32, compression: Compression) -> Stored {
        Stored {
            directory: self.directory,
            chunk_len,
            compression,
        }
    }
}

impl Output {
    /// Makes a directory that is to be called `path`, where nothing is or what may be replaced.
    pub(super) fn create(path: &Path, format: ZarrFormat) -> io::Result<Self> {
        if path.symlink_metadata().is_ok() && !is_zarr(path) {
            return Err(not_replaceable());
        }
        let root = temporary_directory(path)?;
        let _making = unfinished::begin()?;
        fs::create_dir(root.path().join(ARRAYS))?;
        Ok(Self {
            root,
            format,
            n_arrays: 0,
        })
    }

    /// Begins the chunks of an array of `rank` dimensions.
    pub(super) fn begin(&mut self, rank: usize) -> io::Result<Chunks> {
        let directory = self.root.path().join(ARRAYS).join(self.n_arrays.to_string());
        self.n_arrays += 1;
        let _making = unfinished::begin()?;
        fs::create_dir(&directory)?;
        Ok(Chunks {
            directory,
            format: self.format,
            rank,
            n_chunks: 0,
        })
    }

    /// Puts all in its place, syncs it, and gives the directory its name, in place of a zarr directory of that name.
    pub(super) fn publish(self, root: &Group, path: &Path) -> Result<(), WriteErrorKind> {
        let mut tree = Tree {
            root: self.root.path(),
            format: self.format,
            whole: root,
            documents: BTreeMap::new(),
        };
        {
            let _making = unfinished::begin()?;
            tree.group(root, "")?;
            tree.consolidate()?;
            fs::remove_dir_all(self.root.path().join(ARRAYS))?;
        }
        // One call instead of one for each chunk, of which there may be a hundred thousand.
        rustix::fs::syncfs(File::open(self.root.path())?).map_err(io::Error::from)?;
        self.root.publish(path, is_zarr)?;
        Ok(sync_directory(directory_of(path))?)
    }
}

/// Whether a directory may be replaced: it is zarr too.
fn is_zarr(path: &Path) -> bool {
    ["zarr.json", ".zgroup", ".zattrs"]
        .iter()
        .any(|name| path.join(name).is_file())
}

/// The tree while it is put in place.
struct Tree<'a> {
    root: &'a Path,
    format: ZarrFormat,
    whole: &'a Group,
    /// All metadata files, by their paths.
    documents: BTreeMap<String, Value>,
}

impl Tree<'_> {
    fn group(&mut self, group: &Group, path: &str) -> Result<(), WriteErrorKind> {
        fs::create_dir_all(self.root.join(path))?;
        self.documents(path, metadata::group(self.format, &group.attributes))?;
        for (name, node) in &group.members {
            let below = join(path, name);
            self.node(node, &below)?;
        }
        Ok(())
    }

    fn node(&mut self, node: &Node, path: &str) -> Result<(), WriteErrorKind> {
        match node {
            Node::Group(group) => self.group(group, path),
            Node::Dataset(dataset) => {
                let stored = stored(dataset);
                fs::rename(&stored.directory, self.root.join(path))?;
                self.array(dataset, path)
            }
            Node::Same(other) => self.copy_other(other, path),
        }
    }

    fn array(&mut self, dataset: &Dataset, path: &str) -> Result<(), WriteErrorKind> {
        let stored = stored(dataset);
        let documents = metadata::array(self.format, dataset, stored.chunk_len, stored.compression);
        self.documents(path, documents)
    }

    /// Writes again what lies at `from` already.
    fn copy(&mut self, node: &Node, from: &str, path: &str) -> Result<(), WriteErrorKind> {
        match node {
            Node::Dataset(dataset) => {
                copy_files(&self.root.join(from), &self.root.join(path))?;
                self.array(dataset, path)
            }
            Node::Group(group) => {
                fs::create_dir_all(self.root.join(path))?;
                self.documents(path, metadata::group(self.format, &group.attributes))?;
                for (name, node) in &group.members {
                    self.copy(node, &join(from, name), &join(path, name))?;
                }
                Ok(())
            }
            Node::Same(other) => self.copy_other(other, path),
        }
    }

    fn copy_other(&mut self, other: &str, path: &str) -> Result<(), WriteErrorKind> {
        match find(self.whole, other) {
            Some(node) => self.copy(node, other, path),
            None => unreachable!("{other} is in the tree"),
        }
    }

    /// Writes metadata of an object, and remembers them.
    fn documents(&mut self, path: &str, documents: Vec<(&str, Value)>) -> Result<(), WriteErrorKind> {
        for (name, document) in documents {
            let file = join(path, name);
            write_json(&self.root.join(&file), &document)?;
            self.documents.insert(file, document);
        }
        Ok(())
    }

    /// Writes all metadata once more into one file, which spares readers of remote stores a request for each.
    fn consolidate(&self) -> Result<(), WriteErrorKind> {
        match self.format {
            ZarrFormat::V2 => {
                let document = metadata::consolidated_v2(&self.documents);
                write_json(&self.root.join(".zmetadata"), &document)
            }
            ZarrFormat::V3 => {
                let document = metadata::consolidated_v3(&self.documents);
                write_json(&self.root.join("zarr.json"), &document)
            }
        }
    }
}

fn stored(dataset: &Dataset) -> &Stored {
    match &dataset.stored {
        StoredData::Zarr(stored) => stored,
        StoredData::Hdf5(_) => unreachable!("the chunks of an array are in the directory that it is in"),
    }
}

fn find<'a>(root: &'a Group, path: &str) -> Option<&'a Node> {
    match path.split_once('/') {
        None => root.members.get(path),
        Some((head, rest)) => match root.members.get(head)? {
            Node::Group(group) => find(group, rest),
            _ => None,
        },
    }
}

fn join(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        _ => format!("{path}/{name}"),
    }
}

fn write_json(path: &Path, document: &Value) -> Result<(), WriteErrorKind> {
    let bytes = serde_json::to_vec_pretty(document).map_err(io::Error::from)?;
    Ok(fs::write(path, bytes)?)
}

/// Copies the chunks of an array, not its metadata.
fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_files(&entry.path(), &place)?;
        } else {
            fs::copy(entry.path(), place)?;
        }
    }
    Ok(())
}
