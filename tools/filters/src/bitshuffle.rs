//! The bitshuffle filter (32008): bits of equal weight lie together, block by block, each block perhaps compressed.

/// Elements of a block are a multiple of this; what is left over at the end is stored as it is.
const ELEMENTS_PER_GROUP: usize = 8;
/// Bytes of a block, where the file does not say how many elements one has.
const DEFAULT_BLOCK_BYTES: usize = 8192;
/// The fewest elements of such a block.
const MIN_BLOCK_ELEMENTS: usize = 128;

/// How the blocks are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockCodec {
    None,
    Lz4,
    Zstd,
}

/// The filter as its client data describe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bitshuffle {
    pub(super) element_bytes: usize,
    /// 0: as large as the filter thinks best.
    pub(super) block_elements: usize,
    pub(super) codec: BlockCodec,
}

impl Bitshuffle {
    /// Client data: version (2 words), bytes of an element, elements of a block, compression of the blocks.
    pub(super) fn from_client_data(client_data: &[u32], element_bytes: usize) -> Option<Self> {
        let word = |at: usize| client_data.get(at).map_or(0, |&word| word as usize);
        Some(Self {
            element_bytes: if word(2) == 0 { element_bytes } else { word(2) },
            block_elements: word(3),
            codec: match word(4) {
                0 => BlockCodec::None,
                2 => BlockCodec::Lz4,
                3 => BlockCodec::Zstd,
                _ => return None,
            },
        })
    }

    /// Decodes `stored` to exactly `plain`.
    pub(super) fn decode(&self, stored: &[u8], plain: &mut [u8]) -> Result<(), String> {
        let width = self.element_bytes.max(1);
        let mut block_elements = self.block_elements;
        let mut rest = stored;
        if self.codec != BlockCodec::None {
            let Some((header, blocks)) = stored.split_first_chunk::<12>() else {
                return Err("a bitshuffle chunk is shorter than its header".to_owned());
            };
            let (total, block) = header.split_at(8);
            let total_bytes = total.iter().fold(0u64, |sum, &byte| sum << 8 | u64::from(byte));
            if total_bytes != plain.len() as u64 {
                return Err(format!(
                    "a bitshuffle chunk decodes to {total_bytes} bytes, expected {}",
                    plain.len()
                ));
            }
            block_elements = block.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte)) / width;
            rest = blocks;
        }
        if block_elements == 0 {
            let fitting = DEFAULT_BLOCK_BYTES / width / ELEMENTS_PER_GROUP * ELEMENTS_PER_GROUP;
            block_elements = fitting.max(MIN_BLOCK_ELEMENTS);
        }
        if !block_elements.is_multiple_of(ELEMENTS_PER_GROUP) {
            return Err(format!(
                "a bitshuffle chunk has blocks of {block_elements} elements, expected a multiple of 8"
            ));
        }
        let n_shuffled = plain.len() / width / ELEMENTS_PER_GROUP * ELEMENTS_PER_GROUP * width;
        let (blocks, tail) = plain.split_at_mut(n_shuffled);
        let mut shuffled = Vec::new();
        for block in blocks.chunks_mut(block_elements * width) {
            let cut = || "a bitshuffle chunk ends early".to_owned();
            if self.codec == BlockCodec::None {
                let (now, after) = rest.split_at_checked(block.len()).ok_or_else(cut)?;
                untranspose(now, block, width);
                rest = after;
                continue;
            }
            let (length, after) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
            let (now, after) = after
                .split_at_checked(u32::from_be_bytes(*length) as usize)
                .ok_or_else(cut)?;
            rest = after;
            shuffled.resize(block.len(), 0);
            let found = match self.codec {
                BlockCodec::Zstd => {
                    zstd::bulk::decompress_to_buffer(now, &mut shuffled).map_err(|error| error.to_string())
                }
                _ => lz4_flex::block::decompress_into(now, &mut shuffled).map_err(|error| error.to_string()),
            };
            match found {
                Ok(n) if n == block.len() => untranspose(&shuffled, block, width),
                Ok(n) => {
                    return Err(format!(
                        "a bitshuffle block decodes to {n} bytes, expected {}",
                        block.len()
                    ));
                }
                Err(error) => return Err(format!("a bitshuffle block does not decode ({error})")),
            }
        }
        if rest.len() != tail.len() {
            return Err(format!(
                "{} bytes follow the bitshuffle blocks, expected {}",
                rest.len(),
                tail.len()
            ));
        }
        tail.copy_from_slice(rest);
        Ok(())
    }
}

/// Bit k of byte b of element i lies at bit i % 8 of byte i / 8 of plane 8 b + k.
pub(super) fn untranspose(planes: &[u8], block: &mut [u8], width: usize) {
    let n_groups = block.len() / width / ELEMENTS_PER_GROUP;
    for byte in 0..width {
        for group in 0..n_groups {
            let mut elements = [0u8; ELEMENTS_PER_GROUP];
            for bit in 0..8 {
                let plane = planes[(8 * byte + bit) * n_groups + group];
                for (i, element) in elements.iter_mut().enumerate() {
                    *element |= (plane >> i & 1) << bit;
                }
            }
            for (i, element) in elements.into_iter().enumerate() {
                block[(group * ELEMENTS_PER_GROUP + i) * width + byte] = element;
            }
        }
    }
}
