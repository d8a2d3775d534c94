//! What a loader makes of the cells, setting by setting: saved with a state, so that an epoch is resumed in the form that it
//! began in.

use std::collections::BTreeMap;

use super::collection::Collection;
use super::config::LoaderConfig;
use super::error::LoaderError;
use crate::minibatch::{
    ColumnForm, GeneSelection, IndexType, Layout, LibraryGenes, OutputConfig, OutputType,
};
use crate::plan::{SamplerState, differences, fingerprint_text};

/// Each setting by name, data by its fingerprint. Settings that change nothing unless given are there only if given.
pub(super) type Delivered = BTreeMap<String, String>;

pub(super) fn delivered(collection: &Collection, config: &LoaderConfig) -> Delivered {
    let mut all = of_output(&config.output);
    all.extend(joined_genes(collection).map(|genes| ("joined genes".to_owned(), genes)));
    for choice in &config.matrices {
        let mut of_matrix = of_output(&choice.output);
        // A matrix that does not exist is refused elsewhere.
        let genes = collection
            .matrix(&choice.name)
            .ok()
            .as_ref()
            .and_then(joined_genes);
        of_matrix.extend(genes.map(|genes| ("joined genes".to_owned(), genes)));
        all.extend(
            of_matrix
                .into_iter()
                .map(|(name, value)| (format!("{name} of {}", choice.name), value)),
        );
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

/// How the columns of the stores become those of the collection; `None` if it has those of its only store.
fn joined_genes(collection: &Collection) -> Option<String> {
    let is_joined = collection.stores().len() > 1 || collection.maps().any(|map| map.is_some());
    // The length goes first, so that lists after each other cannot be confused.
    let of_map = |map: Option<&GeneSelection>| {
        map.map_or(vec![0], |map| {
            let words = words(map);
            [vec![1 + words.len() as u64], words].concat()
        })
    };
    let n_vars = collection.n_vars() as u64;
    is_joined.then(|| fingerprint_text([n_vars].into_iter().chain(collection.maps().flat_map(of_map))))
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
        add("genes", fingerprint_text(n_genes.chain(words(genes))));
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
            fingerprint_text(weights.iter().map(|weight| weight.to_bits().into())),
        );
    }
    all
}

fn words(genes: &GeneSelection) -> Vec<u64> {
    genes.map().iter().map(|&place| place.into()).collect()
}

/// Refuses a state whose epoch began in another form. What was not recorded is not compared.
pub(super) fn check(state: &SamplerState, now: &Delivered) -> crate::Result<()> {
    if state.output.is_empty() || state.output == *now {
        return Ok(());
    }
    Err(LoaderError::OtherOutput {
        differences: differences(&state.output, now),
    }
    .into())
}
