//! The file that a linked store leads to, and what was linked of it.

use std::path::{Path, PathBuf};

use cellring::Store;
use cellring::format::constants::MANIFEST_FILE;
use cellring::store::LeadsTo;
use cellring_anndata::{InputStamp, OpenOptions, Selection};

use super::error::ConvertError;
use super::options::ConvertOptions;

/// The file that a linked store leads to, and what was linked of it.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    store: PathBuf,
    /// Below which the files are.
    pub(crate) root: PathBuf,
    /// The input, as it could be linked or converted.
    pub(crate) input: PathBuf,
    /// What was read of it.
    pub(crate) open: OpenOptions,
    /// Which matrices, the first one first.
    pub(crate) selections: Vec<Selection>,
}

impl Origin {
    /// That of a store; `None` if the path is not that of a linked store. The files are not opened.
    ///
    /// # Errors
    /// If the store is damaged, or does not say what it was made of.
    pub(crate) fn of(path: &Path, source_root: Option<&Path>) -> Result<Option<Self>, ConvertError> {
        if !path.join(MANIFEST_FILE).is_file() {
            return Ok(None);
        }
        let Some(found) = LeadsTo::read(path)? else {
            return Ok(None);
        };
        let root = match source_root {
            Some(root) => root.to_path_buf(),
            // A link to the store is somewhere else.
            None => {
                let real = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
                real.parent().unwrap_or(Path::new(".")).to_path_buf()
            }
        };
        let source = &found.manifest.source;
        let text = |name: &str| source.get(name).and_then(|value| value.as_str());
        let input = input(&found.files, text("file"));
        let names = found.manifest.matrices.iter().map(|entry| selection(&entry.name));
        let first = text("matrix").and_then(selection);
        let selections: Option<Vec<Selection>> = std::iter::once(first).chain(names).collect();
        let (Some(input), Some(selections)) = (input, selections) else {
            return Err(ConvertError::Unknown {
                store: path.to_path_buf(),
            });
        };
        Ok(Some(Self {
            store: path.to_path_buf(),
            input: root.join(input),
            root,
            open: OpenOptions {
                group: text("group").map(str::to_owned),
                genome: text("genome").map(str::to_owned),
                ..OpenOptions::default()
            },
            selections,
        }))
    }

    /// Whether the file is what was linked. It may not change from when the stamp was taken on.
    ///
    /// # Errors
    /// If not, or it cannot be read.
    pub(super) fn check(&self) -> Result<InputStamp, ConvertError> {
        let stamp = InputStamp::read(&self.input);
        Store::open_below(&self.store, &self.root)?;
        Ok(stamp?)
    }

    /// The options of a conversion of the store as those of a conversion of its file.
    ///
    /// # Errors
    /// If they ask for something else than was linked.
    pub(super) fn options(&self, options: &ConvertOptions) -> Result<ConvertOptions, ConvertError> {
        let names_matrices = options.selection != Selection::X || !options.other_matrices.is_empty();
        let OpenOptions {
            group,
            genome,
            feature_types,
            force_read,
        } = &options.open;
        if names_matrices || group.is_some() || genome.is_some() || !feature_types.is_empty() {
            return Err(self.fixed());
        }
        let mut selections = self.selections.iter().cloned();
        Ok(ConvertOptions {
            open: OpenOptions {
                force_read: *force_read,
                ..self.open.clone()
            },
            selection: selections.next().unwrap_or_default(),
            other_matrices: selections.collect(),
            ..options.clone()
        })
    }

    /// What is said to whoever asks for other matrices.
    pub(crate) fn fixed(&self) -> ConvertError {
        let paths: Vec<String> = self.selections.iter().map(Selection::path).collect();
        ConvertError::Fixed {
            store: self.store.clone(),
            matrices: paths.join(", "),
            input: self.input.clone(),
        }
    }
}

/// The path of the input from the root: that of its only file, or the directory of this name that its files are in.
fn input(files: &[String], name: Option<&str>) -> Option<PathBuf> {
    let first = Path::new(files.first()?);
    let called = |path: &&Path| name.is_some_and(|name| path.file_name().is_some_and(|own| own == name));
    match files {
        [_] => first.ancestors().find(called).or(Some(first)),
        _ => first.ancestors().find(called),
    }
    .map(Path::to_path_buf)
}

/// The matrix with this path in AnnData.
fn selection(path: &str) -> Option<Selection> {
    match (path, path.split_once('/')) {
        ("X", _) => Some(Selection::X),
        ("raw/X", _) => Some(Selection::Raw),
        (_, Some(("layers", name))) => Some(Selection::Layer(name.to_owned())),
        (_, Some(("obsm", name))) => Some(Selection::Obsm(name.to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_and_matrices_are_found_again() {
        let files = |paths: &[&str]| -> Vec<String> { paths.iter().map(|&path| path.to_owned()).collect() };
        let found = |paths: &[&str], name| input(&files(paths), name).map(|path| path.display().to_string());
        assert_eq!(found(&["a/b.h5ad"], Some("b.h5ad")).as_deref(), Some("a/b.h5ad"));
        // By way of a link of another name.
        assert_eq!(found(&["a/b.h5ad"], Some("c")).as_deref(), Some("a/b.h5ad"));
        let zarr = ["a/b.zarr/X/data/c/0", "a/b.zarr/X/indices/c/0"];
        assert_eq!(found(&zarr, Some("b.zarr")).as_deref(), Some("a/b.zarr"));
        assert_eq!(found(&zarr, None), None);
        for kind in [
            Selection::X,
            Selection::Raw,
            Selection::Layer("a/b".into()),
            Selection::Obsm("c".into()),
        ] {
            assert_eq!(selection(&kind.path()), Some(kind));
        }
        assert_eq!(selection("matrix"), None);
    }
}
