//! The health of a peer, in types: no free text is kept, none can leak.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

macro_rules! categories {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $text:literal, $reason:literal, $remedy:literal;)+) => {
        /// What kind of failure an exchange with a peer had. Each says in one line what happened and what to do.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
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

            /// What to do about it.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy,)+ }
            }

            /// Its number in stored health. Never reused.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self { $(Self::$variant => $code,)+ }
            }

            /// The category with this number.
            #[must_use]
            pub(crate) const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

categories! {
    /// Nothing listens at the endpoint. Retried after back-off.
    ConnectionRefused = 1, "connection_refused", "refuses the connection", "check that the node runs and that the endpoint's port is right";
    /// No answer in time. Retried after back-off.
    Timeout = 2, "timeout", "does not answer in time", "check the network path, firewalls, and whether the node hangs";
    /// The host name does not resolve. Retried after back-off.
    Dns = 3, "dns", "has a host name that does not resolve", "check the spelling of the endpoint and the name server";
    /// No trusted TLS session. Retried after back-off.
    Tls = 4, "tls", "could not be trusted over TLS", "check its certificate (names, dates) and that `ca` is the authority that signed it";
    /// The connection broke. Retried after back-off.
    Reset = 5, "reset", "broke the connection", "usually passes; if not, look at the peer's log and at proxies in between";
    /// The answer ended early. Retried after back-off.
    Eof = 6, "eof", "ended its answer early", "usually passes; if not, look at the peer's log and at proxies in between";
    /// The shared key was not accepted. Retried after back-off.
    Auth = 7, "auth", "does not accept our shared key", "give both nodes the same key (ANTIPHON_SHARED_KEY or key_file)";
    /// It proved another identity than the pinned one. Retried after back-off; nothing is applied.
    Identity = 8, "identity", "is another cortex than the one pinned under this name", "if the node was replaced on purpose, run `antiphon reset-peer` for it; if not, check the endpoint";
    /// It redirects. Retried after back-off; redirects are never followed.
    Redirect = 9, "redirect", "answers with a redirect, which is never followed", "put the node's own address into the endpoint";
    /// Its answer is larger than a frame may be. Retried after back-off.
    TooLarge = 10, "too_large", "sent more than a frame may hold", "check that the endpoint is an Antiphon node; if it is, report a bug";
    /// Its answer was damaged on the way. Retried after back-off.
    Corrupt = 11, "corrupt", "sent a frame that arrived damaged", "usually passes; if not, suspect memory or a proxy that rewrites bodies";
    /// It broke the protocol. Retried after back-off; the cursor stays.
    Protocol = 12, "protocol", "breaks the protocol", "run the same version on both nodes; if they do, report a bug with both logs";
    /// No protocol is spoken by both. Retried after back-off.
    Version = 13, "version", "speaks no protocol that we speak", "upgrade the older of the two nodes";
    /// It claims other histories than ours, and what it shows does not bear that out. Retried after back-off.
    Fork = 14, "fork", "claims other histories than ours and cannot show them", "run `antiphon verify` on both nodes; if both are clean, report a bug with both logs";
    /// It does not serve its log. Retried after back-off.
    NotServing = 15, "not_serving", "does not serve its log (mode subscribe)", "set it to mode sync or publish, or remove the peer here";
    /// It holds more origins than a clock may have. Retried after back-off.
    TooManyOrigins = 16, "too_many_origins", "has events of more origins than a clock may hold", "a log holds at most 1,024 origins, 960 of them of nodes that are no peers of this one; make the node that wrote the rest a peer, or begin a new federation";
    /// It has no room now. Retried after back-off.
    Busy = 17, "busy", "takes no questions now: it stops, or is full", "usually passes; if not, raise its limits or lower the number of its clients";
    /// Our own store failed. Retried after back-off.
    Store = 18, "store", "could not be stored from: our own store failed", "look at this node's log, its disk space and its file system";
    /// It holds events of our own current epoch that we do not have, for the second time in one run. Not retried until
    /// reset or restart.
    Rollback = 19, "rollback", "holds events of ours that we do not have, again", "restart this node if its store went back in time under it; if it did not, the peer makes events up";
    /// It is ourselves. Retried after back-off.
    OwnAddress = 20, "own_address", "is this node itself", "remove the peer, or put the other node's address into its endpoint";
    /// It is pinned under another name already. Retried after back-off.
    PinnedElsewhere = 21, "pinned_elsewhere", "is a cortex that another peer name is pinned to", "keep one name for each cortex; `antiphon reset-peer` clears the old one";
    /// It answers, but not as an Antiphon node does. Retried after back-off.
    Unexpected = 22, "unexpected", "answers, but not as an Antiphon node does", "check the endpoint, where another program may be listening, and the peer's own log";
    /// Its endpoint or CA cannot be used as configured. Not retried until the configuration changes.
    Configuration = 23, "configuration", "cannot be dialled as it is configured", "run `antiphon config check`";
    /// Its log no longer reaches back to our cursor. Retried after back-off.
    TooOld = 24, "too_old", "no longer holds what we would need next", "bring this node up from another peer that still has it";
    /// It differs in more histories than a question can name. Retried after back-off.
    TooManyForks = 26, "too_many_forks", "differs from this node in more than 64 histories", "end the forks with it: `antiphon fork list` says how, and which peer brought the other versions";
    /// One side speaks TLS where the other does not. Retried after back-off.
    Scheme = 28, "scheme", "does not answer in the scheme of its endpoint", "write https:// if the peer sets `listen.tls`; if it does not, set it there";
    /// The task that pulls it ended by a fault of this program's. Not retried until restart.
    Fault = 25, "fault", "is not pulled any more: the task that did so ended by a fault", "restart this node, and report a bug with its log";
    /// It runs with our own identity, and is not ourselves. Retried after back-off.
    Double = 31, "double", "runs with this node's own identity: one of the two is a copy of the other's data directory", "stop the copy for good and keep its data directory; make a new node in its place with `antiphon init`, then look at `antiphon fork list`";
    /// It failed inside, as it says itself. Retried after back-off.
    PeerFault = 32, "peer_fault", "reports a failure of its own", "look at the peer's own log, its disk and its `antiphon status`";
    /// It sends what this version cannot read. Retried after back-off.
    Newer = 33, "newer", "sends what only a newer version can read", "upgrade this node to the peer's version";
    /// Its answers lead nowhere. Retried after back-off.
    NoProgress = 34, "no_progress", "answers, but its answers bring nothing new and no end", "run `antiphon verify` on the peer, and report a bug with both logs if it is clean";
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
            | Self::PeerFault
            | Self::Store => false,
            Self::Tls
            | Self::Scheme
            | Self::Auth
            | Self::Identity
            | Self::Redirect
            | Self::TooLarge
            | Self::Protocol
            | Self::Version
            | Self::Fork
            | Self::TooManyForks
            | Self::NotServing
            | Self::TooManyOrigins
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
/// What is said of it before.
const PASSING: &str = "it is tried again; while a fork is resolved that passes within seconds";

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

    /// What to do about the last failure, while it lasts: at first nothing, where it may pass.
    #[must_use]
    pub fn remedy(&self, now: Timestamp) -> Option<&'static str> {
        let error = self.last_error?;
        let lasts = self.failing_since.is_some_and(|since| now.saturating_since(since) >= LASTING);
        Some(if error.may_pass() && !lasts { PASSING } else { error.remedy() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories_have_stable_distinct_codes_and_full_sentences() {
        let mut codes: Vec<_> = ErrorCategory::ALL.iter().map(|c| c.code()).collect();
        codes.dedup();
        assert_eq!(codes.len(), ErrorCategory::ALL.len());
        for &category in ErrorCategory::ALL {
            assert_eq!(ErrorCategory::from_code(category.code()), Some(category));
            assert!(!category.reason().is_empty() && !category.remedy().is_empty());
        }
        assert_eq!(ErrorCategory::from_code(0), None);
    }

    #[test]
    fn a_bug_is_to_be_reported_only_of_what_lasts() {
        let mut health = PeerHealth::default();
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        assert_eq!(health.remedy(at(0)), None);
        for category in [ErrorCategory::Fork, ErrorCategory::Protocol] {
            health.failed(at(10), category);
            health.failed(at(14), category);
            assert!(!health.remedy(at(14)).unwrap().contains("report a bug"), "{category}");
            assert_eq!(health.remedy(at(15)), Some(category.remedy()), "{category}");
        }
        health.succeeded(at(16));
        health.failed(at(17), ErrorCategory::Protocol);
        assert_ne!(health.remedy(at(18)), Some(ErrorCategory::Protocol.remedy()));
        health.failed(at(18), ErrorCategory::Auth);
        assert_eq!(health.remedy(at(18)), Some(ErrorCategory::Auth.remedy()));
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
