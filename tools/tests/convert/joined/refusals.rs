//! What cannot be joined.

use super::*;

#[test]
fn what_cannot_be_joined_is_refused_by_name() {
    let directory = scratch();
    let path = |name: &str| directory.path().join(name);
    let plain = samples::names("cell", 5);
    write(
        &path("a.h5ad"),
        ValueType::F32,
        &other_columns(),
        &genes(&[0, 1, 2], 1),
    );
    write(&path("b.h5ad"), ValueType::F32, &plain, &genes(&[7, 8, 9], 1));
    write(&path("c.h5ad"), ValueType::F32, &plain, &genes(&[1, 2, 3], 1));
    write(&path("d.h5ad"), ValueType::F32, &plain, &genes(&[3, 4, 5], 1));
    std::fs::create_dir(path("other")).unwrap();
    std::fs::copy(path("a.h5ad"), path("other/a.h5ad")).unwrap();
    let repeated = samples::table(vec![
        (
            "index",
            index(["gene0", "gene1", "gene0"].map(str::to_owned).into_iter()),
            INDEX,
        ),
        ("gene_ids", index((0..3).map(|i| format!("ENSG{i:05}"))), &[]),
    ]);
    write(&path("repeated.h5ad"), ValueType::F32, &plain, &repeated);
    let texts = samples::table(vec![
        ("index", index((0..5).map(|i| format!("cell{i}"))), INDEX),
        ("i8", index((0..5).map(|i| i.to_string())), &[]),
    ]);
    write(&path("texts.h5ad"), ValueType::F32, &texts, &genes(&[0, 1, 2], 1));
    let refused = |names: &[&str], more: &[&str]| {
        let inputs: Vec<String> = names
            .iter()
            .map(|name| path(name).display().to_string())
            .collect();
        let out = path("x.cellring").display().to_string();
        let mut args = vec!["convert", "-o", &out];
        args.extend(inputs.iter().map(String::as_str));
        args.extend(more);
        let message = fail(&args);
        assert!(!path("x.cellring").exists(), "{message}");
        message
    };
    for (inputs, more, parts) in [
        (
            &["a.h5ad", "b.h5ad"][..],
            &["--join", "inner"][..],
            &[
                "a.h5ad has no gene of another input",
                "gene7, gene8, gene9",
                "--var-key COLUMN",
            ][..],
        ),
        // Another way to join these would not help.
        (
            &["a.h5ad", "b.h5ad"],
            &[],
            &["no gene of another input", "gene7, gene8, gene9"],
        ),
        (
            &["a.h5ad", "c.h5ad"],
            &[],
            &["1 of the first are not in the second", "--join outer"],
        ),
        (
            &["a.h5ad", "c.h5ad", "d.h5ad"],
            &["--join", "inner"],
            &["the 3 inputs have no gene in common", "d.h5ad", "--join outer"],
        ),
        (
            &["a.h5ad", "repeated.h5ad"],
            &["--join", "outer"],
            &["repeated.h5ad has 1 genes", "gene0", "--var-key"],
        ),
        (
            &["a.h5ad", "repeated.h5ad"],
            &["--var-key", "ids"],
            &["no column ids", "gene_ids"],
        ),
        (
            &["a.h5ad", "c.h5ad"],
            &[
                "--var-key",
                "n_cells",
                "--join",
                "outer",
                "--label-column",
                "text",
            ],
            &["obs column text already"],
        ),
        (
            &["a.h5ad"],
            &["--label-column", "_index"],
            &[
                "\"_index\" cannot be the name of an obs column, since AnnData calls the index so; choose another name for --label-column",
            ],
        ),
        (
            &["a.h5ad"],
            &["--label-column", "a//b"],
            &["\"a//b\" cannot be the name of an obs column; choose another"],
        ),
        (
            &["a.h5ad", "texts.h5ad"],
            &[],
            &[
                "the obs column i8 holds numbers (int64)",
                "texts.h5ad",
                "--obs-columns",
            ],
        ),
        (
            &["a.h5ad", "other/a.h5ad"],
            &["--label-column", "source"],
            &["labelled \"a\"", "--label-values"],
        ),
        (
            &["a.h5ad", "other/a.h5ad"],
            &["--label-values", "a,b,c"],
            &["3 labels were given for 2 inputs"],
        ),
        (
            &["a.h5ad"],
            &["--obs-filter", "typo > 1"],
            &["no obs column \"typo\"", "extra, i8"],
        ),
        (
            &["a.h5ad"],
            &["--obs-filter", "i8 == 77"],
            &["matches none of the 5 obs", "i8 == 77"],
        ),
        (
            &["a.h5ad", "b.h5ad"],
            &["--join", "outer", "--layer", "counts"],
            &["a.h5ad has no layers/counts"],
        ),
    ] {
        let message = refused(inputs, more);
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
    }
    // A column that nobody wants may hold what it will, unless it is asked about.
    let some = |columns: &[&str], filter: Option<&str>| ConvertOptions {
        obs_columns: Some(columns.iter().map(|name| name.to_string()).collect()),
        obs_filter: filter.map(str::to_owned),
        ..options(JoinOptions::default())
    };
    let inputs = [path("a.h5ad"), path("texts.h5ad")];
    run(&inputs, &path("some.cellring"), &some(&["category"], None));
    for clash in [some(&["i8"], None), some(&["category"], Some("i8 == 1"))] {
        let error = convert(&inputs, &path("x.cellring"), &clash, &|_, _| {}).unwrap_err();
        assert!(error.to_string().contains("the obs column i8 holds"), "{error}");
    }
    // Ids tell the repeated genes apart.
    let key = JoinOptions::default().var_key("gene_ids".to_owned());
    run(
        &[path("a.h5ad"), path("repeated.h5ad")],
        &path("ids.cellring"),
        &options(key),
    );
}
