//! Key statements in bytes.

use super::capped::Capped;
use super::encoding::{Encode as _, decode_prefix};
use crate::digest::part_hash;
use crate::identity::{Certificate, EndOfEpoch, InvalidStatement, KeyStatement, MAX_ENDS, PublicKey, Signature};
use crate::ids::Epoch;

const VERSION: u8 = 1;

/// Epoch, counter, digest.
type WireEnd = (u64, u64, [u8; 32]);
/// Root key, number, working key, ends, signature.
type WireStatement = ([u8; 32], u64, [u8; 32], Capped<WireEnd, MAX_ENDS>, [u8; 64]);

fn wire_ends(ends: &[EndOfEpoch]) -> Vec<WireEnd> {
    ends.iter().map(|end| (end.epoch.get(), end.counter, end.digest)).collect()
}

/// The hash of a statement's ends, which its certificate has in their place.
pub(crate) fn hash_ends(ends: &[EndOfEpoch]) -> [u8; 32] {
    let mut bytes = Vec::new();
    wire_ends(ends).encode(&mut bytes);
    part_hash(&bytes)
}

/// Everything of a certificate before the signature: what the root key signs, after its context.
pub(crate) fn encode_certificate_body(certificate: &Certificate) -> Vec<u8> {
    let &Certificate { root, number, working, ends, .. } = certificate;
    let mut bytes = vec![VERSION];
    (root.to_bytes(), number, working.to_bytes(), ends).encode(&mut bytes);
    bytes
}

/// All of a statement.
pub(crate) fn encode_statement(statement: &KeyStatement) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    let ends = wire_ends(&statement.ends);
    (statement.root.to_bytes(), statement.number, statement.working.to_bytes(), ends).encode(&mut bytes);
    bytes.extend_from_slice(&statement.signature.to_bytes());
    bytes
}

/// Decodes a statement, and does not verify it.
pub(crate) fn decode_statement(bytes: &[u8]) -> Result<KeyStatement, InvalidStatement> {
    let malformed = |reason: String| InvalidStatement::Malformed(reason);
    let body = match bytes.split_first() {
        Some((&VERSION, body)) => body,
        Some((&version, _)) => return Err(InvalidStatement::Version(version)),
        None => return Err(malformed("it is empty".to_owned())),
    };
    let (wire, rest) = decode_prefix::<WireStatement>(body).map_err(|error| malformed(error.to_string()))?;
    if !rest.is_empty() {
        return Err(malformed(format!("{} bytes follow it", rest.len())));
    }
    let (root, number, working, ends, signature) = wire;
    let end = |(epoch, counter, digest)| EndOfEpoch { epoch: Epoch::new(epoch), counter, digest };
    Ok(KeyStatement {
        root: PublicKey::from_bytes(root),
        number,
        working: PublicKey::from_bytes(working),
        ends: ends.0.into_iter().map(end).collect(),
        signature: Signature::from_bytes(signature),
    })
}
