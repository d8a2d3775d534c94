//! Datatypes of HDF5, read from the bytes of their message: where the bits of a number lie is told there only.

use std::sync::Arc;

use crate::container::translate::{Bits, FloatBits, Translation};
use crate::container::{Class, ElementType, Enumeration, Member, Padding};

/// The deepest nesting of records, enums and arrays.
const MAX_DEPTH: usize = 16;

/// Classes of datatypes, as the format numbers them.
const INTEGER: u32 = 0;
const FLOAT: u32 = 1;
const TIME: u32 = 2;
const TEXT: u32 = 3;
const BIT_FIELD: u32 = 4;
const OPAQUE: u32 = 5;
const COMPOUND: u32 = 6;
const REFERENCE: u32 = 7;
const ENUM: u32 = 8;
const VARIABLE: u32 = 9;
const ARRAY: u32 = 10;
const COMPLEX: u32 = 11;

/// The element type that a datatype message describes.
pub(super) fn element_of(message: &[u8]) -> Result<ElementType, String> {
    Bytes(message)
        .element(0)
        .ok_or_else(|| "its datatype ends early or is nested too deeply".to_owned())
}

/// What is left of a message.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take(&mut self, n: usize) -> Option<&[u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    /// A little-endian number of so many bytes.
    fn number(&mut self, n_bytes: usize) -> Option<u32> {
        let bytes = self.take(n_bytes)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0, |sum, &byte| sum << 8 | u32::from(byte)),
        )
    }

    /// A name that ends with a NUL, and the padding after it.
    fn name(&mut self, is_padded: bool) -> Option<String> {
        let n = self.0.iter().position(|&byte| byte == 0)?;
        let name = String::from_utf8_lossy(&self.0[..n]).into_owned();
        let used = if is_padded {
            (n + 1).next_multiple_of(8)
        } else {
            n + 1
        };
        self.take(used)?;
        Some(name)
    }

    fn element(&mut self, depth: usize) -> Option<ElementType> {
        if depth > MAX_DEPTH {
            return None;
        }
        let word = self.number(4)?;
        let (class, version, flags) = (word & 0xf, word >> 4 & 0xf, word >> 8);
        let size_bytes = self.number(4)? as usize;
        let other = |name: &str| Some(ElementType::new(Class::Other(name.to_owned()), size_bytes, false));
        match class {
            INTEGER | BIT_FIELD => {
                let bits = Bits {
                    offset: self.number(2)?,
                    precision: self.number(2)?,
                };
                let signed = class == INTEGER && flags & 8 != 0;
                Some(integer(size_bytes, signed, flags & 1 != 0, bits))
            }
            FLOAT => {
                let (offset, precision) = (self.number(2)?, self.number(2)?);
                let mut byte = || self.number(1);
                let bits = FloatBits {
                    exponent_at: byte()?,
                    exponent_bits: byte()?,
                    mantissa_at: byte()?,
                    mantissa_bits: byte()?,
                    sign_at: flags >> 8 & 0xff,
                    bias: self.number(4)?,
                };
                let is_normalised = flags >> 4 & 3 == 2;
                let is_vax = flags >> 6 & 1 == 1;
                let big_endian = flags & 1 != 0;
                let whole = offset == 0 && precision as usize == size_bytes.saturating_mul(8);
                Some(float(
                    size_bytes,
                    big_endian,
                    bits,
                    whole,
                    is_normalised && !is_vax,
                ))
            }
            TEXT => {
                let padding = match flags & 0xf {
                    1 => Padding::Nul,
                    2 => Padding::Space,
                    _ => Padding::NulTerminated,
                };
                Some(ElementType::new(Class::FixedText(padding), size_bytes, false))
            }
            COMPOUND => {
                let n_members = flags & 0xffff;
                let members: Option<Vec<Member>> = (0..n_members)
                    .map(|_| self.member(version, size_bytes, depth))
                    .collect();
                Some(ElementType::new(Class::Compound(members?), size_bytes, false))
            }
            ENUM => {
                let base = self.element(depth + 1)?;
                let n_members = (flags & 0xffff) as usize;
                let names: Option<Vec<String>> = (0..n_members).map(|_| self.name(version < 3)).collect();
                let values = self.take(n_members.checked_mul(size_bytes)?)?;
                Some(enumeration(base, size_bytes, names?, values))
            }
            VARIABLE => {
                self.element(depth + 1)?;
                match flags & 0xf {
                    1 => Some(ElementType::new(Class::VarText, size_bytes, false)),
                    _ => other("variable-length sequences"),
                }
            }
            ARRAY => {
                let rank = self.number(1)? as usize;
                let (before, per_dimension) = if version < 3 { (3, 8) } else { (0, 4) };
                self.take(before + rank * per_dimension)?;
                self.element(depth + 1)?;
                other("arrays")
            }
            TIME => {
                self.take(2)?;
                other("times")
            }
            OPAQUE => {
                self.take((flags & 0xff).next_multiple_of(8) as usize)?;
                other("opaque bytes")
            }
            REFERENCE => other("references"),
            COMPLEX => {
                self.element(depth + 1)?;
                other("complex numbers")
            }
            class => other(&format!("HDF5 datatype class {class}")),
        }
    }

    fn member(&mut self, version: u32, record_bytes: usize, depth: usize) -> Option<Member> {
        let name = self.name(version < 3)?;
        let offset_bytes = match version {
            // As many bytes as the size of the record takes.
            3.. => self.number((record_bytes.max(1).ilog2() / 8 + 1) as usize)?,
            _ => self.number(4)?,
        } as usize;
        // The first version has the shape of a member that is an array here.
        let n_dimensions = if version == 1 { self.number(1)? } else { 0 };
        if version == 1 {
            self.take(27)?;
        }
        let mut element = self.element(depth + 1)?;
        if n_dimensions > 0 {
            element = ElementType::new(Class::Other("arrays".to_owned()), element.stored_bytes(), false);
        }
        Some(Member {
            name,
            offset_bytes,
            element,
        })
    }
}

fn integer(size_bytes: usize, signed: bool, big_endian: bool, bits: Bits) -> ElementType {
    let class = Class::Int { signed };
    let all = size_bytes.saturating_mul(8) as u64;
    if bits.offset == 0 && u64::from(bits.precision) == all && matches!(size_bytes, 1 | 2 | 4 | 8) {
        return ElementType::new(class, size_bytes, big_endian);
    }
    let Some(translation) = Translation::integers(size_bytes, signed, big_endian, bits) else {
        let name = format!(
            "integers of {} bits at bit {} of {size_bytes} bytes",
            bits.precision, bits.offset
        );
        return ElementType::new(Class::Other(name), size_bytes, big_endian);
    };
    ElementType::translated(class, translation)
}

fn float(
    size_bytes: usize,
    big_endian: bool,
    bits: FloatBits,
    is_whole: bool,
    is_plain: bool,
) -> ElementType {
    if is_whole && is_plain && FloatBits::ieee(size_bytes) == Some(bits) {
        return ElementType::new(Class::Float, size_bytes, big_endian);
    }
    let translation = is_plain
        .then(|| Translation::floats(size_bytes, big_endian, bits))
        .flatten();
    let Some(translation) = translation else {
        let name = format!(
            "floats of {size_bytes} bytes with an exponent of {} bits (bias {}) and a mantissa of {} bits, which fit no float64",
            bits.exponent_bits, bits.bias, bits.mantissa_bits
        );
        return ElementType::new(Class::Other(name), size_bytes, big_endian);
    };
    ElementType::translated(Class::Float, translation)
}

/// An enum: booleans where its members are called FALSE and TRUE.
fn enumeration(base: ElementType, size_bytes: usize, names: Vec<String>, values: &[u8]) -> ElementType {
    let is_plain = matches!(base.class, Class::Int { .. }) && base.translation.is_none();
    if !is_plain || base.size_bytes != size_bytes || names.is_empty() {
        return ElementType::new(
            Class::Other("an enum of other than plain integers".to_owned()),
            size_bytes,
            false,
        );
    }
    let value_of = |name: &str| {
        let is_it = |found: &String| found.eq_ignore_ascii_case(name);
        let number = names.iter().position(is_it)?;
        Some(&values[number * size_bytes..(number + 1) * size_bytes])
    };
    if let (2, Some(no), Some(yes)) = (names.len(), value_of("FALSE"), value_of("TRUE")) {
        return match (no, yes) {
            ([0], [1]) => ElementType::new(Class::Bool, 1, false),
            _ => ElementType::translated(Class::Bool, Translation::flags(no, yes)),
        };
    }
    let signed = base.class == Class::Int { signed: true };
    let values = values
        .chunks_exact(size_bytes)
        .map(|value| Bits::integer(value, signed, base.big_endian));
    let mut members: Vec<(i128, String)> = values.zip(names).collect();
    members.sort_by_key(|(value, _)| *value);
    let (values, names) = members.into_iter().unzip();
    let enumeration = Enumeration {
        signed,
        names,
        values,
    };
    ElementType::new(Class::Enum(Arc::new(enumeration)), size_bytes, base.big_endian)
}
