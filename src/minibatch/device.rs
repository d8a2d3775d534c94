//! Minibatches on a GPU, and as DLPack tensors.

use std::sync::Arc;

use super::{Indices, Layout, Matrix, Minibatch, ObsColumn, Values};
use crate::gpu::dlpack::Capsule;
use crate::gpu::{ArraySpec, Arrays, CopySource, DeviceArray, ElementType, OnDevice, Stream, private};

use super::typed::Bytes;

/// One array of a minibatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArrayRole {
    /// Of CSR: where rows begin.
    Indptr,
    /// Of CSR and top k: columns.
    Indices,
    /// Of all: values.
    Values,
    /// Of top k: how many each row has.
    Lens,
}

/// A sparse minibatch on the device, as [`CsrView`](super::CsrView) on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceCsr {
    /// Rows and columns.
    pub shape: [usize; 2],
    /// `n_obs + 1` offsets, the first 0.
    pub indptr: DeviceArray,
    /// The column of each value.
    pub indices: DeviceArray,
    /// The values.
    pub values: DeviceArray,
}

/// A dense minibatch on the device, as [`DenseView`](super::DenseView) on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceDense {
    /// Rows and columns.
    pub shape: [usize; 2],
    /// All values, row after row.
    pub values: DeviceArray,
}

/// A ranked minibatch on the device, as [`TopKView`](super::TopKView) on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceTopK {
    /// Rows and `k`.
    pub shape: [usize; 2],
    /// The columns in rank order; after the last -1.
    pub indices: DeviceArray,
    /// Their values; after the last 0.
    pub values: DeviceArray,
    /// How many each row has, `u32`.
    pub lens: DeviceArray,
}

/// A matrix on the device, whatever its layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "one variant per layout, named alike")]
pub enum DeviceMatrix {
    Csr(DeviceCsr),
    Dense(DeviceDense),
    TopK(DeviceTopK),
}

/// What stays on the host of a minibatch on the device.
#[derive(Debug)]
pub struct MinibatchHead {
    /// Layout of each matrix, its cells and columns, and the place of its first array.
    matrices: Vec<(Layout, [usize; 2], usize)>,
    number: u64,
    global: u64,
    padding: bool,
    obs: Vec<u64>,
    columns: Vec<ObsColumn>,
}

pub(super) fn parts(layout: Layout) -> &'static [ArrayRole] {
    match layout {
        Layout::Csr => &[ArrayRole::Indptr, ArrayRole::Indices, ArrayRole::Values],
        Layout::Dense => &[ArrayRole::Values],
        Layout::TopK(_) => &[ArrayRole::Indices, ArrayRole::Values, ArrayRole::Lens],
    }
}

fn index_bytes(indices: Indices<'_>) -> (ElementType, &[u8]) {
    match indices {
        Indices::I32(indices) => (ElementType::I32, Bytes::bytes(indices)),
        Indices::I64(indices) => (ElementType::I64, Bytes::bytes(indices)),
    }
}

macro_rules! value_bytes {
    (($values:expr, $($half:ident)*)
     $($(#[$doc:meta])* $stored:ident: $type:ident, $bits:ident, $Class:ident, $numpy:literal, $Arrow:ident;)*) => {
        match $values {
            $(Values::$half(values) => (ElementType::$half, Bytes::bytes(values)),)*
            $(Values::$stored(values) => (ElementType::$stored, Bytes::bytes(values)),)*
        }
    };
}

fn value_bytes(values: Values<'_>) -> (ElementType, &[u8]) {
    cellring_core::with_element_types!(value_bytes, values, F16 Bf16)
}

impl<'a> Values<'a> {
    /// The values as they are in memory.
    #[doc(hidden)]
    pub fn as_bytes(self) -> &'a [u8] {
        value_bytes(self).1
    }
}

impl Matrix {
    /// Type and shape of an array.
    pub(super) fn spec(&self, part: ArrayRole) -> Option<ArraySpec> {
        self.part(part).map(|(spec, _)| spec)
    }

    /// The bytes of an array, and what they are.
    fn part(&self, part: ArrayRole) -> Option<(ArraySpec, &[u8])> {
        let line = |(element_type, bytes): (ElementType, _)| {
            let len = <[u8]>::len(bytes) / element_type.size_bytes();
            (ArraySpec::line(element_type, len), bytes)
        };
        let table = |(element_type, bytes), shape| (ArraySpec::table(element_type, shape), bytes);
        if let Some(csr) = self.csr() {
            return Some(line(match part {
                ArrayRole::Indptr => index_bytes(csr.indptr),
                ArrayRole::Indices => index_bytes(csr.indices),
                ArrayRole::Values => value_bytes(csr.values),
                ArrayRole::Lens => return None,
            }));
        }
        if let Some(top_k) = self.top_k() {
            return Some(match part {
                ArrayRole::Indptr => return None,
                ArrayRole::Indices => table(index_bytes(top_k.indices), top_k.shape),
                ArrayRole::Values => table(value_bytes(top_k.values), top_k.shape),
                ArrayRole::Lens => line((ElementType::U32, Bytes::bytes(top_k.lens))),
            });
        }
        let dense = self.dense().filter(|_| part == ArrayRole::Values)?;
        Some(table(value_bytes(dense.values), dense.shape))
    }
}

impl Minibatch {
    /// An array of a matrix (0 is the [first](Self::matrix), from 1 on come the [others](Self::matrices)) as a DLPack tensor on the
    /// host, without a copy and to be read only; `None` where there is no such matrix, or its layout has no such array. The memory goes back
    /// to the loader when the last capsule and the last `Arc` are gone. [`into_tensors`](Self::into_tensors) has tensors that may be
    /// written to.
    pub fn dlpack(self: &Arc<Self>, matrix: usize, part: ArrayRole) -> Option<Capsule> {
        let (form, bytes) = self.buffers.matrices.get(matrix)?.part(part)?;
        Some(Capsule::host(bytes, form, Box::new(self.clone())))
    }
}

impl private::CopySource for Minibatch {
    type HostPart = MinibatchHead;
    const IS_SCARCE: bool = false;

    fn take_host_part(&mut self) -> MinibatchHead {
        let mut first = 0;
        let matrices = self.buffers.matrices.iter().map(|matrix| {
            let begin = first;
            first += parts(matrix.layout()).len();
            (matrix.layout(), [matrix.n_obs(), matrix.n_vars()], begin)
        });
        MinibatchHead {
            matrices: matrices.collect(),
            number: self.number,
            global: self.global,
            padding: self.padding,
            obs: std::mem::take(&mut self.buffers.obs),
            columns: std::mem::take(&mut self.buffers.columns),
        }
    }

    fn arrays(&self) -> Arrays<'_> {
        let arrays = self.buffers.matrices.iter().flat_map(|matrix| {
            let parts = parts(matrix.layout()).iter();
            parts.filter_map(|&part| matrix.part(part))
        });
        arrays.map(|(form, bytes)| (form, vec![bytes])).collect()
    }
}

impl CopySource for Minibatch {}

impl OnDevice<Minibatch> {
    /// As [`Minibatch::number`].
    pub fn number(&self) -> u64 {
        self.host_part().number
    }

    /// As [`Minibatch::global`].
    pub fn global(&self) -> u64 {
        self.host_part().global
    }

    /// As [`Minibatch::is_padding`].
    pub fn is_padding(&self) -> bool {
        self.host_part().padding
    }

    /// Number of rows.
    pub fn n_obs(&self) -> usize {
        self.host_part().obs.len()
    }

    /// As [`Minibatch::obs`]; on the host.
    pub fn obs(&self) -> &[u64] {
        &self.host_part().obs
    }

    /// As [`Minibatch::columns`]; on the host.
    pub fn columns(&self) -> &[ObsColumn] {
        &self.host_part().columns
    }

    /// Layout, cells and columns of a matrix: 0 is the first, from 1 on come the [others](Minibatch::matrices). `None` where there is no
    /// such matrix.
    pub fn form(&self, matrix: usize) -> Option<(Layout, [usize; 2])> {
        let found = self.host_part().matrices.get(matrix);
        found.map(|&(layout, shape, _)| (layout, shape))
    }

    /// A matrix for use on `stream` (see [`on`](Self::on)): 0 is the first, from 1 on come the [others](Minibatch::matrices). `None`
    /// where there is no such matrix.
    ///
    /// # Errors
    /// If the driver refuses.
    pub fn matrix(&self, matrix: usize, stream: &Stream) -> Result<Option<DeviceMatrix>, crate::Error> {
        let arrays = self.on(stream)?;
        let Some(&(layout, shape, first)) = self.host_part().matrices.get(matrix) else {
            return Ok(None);
        };
        Ok(match (layout, &arrays[first..first + parts(layout).len()]) {
            (Layout::Csr, &[indptr, indices, values]) => Some(DeviceMatrix::Csr(DeviceCsr {
                shape,
                indptr,
                indices,
                values,
            })),
            (Layout::Dense, &[values]) => Some(DeviceMatrix::Dense(DeviceDense { shape, values })),
            (Layout::TopK(k), &[indices, values, lens]) => Some(DeviceMatrix::TopK(DeviceTopK {
                shape: [shape[0], k],
                indices,
                values,
                lens,
            })),
            _ => None,
        })
    }

    /// The first matrix for use on `stream` (see [`on`](Self::on)), where it is sparse.
    ///
    /// # Errors
    /// If the driver refuses.
    pub fn csr(&self, stream: &Stream) -> Result<Option<DeviceCsr>, crate::Error> {
        Ok(match self.matrix(0, stream)? {
            Some(DeviceMatrix::Csr(csr)) => Some(csr),
            _ => None,
        })
    }

    /// The first matrix for use on `stream` (see [`on`](Self::on)), where it is dense.
    ///
    /// # Errors
    /// If the driver refuses.
    pub fn dense(&self, stream: &Stream) -> Result<Option<DeviceDense>, crate::Error> {
        Ok(match self.matrix(0, stream)? {
            Some(DeviceMatrix::Dense(dense)) => Some(dense),
            _ => None,
        })
    }

    /// An array of a matrix as a DLPack tensor on the device, for use on `stream` (see [`on`](Self::on)): that of the consumer. `None`
    /// as by [`Minibatch::dlpack`]. Its place is written again when the last capsule is gone.
    ///
    /// # Errors
    /// If the driver refuses.
    pub fn dlpack(
        &self,
        matrix: usize,
        part: ArrayRole,
        stream: &Stream,
    ) -> Result<Option<Capsule>, crate::Error> {
        let arrays = self.on(stream)?;
        let place = self
            .host_part()
            .matrices
            .get(matrix)
            .and_then(|&(layout, _, first)| {
                let place = parts(layout).iter().position(|&other| other == part)?;
                Some(first + place)
            });
        Ok(place.map(|place| Capsule::device(arrays[place], self.gpu().ordinal(), Box::new(self.hold()))))
    }
}
