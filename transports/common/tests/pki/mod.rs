//! An authority that issues certificates and publishes lists of those it revoked, made for one test. Tests of several packages include
//! this file.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, RevokedCertParams, date_time_ymd,
};
use tempfile::TempDir;

/// Numbers of certificates and lists, each once.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

fn number() -> u64 {
    NUMBERS.fetch_add(1, Ordering::Relaxed)
}

/// When the next list is due.
#[derive(Clone, Copy)]
pub(crate) enum Due {
    Year(i32),
    In(Duration),
}

/// The files of a certificate, and what a list names it by.
pub(crate) struct Issued {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) serial: u64,
}

impl Issued {
    /// Puts another one in the place of this one, the key first as operators do.
    pub(crate) fn replace_by(&self, other: &Self) {
        std::fs::copy(&other.key, &self.key).unwrap();
        std::fs::copy(&other.cert, &self.cert).unwrap();
    }
}

pub(crate) struct Pki {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
    /// The certificates between those that it issues and the root.
    chain: String,
    /// Of its own certificate.
    pub(crate) serial: u64,
}

impl Pki {
    /// A root of this name.
    pub(crate) fn new(name: &str) -> Self {
        let (dir, serial) = (tempfile::tempdir().unwrap(), number());
        let (params, key) = (authority(name, serial), KeyPair::generate().unwrap());
        std::fs::write(dir.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { dir, issuer: Issuer::new(params, key), chain: String::new(), serial }
    }

    /// An authority that this one vouches for.
    pub(crate) fn below(&self, name: &str) -> Self {
        let (dir, serial) = (tempfile::tempdir().unwrap(), number());
        let (params, key) = (authority(name, serial), KeyPair::generate().unwrap());
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem() + &self.chain;
        Self { dir, issuer: Issuer::new(params, key), chain, serial }
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// Its own certificate. Of a root alone.
    pub(crate) fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// A certificate for a server on this machine.
    pub(crate) fn server(&self) -> Issued {
        self.issue("server", ExtendedKeyUsagePurpose::ServerAuth, 2100)
    }

    /// A certificate for a client, in files of this name.
    pub(crate) fn client(&self, file: &str) -> Issued {
        self.issue(file, ExtendedKeyUsagePurpose::ClientAuth, 2100)
    }

    /// A certificate for one purpose, until the begin of a year.
    pub(crate) fn issue(&self, file: &str, purpose: ExtendedKeyUsagePurpose, until: i32) -> Issued {
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let (mut params, serial) = (CertificateParams::new(names).unwrap(), number());
        params.serial_number = Some(serial.into());
        params.not_before = date_time_ymd(1999, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        let (cert, key_file) = (self.path(&format!("{file}.pem")), self.path(&format!("{file}.key")));
        std::fs::write(&cert, params.signed_by(&key, &self.issuer).unwrap().pem() + &self.chain).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        Issued { cert, key: key_file, serial }
    }

    /// A list of what it revoked.
    pub(crate) fn list(&self, revoked: &[u64], due: Due) -> String {
        let next_update = match due {
            Due::Year(year) => date_time_ymd(year, 1, 1),
            Due::In(time) => date_time_ymd(1970, 1, 1) + SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + time,
        };
        let revoked = revoked.iter().map(|&serial| RevokedCertParams {
            serial_number: serial.into(),
            revocation_time: date_time_ymd(2000, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2000, 1, 1),
            next_update,
            crl_number: number().into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// A file with a list of what it revoked, current for long.
    pub(crate) fn publish(&self, revoked: &[u64]) -> PathBuf {
        self.put("crl.pem", &self.list(revoked, Due::Year(2100)))
    }

    /// A file in the directory of this authority.
    pub(crate) fn put(&self, file: &str, text: &str) -> PathBuf {
        let path = self.path(file);
        std::fs::write(&path, text).unwrap();
        path
    }
}

fn authority(name: &str, serial: u64) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.serial_number = Some(serial.into());
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// Copies a file over another one.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
}
