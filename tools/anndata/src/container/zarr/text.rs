//! The codec `vlen-utf8` of zarr: the number of strings, then each after its length, all as 32-bit numbers.

/// The strings of a chunk one after the other, and where each begins; the last offset is the end.
pub(super) fn decode(stored: &[u8], n_strings: u64) -> Result<(Vec<u8>, Vec<usize>), String> {
    let cut = || "a chunk of strings ends early".to_owned();
    let (count, mut rest) = stored.split_first_chunk::<4>().ok_or_else(cut)?;
    let found = u64::from(u32::from_le_bytes(*count));
    if found != n_strings {
        return Err(format!("a chunk holds {found} strings, expected {n_strings}"));
    }
    // Each has at least its length.
    if ((rest.len() / 4) as u64) < n_strings {
        return Err(cut());
    }
    let mut bytes = Vec::with_capacity(rest.len() - 4 * n_strings as usize);
    let mut offsets = Vec::with_capacity(n_strings as usize + 1);
    offsets.push(0);
    for number in 0..n_strings {
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let length = u32::from_le_bytes(*length);
        let string = after.split_at_checked(length as usize);
        let (string, after) = string.ok_or_else(|| {
            format!(
                "string {number} of a chunk claims {length} bytes, but {} are left of it",
                after.len()
            )
        })?;
        bytes.extend_from_slice(string);
        offsets.push(bytes.len());
        rest = after;
    }
    match rest.is_empty() {
        true => Ok((bytes, offsets)),
        false => Err(format!("{} bytes follow the strings of a chunk", rest.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_decoded_and_lies_refused() {
        let chunk = |count: u32, parts: &[(u32, &[u8])]| {
            let mut chunk = count.to_le_bytes().to_vec();
            for (length, string) in parts {
                chunk.extend(length.to_le_bytes());
                chunk.extend(*string);
            }
            chunk
        };
        let sound = chunk(3, &[(2, b"ab"), (0, b""), (1, b"c")]);
        assert_eq!(decode(&sound, 3).unwrap(), (b"abc".to_vec(), vec![0, 2, 2, 3]));
        assert_eq!(decode(&chunk(0, &[]), 0).unwrap(), (vec![], vec![0]));
        for end in 0..sound.len() {
            assert!(decode(&sound[..end], 3).is_err(), "cut at {end}");
        }
        for (stored, n, part) in [
            (sound.clone(), 4, "3 strings, expected 4"),
            (chunk(3, &[]), 3, "ends early"),
            (chunk(u32::MAX, &[]), u32::MAX.into(), "ends early"),
            (
                chunk(1, &[(u32::MAX, b"ab")]),
                1,
                "claims 4294967295 bytes, but 2",
            ),
            (chunk(1, &[(1, b"ab")]), 1, "1 bytes follow"),
            (chunk(0, &[]), u64::MAX, "0 strings, expected"),
        ] {
            let message = decode(&stored, n).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }
}
