//! How long a certificate is valid, and a list of revoked ones is current.

use std::path::Path;

use antiphon_transport_common::{RevocationLists, Validity, ValidityPeriod, is_authority};
use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// A certificate that holds for fewer days than this is reported.
const SOON_DAYS: i64 = 30;
/// A list that is current for fewer days than this is reported, or for less than a quarter of its whole period if that is shorter.
const LIST_SOON_DAYS: i64 = 7;

/// Until when the first certificate of a PEM file holds, as a date; and what there is to say about it, if anything.
///
/// # Errors
/// Where it does not read, is an authority's, has expired, or has not begun.
pub fn of(file: &Path, now: Timestamp) -> Result<(String, Option<String>)> {
    let der =
        CertificateDer::from_pem_file(file).with_context(|| format!("{} holds no certificate", file.display()))?;
    Ok(judge_leaf(file, &der, now)?.1)
}

/// As [`judge_der`], of a certificate that a server shows.
fn judge_leaf(file: &Path, der: &[u8], now: Timestamp) -> Result<(i64, (String, Option<String>))> {
    let judged = judge_der(file, der, now)?;
    if is_authority(der) {
        bail!(
            "the certificate in {} is an authority's (CA:TRUE), which the other side refuses; make one with \
             basicConstraints=CA:FALSE",
            file.display()
        );
    }
    Ok(judged)
}

/// The same for a file of several, such as authorities of which one follows another: what holds longest counts.
///
/// # Errors
/// Where none of them holds: the first one's.
pub(crate) fn of_any(file: &Path, now: Timestamp) -> Result<(String, Option<String>)> {
    let none = || format!("{} holds no certificate", file.display());
    let all = CertificateDer::pem_file_iter(file).with_context(none)?;
    let judged = all.map(|der| judge_der(file, &der.with_context(none)?, now));
    let (mut best, mut fault) = (None::<(i64, (String, Option<String>))>, None);
    for one in judged {
        match one {
            Ok(one) if best.as_ref().is_none_or(|best| one.0 > best.0) => best = Some(one),
            Ok(_) => {}
            Err(error) => fault = fault.or(Some(error)),
        }
    }
    best.map(|(_, report)| report).ok_or_else(|| fault.unwrap_or_else(|| anyhow::anyhow!(none())))
}

/// The same for a file of lists of revoked certificates: the one that is outdated first counts.
///
/// # Errors
/// Where it does not read, or is outdated.
pub(crate) fn of_lists(file: &Path, now: Timestamp) -> Result<(String, Option<String>)> {
    let lists = RevocationLists::read(file)?;
    let at = antiphon_kernel::time::Timestamp::from_micros(now.as_microsecond());
    lists.check(at)?;
    let period = lists.period();
    Ok((day(seconds(period.until)), list_trouble(file, period, now)))
}

/// What there is to say of lists of revoked certificates that were read from this file once: that one is outdated, or will be soon.
/// Pure.
pub(crate) fn list_trouble(file: &Path, period: ValidityPeriod, now: Timestamp) -> Option<String> {
    let (from, until, now) = (seconds(period.from), seconds(period.until), now.as_second());
    let (file, left) = (file.display(), until - now);
    if left <= 0 {
        return Some(format!(
            "the list of revoked certificates in {file} is outdated since {}, and no certificate of its authority is accepted: put a new \
             one there",
            day(until)
        ));
    }
    let soon = (LIST_SOON_DAYS * 86_400).min((until - from) / 4);
    (left < soon).then(|| {
        format!("the list of revoked certificates in {file} is outdated in {} hours; put a new one there", left / 3600)
    })
}

fn day(second: i64) -> String {
    Timestamp::from_second(second).map_or_else(|_| "a far day".to_owned(), |at| at.strftime("%F").to_string())
}

/// Until when a certificate holds, in seconds since 1970, and what there is to say about it.
fn judge_der(file: &Path, der: &[u8], now: Timestamp) -> Result<(i64, (String, Option<String>))> {
    let validity = ValidityPeriod::from_certificate(der)
        .map_err(|error| anyhow::anyhow!("the certificate in {} does not read: {error}", file.display()))?;
    let (from, until) = (seconds(validity.from), seconds(validity.until));
    Ok((until, judge(file, from, until, now.as_second())?))
}

const fn seconds(at: antiphon_kernel::time::Timestamp) -> i64 {
    at.as_micros().div_euclid(1_000_000)
}

/// Until when a certificate in DER form holds, in seconds since 1970.
pub fn until(der: &[u8]) -> Option<i64> {
    Some(seconds(ValidityPeriod::from_certificate(der).ok()?.until))
}

/// Whether a certificate in DER form holds now.
pub fn holds(der: &[u8]) -> bool {
    ValidityPeriod::from_certificate(der)
        .is_ok_and(|validity| validity.at(antiphon_kernel::time::Timestamp::now()) == Validity::Valid)
}

/// What there is to say of a certificate that is shown, read from this file once: that it ends soon, or is over.
pub fn trouble(file: &Path, der: &[u8], now: Timestamp) -> Option<String> {
    match judge_leaf(file, der, now) {
        Ok((_, (_, soon))) => soon,
        Err(error) => Some(error.to_string()),
    }
}

/// Seconds since 1970, all three.
fn judge(file: &Path, from: i64, until: i64, now: i64) -> Result<(String, Option<String>)> {
    if now > until {
        bail!(
            "the certificate in {} is over since {}; peers refuse it: put a new one there",
            file.display(),
            day(until)
        );
    }
    if now < from {
        bail!("the certificate in {} holds from {} on; is this machine's clock right?", file.display(), day(from));
    }
    let left = (until - now) / 86_400;
    let soon = format!(
        "the certificate in {} holds for {left} more days; renew it: a running node takes up the new file by itself",
        file.display()
    );
    Ok((day(until), (left < SOON_DAYS).then_some(soon)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_or_has_not_begun_is_an_error_and_what_ends_soon_is_told() {
        let (file, day) = (Path::new("a.pem"), 86_400);
        assert_eq!(judge(file, 0, 400 * day, 10 * day).unwrap(), ("1971-02-05".to_owned(), None));
        let (_, soon) = judge(file, 0, 400 * day, 371 * day).unwrap();
        assert!(soon.unwrap().contains("29 more days"));
        assert!(judge(file, 0, 400 * day, 401 * day).unwrap_err().to_string().contains("is over since 1971-02-05"));
        assert!(judge(file, 5 * day, 400 * day, day).unwrap_err().to_string().contains("holds from 1970-01-06"));
        assert!(of(Path::new("/nowhere.pem"), Timestamp::UNIX_EPOCH).is_err());
    }

    #[test]
    fn a_list_is_reported_before_it_is_outdated_and_after() {
        let (file, hour) = (Path::new("crl.pem"), 3600);
        let said = |days: i64, now: i64| {
            let at = |second: i64| antiphon_kernel::time::Timestamp::from_micros(second * 1_000_000);
            let period = ValidityPeriod { from: at(0), until: at(days * 24 * hour) };
            list_trouble(file, period, Timestamp::from_second(now).unwrap())
        };
        // A month: a week before. A day: six hours before.
        assert_eq!(said(30, 23 * 24 * hour), None);
        assert!(said(30, 23 * 24 * hour + 1).unwrap().contains("outdated in 167 hours"));
        assert_eq!(said(1, 18 * hour), None);
        assert!(said(1, 19 * hour).unwrap().contains("outdated in 5 hours"));
        assert!(said(1, 24 * hour).unwrap().contains("is outdated since 1970-01-02"));
        assert!(of_lists(Path::new("/nowhere.pem"), Timestamp::UNIX_EPOCH).is_err());
    }

    #[test]
    fn an_authority_s_certificate_is_no_server_s() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cert.pem");
        let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let made = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        std::fs::write(&file, made.pem()).unwrap();
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        assert!(of(&file, now).unwrap_err().to_string().contains("CA:TRUE"));
        assert!(trouble(&file, made.der(), now).unwrap().contains("CA:FALSE"));
        assert!(of_any(&file, now).is_ok(), "as a peer's authority it is right");
    }

    #[test]
    fn of_several_authorities_one_that_holds_is_enough() {
        let made = |until: i32| {
            let mut params = rcgen::CertificateParams::new(vec!["ca.example".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(until, 1, 1);
            params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
        };
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        std::fs::write(&file, made(2020) + &made(2040)).unwrap();
        assert_eq!(of_any(&file, now).unwrap(), ("2040-01-01".to_owned(), None));
        assert!(of(&file, now).is_err(), "the first one alone is over");
        std::fs::write(&file, made(2020) + &made(2021)).unwrap();
        assert!(of_any(&file, now).unwrap_err().to_string().contains("over since 2020"));
        std::fs::write(&file, "").unwrap();
        assert!(of_any(&file, now).unwrap_err().to_string().contains("holds no certificate"));
    }
}
