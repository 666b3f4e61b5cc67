//! Small greetings and news that claim to hold much.

use antiphon_kernel::codec::{Message, Room, encode};
use antiphon_kernel::cursor::{Cursor, Seq};
use antiphon_kernel::digest::Digest;
use antiphon_kernel::identity::Signature;
use antiphon_kernel::ids::{CortexId, Epoch};
use antiphon_kernel::protocol::{Heads, Hello, Identity, Proof, Refresh, RequestId};
use antiphon_kernel::time::Timestamp;

use super::body_of;

/// Each list and text of these messages, with each of the lengths that it claims.
pub(super) fn claims(lengths: &[(&str, Vec<u8>)]) -> Vec<(String, Vec<u8>)> {
    let [refresh, proof, hello, identity] = empty().map(|message| body_of(&encode(&message)));
    // Each list is empty, so its length is one zero byte; the number tells which, from the end.
    let lists = [
        ("refresh-room", &refresh, 1),
        ("refresh-direct", &refresh, 2),
        ("refresh-known", &refresh, 3),
        ("hello-statement", &hello, 2),
        ("hello-version", &hello, 3),
        ("hello-name", &hello, 4),
        ("proof-room", &proof, 1),
        ("proof-statement", &proof, 66),
        ("identity-statement", &identity, 2),
        ("identity-version", &identity, 41),
        ("identity-name", &identity, 44),
    ];
    let claim = |(list, whole, from_end): (&str, &Vec<u8>, usize), (size, length): &(&str, Vec<u8>)| {
        let place = whole.len() - from_end;
        debug_assert_eq!(whole[place], 0, "{list}");
        (format!("claim-{list}-{size}"), [&whole[..place], length, &whole[place + 1..]].concat())
    };
    lists.into_iter().flat_map(|list| lengths.iter().map(move |length| claim(list, length))).collect()
}

/// With nothing in any list or text, and numbers of one byte.
fn empty() -> [Message; 4] {
    let from = CortexId::from_bytes([2; 16]);
    let (protocol_min, protocol_max, none) = (2, 2, String::new);
    let request = RequestId { process: 7, number: 2 };
    [
        Message::Refresh(Refresh { request, from, known: Heads::default(), direct: Vec::new(), room: Room::default() }),
        Message::Proof(Proof {
            protocol_min,
            protocol_max,
            from,
            nonce: [7; 32],
            statement: Vec::new(),
            signature: Signature::from_bytes([7; 64]),
            room: Room::default(),
        }),
        Message::Hello(Hello {
            protocol_min,
            protocol_max,
            connect: [7; 32],
            nonce: [7; 32],
            signature: Signature::from_bytes([7; 64]),
            key: None,
            from,
            log: None,
            room: Room::default(),
            name: none(),
            version: none(),
            statement: Vec::new(),
        }),
        Message::Identity(Identity {
            cortex_id: from,
            name: none(),
            protocol_min,
            protocol_max,
            version: none(),
            log: None,
            epoch: Epoch::new(0),
            floor: Seq::ZERO,
            room: Room::default(),
            head: Cursor::start(Epoch::new(0)),
            head_time: Timestamp::from_micros(0),
            time: Timestamp::from_micros(0),
            digest: Digest::ZERO,
            statement: Vec::new(),
        }),
    ]
}
