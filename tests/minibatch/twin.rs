//! What an output should be, computed the plain way from rows as they are in the source.

use cellring::format::CsrRows;
use cellring::minibatch::{LibraryGenes, Normalize};

/// Columns and values of a row.
pub(crate) type Row<T> = Vec<(usize, T)>;

/// The rows of a matrix whose values are of type `T`.
pub(crate) fn rows_of<T: Copy>(rows: &CsrRows, values: &[T]) -> Vec<Row<T>> {
    rows.indptr
        .windows(2)
        .map(|ends| ends[0] as usize..ends[1] as usize)
        .map(|range| {
            let columns = rows.indices[range.clone()].iter().map(|&c| c as usize);
            columns.zip(values[range].iter().copied()).collect()
        })
        .collect()
}

/// The genes of an output: for each of its columns that of the store.
pub(crate) type Genes = Option<Vec<Option<u32>>>;

/// A row cut down to these genes, in the order of the output.
pub(crate) fn select<T: Copy>(row: &Row<T>, genes: &Genes) -> Row<T> {
    let Some(genes) = genes else {
        return row.clone();
    };
    let value_of = |gene: u32| row.iter().find(|(column, _)| *column == gene as usize);
    genes
        .iter()
        .enumerate()
        .filter_map(|(place, gene)| Some((place, value_of((*gene)?)?.1)))
        .collect()
}

/// A row selected, normalised and weighted.
pub(crate) fn compute(
    row: &Row<f32>,
    genes: &Genes,
    normalize: Option<Normalize>,
    weights: Option<&[f32]>,
) -> Row<f32> {
    let selected = select(row, genes);
    let sum = |row: &Row<f32>| row.iter().map(|(_, x)| f64::from(*x)).sum::<f64>() as f32;
    let mut out = selected.clone();
    for (column, value) in &mut out {
        if let Some(normalize) = normalize {
            let size = match normalize.over {
                LibraryGenes::All => sum(row),
                LibraryGenes::Selected => sum(&selected),
            };
            if let Some(target) = normalize.target_sum.filter(|_| size != 0.0) {
                *value /= size / target as f32;
            }
            if normalize.log1p {
                *value = f64::from(*value).ln_1p() as f32;
            }
        }
        if let Some(weights) = weights {
            *value *= weights[*column];
        }
    }
    out
}

/// A row as so many values.
pub(crate) fn dense<T: Copy + Default>(row: &Row<T>, n_columns: usize) -> Vec<T> {
    let mut out = vec![T::default(); n_columns];
    row.iter().for_each(|&(column, value)| out[column] = value);
    out
}

/// The highest values of a row above 0, the highest first, the first of equal ones first.
pub(crate) fn top<T: Copy + Default + PartialOrd>(row: &Row<T>, k: usize) -> Row<T> {
    let mut out: Row<T> = row
        .iter()
        .copied()
        .filter(|(_, value)| *value > T::default())
        .collect();
    // The sort is stable, and columns ascend.
    out.sort_by(|a, b| b.1.partial_cmp(&a.1).expect("values above 0 can be compared"));
    out.truncate(k);
    out
}
