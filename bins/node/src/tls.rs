//! What a configuration says about TLS: certificates, authorities, lists of revoked certificates.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use antiphon_kernel::config::{PeerConfig, TlsVersion};
use antiphon_transport_common::{ClientFiles, TlsFiles};
use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSection {
    pub cert: PathBuf,
    pub key: PathBuf,
    /// The authority that must have signed a client's certificate; without it clients need none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
    /// Lists of revoked client certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_crl: Option<PathBuf>,
    /// The oldest version of TLS that is spoken over HTTPS.
    #[serde(default)]
    pub min_version: TlsVersion,
}

impl TlsSection {
    /// The files, where relative paths start from this directory.
    pub(crate) fn files(&self, base: &Path) -> TlsFiles {
        let clients = self
            .client_ca
            .as_ref()
            .map(|ca| ClientFiles { ca: base.join(ca), crl: self.client_crl.as_ref().map(|crl| base.join(crl)) });
        TlsFiles { cert: base.join(&self.cert), key: base.join(&self.key), clients, min_version: self.min_version }
    }

    /// What only makes sense together. `https` says whether HTTPS is served.
    pub(crate) fn check(&self, https: bool) -> Result<()> {
        if self.client_crl.is_some() && self.client_ca.is_none() {
            bail!(
                "listen.tls.client_crl is set, and listen.tls.client_ca is not: no client is asked for a certificate. Set client_ca to the \
                 authority of the clients, or remove client_crl"
            );
        }
        if self.min_version != TlsVersion::Tls13 && !https {
            bail!(
                "listen.tls.min_version is {}, and listen.https is not set: QUIC speaks TLS 1.3 alone. Remove min_version, or set \
                 listen.https",
                self.min_version
            );
        }
        Ok(())
    }

    /// Every path, by its field.
    pub(crate) fn paths(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        let own = [("listen.tls.cert", &self.cert), ("listen.tls.key", &self.key)];
        let ca = self.client_ca.iter().map(|ca| ("listen.tls.client_ca", ca));
        own.into_iter().chain(ca).chain(self.client_crl.iter().map(|crl| ("listen.tls.client_crl", crl)))
    }
}

/// Every path that a peer's configuration names, by its field.
pub(crate) fn paths_of(peer: &PeerConfig) -> impl Iterator<Item = (&'static str, &PathBuf)> {
    let all = [
        ("ca of a peer", &peer.ca),
        ("crl of a peer", &peer.crl),
        ("client_cert of a peer", &peer.client_cert),
        ("client_key of a peer", &peer.client_key),
    ];
    all.into_iter().filter_map(|(field, path)| Some((field, path.as_ref()?)))
}

/// Lets the relative paths of a peer start from this directory.
pub(crate) fn rebase(peer: &mut PeerConfig, base: &Path) {
    for path in [&mut peer.ca, &mut peer.crl, &mut peer.client_cert, &mut peer.client_key] {
        *path = path.take().map(|path| base.join(path));
    }
}

/// What files held when a configuration was read, by their digests: they may be replaced in place.
pub type Digests = BTreeMap<PathBuf, Option<[u8; 32]>>;

/// Of what decides whether peers are trusted. A file that cannot be read is reported where it is used.
pub(crate) fn authorities(peers: &[PeerConfig]) -> Digests {
    digests(peers.iter().flat_map(|peer| [&peer.ca, &peer.crl]))
}

/// Of the certificates that peers are shown.
pub(crate) fn client_certificates(peers: &[PeerConfig]) -> Digests {
    digests(peers.iter().flat_map(|peer| [&peer.client_cert, &peer.client_key]))
}

fn digests<'a>(files: impl Iterator<Item = &'a Option<PathBuf>>) -> Digests {
    let digest = |file: &PathBuf| std::fs::read(file).ok().map(|bytes| Sha256::digest(bytes).into());
    files.flatten().map(|file| (file.clone(), digest(file))).collect()
}

/// Whether a file of both was replaced. One that only comes or goes with its peer changes nothing for the others.
pub(crate) fn differ(old: &Digests, new: &Digests) -> bool {
    old.iter().any(|(file, digest)| new.get(file).is_some_and(|now| now != digest))
}

#[cfg(test)]
mod tests {
    use antiphon_kernel::ids::PeerName;

    use super::*;

    fn section() -> TlsSection {
        let (cert, key) = ("cert.pem".into(), "key.pem".into());
        TlsSection { cert, key, client_ca: None, client_crl: None, min_version: TlsVersion::Tls13 }
    }

    #[test]
    fn a_list_needs_its_authority_and_an_old_version_needs_https() {
        section().check(false).unwrap();
        let alone = TlsSection { client_crl: Some("crl.pem".into()), ..section() };
        assert!(alone.check(true).unwrap_err().to_string().contains("Set client_ca"));
        TlsSection { client_ca: Some("ca.pem".into()), ..alone }.check(true).unwrap();
        let old = TlsSection { min_version: TlsVersion::Tls12, ..section() };
        old.check(true).unwrap();
        assert!(old.check(false).unwrap_err().to_string().contains("Remove min_version"));
    }

    #[test]
    fn paths_start_from_the_directory_of_the_configuration() {
        let whole = TlsSection { client_ca: Some("ca.pem".into()), client_crl: Some("/crl.pem".into()), ..section() };
        let files = whole.files(Path::new("/etc"));
        let clients = files.clients.unwrap();
        assert_eq!((files.cert, clients.ca), ("/etc/cert.pem".into(), "/etc/ca.pem".into()));
        assert_eq!(clients.crl, Some("/crl.pem".into()));
        assert_eq!(section().files(Path::new("/etc")).clients, None);
        assert_eq!(whole.paths().count(), 4);
    }

    #[test]
    fn a_file_that_was_replaced_in_place_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let mut peer = PeerConfig::new(PeerName::new("b").unwrap(), "https://b:1");
        type Set = fn(&mut PeerConfig, PathBuf);
        type Read = fn(&[PeerConfig]) -> Digests;
        let files: [(_, Set, Read); 4] = [
            ("ca.pem", |peer, file| peer.ca = Some(file), authorities),
            ("crl.pem", |peer, file| peer.crl = Some(file), authorities),
            ("client.pem", |peer, file| peer.client_cert = Some(file), client_certificates),
            ("client.key", |peer, file| peer.client_key = Some(file), client_certificates),
        ];
        for (name, set, digests) in files {
            let path = dir.path().join(name);
            set(&mut peer, name.into());
            rebase(&mut peer, dir.path());
            let look = |content: &str| {
                std::fs::write(&path, content).unwrap();
                digests(std::slice::from_ref(&peer))
            };
            let (old, same, new) = (look("old"), look("old"), look("new"));
            assert!(old.contains_key(&path) && !differ(&old, &same) && differ(&old, &new), "{name}");
            std::fs::remove_file(&path).unwrap();
            assert!(differ(&new, &digests(std::slice::from_ref(&peer))), "{name}");
            std::fs::write(&path, "new").unwrap();
        }
        assert_eq!(paths_of(&peer).count(), 4);
        assert!(!differ(&authorities(&[peer]), &Digests::new()), "it went with its peer");
    }
}
