//! Signatures that were verified before: for the simulator, in which every node and every check verifies the same few.
//!
//! Each signature is really verified once on a thread. Only a thread that asked for it remembers any.

use std::cell::RefCell;
use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use super::{PublicKey, Signature};

/// What is remembered at most. A run has fewer signatures.
const MOST: usize = 1 << 16;

thread_local! {
    static VERIFIED: RefCell<Option<HashMap<[u8; 32], bool>>> = const { RefCell::new(None) };
}

/// From now on this thread remembers what it verified.
pub(crate) fn remember() {
    VERIFIED.with_borrow_mut(|verified| verified.get_or_insert_default().clear());
}

/// Verifies a signature, or remembers what came of it.
pub(super) fn verified(key: &PublicKey, message: &[u8], signature: &Signature, verify: impl FnOnce() -> bool) -> bool {
    VERIFIED.with_borrow_mut(|verified| {
        let Some(verified) = verified else { return verify() };
        let parts = Sha256::new().chain_update(key.to_bytes()).chain_update(signature.to_bytes());
        if verified.len() >= MOST {
            verified.clear();
        }
        *verified.entry(parts.chain_update(message).finalize().into()).or_insert_with(verify)
    })
}
