//! What minibatches look like: layout, types, genes, scale, other matrices, columns of obs.
//!
//! Words that the Python half has checked already become the library's; it knows which there are.

use cellring::minibatch::{ColumnForm, IndexType, LibraryGenes, Normalize, OutputConfig};
use cellring::{Collection, ColumnChoice, GeneSelection, Layout, MatrixChoice, OutputType};
use pyo3::prelude::*;

use crate::arguments::Arguments;
use crate::arrays::values_of;
use crate::error::{detached, refused, to_python};

fn parse_layout(py: Python<'_>, layout: &str, k: usize) -> PyResult<Layout> {
    match layout {
        "csr" => Ok(Layout::Csr),
        "dense" => Ok(Layout::Dense),
        "top_k" => Ok(Layout::TopK(k)),
        _ => Err(refused(
            py,
            &format!("layout={layout:?}: expected \"csr\", \"dense\" or (\"top_k\", k)"),
        )),
    }
}

fn parse_output_type(py: Python<'_>, dtype: &str) -> PyResult<OutputType> {
    match dtype {
        "float32" => Ok(OutputType::F32),
        "float16" => Ok(OutputType::F16),
        "bfloat16" => Ok(OutputType::Bf16),
        "source" => Ok(OutputType::Source),
        _ => Err(refused(
            py,
            &format!("dtype={dtype:?}: expected \"float32\", \"float16\", \"bfloat16\" or \"source\""),
        )),
    }
}

fn parse_index_type(dtype: &str) -> IndexType {
    match dtype {
        "int64" => IndexType::I64,
        _ => IndexType::I32,
    }
}

/// The form of the minibatches of a collection.
pub(crate) fn output(
    py: Python<'_>,
    arguments: &Arguments<'_>,
    collection: &Collection,
    warnings: &mut Vec<String>,
) -> PyResult<OutputConfig> {
    let mut output = OutputConfig::default()
        .layout(parse_layout(py, &arguments.layout, arguments.k)?)
        .value_type(parse_output_type(py, &arguments.dtype)?)
        .index_type(parse_index_type(&arguments.index_dtype));
    if arguments.normalize.is_some() || arguments.log1p {
        let mut normalize = Normalize::LOG1P_10K
            .target_sum(arguments.normalize)
            .log1p(arguments.log1p);
        if arguments.library == "selected" {
            normalize = normalize.over(LibraryGenes::Selected);
        }
        output = output.normalize(normalize);
    }
    if let Some(weights) = &arguments.gene_weights {
        output = output.gene_weights(values_of::<f32>(weights)?);
    }
    let Some(genes) = &arguments.genes else {
        return Ok(output);
    };
    let all_names = detached(py, || collection.var_names())?;
    let (selection, report) =
        GeneSelection::among(&all_names, genes).map_err(|error| to_python(py, &error))?;
    for (names, what) in [
        (&report.missing, "not in the store, so their columns are zero"),
        (
            &report.ambiguous,
            "several times in the store, so the first of each is taken",
        ),
    ] {
        if let [first, ..] = names.as_slice() {
            let n = names.len();
            warnings.push(format!(
                "genes: {n} of {} are {what}, such as {first}",
                genes.len()
            ));
        }
    }
    Ok(output.genes(selection))
}

/// The other matrices, and what each looks like.
pub(crate) fn matrices(py: Python<'_>, arguments: &Arguments<'_>) -> PyResult<Vec<MatrixChoice>> {
    let mut matrices = Vec::new();
    for (name, layout, dtype) in &arguments.matrices {
        let mut choice = MatrixChoice::from(name.as_str());
        if let Some(layout) = layout {
            choice.output.layout = parse_layout(py, layout, arguments.k)?;
        }
        if let Some(dtype) = dtype {
            choice.output.value_type = parse_output_type(py, dtype)?;
        }
        choice.output.index_type = parse_index_type(&arguments.index_dtype);
        matrices.push(choice);
    }
    Ok(matrices)
}

/// The obs columns, each in its form.
pub(crate) fn columns(arguments: &Arguments<'_>) -> Vec<ColumnChoice> {
    let columns = arguments.obs_columns.iter().map(|(name, form, or_missing)| {
        let mut column = ColumnChoice::from(name.as_str());
        column.form = match form.as_str() {
            "codes" => ColumnForm::Codes,
            "floats" => ColumnForm::Floats,
            "strings" => ColumnForm::Strings,
            _ => ColumnForm::Natural,
        };
        column.or_missing = *or_missing;
        column
    });
    columns.collect()
}
