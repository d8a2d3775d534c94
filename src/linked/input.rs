//! One of the inputs whose obs a linked store has, one input after the other.

use std::ops::Range;

use cellring_core::ValueType;

use super::array::Array;
use crate::format::Manifest;
use crate::format::encoding::raw::index_bytes;
use crate::format::linked::{ArrayLayout, ArrayRole, ColumnMap, Description};

/// The rows of an input, and the arrays that they are in.
#[derive(Debug)]
pub(crate) struct Input {
    /// Number of its first row among the obs of the store.
    first_obs: u64,
    /// Number of values that are stored in the inputs before it.
    pub(crate) first_value: u64,
    n_values: u64,
    n_vars: u64,
    /// First of its extents of columns, and of values, among those of the index.
    first_extent: [u64; 2],
    /// `None`: its columns are those of the store.
    map: Option<ColumnMap>,
    /// Number of one of its files.
    file: u32,
    /// Of the columns and of the values.
    arrays: [Array; 2],
}

impl Input {
    /// Those that a description names.
    ///
    /// # Errors
    /// The rule that is broken.
    pub(super) fn of(description: &Description, manifest: &Manifest) -> Result<Vec<Self>, String> {
        let mut found = Vec::with_capacity(description.inputs.len());
        let (mut first_obs, mut first_value, mut first_extent) = (0, 0, [0; 2]);
        for linked in &description.inputs {
            let n_vars = description.n_vars(linked, manifest.n_vars);
            let array = |role: ArrayRole| {
                let array = linked.arrays[role as usize].clone();
                Array::new(array, role, linked.n_obs, n_vars, linked.n_values)
            };
            let arrays = [array(ArrayRole::Columns)?, array(ArrayRole::Values)?];
            let n_extents = linked.arrays.each_ref().map(|array| array.n_extents);
            found.push(Self {
                first_obs,
                first_value,
                n_values: linked.n_values,
                n_vars,
                first_extent,
                map: linked.map.map(|number| description.maps[number as usize].clone()),
                file: linked.file,
                arrays,
            });
            first_obs += linked.n_obs;
            first_value += linked.n_values;
            first_extent = [first_extent[0] + n_extents[0], first_extent[1] + n_extents[1]];
        }
        Ok(found)
    }

    /// Number of its values, as they are stored.
    pub(super) fn n_values(&self) -> u64 {
        self.n_values
    }

    /// Type of its own values.
    pub(super) fn value_type(&self) -> ValueType {
        self.array(ArrayRole::Values).value_type()
    }

    /// Number of its own columns.
    pub(crate) fn n_vars(&self) -> u64 {
        self.n_vars
    }

    /// For each of its columns the one of the store that it becomes; `None`: its columns are those of the store.
    pub(super) fn map(&self) -> Option<&[u32]> {
        self.map.as_deref()
    }

    /// Number of its first row among the obs of the store.
    pub(super) fn first_obs(&self) -> u64 {
        self.first_obs
    }

    /// Number of one of its files.
    pub(super) fn file(&self) -> u32 {
        self.file
    }

    /// The number of one of its extents among those of the index.
    pub(super) fn extent(&self, role: ArrayRole, number: u64) -> u64 {
        self.first_extent[role as usize] + number
    }

    pub(crate) fn array(&self, role: ArrayRole) -> &Array {
        &self.arrays[role as usize]
    }

    /// Whether it is dense: every obs has a value in every column, and the columns are not stored.
    pub(crate) fn is_dense(&self) -> bool {
        self.array(ArrayRole::Columns).linked().layout == ArrayLayout::Implied
    }

    /// Whether these can be the values of one of its obs: in a dense matrix only those of its row.
    pub(super) fn is_whole_row(&self, obs: u64, first: u64, nnz: u32) -> bool {
        match self.is_dense() {
            false => u64::from(nnz) <= self.n_vars,
            true => {
                let row = obs - self.first_obs;
                u64::from(nnz) == self.n_vars && row.checked_mul(self.n_vars) == Some(first)
            }
        }
    }

    /// Which values of a row are stored together: all, or those in each column of tiles; none if the array is not stored.
    pub(super) fn bands(&self, role: ArrayRole) -> impl Iterator<Item = Range<u64>> + use<> {
        let (n, length) = match self.array(role).linked().layout {
            ArrayLayout::Implied => (0, 0),
            ArrayLayout::Tiles { columns, .. } => (self.n_vars.div_ceil(columns), columns),
            ArrayLayout::Runs | ArrayLayout::Chunks { .. } => (1, u64::MAX),
        };
        (0..n).map(move |band| band * length..(band + 1).saturating_mul(length))
    }

    /// The arrays that are stored.
    pub(super) fn roles(&self) -> &'static [ArrayRole] {
        match self.is_dense() {
            true => &[ArrayRole::Values],
            false => &ArrayRole::BOTH,
        }
    }

    /// Width of one of its own columns, as its rows keep them until they are canonical: 2 or 4 bytes.
    pub(super) fn own_column_bytes(&self) -> usize {
        index_bytes(self.n_vars)
    }

    /// Width of an element as its rows keep it, at the most.
    pub(super) fn kept_bytes(&self, role: ArrayRole) -> usize {
        match role {
            ArrayRole::Columns => self.own_column_bytes(),
            ArrayRole::Values => self.array(ArrayRole::Values).width(),
        }
    }

    /// The most bytes that are read at once for a row of so many values, or a chunk.
    pub(super) fn longest_read(&self, max_obs_nnz: u32) -> u64 {
        let longest = |&role: &ArrayRole| match self.array(role) {
            // What is stored may be a little longer than what it decodes to; no sound chunk is much longer.
            array if array.chunk_elements().is_some() => array.most_stored_bytes(),
            array => u64::from(max_obs_nnz) * array.width() as u64,
        };
        self.roles().iter().map(longest).max().unwrap_or(0)
    }

    /// Its arrays.
    pub(super) fn arrays(&self) -> &[Array; 2] {
        &self.arrays
    }
}
