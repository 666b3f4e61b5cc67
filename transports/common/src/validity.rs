//! When a certificate is valid, and whose it is.

use std::net::{Ipv4Addr, Ipv6Addr};

use antiphon_kernel::time::Timestamp;
use x509_parser::extensions::GeneralName;
use x509_parser::time::ASN1Time;

/// The period in which a certificate is valid, or a list of revoked ones is current. Both ends of a certificate's belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValidityPeriod {
    /// Its begin.
    pub from: Timestamp,
    /// Its end.
    pub until: Timestamp,
}

/// Whether a certificate is valid at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// It is valid.
    Valid,
    /// It is not valid yet.
    NotYet,
    /// It is not valid any more.
    Expired,
}

impl ValidityPeriod {
    /// Reads the period of a certificate in DER form.
    ///
    /// # Errors
    /// Why it does not read, in words.
    pub fn from_certificate(der: &[u8]) -> Result<Self, String> {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).map_err(|error| error.to_string())?;
        let validity = certificate.validity();
        Ok(Self { from: timestamp(validity.not_before), until: timestamp(validity.not_after) })
    }

    /// Whether it is valid then.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Validity {
        match now {
            now if now > self.until => Validity::Expired,
            now if now < self.from => Validity::NotYet,
            _ => Validity::Valid,
        }
    }
}

/// A time of a certificate or list.
pub(crate) fn timestamp(at: ASN1Time) -> Timestamp {
    Timestamp::from_micros(at.timestamp().saturating_mul(1_000_000))
}

/// Whether a certificate in DER form is an authority's (CA:TRUE). Clients refuse it from a server.
#[must_use]
pub fn is_authority(der: &[u8]) -> bool {
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(der) else { return false };
    certificate.is_ca()
}

/// The host names and addresses that a certificate in DER form is for, as text.
#[must_use]
pub fn names_of(der: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(der) else { return Vec::new() };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match **bytes {
            [a, b, c, d] => Some(Ipv4Addr::new(a, b, c, d).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| Ipv6Addr::from(bytes).to_string()),
        },
        _ => None,
    };
    names.value.general_names.iter().filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_belong_to_it() {
        let at = Timestamp::from_micros;
        let validity = ValidityPeriod { from: at(10), until: at(20) };
        let standings = [9, 10, 20, 21].map(|now| validity.at(at(now)));
        assert_eq!(standings, [Validity::NotYet, Validity::Valid, Validity::Valid, Validity::Expired]);
        assert!(ValidityPeriod::from_certificate(b"nothing").is_err());
    }
}
