//! What people have besides AnnData files: 10x Genomics, Matrix Market, groups of larger files; and files that are something else.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use cellring::Store;
use cellring::format::ValueBuffer;
use cellring_anndata::{InputStamp, ReadError};
use cellring_tools::export::{ExportOptions, export};
use tempfile::TempDir;

use crate::round_trip::compare;
use crate::{cellring, fail, made_by, scratch};

/// The inputs that the script makes, and its lines: path, options, what is expected, words of a warning.
fn made() -> (TempDir, Vec<[String; 4]>) {
    let (directory, lines) = made_by("make_inputs.py");
    let fields = |line: &str| -> [String; 4] {
        let fields: Vec<String> = line.split('\t').map(str::to_owned).collect();
        fields.try_into().unwrap()
    };
    let lines: Vec<_> = lines.lines().map(fields).collect();
    assert!(lines.len() > 140, "{} inputs", lines.len());
    (directory, lines)
}

#[test]
fn every_input_becomes_what_is_expected_or_is_refused_by_name() {
    let (directory, lines) = made();
    let mut pairs = String::new();
    for (number, [input, options, expected, warns]) in lines.iter().enumerate() {
        let store = directory.path().join(format!("{number}.cellring"));
        let mut args = vec!["convert", input, "-o", store.to_str().unwrap()];
        args.extend(options.split('|').filter(|option| !option.is_empty()));
        if let Some(part) = expected.strip_prefix("refused:") {
            let message = fail(&args);
            assert!(message.contains(part), "{args:?}: {message}\nexpected: {part}");
            assert!(!store.exists(), "{args:?}");
            continue;
        }
        let (code, stdout, stderr) = cellring(&args);
        assert_eq!(code, 0, "{args:?}: {stderr}");
        // A warning, or the line on what is not stored.
        assert!(
            stderr.contains(warns.as_str()) || stdout.contains(warns.as_str()),
            "{args:?}: {stderr}{stdout}\nexpected: {warns}"
        );
        let out = directory.path().join(format!("{number}.out.h5ad"));
        export(&store, &out, &ExportOptions::default(), &|_, _| {}).unwrap();
        writeln!(pairs, "{expected}\t{}", out.display()).unwrap();
    }
    assert!(pairs.lines().count() > 60, "{pairs}");
    compare(&pairs);
}

/// The command that the refusal of three values per line names makes files that are read.
#[test]
fn three_values_in_a_line_are_separated_as_the_message_says() {
    let (directory, _) = made();
    let folder = directory.path().join("velocyto_old");
    let message = fail(&["convert", folder.to_str().unwrap(), "-o", "x.cellring"]);
    let command = message.split('`').nth(1).unwrap();
    let mut totals = Vec::new();
    for (column, name) in [("$3", "spliced"), ("$4", "unspliced"), ("$5", "ambiguous")] {
        let command = command
            .replace("$3}", &format!("{column}}}"))
            .replace("> spliced.mtx", &format!("> {name}.mtx"));
        let status = Command::new("bash")
            .args(["-c", &command])
            .current_dir(&folder)
            .status();
        assert!(status.unwrap().success(), "{command}");
        let store = directory.path().join(format!("{name}.cellring"));
        let (code, _, stderr) = cellring(&[
            "convert",
            folder.join(format!("{name}.mtx")).to_str().unwrap(),
            "-o",
            store.to_str().unwrap(),
        ]);
        assert_eq!(code, 0, "{stderr}");
        let store = Store::open(&store).unwrap();
        let rows = store.rows(0..store.n_obs()).unwrap();
        let ValueBuffer::I32(values) = rows.values else {
            panic!("{:?}", rows.values)
        };
        totals.push(values.iter().sum::<i32>());
    }
    let [spliced, unspliced, ambiguous] = totals[..] else {
        panic!("{totals:?}")
    };
    assert!(
        spliced > 0 && unspliced == 2 * spliced && ambiguous == 0,
        "{totals:?}"
    );
}

/// The options hold for each of several inputs, for what is appended, and for parts, which differ where these do.
#[test]
fn all_commands_read_the_part_that_is_asked_for() {
    let (directory, _) = made();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (input, store) = (path("two.h5mu"), path("twice.cellring"));
    let done = |args: &[&str]| {
        let (code, stdout, stderr) = cellring(args);
        assert_eq!(code, 0, "{args:?}: {stderr}");
        stdout
    };
    let group = [
        "--group",
        "mod/rna",
        "--index-unique",
        "-",
        "--label-values",
        "a,b",
    ];
    done(&[&["convert", &input, &input, "-o", &store][..], &group].concat());
    let opened = Store::open(&store).unwrap();
    let manifest = opened.manifest();
    assert_eq!((manifest.n_obs, manifest.n_vars), (60, 20));
    assert_eq!(manifest.source["group"], "mod/rna");

    done(&["append", &store, &input, "--group", "mod/rna"]);
    assert_eq!(Store::open(&store).unwrap().manifest().n_obs, 90);
    let message = fail(&["append", &store, &input]);
    assert!(
        message.contains("holds AnnData in mod/prot, mod/rna"),
        "{message}"
    );
    assert_eq!(Store::open(&store).unwrap().manifest().n_obs, 90);

    let parts = path("parts.cellring");
    let part = ["convert", &input, "-o", &parts, "--part", "1/2", "--group"];
    let (rna, prot) = (
        [&part[..], &["mod/rna"]].concat(),
        [&part[..], &["mod/prot"]].concat(),
    );
    done(&rna);
    assert!(done(&rna).contains("nothing to do"));
    let message = fail(&prot);
    assert!(message.contains("parts.cellring.part-0001-of-0002"), "{message}");

    let (crispr, market, both) = (path("crispr.h5"), path("market_new"), path("both.cellring"));
    let types = ["--feature-types", "Gene Expression", "--genome", "GRCh38"];
    let message = fail(&[&["convert", &crispr, &market, "-o", &both][..], &types].concat());
    assert!(
        message.contains("market_new") && message.contains("GRCh38_"),
        "{message}"
    );
    done(&[&["convert", &crispr, &market, "-o", &both][..], &types[..2]].concat());
    let opened = Store::open(&both).unwrap();
    assert_eq!((opened.manifest().n_obs, opened.manifest().n_vars), (60, 15));
    assert_eq!(opened.manifest().source["feature_types"][0], "Gene Expression");
    done(&["append", &both, &market, "--feature-types", "Gene Expression"]);
    assert_eq!(Store::open(&both).unwrap().manifest().n_obs, 90);
}

#[test]
fn stores_and_parts_are_no_inputs() {
    let directory = scratch();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let input = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("data/mousebrain10k.h5ad");
    let input = input.to_str().unwrap();
    let (store, out) = (path("a.cellring"), path("b.cellring"));
    let (code, _, stderr) = cellring(&["convert", input, "-o", &store, "--max-obs", "50"]);
    assert_eq!(code, 0, "{stderr}");
    let message = fail(&["convert", &store, "-o", &out]);
    assert!(
        message.contains("a.cellring is a cellring store already"),
        "{message}"
    );
    let parts = path("c.cellring");
    let (code, _, stderr) = cellring(&["convert", input, "-o", &parts, "--part", "1/2", "--max-obs", "50"]);
    assert_eq!(code, 0, "{stderr}");
    let part = format!("{parts}.part-0001-of-0002");
    let message = fail(&["convert", &part, "-o", &out]);
    assert!(
        message.contains("is a part of a cellring store; cellring merge"),
        "{message}"
    );
}

/// The tables of names belong to a matrix that is named by its path.
#[test]
fn names_that_change_beside_a_matrix_are_noticed() {
    let directory = scratch();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    write(
        "GSM1_matrix.mtx",
        "%%MatrixMarket matrix coordinate integer general\n1 1 1\n1 1 3\n",
    );
    write("GSM1_barcodes.tsv", "cell\n");
    write("GSM1_genes.tsv", "gene\n");
    let matrix = directory.path().join("GSM1_matrix.mtx");
    let stamp = InputStamp::read(&matrix).unwrap();
    write("else.tsv", "other\n");
    stamp.check().unwrap();
    write("GSM1_barcodes.tsv", "another\n");
    assert!(matches!(stamp.check(), Err(ReadError::Changed { .. })));
}
