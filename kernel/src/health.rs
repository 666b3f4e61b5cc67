//! The health of a peer, in types: no free text is kept, none can leak.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error_code::ErrorCode;
use crate::time::Timestamp;

macro_rules! categories {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $code:ident, $text:literal, $reason:literal;)+) => {
        /// What kind of failure an exchange with a peer had. Each says in a few words what happened.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum ErrorCategory { $($(#[$doc])* $variant,)+ }

        impl ErrorCategory {
            /// Every category.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name in logs, JSON and metrics.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// What happened, in a few words that follow the peer's name.
            #[must_use]
            pub const fn reason(self) -> &'static str {
                match self { $(Self::$variant => $reason,)+ }
            }

            /// The stable code of this failure.
            #[must_use]
            pub const fn code(self) -> ErrorCode {
                match self { $(Self::$variant => ErrorCode::$code,)+ }
            }

            /// Its number in stored health. Never reused.
            #[must_use]
            pub(crate) const fn number(self) -> u8 {
                match self { $(Self::$variant => $number,)+ }
            }

            /// The category with this number.
            #[must_use]
            pub(crate) const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

categories! {
    /// Nothing listens at the endpoint. Retried after back-off.
    ConnectionRefused = 1, PeerConnectionRefused, "connection_refused", "refuses the connection";
    /// No answer in time. Retried after back-off.
    Timeout = 2, PeerTimeout, "timeout", "does not answer in time";
    /// The host name does not resolve. Retried after back-off.
    Dns = 3, PeerDns, "dns", "has a host name that does not resolve";
    /// No trusted TLS session. Retried after back-off.
    Tls = 4, PeerTls, "tls", "could not be trusted over TLS";
    /// The connection broke. Retried after back-off.
    Reset = 5, PeerReset, "reset", "broke the connection";
    /// The answer ended early. Retried after back-off.
    Eof = 6, PeerEof, "eof", "ended its answer early";
    /// The shared key was not accepted. Retried after back-off.
    Auth = 7, PeerAuth, "auth", "does not accept our shared key";
    /// It proved another identity than the pinned one. Retried after back-off; nothing is applied.
    Identity = 8, PeerIdentity, "identity", "is another cortex than the one pinned under this name";
    /// It redirects. Retried after back-off; redirects are never followed.
    Redirect = 9, PeerRedirect, "redirect", "answers with a redirect, which is never followed";
    /// Its answer is larger than a frame may be. Retried after back-off.
    TooLarge = 10, PeerTooLarge, "too_large", "sent more than a frame may hold";
    /// Its answer was damaged on the way. Retried after back-off.
    Corrupt = 11, PeerCorrupt, "corrupt", "sent a frame that arrived damaged";
    /// It broke the protocol. Retried after back-off; the cursor stays.
    Protocol = 12, PeerProtocol, "protocol", "breaks the protocol";
    /// No protocol is spoken by both. Retried after back-off.
    Version = 13, PeerVersion, "version", "speaks no protocol that we speak";
    /// It claims other histories than ours, and what it shows does not bear that out. Retried after back-off.
    Fork = 14, PeerFork, "fork", "claims other histories than ours and cannot show them";
    /// It does not serve its log. Retried after back-off.
    NotServing = 15, PeerNotServing, "not_serving", "does not serve its log (mode subscribe)";
    /// It holds more origins than a clock may have. Retried after back-off.
    TooManyOrigins = 16, PeerTooManyOrigins, "too_many_origins", "has events of more origins than a clock may hold";
    /// It has no room now. Retried after back-off.
    Busy = 17, PeerBusy, "busy", "takes no questions now: it stops, or is full";
    /// Our own store failed. Retried after back-off.
    Store = 18, PeerStore, "store", "could not be stored from: our own store failed";
    /// It holds events of our own current epoch that we do not have, for the second time in one run. Not retried until
    /// reset or restart.
    Rollback = 19, PeerRollback, "rollback", "holds events of ours that we do not have, again";
    /// It is ourselves. Retried after back-off.
    OwnAddress = 20, PeerOwnAddress, "own_address", "is this node itself";
    /// It is pinned under another name already. Retried after back-off.
    PinnedElsewhere = 21, PeerPinnedElsewhere, "pinned_elsewhere", "is a cortex that another peer name is pinned to";
    /// It answers, but not as an Antiphon node does. Retried after back-off.
    Unexpected = 22, PeerUnexpected, "unexpected", "answers, but not as an Antiphon node does";
    /// Its endpoint or CA cannot be used as configured. Not retried until the configuration changes.
    Configuration = 23, PeerConfiguration, "configuration", "cannot be dialled as it is configured";
    /// Its log no longer reaches back to our cursor. Retried after back-off.
    TooOld = 24, PeerTooOld, "too_old", "no longer holds what we would need next";
    /// It differs in more histories than a question can name. Retried after back-off.
    TooManyForks = 26, PeerTooManyForks, "too_many_forks", "differs from this node in more than 64 histories";
    /// One side speaks TLS where the other does not. Retried after back-off.
    Scheme = 28, PeerScheme, "scheme", "does not answer in the scheme of its endpoint";
    /// The task that pulls it ended by a fault of this program's. Not retried until restart.
    Fault = 25, PeerTaskFault, "fault", "is not pulled any more: the task that did so ended by a fault";
    /// It runs with our own identity, and is not ourselves. Retried after back-off.
    Double = 31, PeerDouble, "double", "runs with this node's own identity: one of the two is a copy of the other's data directory";
    /// It failed inside, as it says itself. Retried after back-off.
    PeerFault = 32, PeerFault, "peer_fault", "reports a failure of its own";
    /// It sends what this version cannot read. Retried after back-off.
    Newer = 33, PeerNewer, "newer", "sends what only a newer version can read";
    /// Its answers lead nowhere. Retried after back-off.
    NoProgress = 34, PeerNoProgress, "no_progress", "answers, but its answers bring nothing new and no end";
    /// It belongs to another log. Retried after back-off; nothing is applied.
    OtherLog = 35, PeerOtherLog, "other_log", "belongs to another log than this node";
    /// It does not prove that it is the cortex that it says it is. Retried after back-off; nothing is said to it.
    Unproven = 36, PeerUnproven, "unproven", "does not prove that it is the cortex that it says it is";
    /// It does not accept our proof of identity. Retried after back-off.
    ProofRefused = 37, PeerProofRefused, "proof_refused", "does not accept our proof of identity";
    /// It does not allow us to read its log. Retried after back-off.
    NotAllowed = 38, PeerNotAllowed, "not_allowed", "does not allow this node to read its log";
    /// We used up our quota there. Retried after back-off, and not before the time that it gave.
    OverQuota = 39, PeerOverQuota, "over_quota", "sends nothing for now, because this node used up its quota there";
    /// More cortexes went beyond their quotas here than one question can leave out. Retried after back-off.
    QuotasHere = 40, PeerQuotasHere, "quotas_here", "has events of too many cortexes that used up their quotas here";
    /// Its certificate, or one between it and the authority, is revoked. Retried after back-off; nothing is said to it.
    Revoked = 41, PeerRevoked, "revoked", "has a certificate that is revoked";
    /// Whether its certificate is revoked is not known: the list that we have is outdated or another authority's. Retried after
    /// back-off; nothing is said to it.
    RevocationUnknown = 42, PeerRevocationUnknown, "revocation_unknown", "has a certificate that no current list of ours covers, so it may be revoked";
    /// It does not accept the certificate that we show, or asks for one. Retried after back-off.
    CertificateRefused = 43, PeerCertificateRefused, "certificate_refused", "does not accept our client certificate, or asks for one";
}

impl ErrorCategory {
    /// Whether a retry alone cannot help: the peer stays halted until it is reset, reconfigured or restarted.
    #[must_use]
    pub const fn halts(self) -> bool {
        matches!(self, Self::Rollback | Self::Configuration | Self::Fault)
    }

    /// Whether it may be what an operator does just now, on either side, such as resolving a fork: then it passes within
    /// seconds, and only what lasts is a reason to report a bug.
    #[must_use]
    pub const fn may_pass(self) -> bool {
        matches!(self, Self::Protocol | Self::Fork)
    }

    /// Whether the peer was reached and one side says no, so that waiting does not help; otherwise it was not reached, or
    /// not for long enough.
    #[must_use]
    pub const fn is_refusal(self) -> bool {
        match self {
            Self::ConnectionRefused
            | Self::Timeout
            | Self::Dns
            | Self::Reset
            | Self::Eof
            | Self::Corrupt
            | Self::Busy
            | Self::OverQuota
            | Self::PeerFault
            | Self::Store => false,
            Self::Tls
            | Self::Revoked
            | Self::RevocationUnknown
            | Self::CertificateRefused
            | Self::Scheme
            | Self::Auth
            | Self::Identity
            | Self::Unproven
            | Self::ProofRefused
            | Self::NotAllowed
            | Self::OtherLog
            | Self::Redirect
            | Self::TooLarge
            | Self::Protocol
            | Self::Version
            | Self::Fork
            | Self::TooManyForks
            | Self::NotServing
            | Self::TooManyOrigins
            | Self::QuotasHere
            | Self::Rollback
            | Self::OwnAddress
            | Self::Double
            | Self::PinnedElsewhere
            | Self::Unexpected
            | Self::Configuration
            | Self::Fault
            | Self::Newer
            | Self::NoProgress
            | Self::TooOld => true,
        }
    }
}

/// A failure with what exactly happened: for the log and for operators, and not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its kind.
    pub category: ErrorCategory,
    /// What happened, with the rule and the event where there is one.
    pub detail: String,
}

impl Failure {
    /// A failure of this kind.
    #[must_use]
    pub fn new(category: ErrorCategory, detail: impl fmt::Display) -> Self {
        Self { category, detail: detail.to_string() }
    }
}

impl fmt::Display for ErrorCategory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How long a failure that may pass lasts before an operator must act.
const LASTING: Duration = Duration::from_secs(5);

/// A peer's health, kept across restarts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerHealth {
    /// The version of its software, once known (at most 64 characters).
    pub version: Option<String>,
    /// When an exchange last succeeded.
    pub last_success: Option<Timestamp>,
    /// How many exchanges have failed since.
    pub consecutive_failures: u32,
    /// When the last one failed.
    pub last_failure: Option<Timestamp>,
    /// The kind of the last failure, while it lasts.
    pub last_error: Option<ErrorCategory>,
    /// When the first failure of this kind in a row was; of a process before this one, the last.
    #[serde(default)]
    pub failing_since: Option<Timestamp>,
}

impl PeerHealth {
    /// An exchange succeeded. True if that ended a row of failures.
    pub fn succeeded(&mut self, now: Timestamp) -> bool {
        let recovered = self.consecutive_failures > 0;
        self.last_success = Some(now);
        self.consecutive_failures = 0;
        self.last_error = None;
        self.failing_since = None;
        recovered
    }

    /// An exchange failed. True if it failed otherwise than the previous one, so that it deserves a full explanation.
    pub fn failed(&mut self, now: Timestamp, category: ErrorCategory) -> bool {
        let news = self.last_error != Some(category);
        if news {
            self.failing_since = Some(now);
        }
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        self.last_failure = Some(now);
        self.last_error = Some(category);
        news
    }

    /// Returns the last failure if an operator must act on it. One that may pass counts once it lasts five seconds.
    #[must_use]
    pub fn lasting(&self, now: Timestamp) -> Option<ErrorCategory> {
        let lasts = self.failing_since.is_some_and(|since| now.saturating_since(since) >= LASTING);
        self.last_error.filter(|error| lasts || !error.may_pass())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn categories_have_distinct_codes_numbers_and_reasons() {
        let codes: BTreeSet<_> = ErrorCategory::ALL.iter().map(|c| c.code()).collect();
        assert_eq!(codes.len(), ErrorCategory::ALL.len());
        for &category in ErrorCategory::ALL {
            assert_eq!(ErrorCategory::from_number(category.number()), Some(category));
            assert!(!category.reason().is_empty());
        }
        assert_eq!(ErrorCategory::from_number(0), None);
    }

    #[test]
    fn only_what_lasts_is_to_act_on() {
        let mut health = PeerHealth::default();
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        assert_eq!(health.lasting(at(0)), None);
        for category in [ErrorCategory::Fork, ErrorCategory::Protocol] {
            health.failed(at(10), category);
            health.failed(at(14), category);
            assert_eq!(health.lasting(at(14)), None, "{category}");
            assert_eq!(health.lasting(at(15)), Some(category), "{category}");
        }
        health.succeeded(at(16));
        health.failed(at(17), ErrorCategory::Protocol);
        assert_eq!(health.lasting(at(18)), None);
        health.failed(at(18), ErrorCategory::Auth);
        assert_eq!(health.lasting(at(18)), Some(ErrorCategory::Auth));
    }

    #[test]
    fn only_news_deserve_an_explanation() {
        let mut health = PeerHealth::default();
        let now = Timestamp::from_micros(1);
        assert!(health.failed(now, ErrorCategory::ConnectionRefused));
        assert!(!health.failed(now, ErrorCategory::ConnectionRefused));
        assert!(health.failed(now, ErrorCategory::Tls));
        assert_eq!(health.consecutive_failures, 3);
        assert!(health.succeeded(now));
        assert!(!health.succeeded(now));
        assert_eq!(health.last_error, None);
    }
}
