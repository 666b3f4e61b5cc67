//! How long a certificate still holds.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// A certificate that holds for fewer days than this is told of.
const SOON_DAYS: i64 = 30;

/// Until when the first certificate of a PEM file holds, as a date; and what there is to say about it, if anything.
///
/// # Errors
/// Where it does not read, is over, or has not begun.
pub(crate) fn of(file: &Path, now: Timestamp) -> Result<(String, Option<String>)> {
    let der =
        CertificateDer::from_pem_file(file).with_context(|| format!("{} holds no certificate", file.display()))?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&der)
        .map_err(|error| anyhow::anyhow!("the certificate in {} does not read: {error}", file.display()))?;
    let validity = certificate.validity();
    judge(file, validity.not_before.timestamp(), validity.not_after.timestamp(), now.as_second())
}

/// Until when a certificate in DER form holds, in seconds since 1970.
pub(crate) fn until(der: &[u8]) -> Result<i64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der)?;
    Ok(certificate.validity().not_after.timestamp())
}

/// Seconds since 1970, all three.
fn judge(file: &Path, from: i64, until: i64, now: i64) -> Result<(String, Option<String>)> {
    let day = |second: i64| {
        Timestamp::from_second(second).map_or_else(|_| "a far day".to_owned(), |at| at.strftime("%F").to_string())
    };
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
}
