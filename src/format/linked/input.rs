//! What the index says of one input: the rows that it brings, and where they are.

use std::ops::Deref;
use std::sync::Arc;

use cellring_core::ValueClass;

use super::array::{ArrayLayout, ArrayRole, LinkedArray};
use super::bytes::Reader;

/// In place of the number of a column map: none.
const NO_MAP: u32 = u32::MAX;

/// For each column of an input the one of the matrix that it becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ColumnMap(Arc<[u32]>);

impl ColumnMap {
    /// A column of the input that the matrix does not have.
    pub(crate) const NOT_KEPT: u32 = u32::MAX;

    /// Whether they are columns of a matrix of `n_vars`, each at most once.
    ///
    /// # Errors
    /// The rule that is broken.
    pub(super) fn check(&self, n_vars: u64) -> Result<(), String> {
        // Of as much memory as the map itself, however many columns the matrix claims to have.
        let mut kept: Vec<u32> = self
            .iter()
            .copied()
            .filter(|&column| column != Self::NOT_KEPT)
            .collect();
        if !kept.is_sorted() {
            kept.sort_unstable();
        }
        if let Some(&last) = kept.last()
            && u64::from(last) >= n_vars
        {
            return Err(format!("names column {last} of {n_vars}"));
        }
        match kept.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(twice) => Err(format!("names column {} twice", twice[0])),
            None => Ok(()),
        }
    }
}

impl Deref for ColumnMap {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        &self.0
    }
}

impl From<Vec<u32>> for ColumnMap {
    fn from(columns: Vec<u32>) -> Self {
        Self(columns.into())
    }
}

impl From<Arc<[u32]>> for ColumnMap {
    fn from(columns: Arc<[u32]>) -> Self {
        Self(columns)
    }
}

/// The rows of one input, and the two arrays that they are in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkedInput {
    /// Number of its rows.
    pub(crate) n_obs: u64,
    /// Number of values that are stored in them.
    pub(crate) n_values: u64,
    /// Number of one of its files.
    pub(crate) file: u32,
    /// Number of its column map; `None`: its columns are those of the matrix.
    pub(crate) map: Option<u32>,
    /// The columns, and the values.
    pub(crate) arrays: [LinkedArray; 2],
}

impl LinkedInput {
    /// Appends its bytes.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.n_obs.to_le_bytes());
        out.extend(self.n_values.to_le_bytes());
        out.extend(self.file.to_le_bytes());
        out.extend(self.map.unwrap_or(NO_MAP).to_le_bytes());
        self.put_arrays(out);
    }

    pub(super) fn put_arrays(&self, out: &mut Vec<u8>) {
        self.arrays.iter().for_each(|array| array.put(out));
    }

    /// Takes it from the front; `None` if it ends early, or a type or text in it is none.
    pub(super) fn take(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            n_obs: reader.u64()?,
            n_values: reader.u64()?,
            file: reader.u32()?,
            map: Some(reader.u32()?).filter(|&number| number != NO_MAP),
            arrays: Self::take_arrays(reader)?,
        })
    }

    pub(super) fn take_arrays(reader: &mut Reader<'_>) -> Option<[LinkedArray; 2]> {
        Some([LinkedArray::take(reader)?, LinkedArray::take(reader)?])
    }

    /// Whether it fits together, in a description of so many column maps and files.
    ///
    /// # Errors
    /// The rule that is broken.
    pub(super) fn check(&self, n_maps: usize, n_files: usize) -> Result<(), String> {
        if self.map.is_some_and(|number| number as usize >= n_maps) {
            return Err("there is no such column map".to_owned());
        }
        // A matrix without values may be in no file.
        if self.file as usize >= n_files.max(1) {
            return Err(format!("its file is number {} of {n_files}", self.file));
        }
        for (role, array) in ArrayRole::BOTH.into_iter().zip(&self.arrays) {
            array.check(role)?;
        }
        let [columns, values] = self.arrays.each_ref().map(|array| array.layout);
        let is_dense = columns == ArrayLayout::Implied;
        if matches!(columns, ArrayLayout::Tiles { .. })
            || values == ArrayLayout::Implied
            || is_dense && (self.arrays[0].n_extents > 0 || matches!(values, ArrayLayout::Chunks { .. }))
            || !is_dense && matches!(values, ArrayLayout::Tiles { .. })
        {
            return Err("one array is of a sparse matrix, and the other of a dense one".to_owned());
        }
        match self.arrays[0].value_type.class() {
            ValueClass::Unsigned | ValueClass::Signed => Ok(()),
            _ => Err("the columns are not integers".to_owned()),
        }
    }
}
