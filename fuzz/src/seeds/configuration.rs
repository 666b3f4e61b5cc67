//! Seeds of `configuration`: files as operators write them, right and wrong.

use crate::configuration::{ENDPOINT, FILE, FILE_WITH_KEY, VALUE};

const FILES: [(&str, &str); 17] = [
    ("empty", ""),
    ("modes", "mode: publish\ninterval: 1h 30m\n"),
    (
        "peers",
        "mode: sync\ninterval: 500ms\npeers:\n  - { name: bravo, endpoint: \"https://bravo.example:7443\", ca: ca.pem }\n  - name: charlie\n    endpoint: quic://10.0.0.3:7443\n    mode: paused\n",
    ),
    ("json", r#"{"mode":"subscribe","peers":[{"name":"a","endpoint":"unix:///run/a.sock"}]}"#),
    ("name-twice", "peers: [{ name: a, endpoint: 'https://x:1' }, { name: a, endpoint: 'https://y:1' }]"),
    ("endpoint-twice", "peers: [{ name: a, endpoint: 'https://x:1' }, { name: b, endpoint: 'https://x:1' }]"),
    ("no-scheme", "peers: [{ name: a, endpoint: x }]"),
    ("no-address", "peers: [{ name: a, endpoint: 'https://' }]"),
    ("bad-name", "peers: [{ name: 'a/b', endpoint: 'https://x:1' }]"),
    ("unknown-field", "mode: sync\nintervall: 3s\n"),
    ("unknown-mode", "mode: loud\n"),
    ("bad-interval", "interval: 25h\n"),
    ("field-twice", "mode: sync\nmode: publish\n"),
    ("alias", "peers:\n  - &a { name: a, endpoint: 'https://x:1' }\n  - { <<: *a, name: b }\n  - *a\n"),
    ("anchors-of-anchors", "a: &a [x, x, x]\nb: &b [*a, *a, *a]\nc: &c [*b, *b, *b]\npeers: [*c, *c, *c]\n"),
    ("block-and-tags", "%YAML 1.2\n---\nmode: !!str sync # why\ninterval: >-\n  30s\npeers: !!seq []\n...\n"),
    ("two-documents", "mode: sync\n---\nmode: publish\n"),
];

const VALUES: [&str; 9] = [
    "30s",
    "-5s",
    "PT1H",
    "1.000000001s",
    "24h",
    "sync",
    "bravo-1.example",
    "0123456789abcdef0123456789abcdef",
    "0123456789abcdef 0123456789abcdef",
];

pub(super) fn seeds() -> Vec<(String, Vec<u8>)> {
    let with = |kind: u8, text: &str| [&[kind], text.as_bytes()].concat();
    let mut seeds: Vec<_> = FILES.iter().map(|(name, text)| (format!("file-{name}"), with(FILE, text))).collect();
    for (name, text) in [FILES[0], FILES[1], FILES[2], FILES[10], ("block", "interval: |\n  30s")] {
        seeds.push((format!("with-key-{name}"), with(FILE_WITH_KEY, text)));
    }
    for (at, text) in VALUES.iter().enumerate() {
        seeds.push((format!("value-{at}"), with(VALUE, text)));
    }
    for (at, text) in ["https me x:1", "quic  [::1]:7443/path", "  "].iter().enumerate() {
        seeds.push((format!("endpoint-{at}"), with(ENDPOINT, text)));
    }
    seeds.push(("file-deep".to_owned(), with(FILE, &format!("peers: {}", "[".repeat(300)))));
    seeds
}
