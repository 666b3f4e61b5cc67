//! Inceptions in bytes.

use super::encoding::{Encode as _, decode_prefix};
use crate::identity::{
    Certificate, EndOfEpoch, Inception, InvalidInception, MAX_INCEPTION_BYTES, PublicKey, Signature,
};
use crate::ids::{Epoch, LogId};

const VERSION: u8 = 2;

/// Root key, number, working key, hash of the ends, signature.
type WireCertificate = ([u8; 32], u64, [u8; 32], [u8; 32], [u8; 64]);
/// Epoch, counter, digest.
type WireEnd = (u64, u64, [u8; 32]);

pub(crate) fn encode_inception(inception: &Inception) -> Vec<u8> {
    let &Inception { log, epoch, certificate, previous, reason } = inception;
    let Certificate { root, number, working, ends, signature } = certificate;
    let certificate: WireCertificate = (root.to_bytes(), number, working.to_bytes(), ends, signature.to_bytes());
    let previous: Option<WireEnd> = previous.map(|end| (end.epoch.get(), end.counter, end.digest));
    let mut bytes = vec![VERSION];
    (log.to_bytes(), epoch.get(), certificate, previous, reason).encode(&mut bytes);
    bytes
}

/// Decodes an inception, and verifies nothing. What follows the fields is passed over: a later build may add to them.
pub(crate) fn decode_inception(bytes: &[u8]) -> Result<Inception, InvalidInception> {
    type Wire = ([u8; 16], u64, WireCertificate, Option<WireEnd>, u8);
    let malformed = |reason: String| InvalidInception::Malformed(reason);
    if bytes.len() > MAX_INCEPTION_BYTES {
        return Err(malformed(format!("it has {} bytes, and the most is {MAX_INCEPTION_BYTES}", bytes.len())));
    }
    let body = match bytes.split_first() {
        Some((&VERSION, body)) => body,
        Some((&version, _)) => return Err(InvalidInception::Version(version)),
        None => return Err(malformed("it is empty".to_owned())),
    };
    let (wire, _) = decode_prefix::<Wire>(body).map_err(|error| malformed(error.to_string()))?;
    let (log, epoch, (root, number, working, ends, signature), previous, reason) = wire;
    let end = |(epoch, counter, digest)| EndOfEpoch { epoch: Epoch::new(epoch), counter, digest };
    Ok(Inception {
        log: LogId::from_bytes(log),
        epoch: Epoch::new(epoch),
        certificate: Certificate {
            root: PublicKey::from_bytes(root),
            number,
            working: PublicKey::from_bytes(working),
            ends,
            signature: Signature::from_bytes(signature),
        },
        previous: previous.map(end),
        reason,
    })
}
