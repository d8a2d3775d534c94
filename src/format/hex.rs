//! Checksums and ids as text.

/// The bytes of a store id, written as 32 lower-case hexadecimal digits.
pub(crate) fn parse_id(text: &str) -> Option<[u8; 16]> {
    let mut id = [0; 16];
    if text.len() != 32 {
        return None;
    }
    for (byte, pair) in id.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Some(id)
}

/// A checksum, written as 8 lower-case hexadecimal digits.
pub(crate) fn parse_crc(text: &str) -> Option<u32> {
    match text.len() {
        8 => text
            .bytes()
            .try_fold(0, |crc, byte| Some(crc << 4 | digit(byte)?)),
        _ => None,
    }
}

fn digit(byte: u8) -> Option<u32> {
    match byte {
        b'0'..=b'9' => Some(u32::from(byte - b'0')),
        b'a'..=b'f' => Some(u32::from(byte - b'a' + 10)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_are_in_lower_case() {
        assert_eq!(parse_crc("00c0ffee"), Some(0x00C0_FFEE));
        for text in ["00C0FFEE", "c0ffee", "+0c0ffee", "000c0ffee", "0x0ffeee", "ääää"] {
            assert_eq!(parse_crc(text), None, "{text}");
        }
        let id = parse_id("000102030405060708090a0b0c0d0e0f").unwrap();
        assert_eq!(id, std::array::from_fn(|k| k as u8));
        assert_eq!(parse_id("000102030405060708090A0B0C0D0E0F"), None);
        assert_eq!(parse_id("ääääääääääääääää"), None);
    }
}
