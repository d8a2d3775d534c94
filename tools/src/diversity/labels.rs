//! Labels of obs, whose mixture tells how diverse minibatches are.

use arrow_array::cast::AsArray;
use arrow_array::{Array, downcast_primitive_array};
use arrow_buffer::ToByteSlice;
use arrow_schema::DataType;
use cellring::Store;
use cellring::format::table::Column;
use cellring::plan::{Sampler, SamplerConfig, SamplerData, mean_entropy};
use xxhash_rust::xxh3::xxh3_64;

use crate::failure::Failure;

/// Stretches that a store without a chosen column is divided into.
const N_STRETCHES: u64 = 64;
/// Cells that are looked at, in fetches from all over the epoch.
const SAMPLE_CELLS: u64 = 1 << 20;
/// Fetches that are looked at, where they hold more than that.
const MIN_FETCHES: u64 = 8;
/// What stands for a missing value.
const MISSING: u64 = u64::MAX;

/// A label for each obs.
pub(crate) struct Labels {
    column: Option<(String, Column)>,
    n_obs: u64,
}

impl Labels {
    /// The values of an obs column; without one, 64 equal stretches of the store: what is side by side in it is of one
    /// plate, donor or experiment more often than not, so this is the hardest case for sampling in blocks.
    pub(crate) fn new(store: &Store, column: Option<&str>) -> Result<Self, Failure> {
        let n_obs = store.n_obs();
        let column = match column {
            Some(name) => Some((name.to_owned(), store.obs().column(name)?)),
            None => None,
        };
        if let Some((name, column)) = &column
            && let Some(batch) = column.batches().first()
            && !has_labels(batch.data_type())
        {
            return Err(Failure::because(format!(
                "the obs column {name:?} has the type {}, whose values cannot be counted; choose another column",
                batch.data_type()
            )));
        }
        Ok(Self { column, n_obs })
    }

    /// What the labels are, for people.
    pub(crate) fn what(&self) -> String {
        match &self.column {
            Some((name, _)) => format!("obs column {name:?}"),
            None => format!("{N_STRETCHES} equal stretches of the store"),
        }
    }

    /// The name of the column, where there is one.
    pub(crate) fn column(&self) -> Option<&str> {
        self.column.as_ref().map(|(name, _)| name.as_str())
    }

    /// The label of an obs.
    pub(crate) fn label(&self, obs: u64) -> u64 {
        match &self.column {
            Some((_, column)) => {
                let (array, row) = column.at(obs);
                value(array, row)
            }
            None => (u128::from(obs) * u128::from(N_STRETCHES) / u128::from(self.n_obs.max(1))) as u64,
        }
    }

    /// Mean entropy of the labels within minibatches of an epoch, in bits, from the plan alone; `None` without any.
    pub(crate) fn entropy(
        &self,
        sampler: &SamplerConfig,
        data: &SamplerData,
        epoch: u64,
    ) -> Result<Option<f64>, cellring::Error> {
        let plan = Sampler::new(self.n_obs, sampler.clone(), data.clone())?.plan(epoch)?;
        let max_fetches = (SAMPLE_CELLS / sampler.fetch_obs()).max(MIN_FETCHES);
        let entropy = mean_entropy(&plan, max_fetches, |obs| self.label(obs));
        Ok(entropy.map(|entropy| entropy.mean_bits))
    }

    /// The same in true random order.
    pub(crate) fn random_entropy(
        &self,
        sampler: &SamplerConfig,
        data: &SamplerData,
        epoch: u64,
    ) -> Result<Option<f64>, cellring::Error> {
        let random = sampler
            .clone()
            .strategy(cellring::plan::Strategy::BlockShuffle)
            .block_size(1);
        self.entropy(&random, data, epoch)
    }
}

fn has_labels(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(..) | DataType::Boolean | DataType::Utf8 | DataType::LargeUtf8 => true,
        other => other.is_primitive(),
    }
}

/// A number for a value: equal for equal values and, but for a collision of 64-bit hashes, for no others.
fn value(array: &dyn Array, row: usize) -> u64 {
    // Codes of a dictionary stand for its values; a missing value is a missing code.
    let array = array
        .as_any_dictionary_opt()
        .map_or(array, |dictionary| dictionary.keys());
    if array.is_null(row) {
        return MISSING;
    }
    downcast_primitive_array!(
        array => xxh3_64(array.value(row).to_byte_slice()),
        DataType::Boolean => u64::from(array.as_boolean().value(row)),
        DataType::Utf8 => xxh3_64(array.as_string::<i32>().value(row).as_bytes()),
        DataType::LargeUtf8 => xxh3_64(array.as_string::<i64>().value(row).as_bytes()),
        _ => MISSING,
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::types::Int8Type;
    use arrow_array::{
        ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int32Array, LargeStringArray, StringArray,
    };

    use super::*;

    #[test]
    fn equal_values_have_equal_labels_and_others_do_not() {
        let plates: DictionaryArray<Int8Type> = ["a", "b", "a"].into_iter().map(Some).chain([None]).collect();
        let arrays: [ArrayRef; 6] = [
            Arc::new(plates),
            Arc::new(Int32Array::from(vec![Some(3), Some(-1), Some(3), None])),
            Arc::new(Float64Array::from(vec![Some(0.5), Some(1e300), Some(0.5), None])),
            Arc::new(BooleanArray::from(vec![
                Some(true),
                Some(false),
                Some(true),
                None,
            ])),
            Arc::new(StringArray::from(vec![Some("x"), Some(""), Some("x"), None])),
            Arc::new(LargeStringArray::from(vec![
                Some("x"),
                Some("y"),
                Some("x"),
                None,
            ])),
        ];
        for array in arrays {
            assert!(has_labels(array.data_type()));
            let labels: Vec<_> = (0..4).map(|row| value(&array, row)).collect();
            assert_eq!(labels[0], labels[2], "{array:?}");
            assert!(labels[0] != labels[1] && labels[1] != labels[3], "{array:?}");
            assert_eq!(labels[3], MISSING);
        }
    }
}
