//! What `grouped` samples by.

use std::sync::Arc;

use cellring_core::setters;

/// Groups to make sets of: for [`Strategy::Grouped`](crate::plan::Strategy::Grouped).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Grouped {
    /// The group of each obs of the data set, such as its perturbation; obs that are [`MISSING`](crate::plan::MISSING)
    /// are left out.
    pub codes: Arc<[u32]>,
    /// Obs of a group in a set; without it a set is a whole group.
    pub n_per_group: Option<u32>,
    /// Sets in a minibatch; without it as many (of the largest) as fit `batch_size`. With it minibatches of whole
    /// groups may exceed `batch_size`.
    pub sets_per_minibatch: Option<u32>,
    /// The controls that follow the obs of a set.
    pub controls: Option<Controls>,
}

/// The controls of sets.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Controls {
    /// Which group codes are controls. They form no sets of their own.
    pub groups: Vec<u32>,
    /// What a set and its controls have in common, such as the cell line or the plate, as a code for each obs; obs that
    /// are [`MISSING`](crate::plan::MISSING) are left out. Without it any control matches.
    pub match_codes: Option<Arc<[u32]>>,
    /// Controls that follow each set, at least 1.
    pub n_per_set: u32,
}

impl Controls {
    /// So many controls of these groups after each set, whatever they have in common with it.
    pub fn new(groups: impl Into<Vec<u32>>, n_per_set: u32) -> Self {
        Self {
            groups: groups.into(),
            match_codes: None,
            n_per_set,
        }
    }

    setters! {
        groups: into Vec<u32>,
        match_codes: some Arc<[u32]>,
        n_per_set: as u32,
    }
}

impl Grouped {
    /// Sets of whole groups, as many in a minibatch as fit it, without controls.
    pub fn new(codes: impl Into<Arc<[u32]>>) -> Self {
        Self {
            codes: codes.into(),
            n_per_group: None,
            sets_per_minibatch: None,
            controls: None,
        }
    }

    setters! {
        codes: into Arc<[u32]>,
        n_per_group: into Option<u32>,
        sets_per_minibatch: into Option<u32>,
        controls: into Option<Controls>,
    }

    /// The match code of each obs, if controls are matched.
    pub(super) fn match_codes(&self) -> Option<&[u32]> {
        self.controls.as_ref()?.match_codes.as_deref()
    }
}
