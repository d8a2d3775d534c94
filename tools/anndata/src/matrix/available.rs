//! Which matrices a file has.

use crate::container::{Kind, SourceFile};
use crate::error::{ReadError, Result};

/// Whether an object exists and stands for `None`.
pub(crate) fn is_none(file: &SourceFile, object: &str) -> bool {
    let kind = file.kind(object).ok().flatten();
    kind.is_some_and(|kind| is_null(file, object, kind).unwrap_or(false))
}

/// Whether an object stands for `None`, as anndata writes it since 0.12.
pub(super) fn is_null(file: &SourceFile, object: &str, kind: Kind) -> Result<bool> {
    Ok(file.text_attribute(object, kind, "encoding-type")?.as_deref() == Some("null"))
}

/// The most layers and arrays that a message lists.
const SHOWN: usize = 200;

/// The matrices of the file and the variants of [`Selection`](super::Selection) that take them, for an error message.
pub(super) fn available(file: &SourceFile) -> Result<String> {
    let is_there = |path: &str| match file.kind(path)? {
        Some(kind) => Ok::<_, ReadError>(!is_null(file, path, kind)?),
        None => Ok(false),
    };
    let members = |group: &str| match file.kind(group)? {
        Some(Kind::Group) => {
            let mut paths = Vec::new();
            for name in file.members(group)?.into_iter().take(SHOWN) {
                let path = format!("{group}/{name}");
                if is_there(&path)? {
                    paths.push(path);
                }
            }
            Ok::<_, ReadError>(paths)
        }
        _ => Ok(Vec::new()),
    };
    let (mut paths, mut options) = (Vec::new(), Vec::new());
    if is_there("X")? {
        paths.push("X".to_owned());
        options.push("`X`".to_owned());
    }
    let layers = members("layers")?;
    match layers.as_slice() {
        [] => {}
        [one] => options.push(format!("`Layer` {}", one.trim_start_matches("layers/"))),
        _ => options.push("`Layer` NAME".to_owned()),
    }
    paths.extend(layers);
    for raw in ["raw/X", "raw.X"] {
        if is_there(raw)? {
            paths.push(raw.to_owned());
            options.push("`Raw`".to_owned());
        }
    }
    let arrays = members("obsm")?;
    Ok(match (paths.as_slice(), arrays.as_slice()) {
        ([], []) => "it has neither X nor layers nor raw nor obsm, so there is nothing to read".to_owned(),
        ([], arrays) => format!(
            "it has neither layers nor raw but only {}; set adata.X to what is to be converted and write it again",
            arrays.join(", ")
        ),
        (paths, arrays) => {
            let beside = match arrays {
                [] => String::new(),
                some => format!("; `Obsm` NAME takes beside one of those {}", some.join(", ")),
            };
            format!(
                "it has {}, taken with {}{beside}",
                paths.join(", "),
                options.join(", ")
            )
        }
    })
}
