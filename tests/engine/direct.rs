//! Reads past the page cache, and what is said where they are not possible.

use std::fs;

use cellring::engine::{Backend, Direct, EngineConfig, EngineError, cached_fraction};

use crate::{config, content, evict, file, read_all, ring_and_direct_work};

#[test]
fn direct_reads_leave_the_page_cache_alone_and_auto_prefers_a_full_one() {
    let (_dir, path) = file();
    if !ring_and_direct_work(&path) || cached_fraction(&path).is_err() {
        return;
    }
    assert!(
        cached_fraction(&path).unwrap() < 0.05,
        "the file could not be evicted"
    );
    for backend in [Backend::Uring, Backend::Pread] {
        assert!(
            read_all(&path, &config(backend, Direct::On))
                .unwrap()
                .method
                .direct
        );
        assert!(
            cached_fraction(&path).unwrap() < 0.05,
            "{backend} read through the page cache"
        );
    }
    let choice = read_all(&path, &EngineConfig::default()).unwrap();
    assert!(
        choice.method.direct && choice.method.backend == Backend::Uring,
        "{}",
        choice.reason
    );
    assert!(cached_fraction(&path).unwrap() < 0.05);
    for backend in [Backend::Uring, Backend::Pread, Backend::Mmap] {
        evict(&path);
        assert!(
            !read_all(&path, &config(backend, Direct::Off))
                .unwrap()
                .method
                .direct
        );
        assert!(
            cached_fraction(&path).unwrap() > 0.95,
            "{backend} read past the page cache"
        );
    }
    let choice = read_all(&path, &EngineConfig::default()).unwrap();
    assert!(
        !choice.method.direct && choice.reason.contains("100 % of the files"),
        "{}",
        choice.reason
    );
    // What is asked for by name stays so.
    assert!(
        read_all(&path, &config(Backend::Auto, Direct::On))
            .unwrap()
            .method
            .direct
    );
}

#[test]
fn what_cannot_be_had_is_an_error_or_said() {
    let (_dir, path) = file();
    let refused = read_all(&path, &config(Backend::Mmap, Direct::On)).unwrap_err();
    assert!(
        refused.to_string().contains("choose backend uring or pread"),
        "{refused}"
    );
    // tmpfs takes the flag O_DIRECT and is page cache all the same.
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else {
        return;
    };
    let path = dir.path().join("shard");
    fs::write(&path, content()).unwrap();
    let refused = read_all(&path, &config(Backend::Auto, Direct::On)).unwrap_err();
    assert!(
        matches!(&refused, EngineError::Unavailable { .. }) && refused.to_string().contains("tmpfs"),
        "{refused}"
    );
    let choice = read_all(&path, &EngineConfig::default()).unwrap();
    assert!(
        !choice.method.direct && choice.reason.contains(", because "),
        "{}",
        choice.reason
    );
}
