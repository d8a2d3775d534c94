//! The obs columns of minibatches, from those of the stores.

use std::sync::Arc;

use arrow_schema::DataType;

use super::error::LoaderError;
use crate::error::Cause;
use crate::format::FormatError;
use crate::minibatch::{ColumnChoice, ColumnReader, Mismatch, read_columns};
use crate::{Error, Store};

/// The obs columns that are delivered.
pub(super) fn readers(stores: &[Arc<Store>], choices: &[ColumnChoice]) -> Result<Vec<ColumnReader>, Error> {
    choices.iter().map(|choice| reader(stores, choice)).collect()
}

/// The reader of one of them.
pub(super) fn reader(stores: &[Arc<Store>], choice: &ColumnChoice) -> Result<ColumnReader, Error> {
    let mut columns = Vec::with_capacity(stores.len());
    let mut lacking = None;
    for store in stores {
        match store.obs().column(&choice.name) {
            Ok(column) => columns.push(Some(column)),
            Err(error)
                if choice.or_missing
                    && matches!(error.cause(), Cause::Format(FormatError::NoColumn { .. })) =>
            {
                columns.push(None);
                lacking = lacking.or(Some(error));
            }
            Err(error) => return Err(error),
        }
    }
    if let (Some(error), true) = (lacking, columns.iter().all(Option::is_none)) {
        return Err(error);
    }
    let data_types: Vec<Option<DataType>> = columns
        .iter()
        .map(|column| Some(column.as_ref()?.field().data_type().clone()))
        .collect();
    let of = |store: usize| {
        let data_type = data_types[store].as_ref().map(DataType::to_string);
        (stores[store].path().to_path_buf(), data_type.unwrap_or_default())
    };
    let mismatched = |mismatch| match mismatch {
        Mismatch::Form(store) => {
            let (store, data_type) = of(store);
            LoaderError::ColumnType {
                store,
                column: choice.name.clone(),
                data_type,
                form: choice.form,
            }
        }
        Mismatch::Kinds(first, store) => {
            let ((first, expected), (store, found)) = (of(first), of(store));
            LoaderError::ColumnKinds {
                store,
                column: choice.name.clone(),
                found,
                first,
                expected,
            }
        }
    };
    read_columns(choice, columns).map_err(|mismatch| mismatched(mismatch).into())
}
