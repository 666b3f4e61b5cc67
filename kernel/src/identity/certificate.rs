//! Certificates: the part of a key statement that names the working key.

use super::{InvalidStatement, KeyStatement, PublicKey, Signature};
use crate::codec::encode_certificate_body;
use crate::ids::CortexId;

/// What the root key signs begins with this, so that its signature is of nothing else.
const CONTEXT: &[u8] = b"antiphon key statement 1";

/// What a root key says about a working key, without the ends of earlier epochs: of those it has the hash. So it is small, and the
/// root key's signature on the statement is also the one on its certificate.
///
/// Nothing is known of a certificate that was not verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Certificate {
    pub(crate) root: PublicKey,
    pub(crate) number: u64,
    pub(crate) working: PublicKey,
    /// The SHA-256 of the statement's ends.
    pub(crate) ends: [u8; 32],
    pub(crate) signature: Signature,
}

impl Certificate {
    /// Verifies the rules and the root key's signature.
    pub(crate) fn verify(&self) -> Result<(), InvalidStatement> {
        self.check_rules()?;
        match self.root.verifies(&self.signed_bytes(), &self.signature) {
            true => Ok(()),
            false => Err(InvalidStatement::Signature),
        }
    }

    pub(super) fn check_rules(&self) -> Result<(), InvalidStatement> {
        let rules = [
            (self.number > 0, "its number is 0"),
            (self.root.is_sound(), "its root key is weak or no key"),
            (self.working.is_sound(), "its working key is weak or no key"),
        ];
        rules.into_iter().find(|(kept, _)| !kept).map_or(Ok(()), |(_, rule)| Err(InvalidStatement::Rule(rule)))
    }

    /// The cortex that the root key names.
    pub(crate) fn cortex(&self) -> CortexId {
        CortexId::of_root(&self.root)
    }

    /// What the root key signs.
    pub(super) fn signed_bytes(&self) -> Vec<u8> {
        [CONTEXT, &encode_certificate_body(self)].concat()
    }
}

impl KeyStatement {
    /// Its certificate.
    pub(crate) fn certificate(&self) -> Certificate {
        let &Self { root, number, working, signature, .. } = self;
        Certificate { root, number, working, ends: crate::codec::hash_ends(&self.ends), signature }
    }
}
