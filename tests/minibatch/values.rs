//! Values to the last bit: those of the source, normalised ones, and halves.

use super::*;

fn check_source<T: Element + Value + Default + PartialOrd + Debug>(
    path: &Path,
    rows: &CsrRows,
    values: &[T],
) {
    let source = rows_of(rows, values);
    let genes: Genes = Some(
        (0..N_VARS as u32)
            .rev()
            .step_by(3)
            .map(Some)
            .chain([None])
            .collect(),
    );
    for encoding in [Encoding::Packed, Encoding::Raw] {
        let path = path.join(format!("{}-{}", T::VALUE_TYPE.numpy_name(), encoding.name()));
        let store = write(&path, rows, T::VALUE_TYPE, encoding);
        for layout in [Layout::Csr, Layout::Dense, Layout::TopK(20)] {
            for genes in [&None, &genes] {
                let selected: Vec<Row<T>> = source.iter().map(|row| select(row, genes)).collect();
                let ranked: Vec<Row<T>> = selected.iter().map(|row| top(row, 20)).collect();
                let select = |genes: &Vec<_>| GeneSelection::by_columns(N_VARS, genes).unwrap();
                let output = OutputConfig::default()
                    .layout(layout)
                    .value_type(OutputType::Source)
                    .genes(genes.as_ref().map(select));
                each(&store, config(output, 2), |minibatch| {
                    check(minibatch, IndexType::I32, &selected, &ranked);
                });
            }
        }
    }
}

/// Values that a type barely holds, where the counts of a matrix are.
fn with_values<T>(rows: &CsrRows, of: impl Fn(u64) -> T) -> Vec<T> {
    let mut mix = Mix(5);
    (0..rows.nnz()).map(|_| of(mix.next())).collect()
}

#[test]
fn source_values_are_exact_in_every_type() {
    let dir = tempfile::tempdir().unwrap();
    let mut rows = matrix(N_OBS, N_VARS, Kind::Counts, 33);
    macro_rules! check_type {
        ($($variant:ident: $of:expr),*) => {$(
            let values = with_values(&rows, $of);
            rows.values = ValueBuffer::$variant(values.clone());
            check_source(dir.path(), &rows, &values);
        )*};
    }
    check_type!(
        U32: |bits| (bits as u32).max(1),
        I64: |bits| (bits as i64 >> (bits % 50)) | 1,
        U64: |bits| bits | 1,
        F64: |bits| (bits as f64 + 0.25) / 7.0 - 1e18,
        I8: |bits| bits as i8 | 1,
        Bool: |_| true
    );
    let beyond = rows_of(&rows, &with_values(&rows, |bits| bits as u32));
    assert!(
        beyond
            .iter()
            .flatten()
            .any(|&(_, x)| x > 1 << 24 && x as f32 as u32 != x)
    );
}

#[test]
fn signed_source_values_rank_without_those_below_0() {
    let dir = tempfile::tempdir().unwrap();
    let rows = matrix(N_OBS, N_VARS, Kind::Signed, 34);
    let ValueBuffer::I16(values) = &rows.values else {
        unreachable!()
    };
    assert!(values.iter().any(|&x| x < 0));
    check_source(dir.path(), &rows, values);
}

/// Division and logarithm as numpy computes them in `float32` (`x / (sum / 1e4)`, then `log1p`).
#[test]
fn normalised_values_are_those_of_numpy() {
    let row: [f32; 10] = [1.0, 2.0, 3.0, 10.0, 255.0, 256.0, 1000.0, 70_000.0, 0.5, 7.25];
    const DIVIDED: [u32; 10] = [
        0x3e0f25b0, 0x3e8f25b0, 0x3ed6b888, 0x3fb2ef1c, 0x420e968a, 0x420f25b0, 0x430bcace, 0x4618e5d1,
        0x3d8f25b0, 0x3f81ba27,
    ];
    const LOGARITHMS: [u32; 10] = [
        0x3e05fc7c, 0x3e7c73c3, 0x3eb34fbe, 0x3f5fe5f4, 0x40667c39, 0x4066ba9a, 0x409e5029, 0x41130523,
        0x3d8a5db5, 0x3f332ac3,
    ];
    let rows = CsrRows {
        indptr: vec![0, 10],
        indices: (0..10).collect(),
        values: ValueBuffer::F32(row.to_vec()),
    };
    let dir = tempfile::tempdir().unwrap();
    let store = write(&dir.path().join("s"), &rows, ValueType::F32, Encoding::Packed);
    for (log1p, expected, ulps) in [(false, DIVIDED, 0), (true, LOGARITHMS, 0)] {
        let normalize = Normalize::LOG1P_10K.log1p(log1p);
        let output = OutputConfig::default().normalize(normalize);
        each(&store, config(output, 1), |minibatch| {
            for (found, expected) in minibatch.data().iter().zip(expected) {
                let apart = found.to_bits().abs_diff(expected);
                assert!(apart <= ulps, "{found} and {}", f32::from_bits(expected));
            }
        });
    }
}

#[test]
fn halves_are_rounded_to_nearest_even() {
    // 2^11 + 1 lies between two neighbours in f16, as does 2^8 + 1 in bf16; 65,520 would be the first that f16 has not.
    let row: [f32; 8] = [2049.0, 2051.0, 65_519.0, 65_504.0, 257.0, 259.0, 1.0e-8, 0.1];
    let in_f16 = [0x6800, 0x6802, 0x7BFF, 0x7BFF, 0x5C04, 0x5C0C, 0x0000, 0x2E66];
    let in_bf16 = [0x4500, 0x4500, 0x4780, 0x4780, 0x4380, 0x4382, 0x322C, 0x3DCD];
    let rows = CsrRows {
        indptr: vec![0, 8],
        indices: (0..8).collect(),
        values: ValueBuffer::F32(row.to_vec()),
    };
    let dir = tempfile::tempdir().unwrap();
    let store = write(&dir.path().join("s"), &rows, ValueType::F32, Encoding::Packed);
    let with = |value_type| {
        let output = OutputConfig::default().value_type(value_type);
        config(output, 1)
    };
    each(&store, with(OutputType::F16), |minibatch| {
        let values: &[f16] = minibatch.csr().unwrap().values.get().unwrap();
        assert_eq!(values.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), in_f16);
    });
    each(&store, with(OutputType::Bf16), |minibatch| {
        let values: &[bf16] = minibatch.csr().unwrap().values.get().unwrap();
        assert_eq!(values.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), in_bf16);
    });
}
