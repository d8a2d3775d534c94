//! Nothing is left out without a word, and wrong requests are errors or warnings: the same in library, text and JSON.

use std::path::{Path, PathBuf};

use cellring_anndata::{JoinOptions, PartKind, Selection, VarJoin};
use cellring_tools::convert::{
    AppendOptions, ConvertError, ConvertOptions, ConvertReport, LeftOut, Parts, append, convert,
};
use cellring_tools::message::{Message, MessageKind};
use serde_json::Value;
use tempfile::TempDir;

use crate::{cellring, fail, made_by, report, run_convert, scratch, synthetic};

/// A directory with the inputs that `make_parts.py` makes.
fn inputs() -> TempDir {
    made_by("make_parts.py").0
}

fn options(selection: Selection, further: &[Selection]) -> ConvertOptions {
    ConvertOptions {
        selection,
        other_matrices: further.to_vec(),
        force: true,
        ..ConvertOptions::default()
    }
}

fn layer(name: &str) -> Selection {
    Selection::Layer(name.to_owned())
}

/// Path and option of each part.
fn parts(left_out: &[LeftOut]) -> Vec<(&str, Option<&str>)> {
    let parts = left_out.iter();
    parts
        .map(|part| (part.path.as_str(), part.option.as_deref()))
        .collect()
}

fn kinds(warnings: &[Message]) -> Vec<MessageKind> {
    warnings.iter().map(|warning| warning.kind).collect()
}

#[test]
fn what_is_not_stored_is_named_with_the_option_that_stores_it() {
    let directory = inputs();
    let path = |name: &str| directory.path().join(name);
    let store = path("x.cellring");
    let report = |input: &str, selection, further: &[Selection]| -> ConvertReport {
        run_convert(&path(input), &store, &options(selection, further)).unwrap()
    };
    let quiet = report("plain.h5ad", Selection::X, &[]);
    assert_eq!(
        (quiet.left_out.as_slice(), quiet.warnings.as_slice()),
        (&[][..], &[][..])
    );

    let counts = ("layers/counts", Some("--layer counts"));
    let log1p = ("layers/log1p", Some("--layer log1p"));
    let raw = ("raw/X", Some("--raw"));
    let pca = ("obsm/X_pca", Some("--obsm X_pca"));
    let never = [
        ("varm/PCs", None),
        ("obsp/distances", None),
        ("varp/correlation", None),
        ("uns", None),
    ];
    // A data frame is not an array.
    let protein = ("obsm/protein", Some("--obsm protein"));
    for input in ["everything.h5ad", "everything.zarr"] {
        let found = report(input, Selection::X, &[]).left_out;
        let expected = [&[counts, log1p, raw, pca, protein][..], &never].concat();
        assert_eq!(parts(&found), expected, "{input}");
        assert_eq!(
            found.last().map(|uns| (uns.kind, uns.n)),
            Some((PartKind::Uns, 3))
        );
        let pca_too = [layer("counts"), Selection::Obsm("X_pca".to_owned())];
        let found = report(input, Selection::X, &pca_too).left_out;
        assert_eq!(
            parts(&found),
            [&[log1p, raw, protein][..], &never].concat(),
            "{input}"
        );
        let found = report(input, Selection::Raw, &[]).left_out;
        let of_x = [("X", Some("--x")), ("var", Some("--x"))];
        let expected = [&of_x[..], &[counts, log1p, pca, protein], &never].concat();
        assert_eq!(parts(&found), expected, "{input}");
    }
    // Each option that is named works.
    for (_, option) in [counts, log1p, raw, pca, protein] {
        let args: Vec<&str> = option.unwrap().split(' ').collect();
        let input = path("everything.h5ad");
        let base = [
            "convert",
            input.to_str().unwrap(),
            "-o",
            store.to_str().unwrap(),
            "--force",
            "--x",
        ];
        let (code, _, stderr) = cellring(&[&base[..], &args].concat());
        assert_eq!(code, 0, "{stderr}");
    }
    // Links to other files, and to nothing, are named too.
    let found = report("elsewhere.h5ad", Selection::X, &[]).left_out;
    let expected = [("layers/counts", None), ("obsm/X_pca", None), ("notes", None)];
    assert_eq!(parts(&found), expected);
    let found = report("x_elsewhere.h5ad", layer("counts"), &[]).left_out;
    assert_eq!(parts(&found), [("X", None)]);
    // Many members are a number.
    let found = report("many.h5ad", Selection::X, &[]).left_out;
    assert_eq!(parts(&found), [("layers", Some("--layer NAME"))]);
    assert_eq!(found[0].n, 30);
    assert_eq!(
        LeftOut::sentence(&found, 1).unwrap(),
        "not stored: layers (30 members) (--layer NAME)"
    );

    assert_eq!(parts(&report("tenx.h5", Selection::X, &[]).left_out), []);
    let found = report("tenx_more.h5", Selection::X, &[]).left_out;
    assert_eq!(parts(&found), [("matrix/extra", None), ("metadata", None)]);

    // Of several inputs: in how many, and no option where one lacks it.
    let some: Vec<PathBuf> = ["everything.h5ad", "plain.h5ad"].map(path).to_vec();
    let found = convert(&some, &store, &options(Selection::X, &[]), &|_, _| {}).unwrap();
    assert!(
        found
            .left_out
            .iter()
            .all(|part| part.option.is_none() && part.n_inputs == 1)
    );
    let line = LeftOut::sentence(&found.left_out, found.n_inputs).unwrap();
    assert!(line.contains("layers/counts (of 1 of 2 inputs)"), "{line}");
    // Counts and scaled values in one store.
    let mixed = |message: &Message| {
        message.kind == MessageKind::Counts
            && message.sentence.starts_with(&format!(
                "X of {} holds counts, that of {} values below 0",
                some[1].display(),
                some[0].display()
            ))
    };
    assert!(found.warnings.iter().any(mixed), "{:?}", found.warnings);
    let alike: Vec<PathBuf> = ["plain.h5ad", "many.h5ad"].map(path).to_vec();
    let quiet = convert(&alike, &store, &options(Selection::X, &[]), &|_, _| {}).unwrap();
    assert!(
        quiet
            .warnings
            .iter()
            .all(|message| message.kind != MessageKind::Counts)
    );
    let both: Vec<PathBuf> = ["everything.h5ad", "everything.zarr"].map(path).to_vec();
    let found = convert(&both, &store, &options(Selection::X, &[]), &|_, _| {}).unwrap();
    assert_eq!(parts(&found.left_out)[..3], [counts, log1p, raw]);
    assert!(found.left_out.iter().all(|part| part.n_inputs == 2));
}

/// Of a group within a file, what lies around it too.
#[test]
fn what_lies_outside_the_group_is_named() {
    let directory = inputs();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let store = path("x.cellring");
    for (input, group, outside, line) in [
        (
            "two.h5mu",
            "mod/rna",
            &[
                ("/mod/prot", 1),
                ("/obs", 1),
                ("/obsm", 2),
                ("/uns", 1),
                ("/var", 1),
            ][..],
            "not stored: layers/counts (--layer counts); outside the group /mod/prot, /obs, /obsm (2 members), /uns, /var",
        ),
        (
            "spatial.zarr",
            "tables/nuclei",
            &[("/images", 1), ("/tables/cells", 1)],
            "not stored: layers/counts (--layer counts); outside the group /images, /tables/cells",
        ),
    ] {
        let input = path(input);
        let args = ["convert", &input, "-o", &store, "--force", "--group", group];
        let (code, stdout, stderr) = cellring(&args);
        assert_eq!((code, stdout.lines().last()), (0, Some(line)), "{stderr}");
        let (_, stdout, _) = cellring(&[&args[..], &["--json"]].concat());
        let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        let parts = json["left_out"].as_array().unwrap();
        let found: Vec<_> = parts
            .iter()
            .filter(|part| part["kind"] == "outside")
            .map(|part| (part["path"].as_str().unwrap(), part["n"].as_u64().unwrap()))
            .collect();
        assert_eq!(found, outside);
        assert_eq!(parts.len(), outside.len() + 1);
    }
}

#[test]
fn text_and_json_say_what_the_library_says() {
    let directory = inputs();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (input, store) = (path("everything.h5ad"), path("x.cellring"));
    let base = ["convert", &input, "-o", &store, "--force"];
    let report = run_convert(Path::new(&input), Path::new(&store), &options(Selection::X, &[])).unwrap();
    let line = LeftOut::sentence(&report.left_out, 1).unwrap();
    assert_eq!(
        line,
        "not stored: layers/counts, layers/log1p (--layer NAME), raw/X (--raw), obsm/X_pca, obsm/protein (--obsm NAME); \
         no option stores varm/PCs, obsp/distances, varp/correlation, uns (3 members)"
    );
    let (code, stdout, stderr) = cellring(&base);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(stdout.lines().last(), Some(line.as_str()));
    let sentences = report
        .warnings
        .iter()
        .map(|warning| format!("warning: {warning}"));
    assert_eq!(stderr.lines().collect::<Vec<_>>(), sentences.collect::<Vec<_>>());

    let (_, stdout, json_stderr) = cellring(&[&base[..], &["--json"]].concat());
    let lines = report
        .warnings
        .iter()
        .map(|warning| serde_json::json!({ "warning": warning }).to_string());
    assert_eq!(json_stderr.lines().collect::<Vec<_>>(), lines.collect::<Vec<_>>());
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(json["left_out"], serde_json::to_value(&report.left_out).unwrap());
    assert_eq!(json["warnings"], serde_json::to_value(&report.warnings).unwrap());
    assert_eq!(
        json["left_out"][0],
        serde_json::json!({"path": "layers/counts", "kind": "layer", "option": "--layer counts", "n": 1, "n_inputs": 1})
    );
    assert_eq!(json["warnings"][0]["kind"], "counts");

    let (code, stdout, stderr) = cellring(&["append", &store, &input]);
    assert_eq!(code, 0, "{stderr}");
    let last = stdout.lines().last().unwrap();
    assert!(
        last.starts_with("not stored: layers/counts, layers/log1p, raw/X, ") && !last.contains("--"),
        "{last}"
    );
    assert!(
        stderr.contains("append takes those with --layer counts"),
        "{stderr}"
    );
}

#[test]
fn counts_beside_values_that_are_none_are_pointed_at() {
    let directory = inputs();
    let path = |name: &str| directory.path().join(name);
    let store = path("x.cellring");
    let found = |input: &str, options: &ConvertOptions| -> Vec<String> {
        let report = run_convert(&path(input), &store, options).unwrap();
        let of_counts = report
            .warnings
            .into_iter()
            .filter(|warning| warning.kind == MessageKind::Counts);
        of_counts.map(|warning| warning.sentence).collect()
    };
    let x = options(Selection::X, &[]);
    for input in ["everything.h5ad", "everything.zarr"] {
        let found = found(input, &x);
        assert!(
            found.len() == 1
                && found[0].contains("has values below 0 and values that are not whole numbers")
                && found[0].ends_with("while layers/counts holds counts; --layer counts takes those"),
            "{found:?}"
        );
    }
    let of_raw = found("raw_counts.h5ad", &x);
    assert!(
        of_raw.len() == 1
            && of_raw[0].contains(
                "has values that are not whole numbers, while raw/X holds counts; --raw takes those"
            ),
        "{of_raw:?}"
    );
    // Whatever the way in which the store is made.
    let in_parts = ConvertOptions {
        parts: Some(Parts::One { number: 1, of: 1 }),
        ..x.clone()
    };
    assert_eq!(found("raw_counts.h5ad", &in_parts), of_raw);
    let raw_encoding = ConvertOptions {
        encoding: ::cellring::format::Encoding::Raw,
        ..x.clone()
    };
    assert_eq!(found("raw_counts.h5ad", &raw_encoding), of_raw);
    let twice = [path("raw_counts.h5ad"), path("raw_counts.h5ad")];
    let report = convert(&twice, &store, &x, &|_, _| {}).unwrap();
    assert!(kinds(&report.warnings).contains(&MessageKind::Counts));
    // Who takes counts, or has none, is told nothing.
    for (input, options) in [
        ("plain.h5ad", x.clone()),
        ("raw_logarithms.h5ad", x),
        ("everything.h5ad", options(Selection::X, &[layer("counts")])),
        ("everything.h5ad", options(Selection::X, &[Selection::Raw])),
        ("everything.h5ad", options(layer("log1p"), &[])),
        ("everything.h5ad", options(Selection::Raw, &[])),
    ] {
        assert_eq!(found(input, &options), [""; 0], "{input}: {options:?}");
    }
}

#[test]
fn genes_that_inputs_do_not_share_are_refused_with_what_would_help() {
    let directory = inputs();
    let path = |name: &str| {
        directory
            .path()
            .join(format!("{name}.h5ad"))
            .to_str()
            .unwrap()
            .to_owned()
    };
    let store = directory.path().join("x.cellring").to_str().unwrap().to_owned();
    let args = |inputs: &[&str], more: &[&str]| -> Vec<String> {
        let inputs = inputs.iter().map(|name| path(name));
        let more = more.iter().map(ToString::to_string);
        let output = ["-o".to_owned(), store.clone(), "--force".to_owned()];
        std::iter::once("convert".to_owned())
            .chain(inputs)
            .chain(output)
            .chain(more)
            .collect()
    };
    let refused = |inputs: &[&str], more: &[&str]| {
        let args = args(inputs, more);
        fail(&args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let converted = |inputs: &[&str], more: &[&str]| {
        let args = args(inputs, more);
        let (code, stdout, stderr) = cellring(&args.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(code, 0, "{stderr}");
        (stdout, stderr)
    };
    for join in ["same", "inner", "outer"] {
        let join = ["--join", join];
        let message = refused(&["symbols", "ids"], &join);
        for part in [
            "symbols.h5ad has no gene of another input",
            "names such as SYM0, SYM1, SYM2, ...",
            "names such as ENSG00000000, ENSG00000001, ENSG00000002, ...",
            "--var-key gene_ids finds 60 in common",
        ] {
            assert!(message.contains(part), "{part}: {message}");
        }
        let message = refused(&["symbols", "bare_ids"], &join);
        assert!(
            message.contains("60 names of")
                && message.contains("bare_ids.h5ad are in the var column gene_ids of"),
            "{message}"
        );
        let message = refused(&["bare_ids", "versions"], &join);
        assert!(
            message.contains("60 names differ only in their version"),
            "{message}"
        );
        let message = refused(&["symbols", "others"], &join);
        assert!(message.contains("give --var-key COLUMN"), "{message}");
    }
    // One of several, whatever the others share.
    let message = refused(&["symbols", "panel", "others"], &["--join", "outer"]);
    assert!(
        message.contains("others.h5ad has no gene of another input"),
        "{message}"
    );
    // The option that is named works.
    converted(&["symbols", "ids"], &["--join", "inner", "--var-key", "gene_ids"]);

    let (_, stderr) = converted(&["symbols", "few"], &["--join", "outer"]);
    assert!(
        stderr.contains("of the 60 genes of") && stderr.contains("only 2 are in another input"),
        "{stderr}"
    );
    assert_eq!(stderr.matches("only 2 are").count(), 1, "{stderr}");
    let (_, stderr) = converted(&["symbols", "panel"], &["--join", "outer"]);
    assert!(!stderr.contains("are in another input"), "{stderr}");

    // What is appended.
    converted(&["symbols"], &[]);
    let message = fail(&["append", &store, &path("ids"), "--ignore-new-genes"]);
    assert!(
        message.contains("has none of the genes of")
            && message.contains("SYM0")
            && message.contains("ENSG00000000"),
        "{message}"
    );
    let appended = |name: &str| {
        let options = AppendOptions {
            ignore_new_genes: true,
            ..AppendOptions::default()
        };
        let inputs = [PathBuf::from(path(name))];
        append(Path::new(&store), &inputs, &options, &|_, _| {}).unwrap()
    };
    let report = appended("few");
    assert_eq!((report.n_genes_ignored, report.n_genes_missing), (58, 58));
    assert!(
        kinds(&report.warnings).contains(&MessageKind::Genes),
        "{report:?}"
    );
    let report = appended("panel");
    assert_eq!((report.n_genes_ignored, report.n_genes_missing), (0, 57));
    let lacks = |warning: &Message| {
        warning.kind == MessageKind::Genes && warning.sentence.contains("lacks 57 of the")
    };
    assert!(report.warnings.iter().any(lacks), "{report:?}");
}

#[test]
fn lists_of_genes_and_filters_that_do_not_fit() {
    let directory = inputs();
    let (input, store, list) = (
        directory.path().join("plain.h5ad"),
        directory.path().join("x.cellring"),
        directory.path().join("genes.txt"),
    );
    let with_genes = |lines: &str| {
        std::fs::write(&list, lines).unwrap();
        let options = ConvertOptions {
            genes: Some(list.clone()),
            ..options(Selection::X, &[])
        };
        run_convert(&input, &store, &options)
    };
    let report = with_genes("# a panel\ngene3\nabsent1\ngene5\nabsent2\ngene3\n\n").unwrap();
    assert_eq!(report.n_vars, 2);
    assert_eq!(kinds(&report.warnings), [MessageKind::Genes; 2]);
    assert!(
        report.warnings[0].sentence.starts_with("2 of the 4 genes that")
            && report.warnings[0]
                .sentence
                .ends_with("are left out: absent1, absent2"),
        "{:?}",
        report.warnings
    );
    assert!(
        report.warnings[1].sentence.starts_with("1 lines of")
            && report.warnings[1].sentence.ends_with(": gene3"),
        "{:?}",
        report.warnings
    );
    assert_eq!(with_genes("gene1\n").unwrap().warnings, []);
    let error = with_genes("A\nB\nC\nD\nE\nF\n").unwrap_err();
    assert!(
        matches!(&error, ConvertError::NoGene { n_named: 6, .. })
            && error.to_string().contains("(A, B, C, D, E, ...)")
            && error.to_string().contains("names such as gene0, gene1"),
        "{error}"
    );
    let error = with_genes("# nothing\n").unwrap_err();
    assert!(matches!(error, ConvertError::EmptyGeneList { .. }), "{error}");

    let filtered = |filter: &str| {
        let options = ConvertOptions {
            obs_filter: Some(filter.to_owned()),
            ..options(Selection::X, &[])
        };
        run_convert(&input, &store, &options)
    };
    let error = filtered("cell_type == 'B cel'").unwrap_err();
    let message = error.to_string();
    assert!(
        matches!(error, ConvertError::NothingTaken { .. })
            && message.contains("plain.h5ad: the filter matches none of the 40 obs: no obs has \"B cel\"")
            && message.contains("\"B cell\""),
        "{message}"
    );
    let error = filtered("number > 100").unwrap_err().to_string();
    assert!(error.contains("its values are from 0 to 39"), "{error}");
    let report = filtered("cell_type in ['NK', 'B cel']").unwrap();
    assert_eq!(
        (report.n_obs, kinds(&report.warnings)),
        (13, vec![MessageKind::Selection])
    );
    assert_eq!(filtered("cell_type == 'NK'").unwrap().warnings, []);

    // Inputs of which one has no such cell, together.
    let joined = ConvertOptions {
        join: JoinOptions::default()
            .var(VarJoin::Outer)
            .label_column("source".to_owned()),
        obs_filter: Some("source == 'plane'".to_owned()),
        ..options(Selection::X, &[])
    };
    let inputs = [input.clone(), directory.path().join("many.h5ad")];
    let error = convert(&inputs, &store, &joined, &|_, _| {})
        .unwrap_err()
        .to_string();
    assert!(error.contains("\"plain\", \"many\""), "{error}");
}

#[test]
fn categories_without_rows_are_named() {
    let directory = scratch();
    let input = synthetic(directory.path());
    let said = |max_obs: &str| {
        let store = directory.path().join(max_obs);
        let (input, store) = (input.to_str().unwrap(), store.to_str().unwrap());
        let report = report(&["convert", input, "-o", store, "--max-obs", max_obs]);
        let warnings = report["warnings"].as_array().unwrap().clone();
        let of_rows = |warning: &&Value| {
            let message = warning["message"].as_str().unwrap();
            message.contains("has no rows, so the categories of \"")
        };
        warnings.iter().filter(of_rows).count()
    };
    assert_eq!([said("0"), said("1")], [1, 0]);
}
