//! What a minibatch is made of: its layout, its types, its genes, its scale.

use std::sync::Arc;

use super::error::OutputError;
use super::genes::GeneSelection;
use super::normalize::Normalize;
use crate::format::ValueType;
use cellring_core::setters;

/// What minibatches look like. The default is CSR with `i32` indices and `f32` values, as they are in the store.
///
/// Every choice is met while a row is decoded and still in the processor's first cache; none takes another pass.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct OutputConfig {
    /// Sparse, dense, or ranked.
    pub layout: Layout,
    /// Type of indices, and of `indptr`.
    pub index_type: IndexType,
    /// Type of values: what they are rounded to, or that of the store. Not a list of the types that a store holds.
    pub value_type: OutputType,
    /// Genes of the output, in its order; `None` for all, in the order of the store or
    /// [`Collection`](crate::loader::Collection).
    pub genes: Option<GeneSelection>,
    /// Brings cells to one library size, and takes logarithms.
    pub normalize: Option<Normalize>,
    /// A factor for each column of the output, applied last: with `1 / median` of each gene and [`Layout::TopK`], the ranks are
    /// those of Geneformer.
    pub gene_weights: Option<Arc<[f32]>>,
}

/// How the values of a minibatch lie in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Layout {
    /// Sparse: [`Minibatch::csr`](super::Minibatch::csr).
    #[default]
    Csr,
    /// A value for each row and column: [`Minibatch::dense`](super::Minibatch::dense).
    Dense,
    /// Of each row this many of its values, the highest first: [`Minibatch::top_k`](super::Minibatch::top_k).
    ///
    /// Only values above 0 have a rank (a gene without is not expressed); of equal values the one with the smaller column
    /// comes first. They are compared as they are before they are rounded to `f16` or `bf16`.
    TopK(usize),
}

/// Type of indices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as the types are")]
pub enum IndexType {
    #[default]
    I32,
    I64,
}

/// Type of values: what they are rounded to, or that of the store. Not a list of the types that a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutputType {
    /// IEEE 754 binary32.
    #[default]
    F32,
    /// IEEE 754 binary16, rounded to nearest, ties to even. Values from 65,520 on, which would be infinite, are refused.
    F16,
    /// The upper half of a binary32, rounded to nearest, ties to even.
    Bf16,
    /// The type that the store holds, and each value exactly as it was in the source.
    Source,
}

/// Type of values, once the store is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeliveredType {
    Stored(ValueType),
    F16,
    Bf16,
}

impl DeliveredType {
    /// What is infinite in this type, and not in `f32`: from halfway from its greatest value to the next that there would be.
    pub(crate) fn infinite_from(self) -> Option<f32> {
        match self {
            Self::Stored(_) => None,
            Self::F16 => Some(65_520.0),
            Self::Bf16 => Some(f32::from_bits(0x7F7F_8000)),
        }
    }

    /// As messages name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stored(value_type) => value_type.numpy_name(),
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }
}

/// An [`OutputConfig`] that was checked against a store. The genes are apart: each store of several has its own selection.
#[derive(Clone, Debug)]
pub(crate) struct ResolvedOutput {
    pub(crate) layout: Layout,
    pub(crate) index_type: IndexType,
    pub(crate) delivered_type: DeliveredType,
    pub(crate) normalize: Option<Normalize>,
    pub(crate) weights: Option<Arc<[f32]>>,
    /// Columns of the output.
    pub(crate) n_vars: usize,
}

impl OutputConfig {
    setters! {
        layout: as Layout,
        index_type: as IndexType,
        value_type: as OutputType,
        genes: into Option<GeneSelection>,
        normalize: into Option<Normalize>,
        gene_weights: some Arc<[f32]>,
    }

    /// Whether values are as they are in the source, whatever their type.
    pub(crate) fn is_exact(&self) -> bool {
        self.value_type == OutputType::Source
    }

    /// Checks the output against a store of `n_vars` columns whose values are `stored`.
    pub(crate) fn check(&self, n_vars: u64, stored: ValueType) -> Result<ResolvedOutput, OutputError> {
        let delivered_type = match self.value_type {
            OutputType::F32 => DeliveredType::Stored(ValueType::F32),
            OutputType::F16 => DeliveredType::F16,
            OutputType::Bf16 => DeliveredType::Bf16,
            OutputType::Source => DeliveredType::Stored(stored),
        };
        let is_computed = self.normalize.is_some() || self.gene_weights.is_some();
        if is_computed && self.is_exact() && stored != ValueType::F32 {
            let value_type = stored.numpy_name();
            return Err(OutputError::Computed { value_type });
        }
        let mut n_out = n_vars as usize;
        if let Some(genes) = &self.genes {
            if genes.n_vars() as u64 != n_vars {
                let (expected, found) = (genes.n_vars(), n_vars);
                return Err(OutputError::OtherStore { expected, found });
            }
            n_out = genes.n_genes();
        }
        if let Some(weights) = self
            .gene_weights
            .as_ref()
            .filter(|weights| weights.len() != n_out)
        {
            let (expected, found) = (n_out, weights.len());
            return Err(OutputError::Weights { expected, found });
        }
        match self.normalize.and_then(|normalize| normalize.target_sum) {
            // As f32, in which it is used.
            Some(target) if !((target as f32).is_finite() && target as f32 > 0.0) => {
                return Err(OutputError::TargetSum(target));
            }
            _ => {}
        }
        if self.layout == Layout::TopK(0) {
            return Err(OutputError::NoRanks);
        }
        Ok(ResolvedOutput {
            layout: self.layout,
            index_type: self.index_type,
            delivered_type,
            normalize: self.normalize,
            weights: self.gene_weights.clone(),
            n_vars: n_out,
        })
    }
}

impl ResolvedOutput {
    /// Bytes of a minibatch whose rows have `mean_nnz` values in the store.
    pub(crate) fn minibatch_bytes(&self, n_obs: usize, mean_nnz: usize) -> usize {
        let value_bytes = match self.delivered_type {
            DeliveredType::Stored(stored) => stored.size_bytes(),
            DeliveredType::F16 | DeliveredType::Bf16 => 2,
        };
        let index_bytes = match self.index_type {
            IndexType::I32 => 4,
            IndexType::I64 => 8,
        };
        let row_bytes = match self.layout {
            Layout::Csr => mean_nnz.saturating_mul(index_bytes + value_bytes),
            // Besides the values the columns that are not zero.
            Layout::Dense => self
                .n_vars
                .saturating_mul(value_bytes)
                .saturating_add(mean_nnz * 4),
            Layout::TopK(k) => k.saturating_mul(index_bytes + value_bytes),
        };
        n_obs.saturating_mul(row_bytes.saturating_add(32)).max(1)
    }

    /// Whether a minibatch has the same size whatever its rows hold.
    pub(crate) fn is_fixed_size(&self) -> bool {
        self.layout != Layout::Csr
    }
}
