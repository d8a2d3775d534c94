//! The compressor of LZF, the filter that comes with h5py.
//!
//! A control byte below 32 announces that many literal bytes and one more. Another one is a copy: its upper three bits
//! are the length less 2 (7: the next byte is added), its lower five and the following byte the distance less 1.

const MAX_LITERALS: usize = 32;
const MAX_DISTANCE: usize = 1 << 13;
const MIN_COPY: usize = 3;
const MAX_COPY: usize = 264;
const HASH_BITS: u32 = 14;

/// Where three bytes were seen last, by their hash; kept between chunks for its memory.
pub(super) struct Compressor {
    seen: Vec<u32>,
}

impl Default for Compressor {
    fn default() -> Self {
        Self {
            seen: vec![u32::MAX; 1 << HASH_BITS],
        }
    }
}

impl Compressor {
    /// The compressed bytes, or `None` if they are not fewer.
    pub(super) fn compress(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.seen.fill(u32::MAX);
        let mut out = Vec::with_capacity(bytes.len());
        let (mut at, mut literals) = (0, 0);
        while at + MIN_COPY <= bytes.len() {
            let slot = hash(&bytes[at..at + MIN_COPY]);
            let before = std::mem::replace(&mut self.seen[slot], at as u32) as usize;
            let is_match = before < at
                && at - before <= MAX_DISTANCE
                && bytes[before..before + MIN_COPY] == bytes[at..at + MIN_COPY];
            if !is_match {
                at += 1;
                continue;
            }
            push_literals(&mut out, &bytes[literals..at]);
            let limit = MAX_COPY.min(bytes.len() - at);
            let len = (MIN_COPY..limit)
                .find(|&i| bytes[before + i] != bytes[at + i])
                .unwrap_or(limit);
            push_copy(&mut out, at - before - 1, len - 2);
            if out.len() >= bytes.len() {
                return None;
            }
            at += len;
            literals = at;
        }
        push_literals(&mut out, &bytes[literals..]);
        (out.len() < bytes.len()).then_some(out)
    }
}

fn hash(three: &[u8]) -> usize {
    let word = u32::from(three[0]) | u32::from(three[1]) << 8 | u32::from(three[2]) << 16;
    (word.wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS)) as usize
}

fn push_literals(out: &mut Vec<u8>, literals: &[u8]) {
    for run in literals.chunks(MAX_LITERALS) {
        out.push(run.len() as u8 - 1);
        out.extend_from_slice(run);
    }
}

/// `distance` and `len` as they are stored: less 1, and less 2.
fn push_copy(out: &mut Vec<u8>, distance: usize, len: usize) {
    let high = (distance >> 8) as u8;
    if len < 7 {
        out.push((len as u8) << 5 | high);
    } else {
        out.push(7 << 5 | high);
        out.push((len - 7) as u8);
    }
    out.push(distance as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A decoder written from the description above.
    fn decompress(bytes: &[u8]) -> Vec<u8> {
        let (mut out, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            let control = usize::from(bytes[at]);
            at += 1;
            if control < 32 {
                out.extend_from_slice(&bytes[at..=at + control]);
                at += control + 1;
                continue;
            }
            let mut len = control >> 5;
            if len == 7 {
                len += usize::from(bytes[at]);
                at += 1;
            }
            let distance = ((control & 31) << 8 | usize::from(bytes[at])) + 1;
            at += 1;
            for _ in 0..len + 2 {
                out.push(out[out.len() - distance]);
            }
        }
        out
    }

    #[test]
    fn what_is_compressed_comes_back() {
        let mut compressor = Compressor::default();
        let mut state = 1u32;
        let mut random = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let noise: Vec<u8> = (0..40_000).map(|_| random()).collect();
        assert!(compressor.compress(&noise).is_none());
        assert!(compressor.compress(&[]).is_none() && compressor.compress(b"abc").is_none());
        // Runs longer than one copy, distances beyond the window, ends within a copy and within literals.
        let far = [&noise[..9_000], &noise[..9_000], &[7; 1000]].concat();
        let counts: Vec<u8> = (0..50_000)
            .flat_map(|i| [(i % 7) as u8, 0, 0, u8::from(i % 50 == 0)])
            .collect();
        for bytes in [
            &far[..],
            &counts,
            &[0; 264],
            &[0; 265],
            &[0; 266],
            &[0; 267],
            &[1; 5000],
        ] {
            let compressed = compressor.compress(bytes).unwrap();
            assert!(compressed.len() < bytes.len());
            assert!(decompress(&compressed) == bytes, "{} bytes", bytes.len());
        }
    }
}
