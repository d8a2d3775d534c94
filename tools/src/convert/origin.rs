//! The inputs that a linked store leads to, and what was linked of them.

use std::path::{Path, PathBuf};

use cellring::Store;
use cellring::format::constants::MANIFEST_FILE;
use cellring::store::LinkTargets;
use cellring_anndata::__internal::ZARR_DOCUMENTS;
use cellring_anndata::{InputStamp, JoinOptions, OpenOptions, Selection, VarJoin};

use super::as_linked;
use super::error::ConvertError;
use super::inputs::name_of;
use super::options::ConvertOptions;

/// The inputs that a linked store leads to, and what was linked of them.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    store: PathBuf,
    /// Below which the files are.
    pub(crate) root: PathBuf,
    /// The inputs, as they could be linked or converted.
    pub(crate) inputs: Vec<PathBuf>,
    /// What was read of each.
    pub(crate) open: OpenOptions,
    /// How they became one.
    pub(crate) join: JoinOptions,
    /// The columns of obs that were copied; `None`: all.
    pub(crate) obs_columns: Option<Vec<String>>,
    /// Which matrices, the first one first.
    pub(crate) selections: Vec<Selection>,
    /// Whether the store has a checksum of each row.
    pub(crate) checksum: bool,
}

impl Origin {
    /// That of a store; `None` if the path is not that of a linked store. The files are not opened.
    ///
    /// # Errors
    /// If the store is damaged, or does not say what it was made of.
    pub(crate) fn read(path: &Path, source_root: Option<&Path>) -> Result<Option<Self>, ConvertError> {
        if !path.join(MANIFEST_FILE).is_file() {
            return Ok(None);
        }
        let Some(found) = LinkTargets::read(path)? else {
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
        let texts = |name: &str| -> Option<Vec<String>> {
            let list = source.get(name)?.as_array()?.iter();
            list.map(|text| text.as_str().map(str::to_owned)).collect()
        };
        let group = text("group");
        let inputs = match source.get("files") {
            None => input(&found.files, text("file"), group).map(|input| vec![input]),
            Some(_) => texts("files").and_then(|names| several(&found.input_files, &names, group)),
        };
        let var = match text("join") {
            None => Some(VarJoin::default()),
            Some(name) => VarJoin::ALL.into_iter().find(|join| join.name() == name),
        };
        let names = found.manifest.matrices.iter().map(|entry| selection(&entry.name));
        let first = text("matrix").and_then(selection);
        let selections: Option<Vec<Selection>> = std::iter::once(first).chain(names).collect();
        let (Some(inputs), Some(var), Some(selections)) = (inputs, var, selections) else {
            return Err(ConvertError::Unknown {
                store: path.to_path_buf(),
            });
        };
        Ok(Some(Self {
            store: path.to_path_buf(),
            inputs: inputs.into_iter().map(|input| root.join(input)).collect(),
            root,
            open: OpenOptions::default()
                .group(group.map(str::to_owned))
                .genome(text("genome").map(str::to_owned)),
            join: JoinOptions::default()
                .var(var)
                .var_key(text("var_key").map(str::to_owned))
                .label_column(text("label_column").map(str::to_owned))
                .labels(texts("labels"))
                .index_unique(text("index_unique").map(str::to_owned)),
            obs_columns: texts("obs_columns"),
            selections,
            checksum: found.manifest.has_row_checksums(),
        }))
    }

    /// Whether the files are what was linked. They may not change from when the stamps were taken on.
    ///
    /// # Errors
    /// If not, or one cannot be read.
    pub(super) fn check(
        &self,
        output: &Path,
        options: &ConvertOptions,
    ) -> Result<Vec<InputStamp>, ConvertError> {
        let stamps: Result<_, _> = self.inputs.iter().map(|input| InputStamp::read(input)).collect();
        let store = Store::open_below(&self.store, &self.root)?;
        if self.checksum {
            // What is converted is read from the files, which these are of.
            cellring::store::verify(&store, 1, &|_| ())?;
        }
        // Of the first rows no more is read.
        let is_in_order = options.obs_filter.is_none() && options.obs_order.is_none();
        let n_obs = options.max_obs.filter(|_| is_in_order).unwrap_or(u64::MAX);
        let mut linked = self.linked(&ConvertOptions::default());
        linked.open.force_read = options.open.force_read;
        linked.memory_bytes = options.memory_bytes;
        as_linked::check(&store, &self.inputs, output, &linked, n_obs)?;
        Ok(stamps?)
    }

    /// These options for what was linked, as it was linked.
    fn linked(&self, options: &ConvertOptions) -> ConvertOptions {
        let mut selections = self.selections.iter().cloned();
        ConvertOptions {
            open: self.open.clone().force_read(options.open.force_read),
            join: self.join.clone(),
            obs_columns: self.obs_columns.clone(),
            selection: selections.next().unwrap_or_default(),
            other_matrices: selections.collect(),
            ..options.clone()
        }
    }

    /// The options of a conversion of the store as those of a conversion of its inputs.
    ///
    /// # Errors
    /// If they ask for something else than was linked.
    pub(super) fn options(&self, options: &ConvertOptions) -> Result<ConvertOptions, ConvertError> {
        let names_matrices = options.selection != Selection::X || !options.other_matrices.is_empty();
        // Whether the files may be read at all does not change what is read of them.
        let names_part = options.open.clone().force_read(false) != OpenOptions::default();
        if names_matrices || names_part {
            return Err(self.fixed());
        }
        let is_given = options.join != JoinOptions::default();
        // One input may get labels that it did not have.
        let may_be_given = self.inputs.len() == 1 && self.join == JoinOptions::default();
        if is_given && !may_be_given {
            return Err(self.fixed());
        }
        let join = if is_given { &options.join } else { &self.join };
        let linked = self.linked(options);
        Ok(ConvertOptions {
            join: join.clone(),
            // Of those that were copied.
            obs_columns: options.obs_columns.clone().or(linked.obs_columns),
            ..linked
        })
    }

    /// What is said to whoever asks for other matrices, or to have them joined in another way.
    pub(crate) fn fixed(&self) -> ConvertError {
        let paths: Vec<String> = self.selections.iter().map(Selection::path).collect();
        ConvertError::Fixed {
            store: self.store.clone(),
            matrices: paths.join(", "),
            inputs: name_of(&self.inputs),
        }
    }
}

/// The path of the only input from the root: that of its only file, or the directory of this name that its files are in.
fn input(files: &[String], name: Option<&str>, group: Option<&str>) -> Option<PathBuf> {
    let first = Path::new(files.first()?);
    let called = name.and_then(|name| ancestor(first, name, group));
    match files {
        [_] => called.or_else(|| Some(first.to_path_buf())),
        _ => called,
    }
}

/// The paths of several inputs from the root: of each the directory of its name that a file of it is in, or that file.
fn several(files: &[String], names: &[String], group: Option<&str>) -> Option<Vec<PathBuf>> {
    let each = files
        .iter()
        .zip(names)
        .map(|(file, name)| ancestor(Path::new(file), name, group));
    each.collect::<Option<Vec<_>>>()
        .filter(|_| files.len() == names.len())
}

/// A path, or a directory that it is in, that has this name. Of a zarr the one whose document, or that of the group that was linked, is at
/// the path: what is in an input may have its name.
fn ancestor(path: &Path, name: &str, group: Option<&str>) -> Option<PathBuf> {
    let called = || {
        let ancestors = path.ancestors();
        ancestors.filter(|path| path.file_name().is_some_and(|own| own == name))
    };
    let is_document = path
        .file_name()
        .is_some_and(|name| ZARR_DOCUMENTS.iter().any(|document| name == *document));
    let group = group.unwrap_or_default().trim_matches('/');
    let is_root = |input: &&Path| is_document && path.parent() == Some(&input.join(group));
    let found = called().find(is_root).or_else(|| called().next());
    found.map(Path::to_path_buf)
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
        let found =
            |paths: &[&str], name| input(&files(paths), name, None).map(|path| path.display().to_string());
        assert_eq!(found(&["a/b.h5ad"], Some("b.h5ad")).as_deref(), Some("a/b.h5ad"));
        // By way of a link of another name.
        assert_eq!(found(&["a/b.h5ad"], Some("c")).as_deref(), Some("a/b.h5ad"));
        let zarr = ["a/b.zarr/X/data/c/0", "a/b.zarr/X/indices/c/0"];
        assert_eq!(found(&zarr, Some("b.zarr")).as_deref(), Some("a/b.zarr"));
        assert_eq!(found(&zarr, None), None);
        let both = files(&["a/b.h5ad", "c/d.zarr/zarr.json"]);
        let named = |names: &[&str]| several(&both, &files(names), None);
        assert_eq!(
            named(&["b.h5ad", "d.zarr"]),
            Some(vec!["a/b.h5ad".into(), "c/d.zarr".into()])
        );
        for wrong in [&["b.h5ad", "e.zarr"][..], &["b.h5ad"], &["b.h5ad", "d.zarr", "e"]] {
            assert_eq!(named(wrong), None);
        }
        // A directory with the name of the file in it, and what is in an input with its name.
        assert_eq!(
            found(&["b.h5ad/b.h5ad"], Some("b.h5ad")).as_deref(),
            Some("b.h5ad/b.h5ad")
        );
        let same = files(&["a/X/zarr.json", "a/X/X/data/c/0"]);
        assert_eq!(input(&same, Some("X"), None), Some("a/X".into()));
        let group = files(&["a/t/s/t/zarr.json", "a/t/s/t/X/data/c/0"]);
        assert_eq!(input(&group, Some("t"), Some("s/t")), Some("a/t".into()));
        assert_eq!(input(&group, Some("t"), Some("/s/t/")), Some("a/t".into()));
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
