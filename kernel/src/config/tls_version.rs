//! The oldest version of TLS that is accepted.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The oldest version of TLS that a client accepts of a peer, or a server of its callers.
///
/// ```
/// use antiphon_kernel::TlsVersion;
///
/// assert_eq!(TlsVersion::default(), TlsVersion::Tls13);
/// assert_eq!(TlsVersion::Tls12.as_str(), "1.2");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum TlsVersion {
    /// TLS 1.2 or newer: for proxies that speak nothing newer.
    Tls12,
    /// TLS 1.3.
    #[default]
    Tls13,
}

impl TlsVersion {
    /// As the configuration has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for TlsVersion {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for TlsVersion {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Text)
    }
}

struct Text;

impl de::Visitor<'_> for Text {
    type Value = TlsVersion;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"a version of TLS, "1.2" or "1.3""#)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<TlsVersion, E> {
        match text {
            "1.2" => Ok(TlsVersion::Tls12),
            "1.3" => Ok(TlsVersion::Tls13),
            _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_versions_read_and_no_other() {
        for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
            let text = serde_json::to_string(&version).unwrap();
            assert_eq!(serde_json::from_str::<TlsVersion>(&text).unwrap(), version);
        }
        for text in ["\"1.1\"", "\"1.4\"", "\"TLS 1.3\"", "\"\"", "null", "[]"] {
            let error = serde_json::from_str::<TlsVersion>(text).unwrap_err().to_string();
            assert!(error.contains(r#""1.2" or "1.3""#), "{text}: {error}");
        }
    }
}
