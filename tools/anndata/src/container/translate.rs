//! Elements that are not stored as this machine keeps them: numbers of other layouts, and booleans of other values.

/// Where the bits of an integer lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bits {
    /// The lowest bit.
    pub(crate) offset: u32,
    /// Number of bits.
    pub(crate) precision: u32,
}

impl Bits {
    /// The integer that all the bytes are.
    pub(crate) fn integer(bytes: &[u8], signed: bool, big_endian: bool) -> i128 {
        let all = Self {
            offset: 0,
            precision: 8 * bytes.len() as u32,
        };
        all.value(word(bytes, big_endian), signed)
    }

    /// The integer within a word.
    fn value(self, word: u128, signed: bool) -> i128 {
        let unused = 128 - self.precision;
        let high = word >> self.offset << unused;
        if signed {
            high.cast_signed() >> unused
        } else {
            (high >> unused).cast_signed()
        }
    }
}

/// Where the parts of a floating-point number lie. The highest bit of its mantissa is implied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FloatBits {
    pub(crate) sign_at: u32,
    pub(crate) exponent_at: u32,
    pub(crate) exponent_bits: u32,
    pub(crate) mantissa_at: u32,
    pub(crate) mantissa_bits: u32,
    pub(crate) bias: u32,
}

impl FloatBits {
    /// Those of IEEE 754.
    pub(crate) fn ieee(size_bytes: usize) -> Option<Self> {
        let (exponent_bits, mantissa_bits) = match size_bytes {
            2 => (5, 10),
            4 => (8, 23),
            8 => (11, 52),
            _ => return None,
        };
        Some(Self {
            sign_at: exponent_bits + mantissa_bits,
            exponent_at: mantissa_bits,
            exponent_bits,
            mantissa_at: 0,
            mantissa_bits,
            bias: (1 << (exponent_bits - 1)) - 1,
        })
    }

    /// The number that all the bytes are by IEEE 754.
    pub(crate) fn number(bytes: &[u8], big_endian: bool) -> Option<f64> {
        Some(Self::ieee(bytes.len())?.value(word(bytes, big_endian)))
    }

    /// Whether every such number is one of those.
    fn fits(&self, ieee: &Self) -> bool {
        let largest = |bits: &Self| i64::from((1u32 << bits.exponent_bits) - 2) - i64::from(bits.bias);
        let smallest = |bits: &Self| 1 - i64::from(bits.bias) - i64::from(bits.mantissa_bits);
        self.mantissa_bits <= ieee.mantissa_bits
            && largest(self) <= largest(ieee)
            && smallest(self) >= smallest(ieee)
    }

    /// The number within a word, which must fit.
    fn value(&self, word: u128) -> f64 {
        let part = |at: u32, bits: u32| (word >> at & ((1 << bits) - 1)) as u64;
        let exponent = part(self.exponent_at, self.exponent_bits);
        let mantissa = part(self.mantissa_at, self.mantissa_bits);
        let special = (1 << self.exponent_bits) - 1;
        let magnitude = match (exponent, mantissa) {
            (exponent, 0) if exponent == special => f64::INFINITY,
            (exponent, _) if exponent == special => f64::NAN,
            (exponent, _) => {
                let implied = u64::from(exponent > 0) << self.mantissa_bits;
                let power = exponent.max(1) as i64 - i64::from(self.bias) - i64::from(self.mantissa_bits);
                libm::ldexp((implied | mantissa) as f64, power as i32)
            }
        };
        match part(self.sign_at, 1) {
            0 => magnitude,
            _ => -magnitude,
        }
    }
}

/// How stored elements become what is delivered, which is in this machine's byte order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Translation {
    Integers {
        stored_bytes: usize,
        big_endian: bool,
        signed: bool,
        bits: Bits,
        /// 1, 2, 4 or 8.
        bytes: usize,
    },
    Floats {
        stored_bytes: usize,
        big_endian: bool,
        bits: FloatBits,
        /// 4 or 8.
        bytes: usize,
    },
    /// What is stored for false and for true.
    Flags { no: Vec<u8>, yes: Vec<u8> },
}

/// The widest number, in bytes.
const MAX_NUMBER_BYTES: usize = 16;

impl Translation {
    /// `None` for integers of more than 64 bits.
    pub(crate) fn integers(stored_bytes: usize, signed: bool, big_endian: bool, bits: Bits) -> Option<Self> {
        let end = bits.offset.checked_add(bits.precision)?;
        let fits = stored_bytes <= MAX_NUMBER_BYTES
            && (1..=64).contains(&bits.precision)
            && end as usize <= 8 * stored_bytes;
        fits.then_some(Self::Integers {
            stored_bytes,
            big_endian,
            signed,
            bits,
            bytes: (bits.precision.div_ceil(8) as usize)
                .next_power_of_two()
                .max(stored_bytes.next_power_of_two().min(8)),
        })
    }

    /// `None` for numbers that do not fit a float64.
    pub(crate) fn floats(stored_bytes: usize, big_endian: bool, bits: FloatBits) -> Option<Self> {
        let ends = [
            bits.sign_at.checked_add(1)?,
            bits.exponent_at.checked_add(bits.exponent_bits)?,
            bits.mantissa_at.checked_add(bits.mantissa_bits)?,
        ];
        let is_within = stored_bytes <= MAX_NUMBER_BYTES
            && ends.iter().all(|&end| end as usize <= 8 * stored_bytes)
            && (1..=15).contains(&bits.exponent_bits);
        let fits = |bytes: usize| FloatBits::ieee(bytes).is_some_and(|ieee| bits.fits(&ieee));
        let bytes = match is_within {
            true if stored_bytes <= 4 && fits(4) => 4,
            true if fits(8) => 8,
            _ => return None,
        };
        Some(Self::Floats {
            stored_bytes,
            big_endian,
            bits,
            bytes,
        })
    }

    pub(crate) fn flags(no: &[u8], yes: &[u8]) -> Self {
        Self::Flags {
            no: no.to_vec(),
            yes: yes.to_vec(),
        }
    }

    /// Bytes of a stored element.
    pub(crate) fn stored_bytes(&self) -> usize {
        match self {
            Self::Integers { stored_bytes, .. } | Self::Floats { stored_bytes, .. } => *stored_bytes,
            Self::Flags { no, .. } => no.len(),
        }
    }

    /// Bytes of a delivered element.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Integers { bytes, .. } | Self::Floats { bytes, .. } => *bytes,
            Self::Flags { .. } => 1,
        }
    }

    /// Translates as many elements as `place` has room for, or says which of them has no meaning, and why.
    pub(crate) fn apply(&self, stored: &[u8], place: &mut [u8]) -> Result<(), (usize, String)> {
        let stored = stored.chunks_exact(self.stored_bytes());
        let elements = stored.zip(place.chunks_exact_mut(self.bytes()));
        match self {
            Self::Integers {
                big_endian,
                signed,
                bits,
                bytes,
                ..
            } => {
                for (stored, place) in elements {
                    let value = bits.value(word(stored, *big_endian), *signed);
                    place.copy_from_slice(&value.to_le_bytes()[..*bytes]);
                }
            }
            Self::Floats {
                big_endian,
                bits,
                bytes,
                ..
            } => {
                for (stored, place) in elements {
                    let value = bits.value(word(stored, *big_endian));
                    match bytes {
                        4 => place.copy_from_slice(&(value as f32).to_le_bytes()),
                        _ => place.copy_from_slice(&value.to_le_bytes()),
                    }
                }
            }
            Self::Flags { no, yes } => {
                for (position, (stored, place)) in elements.enumerate() {
                    place[0] = match stored {
                        stored if stored == no => 0,
                        stored if stored == yes => 1,
                        other => {
                            let detail = format!(
                                "bytes {other:02x?} are neither its FALSE {no:02x?} nor its TRUE {yes:02x?}"
                            );
                            return Err((position, detail));
                        }
                    };
                }
            }
        }
        Ok(())
    }
}

/// The bytes of an element as a number.
fn word(bytes: &[u8], big_endian: bool) -> u128 {
    let append = |sum: u128, &byte: &u8| sum << 8 | u128::from(byte);
    if big_endian {
        bytes.iter().fold(0, append)
    } else {
        bytes.iter().rev().fold(0, append)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ieee_numbers_are_what_the_machine_says() {
        let singles = [
            0,
            1,
            0x7f_ffff,
            0x80_0000,
            0x3f80_0000,
            0x4049_0fdb,
            0x7f7f_ffff,
            0x7f80_0000,
        ];
        for bits in singles.into_iter().flat_map(|bits: u32| [bits, bits | 1 << 31]) {
            let found = FloatBits::number(&bits.to_be_bytes(), true).unwrap();
            assert_eq!(
                found.to_bits(),
                f64::from(f32::from_bits(bits)).to_bits(),
                "{bits:#x}"
            );
        }
        for number in [0.0, f64::MIN_POSITIVE / 8.0, f64::MAX, -1.5, f64::NEG_INFINITY] {
            let found = FloatBits::number(&number.to_le_bytes(), false).unwrap();
            assert_eq!(found.to_bits(), number.to_bits());
        }
        assert!(
            FloatBits::number(&f32::NAN.to_le_bytes(), false)
                .unwrap()
                .is_nan()
        );
        assert_eq!(FloatBits::number(&[0; 3], false), None);
    }

    #[test]
    fn floats_of_other_layouts_become_the_narrowest_that_hold_them() {
        let single = FloatBits::ieee(4).unwrap();
        let of = |bits: FloatBits, bytes: usize| {
            Translation::floats(bytes, false, bits).map(|found| found.bytes())
        };
        // One more than the largest exponent of a float32, and one less than the smallest.
        assert_eq!(of(FloatBits { bias: 126, ..single }, 4), Some(8));
        assert_eq!(of(FloatBits { bias: 128, ..single }, 4), Some(8));
        let short = FloatBits {
            mantissa_bits: 22,
            ..single
        };
        assert_eq!(of(FloatBits { bias: 128, ..short }, 4), Some(4));
        // A mantissa of more bits than a float64 has, parts beyond the element, more bytes than a number has.
        assert_eq!(
            of(
                FloatBits {
                    mantissa_bits: 53,
                    ..single
                },
                8
            ),
            None
        );
        assert_eq!(
            of(
                FloatBits {
                    sign_at: 32,
                    ..single
                },
                4
            ),
            None
        );
        assert_eq!(
            of(
                FloatBits {
                    exponent_at: u32::MAX,
                    ..single
                },
                4
            ),
            None
        );
        assert_eq!(of(single, 17), None);
        // 1.5 with a bias of 120: its exponent is 2^7 larger by IEEE.
        let translation = Translation::floats(4, false, FloatBits { bias: 120, ..single }).unwrap();
        let mut place = [0; 8];
        translation.apply(&1.5f32.to_le_bytes(), &mut place).unwrap();
        assert_eq!(f64::from_le_bytes(place), 192.0);
    }

    #[test]
    fn integers_are_cut_out_and_extended() {
        let bits = Bits {
            offset: 3,
            precision: 5,
        };
        let mut place = [0; 2];
        let signed = Translation::integers(1, true, false, bits).unwrap();
        assert_eq!(signed.bytes(), 1);
        signed.apply(&[0b1111_1010, 0b0111_1111], &mut place).unwrap();
        assert_eq!(place.map(|byte| byte as i8), [-1, 15]);
        let wide = Translation::integers(
            3,
            false,
            true,
            Bits {
                offset: 0,
                precision: 24,
            },
        )
        .unwrap();
        let mut place = [0; 4];
        wide.apply(&[1, 2, 3], &mut place).unwrap();
        assert_eq!(u32::from_le_bytes(place), 0x01_0203);
        for (bytes, offset, precision) in [(1, 4, 5), (1, 0, 0), (16, 0, 65), (17, 0, 8), (1, u32::MAX, 8)] {
            let bits = Bits { offset, precision };
            assert_eq!(
                Translation::integers(bytes, true, false, bits),
                None,
                "{bytes} {bits:?}"
            );
        }
    }

    #[test]
    fn flags_are_told_by_their_bytes() {
        let translation = Translation::flags(&[0, 1], &[0xff, 0]);
        let mut place = [9; 3];
        translation.apply(&[0, 1, 0xff, 0, 0, 1], &mut place).unwrap();
        assert_eq!(place, [0, 1, 0]);
        assert_eq!(
            translation.apply(&[0, 1, 0, 0, 0, 1], &mut place).unwrap_err().0,
            1
        );
    }
}
