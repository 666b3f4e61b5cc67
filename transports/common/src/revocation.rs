//! Lists of revoked certificates, read from a file.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};

use antiphon_kernel::error_code::ErrorCode;
use antiphon_kernel::time::Timestamp;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::num_bigint::BigUint;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::validity::{ValidityPeriod, timestamp};

/// The extension that says which of an authority's certificates a list is about.
const ISSUING_DISTRIBUTION_POINT: &str = "2.5.29.28";

/// A file with lists of revoked certificates that cannot be used, or not any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RevocationListError {
    /// The file cannot be used at all.
    #[error("{}: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// One of its lists is outdated: what was revoked since is not known.
    #[error("{}: the list of revoked certificates is outdated since {since}", path.display())]
    Outdated {
        /// The file.
        path: PathBuf,
        /// The time at which its authority was to have published the next one.
        since: Timestamp,
    },
}

impl RevocationListError {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Unusable { .. } => ErrorCode::RevocationListUnusable,
            Self::Outdated { .. } => ErrorCode::RevocationListOutdated,
        }
    }
}

/// The lists of a file, the newest first: where an authority has several, its newest one counts.
#[derive(Debug, Clone)]
pub struct RevocationLists {
    path: PathBuf,
    lists: Vec<CertificateRevocationListDer<'static>>,
    period: ValidityPeriod,
}

impl RevocationLists {
    /// Reads a file in PEM form. Whether the lists are current is not looked at.
    ///
    /// # Errors
    /// [`RevocationListError::Unusable`].
    pub fn read(path: &Path) -> Result<Self, RevocationListError> {
        let fault = |reason: String| RevocationListError::Unusable { path: path.to_owned(), reason };
        let all = CertificateRevocationListDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|e| fault(format!("it cannot be read ({e})")))?;
        let mut read = Vec::with_capacity(all.len());
        for der in all {
            let key = Key::of(&der).map_err(|why| fault(format!("a list in it cannot be used ({why})")))?;
            read.push((key, der));
        }
        // Of two lists of one scope the verifier takes the first.
        read.sort_by_key(|(key, _)| Reverse((key.period.from, key.number.clone())));
        let mut newest: Vec<&Key> = Vec::new();
        for (key, _) in &read {
            if newest.iter().all(|newer| newer.scope != key.scope) {
                newest.push(key);
            }
        }
        let period = newest.iter().map(|key| key.period).min_by_key(|period| period.until);
        let period = period.ok_or_else(|| fault("it holds no list of revoked certificates".to_owned()))?;
        Ok(Self { path: path.to_owned(), lists: read.into_iter().map(|(_, der)| der).collect(), period })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The period of the list that is outdated first: of each authority the newest list counts.
    #[must_use]
    pub const fn period(&self) -> ValidityPeriod {
        self.period
    }

    /// Whether all of them are current then.
    ///
    /// # Errors
    /// [`RevocationListError::Outdated`].
    pub fn check(&self, now: Timestamp) -> Result<(), RevocationListError> {
        let since = self.period.until;
        // As the verifier counts: the moment of the next list is not in the period of this one.
        if now < since { Ok(()) } else { Err(RevocationListError::Outdated { path: self.path.clone(), since }) }
    }

    pub(crate) fn lists(&self) -> Vec<CertificateRevocationListDer<'static>> {
        self.lists.clone()
    }
}

/// What the order of lists depends on.
struct Key {
    /// Issuer, and what of its certificates the list is about.
    scope: (Vec<u8>, Option<Vec<u8>>),
    period: ValidityPeriod,
    number: Option<BigUint>,
}

impl Key {
    fn of(der: &[u8]) -> Result<Self, String> {
        let (_, list) = x509_parser::parse_x509_crl(der).map_err(|e| e.to_string())?;
        let until = list.next_update().ok_or("it does not say when the next one comes (nextUpdate)")?;
        Ok(Self {
            scope: scope(&list),
            period: ValidityPeriod { from: timestamp(list.last_update()), until: timestamp(until) },
            number: list.crl_number().cloned(),
        })
    }
}

fn scope(list: &CertificateRevocationList<'_>) -> (Vec<u8>, Option<Vec<u8>>) {
    let point = list.extensions().iter().find(|one| one.oid.to_id_string() == ISSUING_DISTRIBUTION_POINT);
    (list.issuer().as_raw().to_vec(), point.map(|point| point.value.to_vec()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rcgen::{
        CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod, KeyPair, date_time_ymd,
    };

    use super::*;

    fn authority(name: &str) -> Issuer<'static, KeyPair> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        Issuer::new(params, KeyPair::generate().unwrap())
    }

    fn list(by: &Issuer<'static, KeyPair>, years: (i32, i32), number: u64) -> String {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(years.0, 1, 1),
            next_update: date_time_ymd(years.1, 1, 1),
            crl_number: number.into(),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(by).unwrap().pem().unwrap()
    }

    fn day(text: &str) -> Timestamp {
        format!("{text}T00:00:00Z").parse().unwrap()
    }

    #[test]
    fn of_each_authority_the_newest_list_counts() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("crl.pem");
        let (ours, other) = (authority("ours"), authority("other"));
        let write = |lists: &[String]| {
            std::fs::write(&file, lists.concat()).unwrap();
            RevocationLists::read(&file).unwrap()
        };
        let (old, new) = (list(&ours, (2020, 2021), 1), list(&ours, (2021, 2031), 2));
        for lists in [[old.clone(), new.clone()], [new.clone(), old.clone()]] {
            let read = write(&lists);
            assert_eq!(read.period().until, day("2031-01-01"));
            let first = CertificateRevocationListDer::from_pem_slice(new.as_bytes()).unwrap();
            assert_eq!(read.lists()[0], first, "the verifier takes the first");
        }
        // Two of one moment: the higher number, although its text is the smaller one.
        let (low, high) = (list(&ours, (2021, 2030), 255), list(&ours, (2021, 2031), 256));
        assert_eq!(write(&[low, high]).period().until, day("2031-01-01"));
        let read = write(&[new, list(&other, (2021, 2025), 1)]);
        assert_eq!(read.period(), ValidityPeriod { from: day("2021-01-01"), until: day("2025-01-01") });
        let before = Timestamp::from_micros(day("2025-01-01").as_micros() - 1);
        assert_eq!(read.check(before), Ok(()));
        let outdated = read.check(day("2025-01-01")).unwrap_err();
        assert_eq!(outdated.code(), ErrorCode::RevocationListOutdated);
        let text = outdated.to_string();
        assert!(text.contains("crl.pem") && text.contains("outdated since 2025-01-01"), "{text}");
    }

    #[test]
    fn what_is_no_list_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("crl.pem");
        let cut = list(&authority("ours"), (2021, 2031), 1);
        let broken = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
        for (content, why) in [
            (None, "cannot be read"),
            (Some(""), "holds no list"),
            (Some("nothing"), "holds no list"),
            (Some(&cut[..cut.len() / 2]), "cannot be read"),
            (Some(broken), "cannot be used"),
        ] {
            match content {
                Some(content) => std::fs::write(&file, content).unwrap(),
                None => assert!(!file.exists()),
            }
            let error = RevocationLists::read(&file).unwrap_err();
            assert_eq!(error.code(), ErrorCode::RevocationListUnusable);
            assert!(error.to_string().contains("crl.pem") && error.to_string().contains(why), "{why}: {error}");
        }
    }
}
