//! A handshake as it is signed, a statement, and what looks like a token.

use antiphon_kernel::codec::{FRAME_HEADER_BYTES, Message, encode};
use antiphon_kernel::config::SharedKey;
use antiphon_kernel::testing::{HandshakeOf, seeded_keys};

use crate::admission::{ASKER, CHANNEL, CONNECT, FRAME, SERVER, STATEMENT, TOKEN};

pub(super) fn seeds() -> Vec<(String, Vec<u8>)> {
    let (asker, server) = (seeded_keys(ASKER), seeded_keys(SERVER));
    let key = SharedKey::new("0123456789abcdef0123456789abcdef").expect("it is long enough");
    let of = HandshakeOf { asker: &*asker, server: &*server, connect: CONNECT, nonce: [2; 32], channel: CHANNEL, key };
    let (connect, proof, hello) = of.messages();
    let mut forged = proof.clone();
    forged.from = asker.statement().cortex();
    let messages = [
        ("connect", Message::Connect(connect)),
        ("proof", Message::Proof(proof)),
        ("proof-forged", Message::Proof(forged)),
        ("hello", Message::Hello(hello)),
    ];
    let framed = messages.map(|(name, message)| {
        let frame = encode(&message);
        (name.to_owned(), [&[FRAME, frame[3]], &frame[FRAME_HEADER_BYTES..]].concat())
    });
    let mut seeds = Vec::from(framed);
    seeds.push(("statement".to_owned(), [&[STATEMENT], &server.statement().to_bytes()[..]].concat()));
    let root = asker.statement().to_bytes();
    seeds.push(("statement-cut".to_owned(), [&[STATEMENT], &root[..root.len() / 2]].concat()));
    seeds.push(("token-short".to_owned(), vec![TOKEN, b'A']));
    seeds.push(("token".to_owned(), [&[TOKEN], "A".repeat(96).as_bytes()].concat()));
    seeds
}
