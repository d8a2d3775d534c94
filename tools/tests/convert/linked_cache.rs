//! Files that are given to a command that reads stores are linked in the cache of the user.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::relinked::shown;
use crate::{names, scratch, synthetic};

/// Runs with a cache of its own.
pub(crate) fn with_cache(cache: &Path, args: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_cellring"))
        .args(args)
        .env("XDG_CACHE_HOME", cache)
        .output()
        .unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// A command that is given the file itself links it, once, in the user's cache.
#[test]
fn files_are_linked_on_the_way() {
    let directory = scratch();
    let input = synthetic(directory.path());
    let cache = directory.path().join("cache");
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_cellring"))
            .args(args)
            .env("XDG_CACHE_HOME", &cache)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        (output.stdout, String::from_utf8(output.stderr).unwrap())
    };
    let path = input.to_str().unwrap();
    let (first, said) = run(&["epoch", path, "--digest", "--json"]);
    assert!(
        said.contains("read in place") && said.contains("cellring convert"),
        "{said}"
    );
    // What processes wait for begins with a dot.
    let is_store = |name: &String| !name.starts_with('.');
    let stores = || -> Vec<_> {
        names(&cache.join("cellring"))
            .into_iter()
            .filter(is_store)
            .collect()
    };
    let of_first = stores();
    assert_eq!(of_first.len(), 1, "{of_first:?}");
    let digest = |json: &[u8]| serde_json::from_slice::<Value>(json).unwrap()["digest"].clone();
    let (second, _) = run(&["epoch", path, "--digest", "--json"]);
    assert_eq!((digest(&first), stores()), (digest(&second), of_first));
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&cache.join("cellring").metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);
    // Another file has another store, and what a killed process left of one is gone.
    let left = cache.join("cellring/.cells-0123456789abcdef.cellring.tmp-1-0");
    std::fs::create_dir(&left).unwrap();
    std::fs::File::options()
        .append(true)
        .open(&input)
        .unwrap()
        .set_modified(SystemTime::now() - Duration::from_secs(99))
        .unwrap();
    run(&["plan", path]);
    assert_eq!(stores().len(), 2);
    assert!(!left.exists());
}

#[test]
fn the_cache_is_read_without_writing_and_says_what_is_in_the_way() {
    let directory = scratch();
    let cache = directory.path().join("cache");
    let file = shown(&synthetic(directory.path()));
    let run = |args: &[&str]| with_cache(&cache, args);
    let (code, expected, said) = run(&["plan", &file, "--json"]);
    assert_eq!(code, 0, "{said}");
    let entries = cache.join("cellring");
    let stores: Vec<String> = names(&entries)
        .into_iter()
        .filter(|name| !name.starts_with('.'))
        .collect();
    let [name] = stores.as_slice() else {
        panic!("{stores:?}")
    };
    // Whoever may only read it finds what is there; root may write all the same.
    std::fs::remove_file(entries.join(".turn")).unwrap();
    std::fs::set_permissions(&entries, std::fs::Permissions::from_mode(0o500)).unwrap();
    assert_eq!(run(&["plan", &file, "--json"]).1, expected);
    assert_eq!(names(&entries), stores, "nothing was written");
    std::fs::set_permissions(&entries, std::fs::Permissions::from_mode(0o700)).unwrap();
    // What is damaged is made again.
    let store = entries.join(name);
    std::fs::write(store.join("index.bin"), "no index").unwrap();
    assert_eq!(run(&["plan", &file, "--json"]).1, expected);
    // What is not a store is named.
    std::fs::remove_dir_all(&store).unwrap();
    std::fs::write(&store, "mine").unwrap();
    let (code, _, said) = run(&["plan", &file]);
    assert!(
        code == 1 && said.contains(name) && said.contains("remove it"),
        "{said}"
    );
    assert_eq!(std::fs::read(&store).unwrap(), b"mine");
}
