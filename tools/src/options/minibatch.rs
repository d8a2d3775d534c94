//! Options that say what minibatches look like.

use std::path::PathBuf;
use std::str::FromStr;

use crate::message::MessageKind;
use cellring::Store;
use cellring::loader::MatrixChoice;
use cellring::minibatch::{GeneSelection, Layout, Normalize, OutputConfig, OutputType};

use super::lists::read_names;
use crate::failure::Failure;
use crate::output;

/// What minibatches look like.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Output options")]
pub(crate) struct OutputArgs {
    /// Layout of the values: csr, dense, or top-k:K for the K highest of each cell
    #[arg(long, value_name = "LAYOUT", default_value = "csr")]
    layout: LayoutName,
    /// Type of the values: f32, f16, bf16, or source for that of the store
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    values: TypeName,
    /// Load this other matrix of the same cells as well, such as layers/counts (CSR, values as --values says) or obsm/X_pca
    /// (dense, values of the store's type); may be repeated
    #[arg(long, value_name = "NAME")]
    matrix: Vec<String>,
    /// Only the genes whose names are in this file, one per line, in this order
    #[arg(long, value_name = "FILE")]
    genes: Option<PathBuf>,
    /// Scale each cell to this sum, such as 10000
    #[arg(long, value_name = "TARGET")]
    normalize: Option<f64>,
    /// Take the logarithm of one plus each value
    #[arg(long)]
    log1p: bool,
}

impl OutputArgs {
    pub(crate) fn config(&self, store: &Store) -> Result<OutputConfig, Failure> {
        let genes = match &self.genes {
            None => None,
            Some(path) => {
                let names = read_names(path)?;
                let of_list =
                    |error: &dyn std::fmt::Display| Failure::because(format!("{}: {error}", path.display()));
                if names.is_empty() {
                    return Err(of_list(&"names no gene; write one name per line"));
                }
                let (genes, report) =
                    GeneSelection::by_names(store.var(), &names).map_err(|error| of_list(&error))?;
                for (names, what) in [
                    (&report.missing, "not in the store, so their columns are zero"),
                    (
                        &report.ambiguous,
                        "several times in the store, so the first of each is taken",
                    ),
                ] {
                    if !names.is_empty() {
                        let sentence =
                            format!("{} of its genes are {what}: {}", names.len(), output::few(names));
                        output::warn(MessageKind::Genes, format!("{}: {sentence}", path.display()));
                    }
                }
                Some(genes)
            }
        };
        let normalize = (self.normalize.is_some() || self.log1p)
            .then_some(Normalize::LOG1P_10K.target_sum(self.normalize).log1p(self.log1p));
        Ok(OutputConfig::default()
            .layout(self.layout.0)
            .value_type(self.values.0)
            .genes(genes)
            .normalize(normalize))
    }
}

impl OutputArgs {
    /// The other matrices.
    pub(crate) fn matrices(&self) -> Vec<MatrixChoice> {
        let choices = self.matrix.iter().map(|name| MatrixChoice::from(name.as_str()));
        let of_type = |mut choice: MatrixChoice| {
            if choice.output.layout == Layout::Csr {
                choice.output.value_type = self.values.0;
            }
            choice
        };
        choices.map(of_type).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct LayoutName(Layout);

impl FromStr for LayoutName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let k = name
            .strip_prefix("top-k:")
            .and_then(|k| k.parse().ok())
            .filter(|k| *k > 0);
        match (name, k) {
            ("csr", _) => Ok(Self(Layout::Csr)),
            ("dense", _) => Ok(Self(Layout::Dense)),
            (_, Some(k)) => Ok(Self(Layout::TopK(k))),
            _ => Err(format!(
                "{name:?} is not a layout: expected csr, dense, or top-k:K with K at least 1"
            )),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct TypeName(OutputType);

impl FromStr for TypeName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Ok(Self(match name {
            "f32" => OutputType::F32,
            "f16" => OutputType::F16,
            "bf16" => OutputType::Bf16,
            "source" => OutputType::Source,
            _ => {
                return Err(format!(
                    "{name:?} is not a type of values: expected f32, f16, bf16 or source"
                ));
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_layouts_and_types() {
        assert_eq!("top-k:12".parse(), Ok(LayoutName(Layout::TopK(12))));
        assert_eq!("dense".parse(), Ok(LayoutName(Layout::Dense)));
        for name in ["top-k", "top-k:", "top-k:0", "top-k:-1", "CSR", ""] {
            assert!(name.parse::<LayoutName>().is_err(), "{name}");
        }
        assert_eq!("bf16".parse(), Ok(TypeName(OutputType::Bf16)));
        assert!("f64".parse::<TypeName>().is_err());
    }
}
