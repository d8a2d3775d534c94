//! Minibatches that were given away to be written to.

use std::any::Any;
use std::sync::{Arc, Mutex};

use super::device::parts;
use super::{ArrayRole, Layout, Minibatch, ObsColumn};
use crate::format::ValueBuffer;
use crate::gpu::dlpack::Capsule;
use crate::gpu::{ArraySpec, ElementType};

/// An array in memory that whoever has it may write to: of a [minibatch](Minibatch::into_tensors), or of values of the caller's own.
///
/// Clones and capsules are the same memory. It goes back to where it came from, or is freed, when the last of them is gone.
#[derive(Clone)]
pub struct Tensor {
    address: usize,
    spec: ArraySpec,
    owner: Arc<dyn Any + Send + Sync>,
}

impl Tensor {
    /// Address of the first element, which is aligned as its type asks for; not null, even if there is no element.
    pub fn address(&self) -> usize {
        self.address
    }

    /// Type of the elements.
    pub fn element_type(&self) -> ElementType {
        self.spec.element_type()
    }

    /// Number of elements along each axis, row-major without gaps: one number or two.
    pub fn shape(&self) -> &[usize] {
        self.spec.shape()
    }

    /// The array as a DLPack tensor, without a copy; it may be written to.
    pub fn capsule(&self) -> Capsule {
        Capsule::writable(self.address, self.spec, Box::new(self.owner.clone()))
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tensor")
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}

macro_rules! from_buffer {
    (() $($(#[$doc:meta])* $Variant:ident: $type:ident, $bits:ident, $Class:ident, $numpy:literal, $Arrow:ident;)*) => {
        impl From<ValueBuffer> for Tensor {
            fn from(values: ValueBuffer) -> Self {
                match values {
                    $(ValueBuffer::$Variant(mut values) => Self {
                        address: values.as_mut_ptr().expose_provenance(),
                        spec: ArraySpec::line(ElementType::$Variant, values.len()),
                        // A vector may be moved: its elements stay where they are.
                        owner: Arc::new(values),
                    },)*
                }
            }
        }
    };
}

cellring_core::with_element_types!(from_buffer);

/// A [`Minibatch`] whose arrays were given away as [`Tensor`]s, for Python's libraries and others that write to what they get. What else
/// it has stays readable.
#[derive(Debug)]
pub struct Tensors {
    /// For each matrix its layout, its columns, its values from the store, and its arrays.
    matrices: Vec<MatrixTensors>,
    number: u64,
    global: u64,
    padding: bool,
    obs: Vec<u64>,
    columns: Vec<ObsColumn>,
}

/// A matrix of [`Tensors`].
#[derive(Debug)]
#[non_exhaustive]
pub struct MatrixTensors {
    /// Which arrays there are.
    pub layout: Layout,
    /// Number of rows, and of columns of the matrix.
    pub shape: [usize; 2],
    arrays: Vec<(ArrayRole, Tensor)>,
}

impl MatrixTensors {
    /// An array; `None` if the layout has no such array.
    pub fn tensor(&self, role: ArrayRole) -> Option<&Tensor> {
        let mut arrays = self.arrays.iter();
        arrays.find_map(|(other, tensor)| (*other == role).then_some(tensor))
    }
}

impl Minibatch {
    /// Gives the arrays away, to be written to by whoever has them; the memory goes back to the loader when the last is gone.
    pub fn into_tensors(mut self) -> Tensors {
        let obs = std::mem::take(&mut self.buffers.obs);
        let columns = std::mem::take(&mut self.buffers.columns);
        let (number, global, padding) = (self.number, self.global, self.padding);
        let mut matrices = Vec::with_capacity(self.buffers.matrices.len());
        for matrix in &mut self.buffers.matrices {
            let (layout, shape) = (matrix.layout(), [matrix.n_obs(), matrix.n_vars()]);
            let mut arrays = Vec::with_capacity(parts(layout).len());
            for &role in parts(layout) {
                let Some(spec) = matrix.spec(role) else { continue };
                // The last use of the memory here: from now on it is only known by its address.
                let address = match role {
                    ArrayRole::Indptr => matrix.buffers.indptr.address(),
                    ArrayRole::Indices => matrix.buffers.indices.address(),
                    ArrayRole::Values => matrix.buffers.values.address(),
                    ArrayRole::Lens => matrix.buffers.lens.as_mut_ptr().expose_provenance(),
                };
                arrays.push((role, address, spec));
            }
            matrices.push((layout, shape, arrays));
        }
        // Behind a lock that no thread takes: a minibatch moves into it, and is not looked at before it is dropped.
        let owner: Arc<dyn Any + Send + Sync> = Arc::new(Mutex::new(Given(self)));
        let matrices = matrices.into_iter().map(|(layout, shape, arrays)| {
            let arrays = arrays.into_iter().map(|(role, address, spec)| {
                let owner = owner.clone();
                (role, Tensor { address, spec, owner })
            });
            MatrixTensors {
                layout,
                shape,
                arrays: arrays.collect(),
            }
        });
        Tensors {
            matrices: matrices.collect(),
            number,
            global,
            padding,
            obs,
            columns,
        }
    }
}

/// A minibatch whose memory others may have written to.
struct Given(Minibatch);

impl Drop for Given {
    fn drop(&mut self) {
        for matrix in &mut self.0.buffers.matrices {
            matrix.buffers.forget();
        }
    }
}

impl Tensors {
    /// The matrices: that of the store, then the [others](Minibatch::matrices).
    pub fn matrices(&self) -> &[MatrixTensors] {
        &self.matrices
    }

    /// As [`Minibatch::number`].
    pub fn number(&self) -> u64 {
        self.number
    }

    /// As [`Minibatch::global`].
    pub fn global(&self) -> u64 {
        self.global
    }

    /// As [`Minibatch::is_padding`].
    pub fn is_padding(&self) -> bool {
        self.padding
    }

    /// As [`Minibatch::obs`].
    pub fn obs(&self) -> &[u64] {
        &self.obs
    }

    /// As [`Minibatch::columns`].
    pub fn columns(&self) -> &[ObsColumn] {
        &self.columns
    }
}
