//! Tells a linked store that a file that it leads to is somewhere else now.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use cellring_core::few_and_more;
use serde_json::Value;

use super::error::WriteError;
use super::linked_writer::{look_at, publish, settle};
use super::publish::Staging;
use super::spool::write_header;
use super::sync::sync;
use crate::Error;
use crate::format::checksum::{crc32c, crc32c_append};
use crate::format::constants::{INDEX_HEADER_BYTES, MATRICES_DIRECTORY, SECTION_ALIGNMENT};
use crate::format::linked::{LinkedFile, LinkedLayout};
use crate::format::linked_id::identifying;
use crate::format::manifest::id_text;
use crate::format::table::Table;
use crate::format::{FormatError, Manifest};
use crate::store::{LinkTargets, LinkedIndex};

/// A file of a linked store, or a directory of such files, that is somewhere else now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// Where it was: the path that the store knows, from the root, or one that leads or led there.
    pub old: PathBuf,
    /// Where it is.
    pub new: PathBuf,
}

/// Has the linked store at `store` lead to files where they are now. They are below `source_root`, and their length and fingerprint are
/// those that were linked; so the store has the id that it had, and states that were saved with it go on.
///
/// Gives the new manifest. The store is replaced in one step, when it has been opened as its readers will.
///
/// # Errors
/// If the store is damaged or holds its values, does not lead to a file that was named, or one is not there, not below the root, or not
/// what was linked; or if the store cannot be replaced. It is as it was then.
pub fn relocate(store: &Path, source_root: &Path, relocations: &[Relocation]) -> Result<Manifest, Error> {
    let refuse = |problem: String| WriteError::Option(format!("{}: {problem}", store.display()));
    let Some(LinkTargets {
        mut manifest, files, ..
    }) = LinkTargets::read(store)?
    else {
        return Err(refuse("the store holds its values, so there is nothing to relocate".to_owned()).into());
    };
    let root = source_root.canonicalize().map_err(WriteError::io(source_root))?;
    let moves = Moves::new(store, &root, relocations, &files)?;
    let staging = Staging::create(store, true, &[], None)?;
    let mut found = Vec::new();
    let mut directories = vec![(PathBuf::new(), manifest.clone())];
    for entry in &manifest.matrices {
        directories.push((PathBuf::from(&entry.directory), manifest.of_matrix(entry)));
    }
    let mut written = Vec::new();
    for (directory, matrix) in &directories {
        let (from, to) = (store.join(directory), staging.path().join(directory));
        fs::create_dir_all(&to).map_err(WriteError::io(&to))?;
        written.push(moves.write_matrix(&from, &to, matrix, store, &mut found)?);
        keep(&from.join(&matrix.var.file), &to.join(&matrix.var.file))?;
        sync(&to)?;
    }
    keep(
        &store.join(&manifest.obs.file),
        &staging.path().join(&manifest.obs.file),
    )?;
    let matrices = staging.path().join(MATRICES_DIRECTORY);
    if matrices.exists() {
        sync(&matrices)?;
    }
    let mut written = written.into_iter();
    if let Some(first) = written.next() {
        (manifest.store_id, manifest.index) = (first.store_id, first.index);
        manifest.source = first.source;
    }
    for (entry, now) in manifest.matrices.iter_mut().zip(written) {
        (entry.store_id, entry.index, entry.source) = (now.store_id, now.index, now.source);
    }
    publish(staging, &manifest, &root, &found)?;
    Ok(manifest)
}

/// Which path of the store is which one now.
struct Moves<'a> {
    root: &'a Path,
    /// From the root, and where that is now.
    moves: Vec<(String, &'a Path)>,
}

impl<'a> Moves<'a> {
    fn new(
        store: &Path,
        root: &'a Path,
        relocations: &'a [Relocation],
        files: &[String],
    ) -> Result<Self, Error> {
        let mut moves = Vec::new();
        for Relocation { old, new } in relocations {
            // The store may have been linked below another root: messages then name the file from there.
            let of_store = store.parent().and_then(|parent| parent.canonicalize().ok());
            let known = [Some(root), of_store.as_deref()]
                .into_iter()
                .flatten()
                .flat_map(|root| known_as(old, root))
                .find(|known| files.iter().any(|file| below(file, known).is_some()));
            let known = known.ok_or_else(|| {
                WriteError::Option(format!(
                    "{}: the store does not refer to {}; it refers to {}, from {}",
                    store.display(),
                    old.display(),
                    few_and_more(files, 5),
                    root.display()
                ))
            })?;
            moves.push((known, new.as_path()));
        }
        Ok(Self { root, moves })
    }

    /// Where a file is now, if it was moved.
    fn place(&self, file: &str) -> Option<PathBuf> {
        self.moves.iter().find_map(|(old, new)| match below(file, old)? {
            "" => Some(new.to_path_buf()),
            rest => Some(new.join(rest)),
        })
    }

    /// Writes the index of a matrix again, and gives its manifest. Files that were moved are looked at once.
    fn write_matrix(
        &self,
        from: &Path,
        to: &Path,
        manifest: &Manifest,
        store: &Path,
        found: &mut Vec<(PathBuf, LinkedFile)>,
    ) -> Result<Manifest, Error> {
        let mut index = LinkedIndex::read(from, manifest)?;
        let mut manifest = manifest.clone();
        let known: Vec<String> = index.description.input_files().map(str::to_owned).collect();
        for file in &mut index.description.files {
            let Some(place) = self.place(&file.path) else {
                continue;
            };
            settle(modified(&place)?);
            // Another length is a difference by itself.
            let pieces = |bytes| match bytes == file.bytes {
                true => file.pieces.clone(),
                false => Vec::new(),
            };
            let (real, now) = look_at(&place, self.root, store, pieces)?;
            if (now.bytes, now.fingerprint) != (file.bytes, file.fingerprint) {
                return Err(other_file(&real, &now, file, store).into());
            }
            if !found.iter().any(|(path, _)| *path == real) {
                found.push((real, now.clone()));
            }
            *file = now;
        }
        index
            .description
            .check(&manifest.totals())
            .map_err(WriteError::Option)?;
        let path = to.join(&manifest.index.file);
        let (layout, sections) = write_index(&path, &index)?;
        let obs = Table::open(store.join(&manifest.obs.file), &manifest.obs, manifest.n_obs)?;
        let var = Table::open(from.join(&manifest.var.file), &manifest.var, manifest.n_vars)?;
        let store_id = manifest.id_of_content(sections, obs.crc()?, var.crc()?);
        manifest.store_id = id_text(store_id);
        manifest.index.bytes = layout.file_bytes;
        manifest.index.crc32c = write_header(&path, &layout.header(store_id))?.into();
        self.rename_sources(&mut manifest, &known);
        sync(&path)?;
        Ok(manifest)
    }

    /// What the manifest calls an input is its name. `files`: of each one of its files, as the store knew them.
    fn rename_sources(&self, manifest: &mut Manifest, files: &[String]) {
        let source = &mut manifest.source;
        let mut names: Vec<&mut Value> = match source.get("files").is_some() {
            true => source["files"].as_array_mut().into_iter().flatten().collect(),
            false => source.get_mut("file").into_iter().collect(),
        };
        for (name, file) in names.iter_mut().zip(files) {
            let called = |path: &Path| {
                name.as_str()
                    .is_some_and(|name| path.file_name().is_some_and(|own| own == name))
            };
            let input = Path::new(file).ancestors().find(|path| called(path));
            let moved = self.moves.iter().find(|(old, _)| Some(Path::new(old)) == input);
            // The index has the path without links.
            let real = moved.and_then(|(_, new)| new.canonicalize().ok());
            if let Some(now) = real.as_deref().and_then(Path::file_name) {
                **name = now.to_string_lossy().into();
            }
        }
    }
}

/// Writes the index but for its header, and gives its layout and the checksum that the store id is made of.
fn write_index(path: &Path, index: &LinkedIndex) -> Result<(LinkedLayout, u32), Error> {
    let was = &index.layout;
    let description = index.description.to_bytes();
    let too_long = || WriteError::Option("the paths of the files are too long; rename them".to_owned());
    let layout = u32::try_from(description.len()).ok().and_then(|bytes| {
        LinkedLayout::new(
            was.n_obs,
            was.nnz,
            was.count_bytes,
            bytes,
            was.n_extents,
            was.checksums_at.is_some(),
        )
    });
    let layout = layout.ok_or_else(too_long)?;
    let sections = index.sections()?;
    let write = || -> io::Result<()> {
        let mut file = BufWriter::with_capacity(1 << 20, File::create_new(path)?);
        file.write_all(&[0; INDEX_HEADER_BYTES])?;
        file.write_all(&description)?;
        let (from, to) = layout.gaps()[0];
        file.write_all(&[0; SECTION_ALIGNMENT][..(to - from) as usize])?;
        file.write_all(sections)?;
        file.flush()
    };
    write().map_err(WriteError::io(path))?;
    let crc = crc32c_append(crc32c(&identifying(&index.description)), sections);
    Ok((layout, crc))
}

/// When a file was modified last.
fn modified(path: &Path) -> Result<SystemTime, Error> {
    let found = path.metadata().and_then(|found| found.modified());
    found.map_err(|error| WriteError::io(path)(error).into())
}

/// What is said of a file that is not the one that was linked.
fn other_file(path: &Path, found: &LinkedFile, expected: &LinkedFile, store: &Path) -> WriteError {
    let difference = match found.bytes == expected.bytes {
        true => "some of its bytes differ".to_owned(),
        false => format!("it has {} bytes, expected {}", found.bytes, expected.bytes),
    };
    WriteError::Option(format!(
        "{}: it is not the file that {} knows as {} ({difference}); name the one that was moved, or link this one",
        path.display(),
        store.display(),
        expected.path
    ))
}

/// What a store may know a path as: as it is, or from the root.
fn known_as(path: &Path, root: &Path) -> Vec<String> {
    let mut known = Vec::new();
    let mut add = |path: &Path| {
        let mut names = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => names.extend(name.to_str()),
                Component::ParentDir if names.pop().is_none() => return,
                _ => {}
            }
        }
        known.push(names.join("/"));
    };
    if path.is_relative() {
        add(path);
    }
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    // The file is gone, and so may be the directory that it was in: links are followed in what is there.
    for there in absolute.ancestors() {
        if let (Ok(real), Ok(rest)) = (there.canonicalize(), absolute.strip_prefix(there)) {
            if let Ok(relative) = real.join(rest).strip_prefix(root) {
                add(relative);
            }
            break;
        }
    }
    if let Ok(relative) = absolute.strip_prefix(root) {
        add(relative);
    }
    known.retain(|known| !known.is_empty());
    known
}

/// The rest of a path that is another one, or below it.
fn below<'a>(path: &'a str, directory: &str) -> Option<&'a str> {
    match path.strip_prefix(directory)? {
        "" => Some(""),
        rest => rest.strip_prefix('/'),
    }
}

/// Gives a table a name in the new store, or copies it where that is refused.
fn keep(from: &Path, to: &Path) -> Result<(), Error> {
    fs::hard_link(from, to)
        .or_else(|_| fs::copy(from, to).map(drop))
        .map_err(FormatError::io(from))?;
    sync(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_known_from_the_root_and_below_one_another() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let known = |path: &Path| known_as(path, &root);
        assert_eq!(known(Path::new("a/b.h5ad"))[0], "a/b.h5ad");
        assert!(known(&root.join("gone/b.h5ad")).contains(&"gone/b.h5ad".to_owned()));
        assert!(known(Path::new("/elsewhere/b.h5ad")).is_empty());
        assert_eq!(known(Path::new("other/../b.h5ad"))[0], "b.h5ad");
        assert!(!known(Path::new("../b.h5ad")).contains(&"b.h5ad".to_owned()));
        fs::create_dir(root.join("real")).unwrap();
        std::os::unix::fs::symlink("real", root.join("link")).unwrap();
        assert!(known(&root.join("link/b.h5ad")).contains(&"real/b.h5ad".to_owned()));
        assert_eq!(below("a/b", "a"), Some("b"));
        assert_eq!(below("a/b", "a/b"), Some(""));
        assert_eq!(below("ab/c", "a"), None);
    }
}
