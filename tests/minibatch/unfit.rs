//! Values that are no counts are refused where they would be normalised, and gene lists that fit no gene.

use std::path::Path;
use std::sync::Arc;

use cellring::__internal::{Cause, LoaderError};
use cellring::format::{CsrRows, Encoding, ValueBuffer, ValueType};
use cellring::minibatch::{
    GeneSelection, Layout, LibraryGenes, Normalize, OutputConfig, OutputError, OutputType,
};
use cellring::plan::{SamplerData, Strategy, Subset};
use cellring::{Loader, Store};

use super::common::{Kind, matrix};
use super::{N_OBS, N_VARS, config, write};

/// Counts, but for this value of obs 100 and gene 7.
fn with_value(path: &Path, value: f32, encoding: Encoding) -> Arc<Store> {
    let mut rows = matrix(N_OBS, N_VARS, Kind::Counts, 51);
    let (start, end) = (rows.indptr[100] as usize, rows.indptr[101] as usize);
    let place = start + rows.indices[start..end].partition_point(|&column| column < 7);
    let ValueBuffer::F32(values) = &mut rows.values else {
        unreachable!("counts")
    };
    // All but the one fit every type.
    values.iter_mut().for_each(|value| *value = value.min(60_000.0));
    match rows.indices[start..end].contains(&7) {
        true => values[place] = value,
        false => {
            rows.indices.insert(place, 7);
            values.insert(place, value);
            rows.indptr[101..].iter_mut().for_each(|end| *end += 1);
        }
    }
    write(path, &rows, ValueType::F32, encoding)
}

/// Every form that normalises.
fn outputs(normalize: Normalize) -> Vec<OutputConfig> {
    let layouts = [Layout::Csr, Layout::Dense, Layout::TopK(9)];
    let types = [OutputType::F32, OutputType::Bf16];
    let both = layouts
        .into_iter()
        .flat_map(|layout| types.map(|value_type| (layout, value_type)));
    both.map(|(layout, value_type)| {
        OutputConfig::default()
            .layout(layout)
            .value_type(value_type)
            .normalize(normalize)
    })
    .collect()
}

/// The first error of a run in storage order.
fn error(store: &Arc<Store>, output: OutputConfig) -> Option<cellring::Error> {
    let sampler = config(OutputConfig::default(), 2)
        .sampler
        .strategy(Strategy::Sequential);
    let config = config(output, 2).sampler(sampler);
    let loader = Loader::new(store.clone(), config).unwrap();
    loader.epoch(0).unwrap().find_map(Result::err)
}

fn normalize(target_sum: Option<f64>, log1p: bool, over: LibraryGenes) -> Normalize {
    Normalize::default()
        .target_sum(target_sum)
        .log1p(log1p)
        .over(over)
}

#[test]
fn values_that_are_no_counts_are_refused_by_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: String| dir.path().join(name);
    let all = LibraryGenes::All;
    for (number, value) in [-0.5f32, -3.0, f32::NAN, f32::INFINITY].into_iter().enumerate() {
        for encoding in [Encoding::Packed, Encoding::Raw] {
            let store = with_value(&path(format!("{number}-{}", encoding.name())), value, encoding);
            let gene_7 = store.var().names().unwrap();
            let (array, row) = gene_7.at(7);
            let gene = arrow_array::cast::AsArray::as_string::<i32>(array)
                .value(row)
                .to_owned();
            for (target, log1p) in [(None, true), (Some(1e4), false), (Some(1e4), true)] {
                for output in outputs(normalize(target, log1p, all)) {
                    let error = error(&store, output.clone()).expect("refused");
                    let message = error.to_string();
                    assert!(
                        matches!(error.cause(), Cause::Loader(LoaderError::Unfit { .. })),
                        "{message}"
                    );
                    for part in [
                        "obs 100 (",
                        &format!("the value {value} for the gene {gene:?}"),
                        "from a layer or from raw",
                        store.path().to_str().unwrap(),
                    ] {
                        assert!(message.contains(part), "{part}: {message}");
                    }
                }
            }
            // As they are they are delivered.
            assert!(error(&store, OutputConfig::default()).is_none());
        }
    }
    // A sign alone is not a value below 0; and no explicit zero is stored, but -0.
    let store = with_value(&path("zero".into()), -0.0, Encoding::Packed);
    for output in outputs(Normalize::LOG1P_10K) {
        assert!(error(&store, output).is_none());
    }
}

#[test]
fn values_that_half_floats_have_only_infinity_for_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let cases = [
        (OutputType::F16, 65_519.0f32, false),
        (OutputType::F16, 65_520.0, true),
        (OutputType::F16, -70_000.0, true),
        // It is infinite itself.
        (OutputType::F16, f32::INFINITY, false),
        (OutputType::Bf16, 65_520.0, false),
        (OutputType::Bf16, 3.3895e38, false),
        (OutputType::Bf16, f32::MAX, true),
        (OutputType::F32, f32::MAX, false),
    ];
    for (number, (value_type, value, is_refused)) in cases.into_iter().enumerate() {
        let store = with_value(&dir.path().join(number.to_string()), value, Encoding::Packed);
        // The value itself, and in another place than its gene has in the store.
        let genes = GeneSelection::by_columns(N_VARS, &[Some(11), None, Some(7)]).unwrap();
        for layout in [Layout::Csr, Layout::Dense, Layout::TopK(2)] {
            for genes in [None, Some(genes.clone())] {
                let output = OutputConfig::default()
                    .layout(layout)
                    .value_type(value_type)
                    .genes(genes);
                // A rank has only values above 0; which are looked at makes no difference.
                let found = error(&store, output.clone());
                assert_eq!(found.is_some(), is_refused, "{value} {output:?}: {found:?}");
                let Some(error) = found else { continue };
                let message = error.to_string();
                assert!(
                    matches!(error.cause(), Cause::Loader(LoaderError::Beyond { .. })),
                    "{message}"
                );
                let says = message.contains("obs 100 (") && message.contains("would be infinite as ");
                assert!(says && message.contains("_7\""), "{message}");
            }
        }
    }
}

#[test]
fn only_the_genes_that_count_are_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_value(&dir.path().join("s"), -2.0, Encoding::Packed);
    let (all, selected) = (LibraryGenes::All, LibraryGenes::Selected);
    // In another order, so that places and columns differ.
    let without: Vec<Option<u32>> = vec![Some(11), Some(3), None, Some(9)];
    let with: Vec<Option<u32>> = vec![Some(11), Some(3), None, Some(7)];
    for (genes, normalize, is_refused) in [
        (&without, normalize(Some(1e4), true, all), true),
        (&without, normalize(Some(1e4), true, selected), false),
        (&without, normalize(None, true, all), false),
        (&with, normalize(Some(1e4), true, selected), true),
        (&with, normalize(None, true, all), true),
    ] {
        for output in outputs(normalize) {
            let output = output.genes(GeneSelection::by_columns(N_VARS, genes).unwrap());
            let found = error(&store, output.clone());
            assert_eq!(found.is_some(), is_refused, "{output:?}: {found:?}");
            if let Some(error) = found {
                // The gene of the store, whatever column of the output it is.
                let names = store.var().names().unwrap();
                let (array, row) = names.at(7);
                let gene = arrow_array::cast::AsArray::as_string::<i32>(array).value(row);
                assert!(
                    error.to_string().contains(&format!("-2 for the gene {gene:?}")),
                    "{error}"
                );
            }
        }
    }
}

#[test]
fn library_sizes_beyond_f32_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let rows = CsrRows {
        indptr: vec![0, 2, 4],
        indices: vec![0, 1, 0, 1],
        values: ValueBuffer::F32(vec![1.0, 2.0, 3e38, 3e38]),
    };
    let store = write(&dir.path().join("s"), &rows, ValueType::F32, Encoding::Packed);
    let found = error(&store, OutputConfig::default().normalize(Normalize::LOG1P_10K));
    let message = found.expect("refused").to_string();
    assert!(
        message.contains("obs 1 (") && message.contains("values that sum to 6.0"),
        "{message}"
    );
    let logarithms = normalize(None, true, LibraryGenes::All);
    let output = OutputConfig::default().normalize(logarithms);
    assert!(error(&store, output).is_none());
}

#[test]
fn lists_of_genes_that_fit_none_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_value(&dir.path().join("s"), 1.0, Encoding::Packed);
    let none = ["ENSG1", "ENSG2", "ENSG3", "ENSG4"];
    let all = ["gene_0", "gene_1"];
    for error in [
        GeneSelection::by_names(store.var(), &none).unwrap_err(),
        GeneSelection::among(&all, &none).unwrap_err(),
    ] {
        let message = error.to_string();
        assert!(
            matches!(error.cause(), Cause::Output(OutputError::NoGenes { .. })),
            "{message}"
        );
        assert!(
            message.contains("(ENSG1, ENSG2, ENSG3 and 1 more)")
                && message.contains("names such as gene_0, gene_1"),
            "{message}"
        );
    }
    // No name is no wrong name.
    assert_eq!(GeneSelection::among(&all, &[] as &[&str]).unwrap().0.n_genes(), 0);
    let (_, report) = GeneSelection::among(&all, &["ENSG1", "gene_1"]).unwrap();
    assert_eq!(report.missing, ["ENSG1"]);
}

#[test]
fn an_empty_subset_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_value(&dir.path().join("s"), 1.0, Encoding::Packed);
    let data = SamplerData::default().subset(Subset::from_ids(N_OBS as u64, []).unwrap());
    let config = config(OutputConfig::default(), 1).data(data);
    let error = Loader::new(store, config).unwrap_err();
    assert!(
        matches!(error.cause(), Cause::Loader(LoaderError::NothingSelected { n_obs }) if *n_obs == N_OBS as u64),
        "{error}"
    );
}
