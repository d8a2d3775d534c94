//! What the libraries advise, in the words of the command. They know no command line: a sentence of theirs names an option as their
//! own API does, in backticks.

use cellring_anndata::Selection;

/// What they advise, and the options of this command that do it.
const ADVICE: [(&str, &str); 15] = [
    (
        "; allow it to be replaced, or give another name",
        "; give --force to replace it, or another name",
    ),
    (
        "convert the part again and replace it",
        "convert the part again with --force",
    ),
    (
        "convert them again and replace them",
        "convert them again with --force",
    ),
    (
        "; allow rounding to get",
        "; allow rounding (--allow-rounding) to get",
    ),
    (
        "takes from a layer or from raw if",
        "takes with --layer counts or --raw if",
    ),
    ("; choose a smaller block size", "; choose a smaller --block-size"),
    (
        "; link it again as ",
        "; link it again (with the --source-root that it was linked with, if any): cellring link --refresh ",
    ),
    (
        ": put it back, or link it again",
        ": put it back, name the directory that it is below (--source-root), or say where it is (cellring link --relocate OLD NEW STORE)",
    ),
    (
        "; name a directory that both are below",
        "; name a directory that both are below with --source-root",
    ),
    (
        "; choose among its genes by their names",
        "; list the genes to keep in a file for --genes",
    ),
    (
        "close it there, or read it as it is with `force_read`",
        "close it there; convert, append and link read it as it is with `force_read`",
    ),
    (
        "written last, or read it as it is with `force_read`",
        "written last, or have convert, append or link read it as it is with `force_read`",
    ),
    ("`var_key`, a column of var", "`var_key` COLUMN, a column of var"),
    ("`var_key` if they name", "`var_key` COLUMN if they name"),
    (
        "give `labels`, one for each",
        "give `labels` one for each, separated by commas",
    ),
];

/// Their options, and what they are called here.
const OPTIONS: [(&str, &str); 15] = [
    ("`force_read`", "--force-read"),
    ("`group`", "--group"),
    ("`genome`", "--genome"),
    ("`feature_types`", "--feature-types"),
    ("`X`", "--x"),
    ("`Layer`", "--layer"),
    ("`Raw`", "--raw"),
    ("`Obsm`", "--obsm"),
    ("`VarJoin::Inner`", "--join inner"),
    ("`VarJoin::Outer`", "--join outer"),
    ("`var_key`", "--var-key"),
    ("`label_column`", "--label-column"),
    ("`labels`", "--label-values"),
    ("`index_unique`", "--index-unique SEP"),
    ("`obs_columns`", "--obs-columns"),
];

/// A sentence of a library with the options that it is about.
pub(crate) fn with_options(sentence: &str) -> String {
    let found = ADVICE.iter().find(|(advice, _)| sentence.contains(advice));
    let mut sentence = match found {
        Some((advice, said)) => sentence.replace(advice, said),
        None => sentence.to_owned(),
    };
    if sentence.contains('`') {
        for (name, option) in OPTIONS {
            sentence = sentence.replace(name, option);
        }
    }
    sentence
}

/// The option that takes this matrix.
pub(crate) fn option_of(selection: &Selection) -> String {
    match selection {
        Selection::X => "--x".to_owned(),
        Selection::Raw => "--raw".to_owned(),
        Selection::Layer(name) => format!("--layer {name}"),
        Selection::Obsm(name) => format!("--obsm {name}"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use cellring::__internal::LoaderError;
    use cellring::writer::{EncodeError, WriteError};

    use super::*;

    /// A reworded sentence of the library must not lose the option that it is about.
    #[test]
    fn sentences_of_the_library_name_the_options_of_the_command() {
        let store = PathBuf::from("s");
        let cases: [(cellring::Error, &str); 5] = [
            (
                WriteError::Exists { path: store.clone() }.into(),
                "; give --force to replace it",
            ),
            (
                EncodeError::BlockTooLarge {
                    first_obs: 0,
                    bytes: 1 << 33,
                }
                .into(),
                "--block-size",
            ),
            (
                LoaderError::Rounding {
                    store: store.clone(),
                    value_type: "int64",
                }
                .into(),
                "--allow-rounding",
            ),
            (
                LoaderError::Unfit {
                    store: store.clone(),
                    cell: "obs 1".into(),
                    found: "the value -1".into(),
                }
                .into(),
                "--layer counts or --raw",
            ),
            (cellring::writer::PartManifest::open(&store).unwrap_err(), ""),
        ];
        for (error, option) in cases {
            assert!(!error.to_string().contains("--"), "{error}");
            let said = with_options(&error.to_string());
            assert!(said.contains(option), "{said}");
        }
    }
}
