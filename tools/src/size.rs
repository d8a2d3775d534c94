//! Sizes in bytes, as people write them.

/// Reads a size in bytes: `1000`, `500M`, `256MiB`, `1.5 GiB`.
///
/// The units are decimal (`k`, `M`, `G`, `T`: 1,000 bytes and its powers) and binary (`Ki`, `Mi`, `Gi`, `Ti`: 1,024
/// bytes and its powers), with or without a `B`, in either case. Fractions are rounded down to whole bytes.
///
/// # Errors
/// One sentence that says what is wrong with `text`.
///
/// ```
/// use cellring_tools::size::parse_size;
///
/// assert_eq!(parse_size("256MiB"), Ok(256 << 20));
/// assert_eq!(parse_size("1.5g"), Ok(1_500_000_000));
/// ```
pub fn parse_size(text: &str) -> Result<u64, String> {
    let trimmed = text.trim();
    let digits = trimmed
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let unit_bytes = unit_bytes(unit.trim_start()).ok_or_else(|| {
        format!("{text:?} is not a size: give a number of bytes, or a size such as 500M or 256MiB")
    })?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let too_large = || format!("the size {text:?} is beyond 64 bits");
    let not_a_number = || format!("{text:?} is not a size: {number:?} is not a number");
    if whole.is_empty() || number.ends_with('.') || fraction.contains('.') {
        return Err(not_a_number());
    }
    let whole: u128 = whole.parse().map_err(|_| too_large())?;
    // More digits than these are below one byte of the largest unit.
    let fraction = &fraction[..fraction.len().min(18)];
    let part = match fraction {
        "" => 0,
        digits => {
            let numerator: u128 = digits.parse().map_err(|_| not_a_number())?;
            numerator * u128::from(unit_bytes) / 10u128.pow(digits.len() as u32)
        }
    };
    whole
        .checked_mul(unit_bytes.into())
        .and_then(|bytes| u64::try_from(bytes + part).ok())
        .ok_or_else(too_large)
}

/// Bytes that a unit stands for.
fn unit_bytes(unit: &str) -> Option<u64> {
    let unit = unit.to_ascii_lowercase();
    let prefix = unit.strip_suffix('b').unwrap_or(&unit);
    Some(match prefix {
        "" => 1,
        "k" => 1_000,
        "m" => 1_000_000,
        "g" => 1_000_000_000,
        "t" => 1_000_000_000_000,
        "ki" => 1 << 10,
        "mi" => 1 << 20,
        "gi" => 1 << 30,
        "ti" => 1 << 40,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes_as_people_write_them() {
        let sizes = [
            ("0", 0),
            ("4096", 4096),
            ("4096B", 4096),
            ("1k", 1000),
            ("1kB", 1000),
            ("1KiB", 1024),
            ("1ki", 1024),
            ("500M", 500_000_000),
            ("256MiB", 256 << 20),
            ("256mib", 256 << 20),
            (" 2 GiB ", 2 << 30),
            ("1T", 1_000_000_000_000),
            ("1TiB", 1 << 40),
            ("0.5KiB", 512),
            ("1.5G", 1_500_000_000),
            ("1.0000000000000000000000001k", 1000),
            ("18446744073709551615", u64::MAX),
            ("16777215.99999999999TiB", u64::MAX - 10),
        ];
        for (text, bytes) in sizes {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "", " ", "B", "MiB", ".5M", "5.M", "1.2.3", "-1", "+1", "1e9", "0x10", "10 X", "10MM", "1iB", "٣",
        ] {
            let error = parse_size(text).unwrap_err();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
        for text in [
            "18446744073709551616",
            "16777216TiB",
            "999999999999999999999999999999999999999999",
        ] {
            assert!(parse_size(text).unwrap_err().contains("beyond 64 bits"), "{text}");
        }
    }
}
