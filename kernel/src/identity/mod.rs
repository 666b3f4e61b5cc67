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
//! | `certificate` | the part of a statement that names the working key |
//! | `inception` | [`Inception`]: how an origin begins |
//! | `seal` | what the owner of an origin signs at the end of each group |
//! | `signer` | [`Signer`]: what signs for a cortex |
//! | `keys` | [`Keys`]: a signer that has the private keys |
//! | `memo` | signatures that were verified before, for the simulator |
//! | `text` | the text of a key file |
//! | `files` | [`KeyFiles`]: the key files in a directory |

mod certificate;
mod files;
mod inception;
mod keys;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod memo;
mod public;
mod seal;
mod secret;
mod signer;
mod statement;
mod text;

pub(crate) use certificate::Certificate;
pub use files::{KeyError, KeyFiles};
pub use inception::{ChainStart, Inception, InvalidInception};
pub(crate) use inception::{MAX_INCEPTION_BYTES, start_digest, start_of};
pub use keys::Keys;
pub use public::{PublicKey, Signature};
pub use seal::ClockHash;
pub(crate) use seal::{Sealed, clock_hash};
pub use secret::SecretKey;
pub use signer::{SharedSigner, SignError, Signer};
pub use statement::{EndOfEpoch, InvalidStatement, KeyStatement, MAX_ENDS, MAX_STATEMENT_BYTES};
pub use text::InvalidKeyText;

#[cfg(test)]
mod tests;
