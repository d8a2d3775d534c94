//! Splits that are asked for by a line of text.

use super::codes::codes;
use super::error::SelectError;
use crate::Error;
use crate::plan::Subset;
use crate::store::Store;

/// Names and fractions of the parts of a split.
///
/// ```
/// use cellring::select::SplitSpec;
///
/// let spec = SplitSpec::parse("train=0.8, val=0.1, test=0.1")?;
/// assert_eq!(spec.names().collect::<Vec<_>>(), ["train", "val", "test"]);
/// # Ok::<(), cellring::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SplitSpec {
    names: Vec<String>,
    fractions: Vec<f64>,
}

impl SplitSpec {
    /// Parses `name=fraction,...`. Fractions may sum to less than 1: the rest of the obs is in no part.
    ///
    /// # Errors
    /// If it is none, a name comes twice, or fractions are negative or sum to more than 1.
    pub fn parse(spec: &str) -> Result<Self, Error> {
        let wrong = |what: String| SelectError::Split {
            spec: spec.to_owned(),
            what,
        };
        let (mut names, mut fractions) = (Vec::<String>::new(), Vec::new());
        for part in spec.split(',') {
            let (name, fraction) = part
                .split_once('=')
                .map(|(name, fraction)| (name.trim(), fraction.trim()))
                .filter(|(name, _)| !name.is_empty())
                .ok_or_else(|| wrong(format!("has the part {part:?}, which is not NAME=FRACTION")))?;
            if names.iter().any(|known| known == name) {
                return Err(wrong(format!("has two parts named {name:?}")).into());
            }
            let fraction: f64 = fraction
                .parse()
                .ok()
                .filter(|fraction| (0.0..=1.0).contains(fraction))
                .ok_or_else(|| {
                    wrong(format!(
                        "has the fraction {fraction:?}, expected a number from 0 to 1"
                    ))
                })?;
            names.push(name.to_owned());
            fractions.push(fraction);
        }
        let sum: f64 = fractions.iter().sum();
        // As the plan allows: ten tenths are a little off one.
        if sum > 1.0 + 1e-9 {
            return Err(wrong(format!("has fractions that sum to {sum}, more than 1")).into());
        }
        Ok(Self { names, fractions })
    }

    /// Names of the parts, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Divides the whole store; see [`split()`].
    ///
    /// # Errors
    /// As [`split()`].
    pub fn divide(&self, store: &Store, seed: u64, by: Option<&str>) -> Result<Vec<(String, Subset)>, Error> {
        let all = Subset::all(store.n_obs())?;
        let parts = match by {
            None => all.split(&self.fractions, seed)?,
            Some(column) => all.split_by_group(&codes(store, &[column])?.codes, &self.fractions, seed)?,
        };
        Ok(self.names.iter().cloned().zip(parts).collect())
    }
}

/// Divides all obs at random into parts, such as `"train=0.8,val=0.1,test=0.1"`: name and obs of each.
///
/// With `by`, whole groups of equal values in that column (see [`codes()`]) come into one part; obs without a value are in
/// none. The same store, text, seed and column give the same parts, always. The split is of the whole store, so a cell is in
/// the same part whatever else is selected: intersect a part with a filter, and what is trained on under one filter is never
/// tested on under another.
///
/// # Errors
/// If the text is not a valid split, or the column has no classes.
pub fn split(store: &Store, spec: &str, seed: u64, by: Option<&str>) -> Result<Vec<(String, Subset)>, Error> {
    SplitSpec::parse(spec)?.divide(store, seed, by)
}
