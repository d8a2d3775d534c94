//! Minibatches whose arrays were given away.

use cellring::gpu::ElementType;
use cellring::minibatch::{ArrayRole, Tensor, Tensors};

use super::*;

fn loaders(layout: Layout, value_type: OutputType) -> (tempfile::TempDir, [Loader; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let rows = matrix(N_OBS, N_VARS, Kind::Counts, 1);
    let store = write(&dir.path().join("s"), &rows, ValueType::F32, Encoding::Packed);
    let output = OutputConfig::default().layout(layout).value_type(value_type);
    let loader = || Loader::new(Collection::from(store.clone()), config(output.clone(), 1)).unwrap();
    (dir, [loader(), loader()])
}

/// Given away and come back, or not: the minibatches after them are what they would have been.
#[test]
fn memory_that_others_had_is_used_again_as_if_it_were_new() {
    for layout in [Layout::Csr, Layout::Dense, Layout::TopK(7)] {
        let (_dir, [loader, plain]) = loaders(layout, OutputType::F32);
        for epoch in 0..3 {
            let mut kept: Vec<Tensors> = Vec::new();
            let pairs = loader.epoch(epoch).unwrap().zip(plain.epoch(epoch).unwrap());
            for (number, (minibatch, expected)) in pairs.enumerate() {
                let (minibatch, expected) = (minibatch.unwrap(), expected.unwrap());
                assert_eq!(minibatch.csr(), expected.csr());
                assert_eq!(minibatch.dense(), expected.dense());
                assert_eq!(minibatch.top_k(), expected.top_k());
                let tensors = minibatch.into_tensors();
                assert_eq!(tensors.obs(), expected.obs());
                assert_eq!(
                    (tensors.number(), tensors.global()),
                    (expected.number(), expected.global())
                );
                if number % 3 == 0 {
                    kept.push(tensors);
                }
            }
        }
    }
}

#[test]
fn each_array_says_what_it_is() {
    let roles = [
        ArrayRole::Indptr,
        ArrayRole::Indices,
        ArrayRole::Values,
        ArrayRole::Lens,
    ];
    for (layout, has) in [
        (Layout::Csr, [true, true, true, false]),
        (Layout::Dense, [false, false, true, false]),
        (Layout::TopK(7), [false, true, true, true]),
    ] {
        let (_dir, [loader, _]) = loaders(layout, OutputType::Bf16);
        let minibatch = loader.epoch(0).unwrap().next().unwrap().unwrap();
        let (n_obs, nnz) = (minibatch.n_obs(), minibatch.nnz());
        let tensors = minibatch.into_tensors();
        let matrix = &tensors.matrices()[0];
        assert_eq!((matrix.layout, matrix.shape), (layout, [n_obs, N_VARS as usize]));
        assert_eq!(roles.map(|role| matrix.tensor(role).is_some()), has);
        let values = matrix.tensor(ArrayRole::Values).unwrap();
        assert_eq!(values.element_type(), ElementType::Bf16);
        assert!(values.address().is_multiple_of(64));
        match layout {
            Layout::Dense => assert_eq!(values.shape(), [n_obs, N_VARS as usize]),
            Layout::TopK(k) => assert_eq!(values.shape(), [n_obs, k]),
            _ => assert_eq!(values.shape(), [nnz]),
        }
    }
}

#[test]
fn values_of_ones_own_are_tensors_too() {
    let tensor = Tensor::from(ValueBuffer::I64(vec![3, 4, 5]));
    assert_eq!(
        (tensor.shape(), tensor.element_type()),
        (&[3][..], ElementType::I64)
    );
    let empty = Tensor::from(ValueBuffer::Bool(Vec::new()));
    assert_eq!(empty.shape(), [0]);
    assert_ne!(empty.address(), 0);
}
