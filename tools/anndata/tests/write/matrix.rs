//! Matrices: element types, widths of indices, and rows that do not fit.

use super::*;

#[test]
fn every_value_type_and_index_width_reads_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.h5ad");
    for value_type in VALUE_TYPES {
        for wide_indices in [false, true] {
            let mut spec = spec(value_type, 23, 40);
            spec.wide_indices = wide_indices;
            write(&path, spec, &names("cell", 23), &names("gene", 40), 4);
            let file = Hdf5File::open(&path).unwrap();
            let expected = matrix(value_type, 23, 40);
            let widen = |values: &[u32]| values.iter().map(|&v| i64::from(v)).collect::<Vec<_>>();
            assert_eq!(integers(&file, "X/indices"), widen(&expected.indices));
            assert_eq!(
                integers(&file, "X/indptr"),
                expected.indptr.iter().map(|&p| p as i64).collect::<Vec<_>>()
            );
            let width = |path| file.dataset(path).unwrap().raw_element_size().unwrap();
            assert_eq!(width("X/indices"), if wide_indices { 8 } else { 4 });
            assert_eq!(width("X/indptr"), if wide_indices { 8 } else { 4 });
            let data = file.dataset("X/data").unwrap();
            assert_eq!(data.max_dims(), Some(&[u64::MAX][..]));
            let bytes = data.read_raw_bytes().unwrap();
            let expected: Vec<u8> =
                cellring_core::with_values!(&expected.values, v => bytemuck::cast_slice(v).to_vec());
            assert_eq!(bytes, expected, "{}", value_type.numpy_name());
            assert_eq!(
                file.group("X")
                    .unwrap()
                    .attribute("shape")
                    .unwrap()
                    .read_1d::<i64>()
                    .unwrap(),
                [23, 40]
            );
            assert_eq!(encoding(&file, "X"), "csr_matrix");
        }
    }
}

#[test]
fn rows_that_do_not_fit_are_refused_and_change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (mut writer, rows) = small(directory.path());
    let broken = |change: fn(&mut CsrRows)| {
        let mut rows = rows.clone();
        change(&mut rows);
        rows
    };
    for bad in [
        broken(|rows| rows.indptr.clear()),
        broken(|rows| rows.indptr[0] = 1),
        broken(|rows| rows.indptr[2] = 2),
        broken(|rows| rows.indptr[1] = 9),
        broken(|rows| rows.indices[1] = 3),
        broken(|rows| rows.values = ValueBuffer::F32(vec![1.0])),
    ] {
        let error = writer.push_rows(&bad).unwrap_err();
        assert!(
            matches!(error.kind(), WriteErrorKind::Rows { row: 0, .. }),
            "{error}"
        );
    }
    let error = writer
        .push_rows(&broken(|rows| rows.values = ValueBuffer::U8(vec![1, 2, 3])))
        .unwrap_err();
    assert!(
        matches!(error.kind(), WriteErrorKind::ValueType { .. }),
        "{error}"
    );
    writer.push_rows(&rows).unwrap();
    let error = writer.push_rows(&rows).unwrap_err();
    assert!(
        matches!(
            error.kind(),
            WriteErrorKind::Count {
                expected: 2,
                found: 4,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn announced_numbers_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.h5ad");
    let mut announced = spec(ValueType::F32, 2, 3);
    announced.nnz = Some(2);
    let mut writer = AnnDataWriter::create(&path, announced.clone()).unwrap();
    let (_, rows) = small(directory.path());
    let error = writer.push_rows(&rows).unwrap_err();
    assert!(
        matches!(
            error.kind(),
            WriteErrorKind::Count {
                expected: 2,
                found: 3,
                ..
            }
        ),
        "{error}"
    );
    announced.nnz = Some(4);
    let mut writer = AnnDataWriter::create(&path, announced.clone()).unwrap();
    writer.push_rows(&rows).unwrap();
    let error = writer.finish().unwrap_err();
    assert!(
        matches!(
            error.kind(),
            WriteErrorKind::Count {
                expected: 4,
                found: 3,
                ..
            }
        ),
        "{error}"
    );
    // Numbers beyond 31 bits need wide indices.
    announced.nnz = Some(1 << 31);
    announced.wide_indices = false;
    let error = AnnDataWriter::create(&path, announced).err().unwrap();
    assert!(matches!(error.kind(), WriteErrorKind::TooLarge { .. }), "{error}");
}

#[test]
fn indices_are_as_narrow_as_the_shape_or_the_number_of_values_allows() {
    let wide = |n_obs, n_vars| MatrixSpec::new(n_obs, n_vars, ValueType::F32).wide_indices;
    let max = i32::MAX as u64;
    // Without the number of values a full matrix counts.
    assert!(!wide(1, max) && wide(1, max + 1) && !wide(max, 1) && wide(1 << 16, 1 << 15));
    assert!(wide(u64::MAX, 2), "the product does not overflow");
    let known = |n_vars, nnz| {
        MatrixSpec::new(1 << 32, n_vars, ValueType::F32)
            .with_nnz(nnz)
            .wide_indices
    };
    assert!(!known(1 << 15, max) && known(1 << 15, max + 1) && known(max + 1, 0));
}
