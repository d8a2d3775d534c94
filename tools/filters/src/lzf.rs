//! Undoes LZF, a filter of h5py.

/// Decodes LZF (liblzf's format): a control byte below 32 starts a run of literals, any other a copy of earlier output.
pub(crate) fn decode(input: &[u8], output: &mut Vec<u8>, expected_bytes: usize) -> Result<(), String> {
    let cut = || "an lzf chunk ends early".to_owned();
    let mut rest = input.iter();
    while let Some(&control) = rest.next() {
        let control = usize::from(control);
        if control < 32 {
            let n = control + 1;
            let literals = rest.as_slice().get(..n).ok_or_else(cut)?;
            output.extend_from_slice(literals);
            rest = rest.as_slice()[n..].iter();
        } else {
            let mut n = control >> 5;
            if n == 7 {
                n += usize::from(*rest.next().ok_or_else(cut)?);
            }
            n += 2;
            let distance = ((control & 0x1f) << 8 | usize::from(*rest.next().ok_or_else(cut)?)) + 1;
            let start = output.len().checked_sub(distance).ok_or_else(|| {
                format!(
                    "an lzf chunk refers {distance} bytes back from byte {}",
                    output.len()
                )
            })?;
            if distance >= n {
                output.extend_from_within(start..start + n);
            } else {
                // The copy overlaps what it writes: the last `distance` bytes repeat.
                for position in start..start + n {
                    output.push(output[position]);
                }
            }
        }
        if output.len() > expected_bytes {
            return Err(format!(
                "an lzf chunk decodes to more than its {expected_bytes} bytes"
            ));
        }
    }
    if output.len() != expected_bytes {
        return Err(format!(
            "an lzf chunk decodes to {} bytes, expected {expected_bytes}",
            output.len()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lzf_decodes_literals_and_overlapping_copies_and_refuses_damage() {
        // "abc", then 3 + 2 bytes from 3 back (overlapping), then a long copy of 7 + 1 + 2 bytes from 1 back.
        let stream = [2, b'a', b'b', b'c', 3 << 5, 2, 7 << 5, 1, 0];
        let mut output = Vec::new();
        decode(&stream, &mut output, 18).unwrap();
        assert_eq!(output, b"abcabcabbbbbbbbbbb"[..18].to_vec());
        for cut in 1..stream.len() {
            assert!(
                decode(&stream[..cut], &mut Vec::new(), 18).is_err(),
                "cut at {cut}"
            );
        }
        assert!(
            decode(&[1 << 5, 0], &mut Vec::new(), 3).is_err(),
            "a copy from before the start"
        );
        assert!(
            decode(&stream, &mut Vec::new(), 17).is_err(),
            "more than expected"
        );
    }
}
