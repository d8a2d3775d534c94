//! Where arrays go on the device, and in which copies. Pure.

use std::ops::Range;

/// Arrays begin at a multiple of this many bytes on the device: what `cuMemAlloc` aligns to, and enough for any vector load.
pub(super) const ALIGN_BYTES: usize = 256;

/// A copy from host memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// From the place of a piece itself: array, piece of it, bytes of that, and where they go.
    Direct {
        array: usize,
        piece: usize,
        bytes: Range<usize>,
        to: usize,
    },
    /// From the gathered bytes, which begin at 0 on the device: so many.
    Gathered { len_bytes: usize },
}

impl Move {
    pub(super) fn len_bytes(&self) -> usize {
        match self {
            Move::Direct { bytes, .. } => bytes.len(),
            Move::Gathered { len_bytes } => *len_bytes,
        }
    }
}

/// Some bytes of a piece that are gathered on the host first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gathering {
    pub(super) array: usize,
    pub(super) piece: usize,
    pub(super) bytes: Range<usize>,
    /// Where they go among the gathered bytes, and so on the device.
    pub(super) to: usize,
}

/// How some arrays are copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CopyPlan {
    /// Where each array begins on the device.
    pub(super) places: Vec<usize>,
    pub(super) gathers: Vec<Gathering>,
    pub(super) moves: Vec<Move>,
    /// Bytes of all of it on the device.
    pub(super) total_bytes: usize,
}

/// Plans copies of arrays, each given by the lengths of its pieces, which follow each other on the device.
///
/// Arrays of at least `unit_bytes` are copied from where their pieces lie. Shorter ones are gathered; where they are no unit
/// together, the begin of a long array is gathered with them, as much as makes them one. So no copy is shorter than a unit but of
/// a piece that is, or where there is less than a unit in all.
pub(super) fn plan_copies(arrays: &[Vec<usize>], unit_bytes: usize) -> CopyPlan {
    let lens: Vec<usize> = arrays.iter().map(|pieces| pieces.iter().sum()).collect();
    let mut layout = CopyPlan {
        places: vec![0; arrays.len()],
        ..CopyPlan::default()
    };
    let mut at = 0;
    let mut gathered_bytes = 0;
    for (array, &len) in lens.iter().enumerate().filter(|(_, len)| **len < unit_bytes) {
        layout.put(array, &arrays[array], at, len);
        if len > 0 {
            gathered_bytes = at + len;
        }
        at = (at + len).next_multiple_of(ALIGN_BYTES);
    }
    layout.total_bytes = gathered_bytes;
    let long = || (0..lens.len()).filter(|&array| lens[array] >= unit_bytes);
    // The longest one comes first, to lend its begin.
    let lender = long().max_by_key(|&array| lens[array]);
    for array in lender
        .into_iter()
        .chain(long().filter(|&array| Some(array) != lender))
    {
        let mut lent = 0;
        if (1..unit_bytes).contains(&gathered_bytes) {
            let wanted = unit_bytes.saturating_sub(at).max(ALIGN_BYTES);
            lent = lend(&arrays[array], wanted, unit_bytes);
            gathered_bytes = at + lent;
        }
        layout.put(array, &arrays[array], at, lent);
        layout.total_bytes = at + lens[array];
        at = layout.total_bytes.next_multiple_of(ALIGN_BYTES);
    }
    if gathered_bytes > 0 {
        let len_bytes = gathered_bytes;
        layout.moves.insert(0, Move::Gathered { len_bytes });
    }
    layout
}

/// How many bytes at the begin of an array are gathered where `wanted` are needed: no short piece is left of what they end in.
fn lend(pieces: &[usize], wanted: usize, unit_bytes: usize) -> usize {
    let mut end = 0;
    for len in pieces {
        end += len;
        if end >= wanted {
            return if end - wanted < unit_bytes { end } else { wanted };
        }
    }
    end
}

impl CopyPlan {
    /// Puts an array in its place: its first `gathered` bytes by way of the gathered ones, the others from where they lie.
    fn put(&mut self, array: usize, pieces: &[usize], at: usize, gathered: usize) {
        self.places[array] = at;
        let mut begin = 0;
        for (piece, &len) in pieces.iter().enumerate() {
            let to = at + begin;
            let cut = gathered.saturating_sub(begin).min(len);
            if cut > 0 {
                let bytes = 0..cut;
                self.gathers.push(Gathering {
                    array,
                    piece,
                    bytes,
                    to,
                });
            }
            if cut < len {
                self.moves.push(Move::Direct {
                    array,
                    piece,
                    bytes: cut..len,
                    to: to + cut,
                });
            }
            begin += len;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lens() -> impl proptest::strategy::Strategy<Value = Vec<Vec<usize>>> {
        let piece = prop_oneof![0..40usize, 500..2000usize, 3000..9000usize];
        let array = prop_oneof![
            piece.prop_map(|len| vec![len]),
            prop::collection::vec(4000..6000usize, 0..4)
        ];
        prop::collection::vec(array, 0..9)
    }

    proptest! {
        #[test]
        fn every_byte_is_copied_once_to_its_place_in_copies_of_a_unit_at_least(
            arrays in lens(),
            unit_bytes in 1..4000usize,
        ) {
            let layout = plan_copies(&arrays, unit_bytes);
            let mut device = vec![None; layout.total_bytes];
            let all_bytes: usize = arrays.iter().flatten().sum();
            for each in &layout.moves {
                prop_assert!(each.len_bytes() >= unit_bytes.min(all_bytes), "{layout:?}");
                let (from, to): (Vec<Option<_>>, usize) = match each {
                    Move::Gathered { len_bytes } => {
                        let mut gathered = vec![None; *len_bytes];
                        for Gathering { array, piece, bytes, to } in &layout.gathers {
                            for (k, byte) in bytes.clone().enumerate() {
                                prop_assert!(gathered[to + k].replace((*array, *piece, byte)).is_none());
                            }
                        }
                        (gathered, 0)
                    }
                    Move::Direct { array, piece, bytes, to } => {
                        (bytes.clone().map(|byte| Some((*array, *piece, byte))).collect(), *to)
                    }
                };
                for (k, byte) in from.into_iter().enumerate() {
                    prop_assert!(device[to + k].is_none());
                    device[to + k] = byte;
                }
            }
            for (array, pieces) in arrays.iter().enumerate() {
                prop_assert_eq!(layout.places[array] % ALIGN_BYTES, 0);
                let mut at = layout.places[array];
                for (piece, &len) in pieces.iter().enumerate() {
                    for byte in 0..len {
                        prop_assert_eq!(device[at + byte], Some((array, piece, byte)));
                    }
                    at += len;
                }
            }
        }
    }

    #[test]
    fn long_arrays_are_copied_from_where_they_lie() {
        let layout = plan_copies(&[vec![1000], vec![5000], vec![1000, 1000]], 1000);
        assert!(layout.gathers.is_empty());
        assert_eq!(layout.moves.len(), 4);
        // 260 bytes and the first 512 of the longest array are a copy of 1024.
        let layout = plan_copies(&[vec![260], vec![4096], vec![5120]], 1024);
        assert_eq!(layout.places, [0, 5632, 512]);
        let gathered = |array, bytes, to| Gathering {
            array,
            piece: 0,
            bytes,
            to,
        };
        assert_eq!(layout.gathers, [gathered(0, 0..260, 0), gathered(2, 0..512, 512)]);
        let direct = |array, bytes, to| Move::Direct {
            array,
            piece: 0,
            bytes,
            to,
        };
        let gathered = Move::Gathered { len_bytes: 1024 };
        assert_eq!(
            layout.moves,
            [gathered, direct(2, 512..5120, 1024), direct(1, 0..4096, 5632)]
        );
    }
}
