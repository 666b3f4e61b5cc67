//! An authority and a certificate for this machine, made for one run.

use std::path::PathBuf;

use antiphon_quic::TlsFiles;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// Certificates in a temporary directory.
pub struct Certificates {
    directory: TempDir,
}

impl Certificates {
    /// Makes them.
    ///
    /// # Panics
    /// Where there is no room, or no randomness.
    #[must_use]
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("there is room for a temporary directory");
        let made = Self { directory };
        let mut authority = CertificateParams::new(Vec::new()).expect("no name is no bad name");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("there is randomness");
        made.write("ca.pem", &authority.self_signed(&key).expect("its own key signs").pem());
        let issuer = Issuer::new(authority, key);

        let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("the name is an address");
        let key = KeyPair::generate().expect("there is randomness");
        made.write("node.pem", &leaf.signed_by(&key, &issuer).expect("the authority's key signs").pem());
        made.write("node.key", &key.serialize_pem());
        made
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.path(file), text).expect("there is room for a small file");
    }

    /// What a client is to trust.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// What a server shows.
    #[must_use]
    pub fn server(&self) -> TlsFiles {
        TlsFiles::new(self.path("node.pem"), self.path("node.key"))
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}
