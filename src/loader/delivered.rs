//! What a loader makes of the cells, setting by setting: saved with a state, so that an epoch is resumed in the form that it
//! began in.

use std::collections::BTreeMap;

use super::collection::Collection;
use super::config::{LoaderConfig, LoaderError};
use crate::minibatch::{
    ColumnForm, GeneSelection, IndexType, Layout, LibraryGenes, OutputConfig, OutputType,
};
use crate::plan::{SamplerState, differences, print};

/// Each setting by name, data by its fingerprint. Settings that change nothing unless given are there only if given.
pub(super) type Delivered = BTreeMap<String, String>;

pub(super) fn delivered(collection: &Collection, config: &LoaderConfig) -> Delivered {
    let mut all = of_output(&config.output);
    // A store alone has its own columns.
    if collection.stores().len() > 1 {
        let maps = collection.maps().flat_map(|map| map.map_or(Vec::new(), words));
        let n_vars = [collection.n_vars() as u64].into_iter();
        all.insert("joined genes".to_owned(), print(n_vars.chain(maps)));
    }
    for choice in &config.matrices {
        let of_matrix = of_output(&choice.output).into_iter();
        all.extend(of_matrix.map(|(name, value)| (format!("{name} of {}", choice.name), value)));
    }
    let names = config.matrices.iter().map(|choice| choice.name.as_str());
    let names: Vec<&str> = names.collect();
    if !names.is_empty() {
        all.insert("matrices".to_owned(), names.join(", "));
    }
    let columns = config.obs_columns.iter().map(|choice| match choice.form {
        ColumnForm::Natural => choice.name.clone(),
        form => format!("{} as {form}", choice.name),
    });
    let columns: Vec<String> = columns.collect();
    if !columns.is_empty() {
        all.insert("obs_columns".to_owned(), columns.join(", "));
    }
    all
}

fn of_output(output: &OutputConfig) -> Delivered {
    let mut all = Delivered::new();
    let mut add = |name: &str, value: String| all.insert(name.to_owned(), value);
    let layout = match output.layout {
        Layout::Csr => "csr".to_owned(),
        Layout::Dense => "dense".to_owned(),
        Layout::TopK(k) => format!("top-k:{k}"),
    };
    add("layout", layout);
    let values = match output.value_type {
        OutputType::F32 => "f32",
        OutputType::F16 => "f16",
        OutputType::Bf16 => "bf16",
        OutputType::Source => "source",
    };
    add("values", values.to_owned());
    if output.index_type != IndexType::default() {
        add("index_type", "i64".to_owned());
    }
    if let Some(genes) = &output.genes {
        let n_genes = [genes.n_genes() as u64].into_iter();
        add("genes", print(n_genes.chain(words(genes))));
    }
    if let Some(normalize) = &output.normalize {
        if let Some(target) = normalize.target_sum {
            add("normalize", target.to_string());
        }
        if normalize.log1p {
            add("log1p", "true".to_owned());
        }
        if normalize.over == LibraryGenes::Selected {
            add("library size", "over the selected genes".to_owned());
        }
    }
    if let Some(weights) = &output.gene_weights {
        add(
            "gene_weights",
            print(weights.iter().map(|weight| weight.to_bits().into())),
        );
    }
    all
}

fn words(genes: &GeneSelection) -> Vec<u64> {
    genes.map().iter().map(|&place| place.into()).collect()
}

/// Refuses a state whose epoch began in another form. What was not recorded is not compared.
pub(super) fn check(state: &SamplerState, now: &Delivered) -> Result<(), LoaderError> {
    if state.output.is_empty() || state.output == *now {
        return Ok(());
    }
    Err(LoaderError::OtherOutput {
        differences: differences(&state.output, now),
    })
}
