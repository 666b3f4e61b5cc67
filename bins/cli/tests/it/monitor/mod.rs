//! What operators see: scraped by a real Prometheus while peers fare in every way, shown in a real browser, taken up anew.

mod appends;
mod browser;
mod custom;
mod diagnosis;
pub(crate) mod http;
mod prometheus;
mod reload;
mod series;
mod troubles;

use std::path::Path;
use std::process::Child;

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn node(name: &str, port: u16, metrics: u16, peers: &[(&str, String)]) -> String {
    let peers: Vec<_> = peers.iter().map(|(name, rest)| format!("    - {{ name: {name}, {rest} }}\n")).collect();
    format!(
        "node: {{ name: {name}, data_dir: data }}\nlisten:\n  https: 127.0.0.1:{port}\n  metrics: 127.0.0.1:{metrics}\n\
         federation:\n  interval: 1s\n  allow_plaintext_loopback: true\n  peers:\n{}",
        if peers.is_empty() { "    []\n".to_owned() } else { peers.concat() }
    )
}

/// Writes a certificate for `localhost` that holds until the beginning of a year, and its key.
fn certificate(cert: &Path, key: &Path, until: i32) {
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2010, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    let pair = rcgen::KeyPair::generate().unwrap();
    std::fs::write(cert, params.self_signed(&pair).unwrap().pem()).unwrap();
    std::fs::write(key, pair.serialize_pem()).unwrap();
}

fn at(port: u16) -> String {
    format!("endpoint: \"http://127.0.0.1:{port}\"")
}
