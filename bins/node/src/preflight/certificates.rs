//! Certificates: the node's own, the authorities of its peers and clients, and the lists of what those revoked.

use std::path::{Path, PathBuf};

use antiphon_kernel::config::TlsVersion;
use antiphon_transport_common::Certificate;
use anyhow::Result;

use super::findings::Findings;
use crate::config::NodeConfig;
use crate::error_text::with_causes;
use crate::expiry;
use crate::exposed::is_open_to_others;
use crate::reply::Level;

/// Until when what a file holds is valid; and what there is to say about it, if anything.
type Look = fn(&Path, jiff::Timestamp) -> Result<(String, Option<String>)>;

/// A file, what it is to whom, and how it is looked at.
struct File {
    check: String,
    path: PathBuf,
    look: Look,
    remedy: &'static str,
}

const CERTIFICATE: &str = "ask its authority for a new one, in PEM form";
const LISTS: &str = "ask its authority for a new list, in PEM form (`openssl crl -in FILE -noout -text` shows one)";

impl File {
    fn certificate(check: impl Into<String>, path: &Path) -> Self {
        Self { check: check.into(), path: path.to_owned(), look: expiry::of, remedy: CERTIFICATE }
    }

    fn authority(check: impl Into<String>, path: &Path) -> Self {
        Self { look: expiry::of_any, ..Self::certificate(check, path) }
    }

    fn lists(check: impl Into<String>, path: &Path) -> Self {
        Self { look: expiry::of_lists, remedy: LISTS, ..Self::certificate(check, path) }
    }
}

pub(super) fn certificates(config: &NodeConfig, findings: &mut Findings) {
    let mut files = of_listeners(config, findings);
    for file in config.federation.peers.iter().flat_map(|peer| {
        let name = &peer.name;
        let ca = peer.ca.iter().map(move |ca| File::authority(format!("authority of {name}"), ca));
        let crl = peer.crl.iter().map(move |crl| File::lists(format!("revocation list of {name}"), crl));
        let shown = peer.client_cert.iter();
        let shown = shown.map(move |cert| File::certificate(format!("client certificate for {name}"), cert));
        ca.chain(crl).chain(shown)
    }) {
        // Peers often share a file.
        if files.iter().all(|known| known.path != file.path) {
            files.push(file);
        }
    }
    let mut keys: Vec<_> = config.federation.peers.iter().filter_map(|peer| peer.client_key.clone()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.iter().for_each(|key| exposed("client certificate", key, findings));
    for File { check, path, look, remedy } in files {
        match look(&path, jiff::Timestamp::now()) {
            Ok((_, Some(soon))) => findings.add(check, Level::Warn, soon, remedy),
            Ok((until, None)) => findings.ok(check, format!("{} holds until {until}", path.display())),
            Err(error) => findings.add(check, Level::Fail, with_causes(&error), remedy),
        }
    }
}

/// The files of the listeners, if they can be used together.
fn of_listeners(config: &NodeConfig, findings: &mut Findings) -> Vec<File> {
    let Some(files) = config.tls_files() else { return Vec::new() };
    exposed("certificate", &files.key, findings);
    if let Err(error) = Certificate::load(files.clone(), b"http/1.1", TlsVersion::Tls13) {
        findings.failed("certificate", &error.into(), "");
        return Vec::new();
    }
    let mut all = vec![File::certificate("certificate", &files.cert)];
    if let Some(clients) = &files.clients {
        all.push(File::authority("authority of clients", &clients.ca));
        all.extend(clients.crl.iter().map(|crl| File::lists("revocation list of clients", crl)));
    }
    all
}

fn exposed(check: &str, key: &Path, findings: &mut Findings) {
    if is_open_to_others(key) {
        let says = format!("others than its owner may read {}", key.display());
        findings.add(check, Level::Warn, says, &format!("chmod 600 {}", key.display()));
    }
}
