//! Joins the obs tables of parts.

use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;

use super::found::FoundPart;
use crate::Error;
use crate::format::table::Table;
use crate::writer::complete::WrittenTable;
use crate::writer::error::WriteError;
use crate::writer::table::write_table;

/// Joins the obs tables: each has some of the store's batches.
pub(super) fn join_obs(parts: &[FoundPart], path: &Path) -> Result<WrittenTable, Error> {
    let mut tables = Vec::with_capacity(parts.len());
    for part in parts {
        let file = part.path.join(&part.manifest.obs.file);
        tables.push(Table::open(file, &part.manifest.obs, part.manifest.obs_rows)?);
    }
    let schema = tables[0].schema()?;
    for (table, part) in tables.iter().zip(parts) {
        if table.schema()? != schema {
            return Err(other_obs(part).into());
        }
    }
    let mut first: Option<RecordBatch> = None;
    let batches = tables.iter().zip(parts).flat_map(|(table, part)| {
        let n = table.n_batches().unwrap_or(0);
        (0..n).map(move |i| (table.batch(i), part))
    });
    let batches = batches.map(|(batch, part)| -> Result<_, Error> {
        let batch = batch?;
        let first = first.get_or_insert_with(|| batch.slice(0, 0));
        if same_categories(first, &batch) {
            Ok(batch)
        } else {
            Err(other_obs(part).into())
        }
    });
    write_table(path, schema, batches)
}

fn other_obs(part: &FoundPart) -> WriteError {
    WriteError::Part {
        path: part.path.clone(),
        problem: "its obs has other columns or categories than the other parts; convert it again".into(),
    }
}

/// Whether all categorical columns have the same categories, in the same order.
fn same_categories(a: &RecordBatch, b: &RecordBatch) -> bool {
    a.columns()
        .iter()
        .zip(b.columns())
        .all(|(a, b)| match a.data_type() {
            DataType::Dictionary(..) => {
                let (a, b) = (a.as_any_dictionary().values(), b.as_any_dictionary().values());
                std::sync::Arc::ptr_eq(a, b) || a.to_data() == b.to_data()
            }
            _ => true,
        })
}
