//! Whether values that are to be normalised look like counts.

use super::collection::Collection;
use crate::format::{ValueBuffer, ValueType};
use crate::minibatch::Normalize;
use crate::plan::Subset;

/// Rows that are looked at, spread evenly over what is loaded.
const SAMPLE_ROWS: u64 = 32;

/// A sentence on the first value in a few rows that is not a whole number: most likely it was normalised or log-transformed before.
/// `None` if all are whole.
///
/// Values below 0 are refused where they are met; see [`Normalize`].
pub(super) fn warning(
    collection: &Collection,
    subset: Option<&Subset>,
    normalize: Normalize,
) -> Option<String> {
    let n_obs = subset.map_or(collection.n_obs(), Subset::len);
    let n_rows = n_obs.min(SAMPLE_ROWS);
    for row in 0..n_rows {
        let place = (u128::from(row) * u128::from(n_obs) / u128::from(n_rows)) as u64;
        let obs = match subset {
            None => place,
            Some(subset) => {
                let mut obs = Vec::new();
                subset.extend(place..place + 1, &mut obs);
                *obs.first()?
            }
        };
        let (number, obs) = collection.locate(obs);
        let store = &collection.stores()[number];
        if !matches!(store.manifest().value_type, ValueType::F32 | ValueType::F64) {
            continue;
        }
        // A row that cannot be read is an error when it is loaded, with all that is to be said about it.
        let Ok(rows) = store.rows(obs..obs + 1) else {
            continue;
        };
        let is_fraction = |value: &f64| value.is_finite() && value.fract() != 0.0;
        let value = match &rows.values {
            ValueBuffer::F32(values) => values.iter().map(|&value| value.into()).find(is_fraction),
            ValueBuffer::F64(values) => values.iter().copied().find(is_fraction),
            _ => None,
        };
        if let Some(value) = value {
            let asked = match (normalize.target_sum, normalize.log1p) {
                (Some(_), true) => "normalize and log1p expect",
                (Some(_), false) => "normalize expects",
                (None, _) => "log1p expects",
            };
            return Some(format!(
                "{}: {asked} counts, but obs {obs} has the value {value}; if the values were normalised or log-transformed \
                 before, this does it again: leave the option out, or load counts, which `cellring convert` takes from a \
                 layer or from raw if the input has them",
                store.path().display()
            ));
        }
    }
    None
}
