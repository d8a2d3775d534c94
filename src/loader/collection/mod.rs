//! Several stores as one, without a copy.

mod error;
mod identity;
mod join;

use std::ops::Range;
use std::sync::Arc;

pub use error::CollectionError;
pub use join::Join;

use super::columns;
use crate::minibatch::{ColumnChoice, GeneSelection};
use crate::plan::{Subset, Weighted};
use crate::{Result, Store};

/// Stores, one after the other: obs `i` of store `k` has the number [`range(k)`](Self::range)`.start + i`.
///
/// Cheap to clone. A store alone is a collection too ([`Loader::new`](crate::Loader::new) makes one of it).
///
/// There is an example in the [module](crate::loader). Stores may differ in everything else:
///
/// - in **genes**, which a [`Join`] maps to one list;
/// - in **obs columns**: those that are [chosen](crate::LoaderConfig::obs_columns) are taken by name from each store.
///   Categories are merged, integers and floats may have any width; a column may
///   [be missing](crate::minibatch::ColumnChoice::or_missing) where that is said;
/// - in the **type of values** as long as they come as `f32`, `f16` or `bf16`, and are exact as `f32` in each store;
/// - in encoding, block size, alignment, device.
///
/// Rows are normalised by the genes of their own store, joined or not, unless
/// [`LibraryGenes::Selected`](crate::minibatch::LibraryGenes::Selected) is asked for. The reads of a fetch are one submission,
/// whatever stores they go to. The state of an epoch ([`Epoch::state`](super::Epoch::state)) is that of these stores in this
/// order.
#[derive(Clone, Debug)]
pub struct Collection(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    stores: Vec<Arc<Store>>,
    /// The number of the first obs of each store, and last that of all obs.
    starts: Vec<u64>,
    joined: join::Joined,
    join: Join,
    /// The var column that tells genes; `None` for the names.
    var_column: Option<String>,
}

impl From<Store> for Collection {
    fn from(store: Store) -> Self {
        Arc::new(store).into()
    }
}

impl From<&Self> for Collection {
    fn from(collection: &Self) -> Self {
        collection.clone()
    }
}

impl From<Arc<Store>> for Collection {
    fn from(store: Arc<Store>) -> Self {
        let joined = join::Joined {
            n_vars: store.n_vars() as usize,
            names: None,
            maps: vec![None],
            map_of: vec![0],
        };
        Self::from_joined(vec![store], joined, &Join::Same, None)
    }
}

impl Collection {
    /// Stores with the same genes, in any order: [`Join::Same`].
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub fn new(stores: Vec<Arc<Store>>) -> Result<Self> {
        Self::join(stores, &Join::Same)
    }

    /// Stores whose genes are identified by the names in the index of the var table.
    ///
    /// # Errors
    /// If there is no store, a var table cannot be read, or the genes cannot be joined so.
    pub fn join(stores: Vec<Arc<Store>>, join: &Join) -> Result<Self> {
        Self::joined(stores, join, None)
    }

    /// Stores whose genes are identified by another column of the var table, as one with identifiers besides symbols.
    ///
    /// # Errors
    /// As [`join`](Self::join), and where a store has no such column.
    pub fn join_by(stores: Vec<Arc<Store>>, join: &Join, var_column: &str) -> Result<Self> {
        Self::joined(stores, join, Some(var_column))
    }

    fn joined(stores: Vec<Arc<Store>>, join: &Join, column: Option<&str>) -> Result<Self> {
        if stores.is_empty() {
            return Err(CollectionError::Empty.into());
        }
        let joined = join::join(&stores, join, column)?;
        Ok(Self::from_joined(stores, joined, join, column))
    }

    fn from_joined(
        stores: Vec<Arc<Store>>,
        joined: join::Joined,
        join: &Join,
        var_column: Option<&str>,
    ) -> Self {
        let mut starts = Vec::with_capacity(stores.len() + 1);
        let mut sum = 0u64;
        starts.push(sum);
        for store in &stores {
            // More than there are is for the sampler to refuse.
            sum = sum.saturating_add(store.n_obs());
            starts.push(sum);
        }
        Self(Arc::new(Inner {
            stores,
            starts,
            joined,
            join: join.clone(),
            var_column: var_column.map(str::to_string),
        }))
    }

    /// The other matrices of this name, one of each store, as a collection of the same obs. A layer has the genes of this
    /// collection; those of `raw/X` are joined in the same way as these were; arrays of `obsm` must have as many dimensions in each
    /// store.
    ///
    /// # Errors
    /// If a store has no such matrix, or they cannot be joined.
    pub fn matrix(&self, name: &str) -> Result<Self> {
        let inner = &*self.0;
        let stores = inner.stores.iter().map(|store| store.matrix(name).cloned());
        let stores = stores.collect::<Result<Vec<_>, _>>()?;
        let column = inner.var_column.as_deref();
        if name.starts_with("layers/") {
            return Ok(Self::from_joined(
                stores,
                inner.joined.clone(),
                &inner.join,
                column,
            ));
        }
        match (stores.len(), name.starts_with("obsm/")) {
            (1, _) => Ok(stores.into_iter().next().map_or_else(|| self.clone(), Self::from)),
            (_, true) => Self::joined(stores, &Join::Same, None),
            (_, false) => Self::joined(stores, &inner.join, column),
        }
    }

    /// The stores, in order.
    pub fn stores(&self) -> &[Arc<Store>] {
        &self.0.stores
    }

    /// Number of obs of all stores.
    pub fn n_obs(&self) -> u64 {
        self.0.starts[self.0.stores.len()]
    }

    /// Number of genes that the stores are joined by.
    pub fn n_vars(&self) -> usize {
        self.0.joined.n_vars
    }

    /// Names of the genes, in the order of the columns: for [`GeneSelection::among`].
    ///
    /// # Errors
    /// If the var table of the first store cannot be read.
    pub fn var_names(&self) -> Result<Vec<String>> {
        if let Some(names) = &self.0.joined.names {
            return Ok(names.clone());
        }
        let store = &self.0.stores[0];
        let column = join::var_column(store, self.0.var_column.as_deref())?;
        Ok(join::names_in(store, &column)?
            .into_iter()
            .map(str::to_string)
            .collect())
    }

    /// What the codes of an obs column stand for in the minibatches of a loader with this choice, all stores together; `None` for a column
    /// that does not come as codes. [`Loader::categories`](crate::Loader::categories) has the same.
    ///
    /// # Errors
    /// If a store lacks the column, its types cannot be merged, or it cannot be read.
    pub fn categories(&self, choice: &ColumnChoice) -> Result<Option<Vec<String>>> {
        let reader = columns::reader(self.stores(), choice)?;
        Ok(reader.categories().map(|_| reader.labels()))
    }

    /// Genes of the collection that a store lacks, and that are zero in its rows; in the order of the columns.
    ///
    /// # Errors
    /// As [`var_names`](Self::var_names).
    ///
    /// # Panics
    /// If there is no such store.
    pub fn missing(&self, store: usize) -> Result<Vec<String>> {
        let n_vars = self.0.stores[store].n_vars() as usize;
        let there = match self.map(store) {
            Some(map) => map.present(),
            None => (0..self.n_vars()).map(|column| column < n_vars).collect(),
        };
        if there.iter().all(|&there| there) {
            return Ok(Vec::new());
        }
        let names = self.var_names()?.into_iter().zip(there);
        Ok(names.filter(|(_, there)| !there).map(|(name, _)| name).collect())
    }

    /// The numbers of the obs of a store: for a [`Subset`] of some stores, say.
    ///
    /// # Panics
    /// If there is no such store.
    pub fn range(&self, store: usize) -> Range<u64> {
        self.0.starts[store]..self.0.starts[store + 1]
    }

    /// Which store an obs is in, and its number there.
    ///
    /// # Panics
    /// If there is no such obs.
    pub fn locate(&self, obs: u64) -> (usize, u64) {
        assert!(obs < self.n_obs(), "obs {obs} of {}", self.n_obs());
        // After all stores that start at or before it; stores without obs have none.
        let store = self.0.starts.partition_point(|&start| start <= obs) - 1;
        (store, obs - self.0.starts[store])
    }

    /// What tells these stores, in this order, from others: [`SamplerData::identity`](crate::plan::SamplerData::identity) as a loader sets it,
    /// for samplers without one.
    pub fn identity(&self) -> u64 {
        identity::identity(&self.0.stores)
    }

    /// The store of each obs, as codes: to sample stores [`Balanced`](crate::plan::Balanced), or
    /// [`combined`](crate::plan::combine_codes) with classes. 4 bytes for each obs.
    pub fn store_codes(&self) -> Vec<u32> {
        let stores = self.0.stores.iter().zip(0..);
        stores
            .flat_map(|(store, code)| std::iter::repeat_n(code, store.n_obs() as usize))
            .collect()
    }

    /// Weights for [`Strategy::Weighted`](crate::plan::Strategy::Weighted): store `k` gets a part of the draws proportional
    /// to `shares[k]`, however many obs it has, and all obs of a store are drawn alike. With a `subset`, that is true of
    /// the subset.
    ///
    /// Draws are with replacement, and as many as there are obs to draw; both may be changed in what this gives. (Without
    /// replacement, shares are those of the first draw: a small store with a large share is soon used up.) Takes 4 bytes for
    /// each obs; a share is met to about one part in 10^7.
    ///
    /// ```no_run
    /// # use cellring::{LoaderConfig, loader::Collection};
    /// # use cellring::plan::SamplerConfig;
    /// # fn f(collection: Collection) -> Result<LoaderConfig, Box<dyn std::error::Error>> {
    /// // Half of the draws from the first store, a quarter from each other.
    /// let weighted = collection.weighted(&[2.0, 1.0, 1.0], None)?;
    /// let config = LoaderConfig::default().sampler(SamplerConfig::default().strategy(weighted));
    /// # Ok(config) }
    /// ```
    ///
    /// # Errors
    /// If there is not one share for each store, a share is negative or not finite, or a store
    /// with a share above 0 has no obs to draw.
    pub fn weighted(&self, shares: &[f64], subset: Option<&Subset>) -> Result<Weighted> {
        let stores = &self.0.stores;
        if shares.len() != stores.len() {
            let (expected, found) = (stores.len(), shares.len());
            return Err(CollectionError::Shares { expected, found }.into());
        }
        let mut counts: Vec<u64> = stores.iter().map(|store| store.n_obs()).collect();
        if let Some(subset) = subset {
            counts.fill(0);
            for run in subset.runs() {
                for (store, count) in counts.iter_mut().enumerate() {
                    let range = self.range(store);
                    *count += run.end.min(range.end).saturating_sub(run.start.max(range.start));
                }
            }
        }
        for ((store, &share), &count) in stores.iter().zip(shares).zip(&counts) {
            let path = || store.path().to_path_buf();
            if !(share.is_finite() && share >= 0.0) {
                let (store, found) = (path(), share);
                return Err(CollectionError::BadShare { store, found }.into());
            }
            if share > 0.0 && count == 0 {
                let store = path();
                return Err(CollectionError::NothingToDraw { store, share }.into());
            }
        }
        let each = shares
            .iter()
            .zip(&counts)
            .map(|(&share, &count)| share / count.max(1) as f64);
        let each: Vec<f64> = each.collect();
        let most = each.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let mut weights = Vec::with_capacity(self.n_obs() as usize);
        for (store, &weight) in stores.iter().zip(&each) {
            let weight = match weight {
                0.0 => 0.0,
                weight => ((weight / most) as f32).max(f32::MIN_POSITIVE),
            };
            weights.extend(std::iter::repeat_n(weight, store.n_obs() as usize));
        }
        Ok(Weighted {
            weights: weights.into(),
            n_draws: None,
            replacement: true,
        })
    }

    /// From the columns of a store to those of the collection; `None` where they are the same.
    pub(super) fn map(&self, store: usize) -> Option<&GeneSelection> {
        let joined = &self.0.joined;
        joined.maps[joined.map_of[store]].as_ref()
    }

    /// For each list of genes among the stores, from its columns to those of the collection; `None` where they are the same.
    pub(super) fn maps(&self) -> impl Iterator<Item = Option<&GeneSelection>> {
        self.0.joined.maps.iter().map(Option::as_ref)
    }

    /// For each store, from its columns to those that `genes` of the collection takes; `None` where they are the same.
    pub(super) fn selections(&self, genes: Option<&GeneSelection>) -> Vec<Option<GeneSelection>> {
        let Inner { stores, joined, .. } = &*self.0;
        // Stores with the same genes share one.
        let mut made: Vec<Option<Option<GeneSelection>>> = vec![None; joined.maps.len()];
        let each = stores.iter().zip(&joined.map_of).map(|(store, &place)| {
            let make = || {
                let map = &joined.maps[place];
                let all = match (map, genes) {
                    (map, None) => map.clone(),
                    (Some(map), Some(genes)) => Some(map.then(genes)),
                    (None, Some(genes)) => {
                        let n_vars = store.n_vars() as usize;
                        Some(GeneSelection::first(n_vars, joined.n_vars).then(genes))
                    }
                };
                all.filter(|map| !map.is_identity())
            };
            made[place].get_or_insert_with(make).clone()
        });
        each.collect()
    }
}
