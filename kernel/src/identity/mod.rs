//! Who a cortex is: its keys, the statement about them, and where they are kept.
//!
//! A *root key* names the cortex: the id is made of it, so an id proves its key. A *working key*, certified by the root key in a
//! *key statement*, signs in daily use. The root key may be kept offline.
//!
//! | module | holds |
//! |---|---|
//! | `public` | [`PublicKey`], [`Signature`] |
//! | `secret` | [`SecretKey`]: a private key that is wiped from memory |
//! | `statement` | [`KeyStatement`]: which working key a root key certifies |
//! | `signer` | [`Signer`]: what signs for a cortex |
//! | `keys` | [`Keys`]: a signer that has the private keys |
//! | `text` | the text of a key file |
//! | `files` | [`KeyFiles`]: the key files in a directory |

mod files;
mod keys;
mod public;
mod secret;
mod signer;
mod statement;
mod text;

pub use files::{KeyError, KeyFiles};
pub use keys::Keys;
pub use public::{PublicKey, Signature};
pub use secret::SecretKey;
pub use signer::{SignError, Signer};
pub use statement::{EndOfEpoch, InvalidStatement, KeyStatement, MAX_ENDS, MAX_STATEMENT_BYTES};
pub use text::InvalidKeyText;

#[cfg(test)]
mod tests;
