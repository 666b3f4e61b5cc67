//! Certificates: the node's own, and the authorities of its peers.

use std::path::{Path, PathBuf};

use antiphon_transport_common::{Certificate, TlsFiles};
use anyhow::Result;

use super::findings::Findings;
use crate::config::NodeConfig;
use crate::error_text::with_causes;
use crate::expiry;
use crate::exposed::is_open_to_others;
use crate::reply::Level;

/// Until when a file's certificate holds, or one of its certificates.
type Look = fn(&Path, jiff::Timestamp) -> Result<(String, Option<String>)>;

pub(super) fn certificates(config: &NodeConfig, findings: &mut Findings) {
    let mut expiries: Vec<(String, PathBuf, Look)> = Vec::new();
    if let Some(TlsFiles { cert, key }) = config.tls_files() {
        let loaded = Certificate::load(TlsFiles { cert: cert.clone(), key: key.clone() }, b"http/1.1");
        match loaded {
            Err(error) => findings.failed("certificate", &error.into(), ""),
            Ok(_) => expiries.push(("certificate".to_owned(), cert, expiry::of)),
        }
        if is_open_to_others(&key) {
            let says = format!("others than its owner may read {}", key.display());
            findings.add("certificate", Level::Warn, says, &format!("chmod 600 {}", key.display()));
        }
    }
    for peer in &config.federation.peers {
        if let Some(ca) = peer.ca.as_ref().filter(|ca| expiries.iter().all(|(_, known, _)| known != *ca)) {
            expiries.push((format!("authority of {}", peer.name), ca.clone(), expiry::of_any));
        }
    }
    for (check, file, look) in expiries {
        match look(&file, jiff::Timestamp::now()) {
            Ok((_, Some(soon))) => findings.add(check, Level::Warn, soon, "ask its authority for a new one"),
            Ok((until, None)) => findings.ok(check, format!("{} holds until {until}", file.display())),
            Err(error) => {
                findings.add(check, Level::Fail, with_causes(&error), "ask its authority for a new one, in PEM form")
            }
        }
    }
}
