//! Quotas: what one cortex may cost here.
//!
//! | quota | bounds | beyond it |
//! |---|---|---|
//! | `events_out_per_second`, `bytes_out_per_second`, `work_per_second` | what is served to it | its answers wait, then it is refused for a time |
//! | `events_in_per_second`, `bytes_in_per_second` | what is pulled from it | the next question to it waits |
//! | `stored_bytes` | the events that it wrote and that are held here | none of its events is taken, those of others are |
//! | `evidence_bytes`, `new_origins_per_day` | forked histories and new origins, of its own and brought by it | the same, of the cortex that wrote them |
//!
//! A quota that is absent bounds nothing: the fixed bounds of the protocol and the memory budget remain.

mod bucket;
mod rates;

pub(crate) use rates::{Allowance, Cost, Rates};

use serde::{Deserialize, Serialize};

use crate::error_code::ErrorCode;
use crate::ids::CortexId;

macro_rules! limits {
    ($($(#[$doc:meta])* $field:ident,)+) => {
        /// The quotas of one cortex. Each is optional, and zero is refused.
        ///
        /// ```
        /// use antiphon_kernel::limits::Limits;
        ///
        /// let limits = Limits { bytes_out_per_second: Some(1 << 20), ..Limits::default() };
        /// assert_eq!((limits.zero(), Limits { work_per_second: Some(0), ..limits }.zero()), (None, Some("work_per_second")));
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Limits {
            $($(#[$doc])* #[serde(default, skip_serializing_if = "Option::is_none")] pub $field: Option<u64>,)+
        }

        impl Limits {
            /// The first quota that is zero.
            #[must_use]
            pub fn zero(&self) -> Option<&'static str> {
                [$((stringify!($field), self.$field)),+].into_iter().find(|(_, limit)| *limit == Some(0)).map(|(name, _)| name)
            }
        }

        /// A rule as it is written: `flatten` would take unknown fields.
        #[derive(Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct WrittenRule {
            cortex: CortexId,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            name: Option<String>,
            $(#[serde(default, skip_serializing_if = "Option::is_none")] $field: Option<u64>,)+
        }

        impl From<WrittenRule> for CortexLimits {
            fn from(written: WrittenRule) -> Self {
                Self { cortex: written.cortex, name: written.name, limits: Limits { $($field: written.$field),+ } }
            }
        }

        impl From<CortexLimits> for WrittenRule {
            fn from(rule: CortexLimits) -> Self {
                Self { cortex: rule.cortex, name: rule.name, $($field: rule.limits.$field),+ }
            }
        }
    };
}

limits! {
    /// Events a second that are sent to it.
    events_out_per_second,
    /// Bytes of events a second that are sent to it.
    bytes_out_per_second,
    /// Work a second that its questions cause: one for each entry of the log that is read for it, sent or not, and one for each
    /// KiB of their records.
    work_per_second,
    /// Events a second that are pulled from it.
    events_in_per_second,
    /// Bytes of events a second that are pulled from it.
    bytes_in_per_second,
    /// Bytes of the events that it wrote, in this log.
    stored_bytes,
    /// Bytes that are kept as evidence of forks: of histories that it wrote, and of histories that it showed.
    evidence_bytes,
    /// Origins that begin here within 24 hours: its own epochs, and those of others whose first event it brings.
    new_origins_per_day,
}

/// The quotas of one cortex in place of the default ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "WrittenRule", into = "WrittenRule")]
pub struct CortexLimits {
    /// The cortex.
    pub cortex: CortexId,
    /// What its operator calls it; decoration.
    pub name: Option<String>,
    /// Its quotas. They replace the default as a whole: one that is absent here bounds nothing.
    pub limits: Limits,
}

/// The quotas of a configuration.
///
/// ```
/// use antiphon_kernel::CortexId;
/// use antiphon_kernel::limits::{CortexLimits, Limits, PeerLimits};
///
/// let [edge, other] = [1, 2].map(|n| CortexId::from_bytes([n; 16]));
/// let limits = PeerLimits {
///     default: Limits { events_out_per_second: Some(1_000), ..Limits::default() },
///     peers: vec![CortexLimits { cortex: edge, name: None, limits: Limits::default() }],
/// };
/// assert_eq!(limits.of(other).events_out_per_second, Some(1_000));
/// assert_eq!(limits.of(edge).events_out_per_second, None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerLimits {
    /// Those of each cortex without a rule, and of all callers together that prove no identity.
    #[serde(default)]
    pub default: Limits,
    /// Rules, one a cortex.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<CortexLimits>,
}

/// Why quotas cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLimits {
    /// One is zero.
    #[error(
        "the quota `{field}` {} is 0, which nothing can keep. Leave it out for no bound, or set 1 or more",
        of.map_or_else(|| "of the default".to_owned(), |cortex| format!("of cortex {cortex}"))
    )]
    Zero {
        /// The cortex; none if it is the default's.
        of: Option<CortexId>,
        /// The quota.
        field: &'static str,
    },
    /// Two rules are about one cortex.
    #[error("cortex {cortex} has two rules with quotas. Write one rule")]
    Duplicate {
        /// The cortex.
        cortex: CortexId,
    },
}

impl InvalidLimits {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::ConfigLimits
    }
}

impl PeerLimits {
    /// The quotas of a cortex: its rule, or the default.
    #[must_use]
    pub fn of(&self, cortex: CortexId) -> Limits {
        self.rule(cortex).map_or(self.default, |rule| rule.limits)
    }

    /// The rule of a cortex.
    #[must_use]
    pub fn rule(&self, cortex: CortexId) -> Option<&CortexLimits> {
        self.peers.iter().find(|rule| rule.cortex == cortex)
    }

    /// Whether these can be used.
    ///
    /// # Errors
    /// [`InvalidLimits`].
    pub fn validate(&self) -> Result<(), InvalidLimits> {
        let rules = self.peers.iter().map(|rule| (Some(rule.cortex), &rule.limits));
        for (of, limits) in std::iter::once((None, &self.default)).chain(rules) {
            if let Some(field) = limits.zero() {
                return Err(InvalidLimits::Zero { of, field });
            }
        }
        let mut cortexes: Vec<_> = self.peers.iter().map(|rule| rule.cortex).collect();
        cortexes.sort_unstable();
        match cortexes.windows(2).find(|two| two[0] == two[1]) {
            Some(two) => Err(InvalidLimits::Duplicate { cortex: two[0] }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cortex(n: u8) -> CortexId {
        CortexId::from_bytes([n; 16])
    }

    #[test]
    fn a_rule_is_written_in_one_line_and_replaces_the_default_as_a_whole() {
        let text = format!(
            r#"{{"default":{{"events_out_per_second":5,"stored_bytes":9}},"peers":[{{"cortex":"{}","name":"edge","bytes_in_per_second":7}}]}}"#,
            cortex(1)
        );
        let read: PeerLimits = serde_json::from_str(&text).unwrap();
        assert_eq!(read.of(cortex(1)), Limits { bytes_in_per_second: Some(7), ..Limits::default() });
        assert_eq!(read.of(cortex(2)), read.default);
        assert_eq!((read.default.events_out_per_second, read.default.stored_bytes), (Some(5), Some(9)));
        assert_eq!(serde_json::from_str::<PeerLimits>(&serde_json::to_string(&read).unwrap()).unwrap(), read);
        assert_eq!(serde_json::from_str::<PeerLimits>("{}").unwrap(), PeerLimits::default());
        for unknown in [r#"{"default":{"events":5}}"#, &text.replace("name", "nam"), r#"{"others":1}"#] {
            assert!(serde_json::from_str::<PeerLimits>(unknown).unwrap_err().to_string().contains("unknown field"));
        }
    }

    #[test]
    fn zero_and_two_rules_for_one_cortex_are_refused_by_name() {
        let rule = |limits| CortexLimits { cortex: cortex(1), name: None, limits };
        let zero = Limits { evidence_bytes: Some(0), ..Limits::default() };
        let of = |default, peers| PeerLimits { default, peers }.validate();
        assert_eq!(of(Limits::default(), vec![rule(Limits::default())]), Ok(()));
        assert_eq!(of(zero, vec![]), Err(InvalidLimits::Zero { of: None, field: "evidence_bytes" }));
        let error = of(Limits::default(), vec![rule(zero)]).unwrap_err();
        assert_eq!(error, InvalidLimits::Zero { of: Some(cortex(1)), field: "evidence_bytes" });
        assert!(error.to_string().contains(&cortex(1).to_string()), "{error}");
        let twice = of(Limits::default(), vec![rule(Limits::default()), rule(Limits::default())]);
        assert_eq!(twice, Err(InvalidLimits::Duplicate { cortex: cortex(1) }));
    }
}
