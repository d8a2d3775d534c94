//! Every kernel against its plain twin: frames of every shape, as an encoder would not make them, and damaged ones.

use super::super::arch::plain::pack;
use super::super::group::{Descriptor, Stream};
use super::{FrameDecoder, Kernel, Mode, forged};
use crate::format::ValueType;
use crate::format::encoding::{FrameError, Padded};
use cellring_core::Element;

/// Random numbers, the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// True once in `n`.
    fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// A stream of a group: its head, its packed entries, and its exceptions.
struct Part {
    stream: Stream,
    packed: Vec<u8>,
    exceptions: Vec<u8>,
}

/// A stream of `m` entries, mostly of at most `usual` bits.
fn part(random: &mut Random, m: usize, usual: usize) -> Part {
    let width = match random.once_in(12) {
        true => random.below(32),
        false => random.below(usual + 1),
    } as u32;
    let most = m.min(63);
    let n = match random.below(8) {
        0 => 0,
        1 => random.below(most + 1),
        2 => most.min(8),
        _ => random.below(most.min(9) + 1),
    };
    let wide = n > 0 && random.once_in(40);
    let mut positions: Vec<u8> = (0..m as u8).collect();
    while positions.len() > n {
        positions.remove(random.below(positions.len()));
    }
    let entries: Vec<u32> = (0..m).map(|_| random.next() as u32).collect();
    let mut packed = vec![];
    pack(&entries, width, &mut packed);
    let mut exceptions = positions;
    for _ in 0..n {
        // Not all of them fit.
        let high = match random.below(8) {
            0 => 1 + random.below(255),
            _ => 1 + random.below(3),
        };
        match wide {
            true => exceptions.extend_from_slice(&((high << random.below(12)) as u32).to_le_bytes()),
            false => exceptions.push(high as u8),
        }
    }
    let stream = Stream {
        width,
        wide,
        exceptions: n,
    };
    Part {
        stream,
        packed,
        exceptions,
    }
}

/// A frame without its checksum, of `n` values that are stored as `value_type`.
fn body(random: &mut Random, n: usize, mode: Mode, value_type: ValueType) -> Vec<u8> {
    let mut body = vec![mode as u8];
    let mut usual = 5;
    let width = value_type.size_bytes();
    let value = |body: &mut Vec<u8>, random: &mut Random| {
        let bits = random.next();
        let bits = if value_type == ValueType::Bool {
            bits & 1
        } else {
            bits
        };
        body.extend_from_slice(&bits.to_le_bytes()[..width]);
    };
    if mode == Mode::Dictionary {
        let len = match random.below(4) {
            0 => 1 + random.below(300),
            _ => 1 + random.below(70),
        };
        body.extend_from_slice(&(len as u16 - 1).to_le_bytes());
        (0..len).for_each(|_| value(&mut body, random));
        usual = (usize::BITS - len.leading_zeros()) as usize - 1;
    }
    let mut left = n;
    while left > 0 {
        let m = left.min(128);
        left -= m;
        let usual_gap = [8, 10, 12][random.below(3)];
        let gap = part(random, m, usual_gap);
        let code = match mode {
            Mode::Plain => Part {
                stream: Stream::default(),
                packed: vec![],
                exceptions: vec![],
            },
            _ => part(random, m, usual),
        };
        let descriptor = Descriptor {
            gap: gap.stream,
            code: code.stream,
        };
        body.extend_from_slice(&descriptor.to_bytes());
        for part in [gap.packed, code.packed, gap.exceptions, code.exceptions] {
            body.extend_from_slice(&part);
        }
    }
    if mode == Mode::Plain {
        (0..n).for_each(|_| value(&mut body, random));
    }
    body
}

/// Columns, and the bits of values.
type Decoded = Result<(Vec<i32>, Vec<u64>), FrameError>;

/// Decodes a frame by every kernel, with and without room after it, at random alignments, and demands the same of all. Gives
/// that.
fn decoded<T: Element>(
    random: &mut Random,
    frame: &[u8],
    n: usize,
    value_type: ValueType,
    f32_exact: bool,
) -> Result<(), FrameError> {
    let n_vars = (1 << 31) - 2;
    let mut expected: Option<Decoded> = None;
    for kernel in Kernel::available().into_iter().rev() {
        for room in [0, 64, random.below(64), 64 + random.below(64)] {
            let (before, indices_at, data_at) = (random.below(64), random.below(16), random.below(16));
            let mut bytes = vec![0xA5; before + frame.len() + room];
            bytes[before..][..frame.len()].copy_from_slice(frame);
            let (mut indices, mut data) = (vec![-7; n + 40], vec![T::from_bits(1); n + 40]);
            let decoder = FrameDecoder::new(n_vars, value_type)
                .with_f32_exact(f32_exact)
                .with_kernel(kernel);
            let result = decoder.decode(
                Padded::new(&bytes[before..], frame.len()),
                1,
                &mut indices[indices_at..][..n],
                &mut data[data_at..][..n],
            );
            let others = indices[..indices_at].iter().chain(&indices[indices_at + n..]);
            assert!(others.into_iter().all(|&index| index == -7), "{kernel:?}");
            let others = data[..data_at].iter().chain(&data[data_at + n..]);
            assert!(others.into_iter().all(|value| value.bits() == 1), "{kernel:?}");
            let found = result.map(|()| {
                let bits = data[data_at..][..n].iter().map(|value| value.bits());
                (indices[indices_at..][..n].to_vec(), bits.collect())
            });
            match &expected {
                None => expected = Some(found),
                Some(expected) => assert_eq!(expected, &found, "{kernel:?}, {room} bytes after the frame"),
            }
        }
    }
    expected.unwrap().map(drop)
}

/// As [`decoded`], with outputs of the stored type or of `f32`.
fn decoded_as_either(
    random: &mut Random,
    body: Vec<u8>,
    n: usize,
    value_type: ValueType,
) -> Result<(), FrameError> {
    let frame = forged(body, n as u32);
    let f32_exact = random.once_in(3);
    let narrow = cellring_core::with_element!(value_type, S => {
        decoded::<S>(random, &frame, n, value_type, f32_exact)
    });
    let single = decoded::<f32>(random, &frame, n, value_type, f32_exact);
    assert!(single.is_err() || narrow.is_ok(), "{narrow:?}, {single:?}");
    single
}

const VALUE_TYPES: [ValueType; 9] = [
    ValueType::F32,
    ValueType::F32,
    ValueType::U8,
    ValueType::I8,
    ValueType::U16,
    ValueType::I16,
    ValueType::I32,
    ValueType::F64,
    ValueType::Bool,
];

/// The shape of frame number `k`.
fn shape(random: &mut Random, k: usize) -> (usize, Mode, ValueType) {
    // Groups of all lengths; some pieces of groups that are prepared together.
    let n = match random.below(4) {
        0 => 1 + k % 128,
        1 => 1024 + random.below(300),
        _ => 1 + random.below(500),
    };
    let mode = [Mode::Counts, Mode::Counts, Mode::Dictionary, Mode::Plain][k % 4];
    (n, mode, VALUE_TYPES[random.below(VALUE_TYPES.len())])
}

#[test]
fn kernels_decode_frames_of_every_shape_alike() {
    let mut random = Random(1);
    let mut accepted = 0;
    for k in 0..1200 {
        let (n, mode, value_type) = shape(&mut random, k);
        let body = body(&mut random, n, mode, value_type);
        accepted += usize::from(decoded_as_either(&mut random, body, n, value_type).is_ok());
    }
    assert!(accepted > 300, "{accepted} of 1200 frames are accepted");
}

#[test]
fn kernels_refuse_damaged_frames_alike() {
    let mut random = Random(2);
    let mut refused = vec![];
    for k in 0..1200 {
        let (n, mode, value_type) = shape(&mut random, k);
        let mut body = body(&mut random, n, mode, value_type);
        for _ in 0..1 + random.below(3) {
            let at = random.below(body.len());
            match random.below(5) {
                0 => body[at] = random.next() as u8,
                1 => {
                    body.remove(at);
                    body.push(0);
                }
                2 => body.truncate(at.max(1)),
                3 => body.push(random.next() as u8),
                _ => body[at] ^= 1 << random.below(8),
            }
        }
        if let Err(error) = decoded_as_either(&mut random, body, n, value_type) {
            refused.push(std::mem::discriminant(&error));
        }
    }
    let mut kinds = refused.clone();
    kinds.sort_by_key(|kind| format!("{kind:?}"));
    kinds.dedup();
    assert!(
        refused.len() > 300,
        "{} of 1200 frames are refused",
        refused.len()
    );
    assert!(kinds.len() >= 7, "{} kinds of errors", kinds.len());
}

/// The bounds up to which the fast loops have a stream, one off on both sides.
#[test]
fn kernels_agree_at_the_bounds_of_the_fast_loops() {
    let mut random = Random(3);
    // Streams of entries that are all ones, and one exception.
    let ones = |width: u32, high: u32, m: usize| {
        let mut packed = vec![];
        pack(&vec![u32::MAX; m], width, &mut packed);
        let exceptions = usize::from(high > 0);
        Part {
            stream: Stream {
                width,
                wide: false,
                exceptions,
            },
            packed,
            exceptions: if high > 0 {
                vec![m as u8 - 1, high as u8]
            } else {
                vec![]
            },
        }
    };
    for m in [1, 16, 17, 127, 128] {
        for width in 0..20 {
            for high in [0, 1, 3, 31, 32, 33, 63, 64, 96, 127, 128, 255] {
                for (gap, code) in [(width, 3), (3, width)] {
                    let (gap, code) = (ones(gap, high, m), ones(code, high, m));
                    let descriptor = Descriptor {
                        gap: gap.stream,
                        code: code.stream,
                    };
                    let mut body = vec![Mode::Counts as u8];
                    body.extend_from_slice(&descriptor.to_bytes());
                    for part in [gap.packed, code.packed, gap.exceptions, code.exceptions] {
                        body.extend_from_slice(&part);
                    }
                    let value_type = VALUE_TYPES[random.below(VALUE_TYPES.len())];
                    let frame = forged(body, m as u32);
                    let _ = decoded::<f32>(&mut random, &frame, m, value_type, false);
                }
            }
        }
    }
}
