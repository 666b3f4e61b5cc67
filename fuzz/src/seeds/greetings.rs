//! Small greetings and news that claim to hold much.

use antiphon_kernel::codec::{Message, encode};
use antiphon_kernel::config::SharedKey;
use antiphon_kernel::cursor::Cursor;
use antiphon_kernel::digest::Digest;
use antiphon_kernel::ids::{CortexId, Epoch};
use antiphon_kernel::protocol::{Heads, Hello, Identity, Refresh, RequestId};
use antiphon_kernel::time::Timestamp;

use super::body_of;

/// Each list and text of these messages, with each of the lengths that it claims.
pub(super) fn claims(lengths: &[(&str, Vec<u8>)]) -> Vec<(String, Vec<u8>)> {
    let [refresh, hello, identity] = empty().map(|message| body_of(&encode(&message)));
    // Each list is empty, so its length is one zero byte; the number tells which, from the end.
    let lists = [
        ("refresh-direct", &refresh, 1),
        ("refresh-known", &refresh, 2),
        ("hello-statement", &hello, 1),
        ("hello-version", &hello, 2),
        ("hello-name", &hello, 3),
        ("hello-key", &hello, 20),
        ("identity-statement", &identity, 1),
        ("identity-version", &identity, 38),
        ("identity-name", &identity, 41),
    ];
    let claim = |(list, whole, from_end): (&str, &Vec<u8>, usize), (size, length): &(&str, Vec<u8>)| {
        let place = whole.len() - from_end;
        debug_assert_eq!(whole[place], 0, "{list}");
        (format!("claim-{list}-{size}"), [&whole[..place], length, &whole[place + 1..]].concat())
    };
    lists.into_iter().flat_map(|list| lengths.iter().map(move |length| claim(list, length))).collect()
}

/// With nothing in any list or text, and numbers of one byte.
fn empty() -> [Message; 3] {
    let from = CortexId::from_bytes([2; 16]);
    let (protocol_min, protocol_max, none) = (1, 1, String::new);
    let request = RequestId { process: 7, number: 2 };
    [
        Message::Refresh(Refresh { request, from, known: Heads::default(), direct: Vec::new() }),
        Message::Hello(Hello {
            protocol_min,
            protocol_max,
            key: SharedKey::default(),
            from,
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
            epoch: Epoch::new(0),
            head: Cursor::start(Epoch::new(0)),
            head_time: Timestamp::from_micros(0),
            time: Timestamp::from_micros(0),
            digest: Digest::ZERO,
            statement: Vec::new(),
        }),
    ]
}
