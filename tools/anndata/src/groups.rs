//! AnnData in a group of a larger file: a modality of MuData, a table of SpatialData.

use std::collections::VecDeque;

use cellring_core::few;

use super::container::{Kind, SourceFile};
use super::error::{ReadError, Result};
use super::foreign;
use super::open::{GROUP_OPTION, OpenOptions};

/// How deep AnnData is looked for, and among how many members: a file must not choose how long that takes.
const MAX_DEPTH: usize = 6;
const MAX_MEMBERS: usize = 2000;

/// Groups that a message shows.
const SHOWN: usize = 12;

/// The group that the options name, or the whole file.
pub(super) fn choose(file: SourceFile, options: &OpenOptions) -> Result<SourceFile> {
    let Some(asked) = &options.group else {
        return Ok(file);
    };
    let group = asked.trim_matches('/');
    if group.is_empty() {
        return Ok(file);
    }
    let is_path = group.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if is_path && file.kind(group)? == Some(Kind::Group) {
        return Ok(file.within(group));
    }
    let found = find(&file);
    Err(ReadError::Inapplicable {
        option: GROUP_OPTION,
        detail: match found.as_slice() {
            [] => format!(
                "it has no group {asked}; to join it with a part of a larger file, convert and export that part first"
            ),
            some => format!("it has no group {asked}; AnnData is in {}", few(some, SHOWN)),
        },
        file: file.path().to_owned(),
    })
}

/// Refuses a file that is something else than AnnData, and says where AnnData is in it, or what it is.
pub(super) fn check(file: &SourceFile) -> Result<()> {
    if is_anndata(file, "")? {
        return Ok(());
    }
    match find(file).as_slice() {
        [] => match foreign::identify_members(file)? {
            Some(error) => Err(error),
            None => Ok(()),
        },
        some => Err(ReadError::Choice {
            file: file.path().to_owned(),
            found: format!("AnnData in {}", few(some, SHOWN)),
            remedy: format!(
                "choose one with {GROUP_OPTION}, as {GROUP_OPTION} {}",
                file.path_from_root(&some[0])
            ),
        }),
    }
}

/// Whether a group is AnnData: it says so, or has what AnnData has.
fn is_anndata(file: &SourceFile, group: &str) -> Result<bool> {
    match file
        .text_attribute(group, Kind::Group, "encoding-type")?
        .as_deref()
    {
        Some("anndata") => return Ok(true),
        // Whatever has obs and var of its own, its matrices lie in groups.
        Some("MuData" | "SpatialData") => return Ok(false),
        _ => {}
    }
    for name in ["X", "obs", "var"] {
        let path = match group.is_empty() {
            true => name.to_owned(),
            false => format!("{group}/{name}"),
        };
        if file.kind(&path)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The groups below the root that are AnnData, those that lie higher first. What cannot be looked at is passed over.
fn find(file: &SourceFile) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = VecDeque::from([(String::new(), 0)]);
    let mut n_seen = 0;
    while let Some((group, depth)) = waiting.pop_front() {
        let mut names = file.members(&group).unwrap_or_default();
        names.sort();
        for name in names {
            n_seen += 1;
            if n_seen > MAX_MEMBERS {
                return found;
            }
            let path = match group.is_empty() {
                true => name,
                false => format!("{group}/{name}"),
            };
            if file.kind(&path).ok().flatten() != Some(Kind::Group) {
                continue;
            }
            if is_anndata(file, &path).unwrap_or(false) {
                found.push(path);
            } else if depth + 1 < MAX_DEPTH {
                waiting.push_back((path, depth + 1));
            }
        }
    }
    found
}
