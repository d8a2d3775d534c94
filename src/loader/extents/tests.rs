use proptest::prelude::*;

use super::*;
use crate::format::Encoding;
use crate::loader::testing::store;

const N_OBS: u32 = 300;

/// The stores, one after the other.
fn sources<'a>(stores: &[&'a crate::Store], mut first_file: u32) -> Vec<Source<'a>> {
    let mut first_obs = 0;
    let mut sources = vec![];
    for store in stores {
        sources.push(Source {
            content: Content::Blocks(store.index()),
            n_obs: store.n_obs(),
            first_obs,
            first_file,
        });
        first_obs += store.n_obs();
        first_file += store.shard_paths().len() as u32;
    }
    sources
}

/// Does what an engine does, from the files' bytes.
fn fill(reads: &FetchReads, files: &[Vec<u8>], slot_bytes: u32) -> Vec<Vec<u8>> {
    let mut slots = vec![vec![0xEE; slot_bytes as usize]; reads.n_slots];
    for read in &reads.reads {
        let (from, len, at) = (
            read.offset_bytes as usize,
            read.len_bytes as usize,
            read.slot_offset_bytes as usize,
        );
        let file = &files[read.file as usize];
        let there = len.min(file.len() - from);
        slots[read.slot as usize][at..at + there].copy_from_slice(&file[from..from + there]);
    }
    slots
}

proptest! {
    #[test]
    fn every_obs_is_where_the_plan_says(
        obs in prop::collection::hash_set(0..3 * u64::from(N_OBS), 0..300).prop_map(|set| set.into_iter().collect::<Vec<_>>()),
        alignment in prop::sample::select(vec![1u32, 512, 4096]),
        gap_bytes in prop::sample::select(vec![0u64, 100, 4096]),
        read_bytes in prop::sample::select(vec![1u64, 4096, 1 << 20]),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let [packed, raw] = [Encoding::Packed, Encoding::Raw].map(|encoding| store(dir.path(), encoding, N_OBS));
        for stores in [vec![&packed], vec![&raw], vec![&packed, &raw, &packed], vec![&raw, &packed, &packed]] {
            let n_obs = stores.len() as u64 * u64::from(N_OBS);
            let obs: Vec<u64> = obs.iter().copied().filter(|&obs| obs < n_obs).collect();
            // Another matrix of the same obs, stored in another way.
            let further: Vec<&crate::Store> = stores.iter().rev().copied().collect();
            let paths = stores.iter().chain(&further).flat_map(|store| store.shard_paths());
            let files: Vec<Vec<u8>> = paths.map(|path| std::fs::read(path).unwrap()).collect();
            prop_assert!(files.len() > 2 * stores.len());
            let shape = ReadShape { alignment, slot_bytes: 16_384, gap_bytes, read_bytes };
            let matrices = [sources(&stores, 0), sources(&further, files.len() as u32 / 2)];
            let n_matrices = 1 + obs.len() % 2;
            let reads = plan_reads(&matrices[..n_matrices], &obs, &shape).unwrap();
            for read in &reads.reads {
                let all = read.offset_bytes | u64::from(read.len_bytes) | u64::from(read.slot_offset_bytes);
                prop_assert_eq!(all % u64::from(alignment), 0);
                prop_assert!(read.slot_offset_bytes + read.len_bytes <= shape.slot_bytes);
            }
            let placed = |r: &Read| (r.slot, r.slot_offset_bytes);
            prop_assert!(reads.reads.windows(2).all(|w| placed(&w[0]) < placed(&w[1])), "ascending, so without overlap");
            let slots = fill(&reads, &files, shape.slot_bytes);
            prop_assert_eq!(reads.placed.len(), n_matrices);
            let stores = [&stores, &further];
            for (matrix, placed) in reads.placed.iter().enumerate() {
            for (&obs, found) in obs.iter().zip(placed) {
                let number = (obs / u64::from(N_OBS)) as usize;
                prop_assert_eq!(found.source as usize, number);
                let location = stores[matrix][number].index().locate(obs % u64::from(N_OBS)).unwrap();
                prop_assert_eq!((found.nnz, found.crc), (location.nnz, location.crc));
                for (place, part) in found.parts.iter().zip(location.parts) {
                    prop_assert_eq!(place.len_bytes, part.len_bytes);
                    if part.len_bytes > 0 {
                        let (from, len) = (part.offset_bytes as usize, part.len_bytes as usize);
                        let file = matrices[matrix][number].first_file + location.shard;
                        let expected = &files[file as usize][from..from + len];
                        let at = place.offset_bytes as usize;
                        prop_assert_eq!(&slots[place.slot as usize][at..at + len], expected);
                    }
                }
            }
            }
        }
    }
}

#[test]
fn neighbours_are_read_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), Encoding::Packed, N_OBS);
    let shape = ReadShape {
        alignment: 1,
        slot_bytes: 1 << 20,
        gap_bytes: 0,
        read_bytes: 1 << 20,
    };
    let n_reads = |obs: &[u64], shape: &ReadShape| {
        plan_reads(&[sources(&[&store], 0)], obs, shape)
            .unwrap()
            .reads
            .len()
    };
    let block: Vec<u64> = (0..32).rev().collect();
    assert_eq!(n_reads(&block, &shape), 1, "a whole block, asked for backwards");
    assert_eq!(n_reads(&[1, 9], &shape), 2, "with others between them");
    assert_eq!(
        n_reads(
            &[1, 9],
            &ReadShape {
                gap_bytes: 4096,
                ..shape
            }
        ),
        1,
        "which may be read as well"
    );
    assert_eq!(
        n_reads(
            &block,
            &ReadShape {
                read_bytes: 1,
                ..shape
            }
        ),
        25,
        "obs without values need no read"
    );
    assert_eq!(n_reads(&[5, 10], &shape), 0);
}

/// A damaged index may name blocks in any order: what lies before a read is not a part of it.
#[test]
fn obs_that_lie_before_the_read_are_read_apart() {
    let shape = ReadShape {
        alignment: 512,
        slot_bytes: 1 << 20,
        gap_bytes: 1 << 20,
        read_bytes: 1 << 20,
    };
    let piece = |offset_bytes: u64| ObsRead {
        file: 0,
        part: ByteRange {
            offset_bytes,
            len_bytes: 100,
        },
        position: 0,
        matrix: 0,
        which: 0,
    };
    assert_eq!(first_read(&[piece(8192), piece(4096)], &shape), (1, 8192, 8704));
    assert_eq!(first_read(&[piece(8192), piece(8292)], &shape), (2, 8192, 8704));
}

/// Where reads need no alignment, the parts of a raw obs still lie at the alignment in memory that they have in the file.
#[test]
fn raw_values_stay_aligned() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), Encoding::Raw, N_OBS);
    let shape = ReadShape {
        alignment: 1,
        slot_bytes: 1 << 20,
        gap_bytes: 4096,
        read_bytes: 1 << 20,
    };
    let obs: Vec<u64> = (0..u64::from(N_OBS)).step_by(3).collect();
    let reads = plan_reads(&[sources(&[&store], 0)], &obs, &shape).unwrap();
    for (&obs, placed) in obs.iter().zip(&reads.placed[0]) {
        let location = store.index().locate(obs).unwrap();
        for (place, part) in placed.parts.iter().zip(location.parts) {
            if part.len_bytes > 0 {
                assert_eq!(
                    u64::from(place.offset_bytes) % 64,
                    part.offset_bytes % 64,
                    "obs {obs}"
                );
            }
        }
    }
}
