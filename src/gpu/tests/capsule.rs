//! Arrays that are handed over as DLPack tensors.

use super::*;

#[test]
#[allow(unsafe_code, reason = "consumes what is handed to C")]
fn a_capsule_says_what_it_is_and_keeps_its_memory_until_it_is_deleted() {
    use super::dlpack::{Capsule, DataType, VERSION};

    let words: Arc<Vec<u32>> = Arc::new(vec![1, 2, 3, 4, 5, 6]);
    let form = ArraySpec::table(ElementType::U32, [3, 2]);
    let capsule =
        |owner: &Arc<Vec<u32>>| Capsule::host(bytemuck::cast_slice(owner), form, Box::new(owner.clone()));

    let raw = capsule(&words).into_raw_versioned();
    // SAFETY: it is valid until its deleter is called, below.
    let managed = unsafe { &*raw };
    assert_eq!((managed.version, managed.flags), (VERSION, 1));
    let tensor = &managed.dl_tensor;
    assert_eq!(
        (tensor.device.device_type, tensor.ndim, tensor.byte_offset),
        (1, 2, 0)
    );
    let u32_type = DataType {
        code: 1,
        bits: 32,
        lanes: 1,
    };
    assert_eq!(tensor.dtype, u32_type);
    // SAFETY: a tensor of two axes has two extents and two strides, and six values.
    let (shape, strides, values) = unsafe {
        (
            std::slice::from_raw_parts(tensor.shape, 2),
            std::slice::from_raw_parts(tensor.strides, 2),
            std::slice::from_raw_parts(tensor.data.cast::<u32>(), 6),
        )
    };
    assert_eq!(
        (shape, strides, values),
        (&[3, 2][..], &[2, 1][..], words.as_slice())
    );
    assert_eq!(Arc::strong_count(&words), 2);
    // SAFETY: once, with the pointer itself; a consumer may do so on another thread.
    unsafe { managed.deleter.unwrap()(raw) };
    assert_eq!(Arc::strong_count(&words), 1);

    let raw = capsule(&words).into_raw();
    // SAFETY: as above.
    unsafe {
        assert_eq!(*(*raw).dl_tensor.shape, 3);
        (*raw).deleter.unwrap()(raw);
    }
    drop(capsule(&words));
    assert_eq!(Arc::strong_count(&words), 1);
}

#[test]
#[allow(unsafe_code, reason = "consumes what is handed to C")]
fn a_copied_capsule_has_memory_of_its_own() {
    use super::dlpack::Capsule;

    let words: Arc<Vec<u32>> = Arc::new(vec![1, 2, 3, 4, 5, 6]);
    for shape in [[3, 2], [0, 2]] {
        let form = ArraySpec::table(ElementType::U32, shape);
        let shared = Capsule::host(bytemuck::cast_slice(&words), form, Box::new(words.clone()));
        let copied = shared.copied().unwrap();
        drop(shared);
        assert_eq!(Arc::strong_count(&words), 1);
        let raw = copied.into_raw_versioned();
        // SAFETY: it is valid until its deleter is called, below, and has as many values as its shape says.
        let (managed, values) = unsafe {
            let data = (*raw).dl_tensor.data.cast::<u32>();
            (&*raw, std::slice::from_raw_parts_mut(data, shape[0] * shape[1]))
        };
        // It may be written to, and is a copy.
        assert_eq!(managed.flags, 2);
        assert_eq!(managed.dl_tensor.data as usize % 64, 0);
        assert_eq!(*values, words[..values.len()]);
        values.fill(7);
        // SAFETY: once, with the pointer itself.
        unsafe { managed.deleter.unwrap()(raw) };
        assert_eq!(**words, [1, 2, 3, 4, 5, 6]);
    }
    let array = ArraySpec::line(ElementType::U8, 2).at(64);
    assert!(Capsule::device(array, 0, Box::new(())).copied().is_none());
}

#[test]
fn a_copy_on_the_device_stays_while_its_capsule_does() {
    let stand_in = StandIn::new(9);
    let (gpu, pool) = setup(&stand_in, 1);
    let stager = Stager::new(&gpu, &gpu.stream().unwrap(), config(2)).unwrap();
    let block = |k| Block::new(pool.take(1).unwrap().remove(0), k);
    let copied = stager.copy(vec![block(1)]).unwrap().remove(0);
    let array = copied.on(stager.stream()).unwrap()[1];
    let capsule = dlpack::Capsule::device(array, 0, Box::new(copied.hold()));
    drop(copied);
    // Of two stages one is left.
    for k in 2..6 {
        stager.copy(vec![block(k)]).unwrap();
    }
    stager.stream().synchronize().unwrap();
    assert_eq!(stand_in.device_bytes(array.address, 2).unwrap(), [1, 1]);
    drop(capsule);
    let first = stager.copy(vec![block(7)]).unwrap();
    let second = stager.copy(vec![block(8)]).unwrap();
    drop((first, second));
    assert_eq!(stand_in.device_bytes(array.address, 2).unwrap().len(), 2);
}
