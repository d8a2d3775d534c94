//! Finds the genes of an input among those of a store.

use std::collections::HashMap;
use std::path::Path;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_schema::DataType;
use cellring::Store;
use cellring_anndata::TableSource;

use super::error::AppendError;

/// Names that a message shows.
const SHOWN: usize = 5;

/// The names of a store's genes.
pub(super) struct StoreGenes {
    /// In the order in which the store was made of them.
    in_source: Vec<String>,
    /// For each of these its column in the store.
    column_of_source: Vec<u32>,
    column_of: HashMap<String, u32>,
    duplicates: Vec<String>,
}

impl StoreGenes {
    pub(super) fn read(store: &Store) -> Result<Self, AppendError> {
        let positions = store.source_positions()?;
        let names = store.var().names()?;
        let mut in_source = vec![String::new(); positions.len()];
        let mut column_of_source = vec![0; positions.len()];
        let mut column_of = HashMap::with_capacity(positions.len());
        let mut duplicates = Vec::new();
        for (column, &position) in (0u32..).zip(&positions) {
            let (batch, row) = names.at(u64::from(column));
            let name = text_at(batch, row).unwrap_or_default();
            if column_of.insert(name.clone(), column).is_some() {
                duplicates.push(name.clone());
            }
            in_source[position as usize] = name;
            column_of_source[position as usize] = column;
        }
        Ok(Self {
            in_source,
            column_of_source,
            column_of,
            duplicates,
        })
    }

    /// For each gene of an input its column in the store; `None` where it has none and such genes are ignored.
    pub(super) fn find(
        &self,
        input: &Path,
        store: &Path,
        var: &TableSource,
        ignores_new: bool,
    ) -> Result<Vec<Option<u32>>, AppendError> {
        let batch = var.read(0..var.n_rows())?;
        let index = batch.column(0);
        let names: Vec<String> = (0..index.len())
            .map(|row| text_at(index, row).unwrap_or_default())
            .collect();
        // The very same genes: nothing needs to be found by name, so that names may occur twice.
        if names == self.in_source {
            return Ok(self.column_of_source.iter().map(|&column| Some(column)).collect());
        }
        let ambiguous = |file: &Path, names: &[String]| {
            Err(AppendError::DuplicateGenes {
                file: file.to_path_buf(),
                examples: examples(names),
            })
        };
        if !self.duplicates.is_empty() {
            return ambiguous(store, &self.duplicates);
        }
        let mut found = vec![false; self.in_source.len()];
        let (mut new, mut twice) = (Vec::new(), Vec::new());
        let mut places = Vec::with_capacity(names.len());
        let shares_any = names.iter().any(|name| self.column_of.contains_key(name));
        if !shares_any && !names.is_empty() && !self.in_source.is_empty() {
            return Err(AppendError::NothingInCommon {
                input: input.to_path_buf(),
                store: store.to_path_buf(),
                held: examples(&self.in_source),
                found: examples(&names),
            });
        }
        for name in names {
            let place = self.column_of.get(&name).copied();
            match place {
                None => new.push(name),
                Some(column) if std::mem::replace(&mut found[column as usize], true) => twice.push(name),
                Some(_) => {}
            }
            places.push(place);
        }
        if !twice.is_empty() {
            return ambiguous(input, &twice);
        }
        if !new.is_empty() && !ignores_new {
            return Err(AppendError::NewGenes {
                input: input.to_path_buf(),
                store: store.to_path_buf(),
                n_new: new.len(),
                examples: examples(&new),
            });
        }
        Ok(places)
    }
}

fn examples(names: &[String]) -> String {
    names[..names.len().min(SHOWN)].join(", ")
}

/// The text at a place of a column of text.
pub(super) fn text_at(column: &dyn Array, row: usize) -> Option<String> {
    match column.data_type() {
        _ if column.is_null(row) => None,
        DataType::Utf8 => Some(column.as_string::<i32>().value(row).to_owned()),
        DataType::LargeUtf8 => Some(column.as_string::<i64>().value(row).to_owned()),
        _ => None,
    }
}
