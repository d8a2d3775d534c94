//! What of the index of a linked store its id is made of: what it leads to, and not where that is.

use super::linked::Description;

/// The description, with files of no name and no time: a store keeps its id when its file is moved or copied.
pub(crate) fn identifying(description: &Description) -> Vec<u8> {
    let mut description = description.clone();
    for file in &mut description.files {
        file.path.clear();
        file.modified = (0, 0);
    }
    description.to_bytes()
}
