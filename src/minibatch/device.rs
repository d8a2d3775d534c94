//! Minibatches on a GPU, and as DLPack tensors.

use std::sync::Arc;

use super::{Indices, Layout, Minibatch, ObsColumn, Values};
use crate::gpu::dlpack::Capsule;
use crate::gpu::{Arrays, DeviceArray, ElementType, Form, GpuError, OnDevice, Source, Stream, private};

use super::typed::Bytes;

/// One array of a minibatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
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
    /// The columns in rank order; behind the last -1.
    pub indices: DeviceArray,
    /// Their values; behind the last 0.
    pub values: DeviceArray,
    /// How many each row has, `u32`.
    pub lens: DeviceArray,
}

/// What stays on the host of a minibatch on the device.
#[derive(Debug)]
pub struct MinibatchHead {
    layout: Layout,
    shape: [usize; 2],
    number: u64,
    global: u64,
    padding: bool,
    obs: Vec<u64>,
    columns: Vec<ObsColumn>,
}

fn parts(layout: Layout) -> &'static [Part] {
    match layout {
        Layout::Csr => &[Part::Indptr, Part::Indices, Part::Values],
        Layout::Dense => &[Part::Values],
        Layout::TopK(_) => &[Part::Indices, Part::Values, Part::Lens],
    }
}

fn index_bytes(indices: Indices<'_>) -> (ElementType, &[u8]) {
    match indices {
        Indices::I32(indices) => (ElementType::I32, Bytes::bytes(indices)),
        Indices::I64(indices) => (ElementType::I64, Bytes::bytes(indices)),
    }
}

fn value_bytes(values: Values<'_>) -> (ElementType, &[u8]) {
    macro_rules! of {
        ($($variant:ident)*) => {
            match values {
                $(Values::$variant(values) => (ElementType::$variant, Bytes::bytes(values)),)*
            }
        };
    }
    of!(F32 F16 Bf16 F64 Bool U8 U16 U32 U64 I8 I16 I32 I64)
}

impl Minibatch {
    /// The bytes of an array, and what they are.
    fn part(&self, part: Part) -> Option<(Form, &[u8])> {
        let line = |(element_type, bytes): (ElementType, _)| {
            let len = <[u8]>::len(bytes) / element_type.size_bytes();
            (Form::line(element_type, len), bytes)
        };
        let table = |(element_type, bytes), shape| (Form::table(element_type, shape), bytes);
        if let Some(csr) = self.csr() {
            return Some(line(match part {
                Part::Indptr => index_bytes(csr.indptr),
                Part::Indices => index_bytes(csr.indices),
                Part::Values => value_bytes(csr.values),
                Part::Lens => return None,
            }));
        }
        if let Some(top_k) = self.top_k() {
            return Some(match part {
                Part::Indptr => return None,
                Part::Indices => table(index_bytes(top_k.indices), top_k.shape),
                Part::Values => table(value_bytes(top_k.values), top_k.shape),
                Part::Lens => line((ElementType::U32, Bytes::bytes(top_k.lens))),
            });
        }
        let dense = self.dense().filter(|_| part == Part::Values)?;
        Some(table(value_bytes(dense.values), dense.shape))
    }

    /// An array as a DLPack tensor on the host, without a copy; `None` where this layout has no such array. The memory goes back to the
    /// loader when the last capsule and the last `Arc` are gone.
    pub fn dlpack(self: &Arc<Self>, part: Part) -> Option<Capsule> {
        let (form, bytes) = self.part(part)?;
        Some(Capsule::host(bytes, form, Box::new(self.clone())))
    }
}

impl private::Source for Minibatch {
    type Head = MinibatchHead;

    fn behead(&mut self) -> MinibatchHead {
        let n_columns = match self.layout {
            Layout::TopK(k) => k,
            Layout::Csr | Layout::Dense => self.n_vars,
        };
        MinibatchHead {
            layout: self.layout,
            shape: [self.n_obs(), n_columns],
            number: self.number,
            global: self.global,
            padding: self.padding,
            // The arrays that are copied know their rows from it.
            obs: self.buffers.obs.clone(),
            columns: std::mem::take(&mut self.buffers.columns),
        }
    }

    fn arrays(&self) -> Arrays<'_> {
        let arrays = parts(self.layout).iter().filter_map(|&part| self.part(part));
        arrays.map(|(form, bytes)| (form, vec![bytes])).collect()
    }
}

impl Source for Minibatch {}

impl OnDevice<Minibatch> {
    /// As [`Minibatch::number`].
    pub fn number(&self) -> u64 {
        self.head().number
    }

    /// As [`Minibatch::global`].
    pub fn global(&self) -> u64 {
        self.head().global
    }

    /// As [`Minibatch::is_padding`].
    pub fn is_padding(&self) -> bool {
        self.head().padding
    }

    /// As [`Minibatch::layout`].
    pub fn layout(&self) -> Layout {
        self.head().layout
    }

    /// Number of rows.
    pub fn n_obs(&self) -> usize {
        self.head().obs.len()
    }

    /// As [`Minibatch::obs`]; on the host.
    pub fn obs(&self) -> &[u64] {
        &self.head().obs
    }

    /// As [`Minibatch::columns`]; on the host.
    pub fn columns(&self) -> &[ObsColumn] {
        &self.head().columns
    }

    /// The matrix for use on `stream` (see [`on`](Self::on)), where it is sparse.
    ///
    /// # Errors
    /// [`GpuError::Driver`].
    pub fn csr(&self, stream: &Stream) -> Result<Option<DeviceCsr>, GpuError> {
        let shape = self.head().shape;
        Ok(match (self.layout(), self.on(stream)?) {
            (Layout::Csr, &[indptr, indices, values]) => Some(DeviceCsr {
                shape,
                indptr,
                indices,
                values,
            }),
            _ => None,
        })
    }

    /// The matrix for use on `stream` (see [`on`](Self::on)), where it is dense.
    ///
    /// # Errors
    /// [`GpuError::Driver`].
    pub fn dense(&self, stream: &Stream) -> Result<Option<DeviceDense>, GpuError> {
        let shape = self.head().shape;
        Ok(match (self.layout(), self.on(stream)?) {
            (Layout::Dense, &[values]) => Some(DeviceDense { shape, values }),
            _ => None,
        })
    }

    /// The highest values of each row for use on `stream` (see [`on`](Self::on)), where the minibatch is ranked.
    ///
    /// # Errors
    /// [`GpuError::Driver`].
    pub fn top_k(&self, stream: &Stream) -> Result<Option<DeviceTopK>, GpuError> {
        let shape = self.head().shape;
        Ok(match (self.layout(), self.on(stream)?) {
            (Layout::TopK(_), &[indices, values, lens]) => Some(DeviceTopK {
                shape,
                indices,
                values,
                lens,
            }),
            _ => None,
        })
    }

    /// An array as a DLPack tensor on the device, for use on `stream` (see [`on`](Self::on)): that of the consumer. `None` where this
    /// layout has no such array. Its place is written again when the last capsule is gone.
    ///
    /// # Errors
    /// [`GpuError::Driver`].
    pub fn dlpack(&self, part: Part, stream: &Stream) -> Result<Option<Capsule>, GpuError> {
        let arrays = self.on(stream)?;
        let place = parts(self.layout()).iter().position(|&other| other == part);
        Ok(place.map(|place| Capsule::device(arrays[place], self.ordinal(), Box::new(self.keeper()))))
    }
}
