//! How long a certificate holds, and whose it is.

use antiphon_kernel::time::Timestamp;

/// When a certificate holds: both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From when on.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

/// How a certificate stands at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It holds.
    Holds,
    /// It does not hold yet.
    NotYet,
    /// It holds no more.
    Over,
}

impl Validity {
    /// Of a certificate in DER form.
    ///
    /// # Errors
    /// Why it does not read, in words.
    pub fn of(der: &[u8]) -> Result<Self, String> {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).map_err(|error| error.to_string())?;
        let at = |seconds: i64| Timestamp::from_micros(seconds.saturating_mul(1_000_000));
        let validity = certificate.validity();
        Ok(Self { from: at(validity.not_before.timestamp()), until: at(validity.not_after.timestamp()) })
    }

    /// How it stands.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Standing {
        match now {
            now if now > self.until => Standing::Over,
            now if now < self.from => Standing::NotYet,
            _ => Standing::Holds,
        }
    }
}

/// Whether a certificate in DER form is an authority's (CA:TRUE). Clients refuse it from a server.
#[must_use]
pub fn is_authority(der: &[u8]) -> bool {
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(der) else { return false };
    certificate.is_ca()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_belong_to_it() {
        let at = Timestamp::from_micros;
        let validity = Validity { from: at(10), until: at(20) };
        let standings = [9, 10, 20, 21].map(|now| validity.at(at(now)));
        assert_eq!(standings, [Standing::NotYet, Standing::Holds, Standing::Holds, Standing::Over]);
        assert!(Validity::of(b"nothing").is_err());
    }
}
