//! What tells collections from each other.

use std::sync::Arc;

use crate::Store;

/// A number for these stores in this order, for the fingerprint of a sampler.
pub(super) fn identity(stores: &[Arc<Store>]) -> u64 {
    let each = stores
        .iter()
        .map(|store| identity_of(&store.manifest().store_id()));
    // Of one store that of the store; the same store twice is not the same as none.
    each.reduce(|all, next| all.rotate_left(23).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ next)
        .unwrap_or(0)
}

fn identity_of(store_id: &[u8; 16]) -> u64 {
    let (low, high) = store_id.split_at(8);
    let word = |bytes: &[u8]| {
        bytes
            .iter()
            .rev()
            .fold(0, |word, &byte| word << 8 | u64::from(byte))
    };
    word(low) ^ word(high).rotate_left(32)
}
