mod kernels;

use proptest::prelude::*;

use super::group::{Descriptor, Stream};
use super::{FrameDecoder, FrameEncoder, Kernel, Mode};
use crate::format::encoding::{FrameError, Padded};
use cellring_core::Element;

const N_VARS: u32 = 1 << 30;

fn encoded<T: Element>(obs: u64, indices: &[u32], values: &[T]) -> Vec<u8> {
    let mut out = vec![];
    FrameEncoder::default().encode(obs, indices, values, &mut out);
    out
}

/// The frame as the loader has it, with other bytes behind it: fast loops decode all of it, and use none of those.
fn with_bytes_behind(frame: &[u8]) -> Vec<u8> {
    [frame, &[0xA5; 64]].concat()
}

fn assert_round_trip<T: Element + std::fmt::Debug>(indices: &[u32], values: &[T]) -> Vec<u8> {
    let frame = encoded(9, indices, values);
    let mut columns = vec![-1; indices.len()];
    let mut data = vec![T::from_bits(0); indices.len()];
    let padded = with_bytes_behind(&frame);
    let frames = [Padded::from(frame.as_slice()), Padded::new(&padded, frame.len())];
    for (kernel, frame) in Kernel::available()
        .into_iter()
        .flat_map(|k| frames.map(|f| (k, f)))
    {
        columns.fill(-1);
        data.fill(T::from_bits(0));
        let decoder = FrameDecoder::new(N_VARS, T::VALUE_TYPE).with_kernel(kernel);
        decoder.decode(frame, 9, &mut columns, &mut data).unwrap();
        assert!(
            columns.iter().zip(indices).all(|(&a, &b)| a as u32 == b),
            "{kernel:?}"
        );
        assert!(
            data.iter().zip(values).all(|(a, b)| a.bits() == b.bits()),
            "{kernel:?}"
        );
        let mut singles = vec![f32::NAN; values.len()];
        decoder.decode(frame, 9, &mut columns, &mut singles).unwrap();
        let expected = values.iter().map(|v| v.to_f32().to_bits());
        assert!(
            singles.iter().map(|v| v.to_bits()).eq(expected),
            "{kernel:?} to f32"
        );
    }
    frame
}

/// Strictly ascending columns with mostly small and some large gaps.
fn columns() -> impl Strategy<Value = Vec<u32>> {
    let gap = prop_oneof![6 => 0u32..4, 3 => 0u32..300, 1 => 0u32..100_000];
    prop::collection::vec(gap, 1..700).prop_map(|gaps| {
        let mut next = 0;
        gaps.iter()
            .map(|gap| {
                let column = next + gap;
                next = column + 1;
                column
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn counts_round_trip(indices in columns(), seed in any::<u64>()) {
        let values: Vec<f32> = indices.iter().map(|&i| {
            let h = (u64::from(i) ^ seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
            if h % 50 == 0 { (h % 100_000 + 1) as f32 } else { (h % 3 + 1) as f32 }
        }).collect();
        let frame = assert_round_trip(&indices, &values);
        prop_assert_eq!(frame[0], Mode::Counts as u8);
    }

    #[test]
    fn any_floats_round_trip(indices in columns(), seed in any::<u64>(), distinct in 1u64..2000) {
        let values: Vec<f64> = indices.iter().map(|&i| {
            let h = (u64::from(i) ^ seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
            f64::from_bits((h % distinct).wrapping_mul(0x1234_5678_9ABC_DEF1))
        }).collect();
        assert_round_trip(&indices, &values);
    }

    #[test]
    fn wide_integers_round_trip(indices in columns(), values in prop::collection::vec(any::<i64>(), 700)) {
        assert_round_trip(&indices, &values[..indices.len()]);
        let small: Vec<i8> = values[..indices.len()].iter().map(|&v| v as i8).collect();
        assert_round_trip(&indices, &small);
    }

    /// Whatever the bytes, with a checksum that fits them: an error or some columns below n_vars, never a panic.
    #[test]
    fn hostile_bytes_never_panic(mut body in prop::collection::vec(any::<u8>(), 0..400), mode in 0u8..4, n in 1usize..300) {
        if let Some(first) = body.first_mut() { *first = mode; }
        let crc = crate::format::checksum::obs_crc(1, n as u32, &[&body]);
        body.extend_from_slice(&crc.to_le_bytes());
        let padded = with_bytes_behind(&body);
        let (mut columns, mut data) = (vec![0; n], vec![0f32; n]);
        let mut results = vec![];
        for kernel in Kernel::available() {
            for frame in [Padded::from(body.as_slice()), Padded::new(&padded, body.len())] {
                let decoder = FrameDecoder::new(5000, crate::format::ValueType::F64).with_kernel(kernel);
                let result = decoder.decode(frame, 1, &mut columns, &mut data);
                if result.is_ok() {
                    prop_assert!(columns.windows(2).all(|w| w[0] < w[1]) && columns[n - 1] < 5000);
                }
                results.push((result.clone(), result.is_ok().then(|| (columns.clone(), data.iter().map(|x| x.to_bits()).collect::<Vec<_>>()))));
            }
        }
        prop_assert!(results.windows(2).all(|w| w[0] == w[1]), "every kernel says the same: {:?}", results);
    }
}

#[test]
fn modes_are_chosen_by_size() {
    let indices: Vec<u32> = (0..300).collect();
    let few: Vec<f32> = (0..300).map(|i| (i % 7) as f32 * 0.37).collect();
    let many: Vec<f32> = (0..300).map(|i| i as f32 * 0.37).collect();
    assert_eq!(assert_round_trip(&indices, &few)[0], Mode::Dictionary as u8);
    assert_eq!(assert_round_trip(&indices, &many)[0], Mode::Plain as u8);
    assert_eq!(
        assert_round_trip(&indices, &vec![true; 300])[0],
        Mode::Counts as u8
    );
    assert_eq!(assert_round_trip(&[3], &[f32::NAN])[0], Mode::Plain as u8);
    assert!(encoded::<f32>(0, &[], &[]).is_empty());
}

#[test]
fn largest_counts_and_columns() {
    let last = (1u32 << 31) - 2;
    let frame = encoded(0, &[0, last], &[1u32 << 31, u32::MAX]);
    let (mut columns, mut data) = ([0; 2], [0u32; 2]);
    FrameDecoder::new(last + 1, crate::format::ValueType::U32)
        .decode(frame.as_slice().into(), 0, &mut columns, &mut data)
        .unwrap();
    assert_eq!((columns, data), ([0, last as i32], [1 << 31, u32::MAX]));
    let many = vec![1u32 << 31; 200];
    assert_eq!(
        assert_round_trip(&(0..200).collect::<Vec<_>>(), &many)[0],
        Mode::Counts as u8
    );
}

#[test]
fn whatever_is_wrong_with_an_exception_every_kernel_says_so() {
    /// Changes the exceptions and the descriptor.
    type Change<'a> = &'a dyn Fn(&mut [u8; 10], &mut u32);
    // A frame of one group of `m` ones with three gap exceptions and two code exceptions, whose parts are then changed.
    let decode = |m: usize, change: Change<'_>| {
        let mut parts = [1, 64, 90, 5, 7, 255, 63, 99, 1, 200];
        let mut descriptor: u32 = 2 | 1 << 5 | 3 << 12 | 2 << 18;
        change(&mut parts, &mut descriptor);
        let mut body = vec![Mode::Counts as u8];
        body.extend_from_slice(&descriptor.to_le_bytes()[..3]);
        body.resize(body.len() + (2 * m).div_ceil(8) + m.div_ceil(8), 0);
        body.extend_from_slice(&parts);
        let frame = forged(body, m as u32);
        let padded = with_bytes_behind(&frame);
        let results: Vec<_> = Kernel::available()
            .into_iter()
            .map(|kernel| {
                let (mut columns, mut data) = (vec![0; m], vec![0f32; m]);
                let decoder = FrameDecoder::new(N_VARS, crate::format::ValueType::F32).with_kernel(kernel);
                let frame = Padded::new(&padded, frame.len());
                decoder
                    .decode(frame, 1, &mut columns, &mut data)
                    .map(|()| (columns, data))
            })
            .collect();
        assert!(results.windows(2).all(|w| w[0] == w[1]), "{results:?}");
        results[0].clone()
    };
    for m in [128, 100] {
        let (columns, data) = decode(m, &|_, _| {}).unwrap();
        assert_eq!((columns[1], data[63], data[99]), (1 + 5 * 4, 3.0, 401.0), "{m}");
        let bad: [Change<'_>; 9] = [
            &|parts, _| parts[1] = 1,
            &|parts, _| parts[1] = 0,
            &|parts, _| parts[2] = 128,
            &|parts, _| parts[2] = 255,
            &|parts, _| parts[4] = 0,
            &|parts, _| parts[7] = 63,
            &|parts, _| parts[7] = 20,
            &|parts, _| parts[9] = 0,
            &|parts, _| parts[6] = 130,
        ];
        for (number, change) in bad.into_iter().enumerate() {
            assert_eq!(
                decode(m, change).unwrap_err(),
                FrameError::Exception,
                "{m}, {number}"
            );
        }
    }
    // Beyond the end of a short group, but not of a whole one.
    assert_eq!(decode(99, &|_, _| {}).unwrap_err(), FrameError::Exception);
    assert!(decode(128, &|parts, _| parts[7] = 127).is_ok());
    // A wide bit, which the lengths of the parts then contradict.
    assert!(decode(128, &|_, descriptor| *descriptor |= 1 << 10).is_err());
}

#[test]
fn every_flipped_bit_is_found() {
    let indices: Vec<u32> = (0..150).map(|i| i * i).collect();
    let values: Vec<f32> = (0..150).map(|i| (i % 5 + 1) as f32).collect();
    let frame = encoded(4, &indices, &values);
    let (mut columns, mut data) = ([0; 150], [0f32; 150]);
    let mut check = |frame: &[u8], obs, n: usize| {
        FrameDecoder::new(N_VARS, crate::format::ValueType::F32).decode(
            frame.into(),
            obs,
            &mut columns[..n],
            &mut data[..n],
        )
    };
    for bit in 0..frame.len() * 8 {
        let mut bad = frame.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(
            matches!(check(&bad, 4, 150), Err(FrameError::Checksum { .. })),
            "bit {bit}"
        );
    }
    assert!(check(&frame, 5, 150).is_err() && check(&frame, 4, 149).is_err() && check(&[], 4, 150).is_err());
    assert!(check(&frame, 4, 150).is_ok());
}

#[test]
fn descriptor_round_trips() {
    for (width, wide, exceptions) in [(0, false, 0), (31, true, 63), (7, false, 12)] {
        let gap = Stream {
            width,
            wide,
            exceptions,
        };
        let code = Stream {
            width: 31 - width,
            wide: !wide,
            exceptions: 63 - exceptions,
        };
        let descriptor = Descriptor { gap, code };
        assert_eq!(Descriptor::from_bytes(descriptor.to_bytes()), descriptor);
    }
}

#[test]
fn gaps_whose_sum_needs_care() {
    // Full groups with gaps around the bound up to which 32 bits are enough for their sum.
    for large in [(1 << 24) - 1, 1 << 24, (1 << 24) + 1, 1 << 26] {
        let mut next = 0u32;
        let mut indices = vec![];
        for k in 0..300u32 {
            let column = next + if k % 37 == 5 { large } else { k % 3 };
            indices.push(column);
            next = column + 1;
        }
        assert_round_trip(&indices, &vec![1.0f32; indices.len()]);
    }
    // Every width, with and without exceptions, in whole and in part groups.
    for width in 0..31 {
        for n in [1, 7, 8, 9, 127, 128, 129, 255, 256, 300] {
            let values: Vec<u32> = (0..n)
                .map(|k: u32| {
                    1 + (k.wrapping_mul(0x9E37_79B9) & ((1 << width) - 1))
                        + if k % 50 == 3 { 1 << 30 } else { 0 }
                })
                .collect();
            assert_round_trip(&(0..n).collect::<Vec<_>>(), &values);
        }
    }
}

/// A frame with its checksum made to fit, as nobody but an attacker makes it.
fn forged(mut body: Vec<u8>, n: u32) -> Vec<u8> {
    let crc = crate::format::checksum::obs_crc(1, n, &[&body]);
    body.extend_from_slice(&crc.to_le_bytes());
    body
}

#[test]
fn values_that_the_type_does_not_have_are_refused() {
    use crate::format::ValueType;
    let check = |frame: &[u8], n: usize, value_type| {
        let (mut columns, mut data) = (vec![0; n], vec![0f32; n]);
        FrameDecoder::new(N_VARS, value_type).decode(frame.into(), 1, &mut columns, &mut data)
    };
    for (count, good, bad) in [
        (255, ValueType::U8, ValueType::I8),
        (256, ValueType::U16, ValueType::U8),
        (65_536, ValueType::F32, ValueType::U16),
        (2, ValueType::I8, ValueType::Bool),
        ((1 << 24) + 1, ValueType::I32, ValueType::F32),
        (1 << 31, ValueType::U32, ValueType::I32),
    ] {
        let frame = encoded(1, &[5], &[count as u32]);
        assert!(check(&frame, 1, good).is_ok(), "{count} as {good:?}");
        assert!(
            matches!(check(&frame, 1, bad), Err(FrameError::Value { .. })),
            "{count} as {bad:?}"
        );
    }
    let plain = forged(vec![Mode::Plain as u8, 0, 0, 0, 2], 1);
    assert!(matches!(
        check(&plain, 1, ValueType::Bool),
        Err(FrameError::Value { value: 2, .. })
    ));
    let dictionary = forged(vec![Mode::Dictionary as u8, 0, 0, 3, 0, 0, 0], 1);
    assert!(matches!(
        check(&dictionary, 1, ValueType::Bool),
        Err(FrameError::Value { value: 3, .. })
    ));
    // Gap width 3: the upper five bits of its byte belong to no entry.
    assert!(check(&forged(vec![0, 3, 0, 0, 0b0000_0101], 1), 1, ValueType::F32).is_ok());
    assert_eq!(
        check(&forged(vec![0, 3, 0, 0, 0b0010_0101], 1), 1, ValueType::F32),
        Err(FrameError::Tail)
    );
}
