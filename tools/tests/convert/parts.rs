//! Parts of a store, and what is made of them.

use std::path::Path;

use crate::command::{assert_same, json, kill_after, succeed, synthetic, untidy};
use crate::{cellring, fail, names, samples, scratch};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Makes the store in one go, and of parts that are made in another order; the two are the same.
fn compare(input: &Path, directory: &Path, of: u32, options: &[&str]) {
    let (whole, merged) = (directory.join("whole"), directory.join("merged"));
    let n = of.to_string();
    succeed(
        &[
            &["convert", text(input), "-o", text(&whole), "--parts", &n],
            options,
        ]
        .concat(),
    );
    for number in (1..=of).rev() {
        let part = format!("{number}/{of}");
        let args = [
            &["convert", text(input), "-o", text(&merged), "--part", &part],
            options,
        ]
        .concat();
        succeed(&args);
    }
    // What somebody keeps in a part would go with it.
    let notes = directory
        .join(format!("merged.part-0001-of-{of:04}"))
        .join("notes.txt");
    std::fs::write(&notes, "mine").unwrap();
    let message = fail(&["merge", "-o", text(&merged)]);
    assert!(
        message.contains("notes.txt\" is in it and does not belong to it"),
        "{message}"
    );
    std::fs::remove_file(&notes).unwrap();
    let report = json(&["merge", "-o", text(&merged)]);
    assert_eq!(report["parts"], of);
    assert_same(&whole, &merged);
    succeed(&["verify", text(&merged)]);
    assert_eq!(
        names(directory)
            .iter()
            .filter(|name| name.contains("part"))
            .count(),
        0
    );
    for store in [&whole, &merged] {
        std::fs::remove_dir_all(store).unwrap();
    }
}

#[test]
fn parts_make_the_store_that_is_made_in_one_go() {
    let directory = scratch();
    let input = synthetic(directory.path());
    for of in [1, 3, 7] {
        compare(&input, directory.path(), of, &["--block-size", "32"]);
    }
    for options in [
        &["--encoding", "raw"][..],
        &["--encoding", "raw", "--var-order", "detection"],
        &["--var-order", "source", "--shard-size", "64k"],
        &["--shuffle", "5", "--max-obs", "700"],
        &["--sort-by", "drug,plate", "--shard-size", "100k"],
    ] {
        compare(
            &input,
            directory.path(),
            4,
            &[&["--block-size", "50"], options].concat(),
        );
    }
    // More parts than blocks: some have none.
    compare(&input, directory.path(), 9, &["--block-size", "250"]);
}

/// What one part would find out differently from another: explicit zeros, duplicates and large values that lie in some only.
#[test]
fn parts_agree_on_an_untidy_matrix() {
    let directory = scratch();
    let input = directory.path().join("untidy.h5ad");
    untidy(&input, 3_000, 400);
    for options in [
        &["--block-size", "64"][..],
        &["--block-size", "64", "--encoding", "raw"],
        &["--block-size", "64", "--shuffle", "1"],
    ] {
        compare(&input, directory.path(), 5, options);
    }
    // The numbers of what was changed are sums.
    let (plain, parts) = (directory.path().join("plain"), directory.path().join("parts"));
    let report = json(&["convert", text(&input), "-o", text(&plain)]);
    succeed(&["convert", text(&input), "-o", text(&parts), "--parts", "3"]);
    assert!(report["duplicates_summed"].as_u64().unwrap() > 100);
    let source = |store: &Path| json(&["info", text(store)])["source"].clone();
    assert_eq!(source(&plain), source(&parts));
}

/// Tables of several batches, with missing values that begin late, and columns of every kind.
#[test]
fn parts_join_tables_of_several_batches() {
    let directory = scratch();
    samples::write_all(directory.path());
    for of in [2, 5] {
        compare(&directory.path().join("long.h5ad"), directory.path(), of, &[]);
    }
    compare(
        &directory.path().join("long.h5ad"),
        directory.path(),
        3,
        &["--shuffle", "1"],
    );
    for of in [1, 3] {
        compare(
            &directory.path().join("columns_3.h5ad"),
            directory.path(),
            of,
            &["--block-size", "2"],
        );
        compare(
            &directory.path().join("columns_var.h5ad"),
            directory.path(),
            of,
            &["--block-size", "2"],
        );
    }
    compare(&directory.path().join("no_obs.h5ad"), directory.path(), 2, &[]);
    compare(
        &directory.path().join("no_vars.h5ad"),
        directory.path(),
        2,
        &["--block-size", "1"],
    );
}

#[test]
fn one_part_is_the_store_itself() {
    let directory = scratch();
    let input = synthetic(directory.path());
    let (plain, parts) = (directory.path().join("plain"), directory.path().join("parts"));
    succeed(&["convert", text(&input), "-o", text(&plain)]);
    succeed(&["convert", text(&input), "-o", text(&parts), "--parts", "1"]);
    assert_same(&plain, &parts);
}

#[test]
fn a_part_that_is_there_is_left_alone_and_another_one_refused() {
    let directory = scratch();
    let input = synthetic(directory.path());
    let store = directory.path().join("s");
    let (input, store_name) = (text(&input).to_owned(), text(&store).to_owned());
    fn convert<'a>(input: &'a str, store: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        [&["convert", input, "-o", store, "--part", "2/3"], more].concat()
    }
    let convert = |more: &'static [&'static str]| convert(&input, &store_name, more);
    let first = json(&convert(&[]));
    assert_eq!(first["part"]["was_there"], false);
    let part = directory.path().join("s.part-0002-of-0003");
    let written = || {
        part.join("shard-00000.bin")
            .metadata()
            .unwrap()
            .modified()
            .unwrap()
    };
    let since = written();
    let said = succeed(&convert(&["--threads", "1"]));
    assert!(said.contains("exists already"), "{said}");
    assert_eq!(json(&convert(&[]))["n_obs"], first["n_obs"]);
    let message = fail(&convert(&["--block-size", "16"]));
    assert!(
        message.contains("other settings") && message.contains("--force"),
        "{message}"
    );
    assert_eq!(written(), since);
    succeed(&convert(&["--block-size", "16", "--force"]));
    // Cut off, it is not whole.
    std::fs::write(part.join("index.part"), b"x").unwrap();
    let message = fail(&convert(&["--block-size", "16"]));
    assert!(message.contains("index.part has 1 bytes"), "{message}");
    // Beside a store of this name no part is made by accident.
    succeed(&["convert", &input, "-o", &store_name]);
    assert!(fail(&convert(&[])).contains("exists already"));
    for wrong in ["0/3", "4/3", "3", "1/0", "a/b", "1/10000"] {
        let (code, _, _) = cellring(&["convert", &input, "-o", "x", "--part", wrong]);
        assert_eq!(code, 2, "{wrong}");
    }
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let directory = scratch();
    let input = synthetic(directory.path());
    let store = directory.path().join("s");
    let part = |number: u32| directory.path().join(format!("s.part-000{number}-of-0003"));
    let convert = |number: u32, more: &[&str]| {
        let part = format!("{number}/3");
        succeed(
            &[
                &["convert", text(&input), "-o", text(&store), "--part", &part],
                more,
            ]
            .concat(),
        );
    };
    let merge = || fail(&["merge", "-o", text(&store)]);
    assert!(merge().contains("there are no parts"));
    convert(1, &[]);
    convert(3, &[]);
    let message = merge();
    assert!(message.contains("1 of 3 parts are missing (2)"), "{message}");
    convert(2, &["--var-order", "source"]);
    let message = merge();
    assert!(message.contains("other settings"), "{message}");
    convert(2, &["--force"]);
    let message = fail(&[
        "merge",
        text(&part(1)),
        text(&part(2)),
        text(&part(3)),
        text(&part(1)),
        "-o",
        text(&store),
    ]);
    assert!(message.contains("name each part once"), "{message}");
    // Damage is found, and nothing is removed.
    for file in ["part.json", "index.part", "obs.arrow", "var.arrow"] {
        let path = part(1).join(file);
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 1;
        std::fs::write(&path, bad).unwrap();
        let message = merge();
        assert!(message.contains(file), "{message}");
        std::fs::write(&path, good).unwrap();
    }
    if let Ok(other) = tempfile::tempdir_in("/dev/shm") {
        let elsewhere = other.path().join("s");
        let message = fail(&[
            "merge",
            text(&part(1)),
            text(&part(2)),
            text(&part(3)),
            "-o",
            text(&elsewhere),
        ]);
        assert!(message.contains("on another filesystem"), "{message}");
        assert_eq!(names(other.path()), [""; 0]);
    }
    succeed(&[
        "merge",
        text(&part(2)),
        text(&part(3)),
        text(&part(1)),
        "-o",
        text(&store),
    ]);
    assert_eq!(names(directory.path()), ["s", "synthetic.h5ad"]);
    succeed(&["verify", text(&store)]);
}

/// A merge that is killed is run again: before the store has its name, and while the parts are being removed.
#[test]
fn a_merge_is_run_again() {
    let directory = scratch();
    let input = synthetic(directory.path());
    let (whole, store) = (directory.path().join("whole"), directory.path().join("s"));
    succeed(&["convert", text(&input), "-o", text(&whole), "--parts", "3"]);
    let convert = || {
        for part in ["1/3", "2/3", "3/3"] {
            succeed(&["convert", text(&input), "-o", text(&store), "--part", part]);
        }
    };
    let part = |number: u32| directory.path().join(format!("s.part-000{number}-of-0003"));
    convert();
    let kept = directory.path().join("kept");
    for number in 1..=3 {
        copy_links(&part(number), &kept.join(number.to_string()));
    }
    succeed(&["merge", "-o", text(&store)]);
    // As if it had been killed before it removed parts 2 and 3, whose shards are the store's by now.
    for number in [2, 3] {
        copy_links(&kept.join(number.to_string()), &part(number));
    }
    let report = json(&["merge", "-o", text(&store)]);
    assert_eq!(report["was_done"], true);
    assert_same(&whole, &store);
    // As if it had been killed while it removed the last part, with others left and without.
    for others in [&[1][..], &[]] {
        for number in others {
            copy_links(&kept.join(number.to_string()), &part(*number));
        }
        let removing = directory.path().join(".s.part-0003-of-0003.merged-4000000");
        copy_links(&kept.join("3"), &removing);
        std::fs::remove_file(removing.join("part.json")).unwrap();
        let report = json(&["merge", "-o", text(&store)]);
        assert_eq!(report["was_done"], true);
        assert_same(&whole, &store);
        assert_eq!(names(directory.path()), ["kept", "s", "synthetic.h5ad", "whole"]);
    }
    assert!(fail(&["merge", "-o", text(&store)]).contains("no parts"));
    // As if it had been killed before the store had its name: the headers are written already.
    std::fs::remove_dir_all(&store).unwrap();
    let remains = directory.path().join(".s.tmp-4000000");
    std::fs::create_dir(&remains).unwrap();
    std::fs::write(remains.join(".lock"), b"").unwrap();
    for number in 1..=3 {
        copy_links(&kept.join(number.to_string()), &part(number));
    }
    let report = json(&["merge", "-o", text(&store)]);
    assert_eq!(report["was_done"], false);
    assert_same(&whole, &store);
    assert_eq!(names(directory.path()), ["kept", "s", "synthetic.h5ad", "whole"]);
    // Another store of this name is not taken for the result.
    convert_again_is_refused(&input, &store);
}

fn convert_again_is_refused(input: &Path, store: &Path) {
    let other = store.with_file_name("other");
    for part in ["1/2", "2/2"] {
        succeed(&["convert", text(input), "-o", text(&other), "--part", part]);
    }
    succeed(&["convert", text(input), "-o", text(&other), "--force"]);
    assert!(fail(&["merge", "-o", text(&other)]).contains("exists already"));
    succeed(&["merge", "-o", text(&other), "--force"]);
    succeed(&["verify", text(&other)]);
}

/// Copies a directory by hard links.
fn copy_links(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in names(from) {
        std::fs::hard_link(from.join(&name), to.join(&name)).unwrap();
    }
}

/// SIGKILL at any moment of a part leaves nothing under its name, or all of it.
#[test]
fn a_part_that_is_killed_is_made_again() {
    let directory = scratch();
    let input = synthetic(directory.path());
    let (whole, store) = (directory.path().join("whole"), directory.path().join("s"));
    succeed(&[
        "convert",
        text(&input),
        "-o",
        text(&whole),
        "--parts",
        "2",
        "--block-size",
        "16",
    ]);
    let args = ["convert", text(&input), "-o", text(&store), "--block-size", "16"];
    let mut killed = 0;
    for delay_ms in [0, 5, 10, 20, 40, 80, 160] {
        killed += u32::from(kill_after(delay_ms, &[&args[..], &["--part", "1/2"]].concat()));
        let part = directory.path().join("s.part-0001-of-0002");
        assert!(!part.exists() || part.join("part.json").exists());
    }
    assert!(killed > 0, "the first is killed before it does anything");
    for part in ["1/2", "2/2"] {
        succeed(&[&args[..], &["--part", part]].concat());
    }
    succeed(&["merge", "-o", text(&store)]);
    assert_same(&whole, &store);
    assert_eq!(names(directory.path()), ["s", "synthetic.h5ad", "whole"]);
}
