//! What a federation is configured to be. Plain values that refuse nonsense themselves; reading YAML is the node's job.

mod interval;
mod peer;
mod shared_key;
mod tls_version;

pub use interval::{DEFAULT_INTERVAL, Interval, InvalidInterval};
pub use peer::PeerConfig;
pub use shared_key::{KeyFromEnv, SharedKey, WeakKey};
pub use tls_version::TlsVersion;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::access::Access;
use crate::error_code::ErrorCode;
use crate::ids::PeerName;
use crate::limits::{InvalidLimits, PeerLimits};

macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// As the configuration has it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownMode;

            fn from_str(text: &str) -> Result<Self, UnknownMode> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(UnknownMode { text: text.chars().take(40).collect(), known: &[$($text),+] }),
                }
            }
        }
    };
}

/// A mode that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a mode; use one of {}", known.join(", "))]
pub struct UnknownMode {
    text: String,
    known: &'static [&'static str],
}

impl UnknownMode {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::ValueMode
    }
}

text_enum! {
    /// Whether this cortex pulls from one peer.
    ///
    /// ```
    /// use antiphon_kernel::PeerMode;
    ///
    /// assert_eq!("paused".parse(), Ok(PeerMode::Paused));
    /// assert_eq!(PeerMode::default().as_str(), "sync");
    /// ```
    PeerMode {
        /// Pulled and served.
        #[default]
        Sync = "sync",
        /// Not pulled; still served.
        Paused = "paused",
    }
}

text_enum! {
    /// What this cortex does in its federation.
    ///
    /// ```
    /// use antiphon_kernel::FederationMode;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mode: FederationMode = "subscribe".parse()?;
    /// assert!(mode.pulls() && !mode.serves());
    /// # Ok(())
    /// # }
    /// ```
    FederationMode {
        /// Pull and serve.
        #[default]
        Sync = "sync",
        /// Serve; pull nothing but what this cortex wrote itself and has lost.
        Publish = "publish",
        /// Pull; refuse to serve. What is appended here does not leave.
        Subscribe = "subscribe",
    }
}

impl FederationMode {
    /// Whether peers are pulled for what others wrote.
    #[must_use]
    pub const fn pulls(self) -> bool {
        !matches!(self, Self::Publish)
    }

    /// Whether peers are served.
    #[must_use]
    pub const fn serves(self) -> bool {
        !matches!(self, Self::Subscribe)
    }
}

/// The MiB that stay free without a configured number: for appends, and for the store to compact.
const DEFAULT_MIN_FREE_MIB: u64 = 256;

/// A federation: what this cortex does in it, with whom, how often, under which key.
///
/// ```
/// use antiphon_kernel::{Config, FederationMode};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = Config { mode: FederationMode::Publish, ..Config::default() };
/// config.validate()?;
/// assert!(!config.mode.pulls());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What this cortex does.
    #[serde(default)]
    pub mode: FederationMode,
    /// How often an idle peer is polled, and how long a poll may be parked; [`DEFAULT_INTERVAL`] if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
    /// Peers are not pulled while the disk of the store has fewer MiB left than this; 256 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_free_mib: Option<u64>,
    /// The peers.
    #[serde(default)]
    pub peers: Vec<PeerConfig>,
    /// What callers may read.
    #[serde(default)]
    pub access: Access,
    /// What others may cost.
    #[serde(default)]
    pub limits: PeerLimits,
    /// The key that peers share; never part of the file.
    #[serde(skip)]
    pub shared_key: SharedKey,
}

/// Why a federation's configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidConfig {
    /// Two peers have one name.
    #[error("peer `{name}` is listed twice")]
    DuplicatePeer {
        /// The name.
        name: PeerName,
    },
    /// Two peers have one endpoint.
    #[error("peers `{first}` and `{second}` have the same endpoint {endpoint}")]
    DuplicateEndpoint {
        /// The peer that has it first.
        first: PeerName,
        /// The peer that has it again.
        second: PeerName,
        /// The endpoint.
        endpoint: String,
    },
    /// A name that metrics use for something else.
    #[error("peer `{name}`: names that begin with `_` are kept for metrics")]
    ReservedName {
        /// The name.
        name: PeerName,
    },
    /// An endpoint that no transport could dial.
    #[error("peer `{name}`: endpoint `{endpoint}` {rule}")]
    Endpoint {
        /// The peer.
        name: PeerName,
        /// Its endpoint, without what may be a secret.
        endpoint: String,
        /// What it should be.
        rule: &'static str,
    },
    /// A quota cannot be used.
    #[error(transparent)]
    Limits(#[from] InvalidLimits),
    /// A list of revoked certificates without an authority of the peer's own.
    #[error(
        "peer `{name}` has a `crl` and no `ca`: a list of revoked certificates is for an authority of the peer's own"
    )]
    ListWithoutAuthority {
        /// The peer.
        name: PeerName,
    },
    /// A certificate to show without its key, or a key without its certificate.
    #[error("peer `{name}` has `{given}` and no `{missing}`: a certificate is shown with its key")]
    ClientCertificate {
        /// The peer.
        name: PeerName,
        /// The field that is there.
        given: &'static str,
        /// The field that is missing.
        missing: &'static str,
    },
}

impl InvalidConfig {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::DuplicatePeer { .. } => ErrorCode::ConfigDuplicatePeer,
            Self::DuplicateEndpoint { .. } => ErrorCode::ConfigDuplicateEndpoint,
            Self::ReservedName { .. } => ErrorCode::ConfigReservedName,
            Self::Endpoint { .. } => ErrorCode::ConfigEndpoint,
            Self::Limits(_) => ErrorCode::ConfigLimits,
            Self::ListWithoutAuthority { .. } => ErrorCode::ConfigListWithoutAuthority,
            Self::ClientCertificate { .. } => ErrorCode::ConfigClientCertificate,
        }
    }
}

impl Config {
    /// The configured interval, or [`DEFAULT_INTERVAL`].
    #[must_use]
    pub fn effective_interval(&self) -> Duration {
        self.interval.map_or(DEFAULT_INTERVAL, Interval::get)
    }

    /// How many bytes are to stay free where the store is.
    #[must_use]
    pub fn effective_min_free(&self) -> u64 {
        self.min_free_mib.unwrap_or(DEFAULT_MIN_FREE_MIB).saturating_mul(1 << 20)
    }

    /// Checks what single values cannot: names and endpoints that stand twice, endpoints without scheme or address, files that need
    /// another one, quotas of zero.
    ///
    /// # Errors
    /// [`InvalidConfig`] names the first peer or quota that is wrong, and the rule.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let mut names = BTreeSet::new();
        for (at, peer) in self.peers.iter().enumerate() {
            peer.check_endpoint()?;
            peer.check_files()?;
            if peer.name.as_str().starts_with('_') {
                return Err(InvalidConfig::ReservedName { name: peer.name.clone() });
            }
            if !names.insert(&peer.name) {
                return Err(InvalidConfig::DuplicatePeer { name: peer.name.clone() });
            }
            if let Some(first) = self.peers[..at].iter().find(|p| p.endpoint == peer.endpoint) {
                return Err(InvalidConfig::DuplicateEndpoint {
                    first: first.name.clone(),
                    second: peer.name.clone(),
                    endpoint: peer.endpoint.clone(),
                });
            }
        }
        Ok(self.limits.validate()?)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn peer(name: &str, endpoint: &str) -> PeerConfig {
        PeerConfig::new(PeerName::new(name).unwrap(), endpoint.to_owned())
    }

    fn fault(peers: Vec<PeerConfig>) -> String {
        let config = Config { peers, ..Config::default() };
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn names_and_endpoints_stand_once() {
        assert!(fault(vec![peer("a", "https://x:1"), peer("a", "https://y:1")]).contains("`a` is listed twice"));
        assert!(fault(vec![peer("a", "https://x:1"), peer("b", "https://x:1")]).contains("`a` and `b`"));
        assert!(fault(vec![peer("_other", "https://x:1")]).contains("kept for metrics"));
    }

    #[test]
    fn endpoints_need_scheme_and_address_and_no_secret() {
        assert!(fault(vec![peer("a", "x:1")]).contains("scheme"));
        assert!(fault(vec![peer("a", "QUIC://h:7")]).contains("capitals"));
        assert!(!fault(vec![peer("a", "QUIC://u:hunter2@h:7")]).contains("hunter2"));
        assert!(fault(vec![peer("a", "https://")]).contains("no address"));
        Config { peers: vec![peer("a", "unix:///run/a.sock")], ..Config::default() }.validate().unwrap();
        let leaked = fault(vec![peer("a", "https://me:hunter2@x:1")]);
        assert!(leaked.contains("user information") && !leaked.contains("hunter2"), "{leaked}");
    }

    #[test]
    fn a_file_that_needs_another_one_is_refused_alone() {
        let with = |change: fn(&mut PeerConfig)| {
            let mut peer = peer("a", "https://x:1");
            change(&mut peer);
            Config { peers: vec![peer], ..Config::default() }.validate().map_err(|error| error.to_string())
        };
        let file = || Some(PathBuf::from("file.pem"));
        let fault = with(|peer| peer.crl = Some("file.pem".into())).unwrap_err();
        assert!(fault.contains("peer `a` has a `crl` and no `ca`"), "{fault}");
        let fault = with(|peer| peer.client_cert = Some("file.pem".into())).unwrap_err();
        assert!(fault.contains("`client_cert` and no `client_key`"), "{fault}");
        let fault = with(|peer| peer.client_key = Some("file.pem".into())).unwrap_err();
        assert!(fault.contains("`client_key` and no `client_cert`"), "{fault}");
        let whole =
            PeerConfig { ca: file(), crl: file(), client_cert: file(), client_key: file(), ..peer("a", "https://x:1") };
        Config { peers: vec![whole], ..Config::default() }.validate().unwrap();
    }

    #[test]
    fn the_interval_has_a_default() {
        assert_eq!(Config::default().effective_interval(), Duration::from_secs(30));
        let config = Config { interval: Some("2s".parse().unwrap()), ..Config::default() };
        assert_eq!(config.effective_interval(), Duration::from_secs(2));
    }

    #[test]
    fn modes_read_as_in_the_reference() {
        assert_eq!("paused".parse(), Ok(PeerMode::Paused));
        assert_eq!(PeerMode::Sync.to_string(), "sync");
        assert!("off".parse::<FederationMode>().unwrap_err().to_string().contains("sync, publish, subscribe"));
        assert!(!FederationMode::Publish.pulls() && FederationMode::Publish.serves());
        assert!(FederationMode::Subscribe.pulls() && !FederationMode::Subscribe.serves());
    }
}
