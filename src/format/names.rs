//! Names of files that come one after the other in a store.

/// Which one a file is of those that the appending of obs makes; 0 for the first, whose name has no number.
pub(crate) fn version_of(file: &str, stem: &str, extension: &str) -> Option<u64> {
    let middle = file
        .strip_prefix(stem)?
        .strip_suffix(extension)?
        .strip_suffix('.')?;
    match middle.strip_prefix('-') {
        None => middle.is_empty().then_some(0),
        Some(digits) if digits.len() >= 4 && is_number(digits) => digits.parse().ok(),
        Some(_) => None,
    }
}

/// The number of a shard of this name.
pub(crate) fn shard_number(file: &str) -> Option<u64> {
    let digits = file.strip_prefix("shard-")?.strip_suffix(".bin")?;
    (digits.len() >= 5 && is_number(digits)).then(|| digits.parse().ok())?
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a file may be what an append that was killed has left in a store with so many shards: a table of obs, an index or
/// a shard that it had not yet made, or no longer needed to be, a part of the store.
pub(crate) fn is_left_by_append(file: &str, n_shards: usize) -> bool {
    version_of(file, "index", "bin").is_some()
        || version_of(file, "obs", "arrow").is_some()
        || shard_number(file).is_some_and(|number| number >= n_shards as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_known_by_their_names() {
        assert_eq!(version_of("index.bin", "index", "bin"), Some(0));
        assert_eq!(version_of("obs-10000.arrow", "obs", "arrow"), Some(10_000));
        for name in [
            "index-1.bin",
            "index-000x.bin",
            "indexbin",
            "index.part",
            "obs.bin",
            "my-index.bin",
        ] {
            assert_eq!(version_of(name, "index", "bin"), None, "{name}");
        }
    }

    #[test]
    fn shards_are_known_by_their_names() {
        for (name, expected) in [
            ("shard-00000.bin", Some(0)),
            ("shard-123456.bin", Some(123_456)),
            ("shard-0000.bin", None),
            ("shard-0000x.bin", None),
            ("shard-.bin", None),
            ("index.bin", None),
        ] {
            assert_eq!(shard_number(name), expected, "{name}");
        }
        assert!(is_left_by_append("shard-00002.bin", 2) && is_left_by_append("index-0001.bin", 2));
        assert!(!is_left_by_append("shard-00001.bin", 2) && !is_left_by_append("var.arrow", 2));
    }
}
