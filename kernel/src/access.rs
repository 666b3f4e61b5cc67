//! What others may read here, and what is taken from them: rules, and the trait for decisions of an application's own.
//!
//! | verb | decides | values | a peer of the configuration | others |
//! |---|---|---|---|---|
//! | `read` | whose events it is sent | `all`, `none`, a list of cortexes | `all` | `none` once any rule exists, else `all` |
//! | `relay` | whose events are taken whole from it, besides its own | `all`, `none`, a list of cortexes | `all` | they are not pulled |
//! | `write` | whether its own events are taken whole, from any peer | `yes`, `no` | `yes` | `yes` |
//!
//! Of a cortex that is not on the list for `read`, a caller gets the routing parts of events: order, causality, chains and seals hold, and
//! neither header nor data is sent. A caller that may read nothing is not let in.
//!
//! Of events that `relay` or `write` does not allow, the routing parts alone are taken, for the same reason: no log holds an event without
//! its causes. Header and data then come from a peer that may bring them, if there is one. What the log holds already stays.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::CortexId;

/// Whose events. In a configuration: `all`, `none`, or a list of cortex ids.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Whose {
    /// Everybody's.
    #[default]
    All,
    /// None.
    None,
    /// Those of these cortexes.
    Of(Vec<CortexId>),
}

impl Whose {
    /// Whether events of this cortex are among them.
    #[must_use]
    pub fn covers(&self, cortex: CortexId) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Of(cortexes) => cortexes.contains(&cortex),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Word(String),
    Cortexes(Vec<CortexId>),
}

impl Serialize for Whose {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => Written::Word("all".to_owned()),
            Self::None => Written::Word("none".to_owned()),
            Self::Of(cortexes) => Written::Cortexes(cortexes.clone()),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Whose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || serde::de::Error::custom("write `all`, `none`, or a list of cortex ids");
        match Written::deserialize(deserializer).map_err(|_| wrong())? {
            Written::Word(word) if word == "all" => Ok(Self::All),
            Written::Word(word) if word == "none" => Ok(Self::None),
            Written::Word(_) => Err(wrong()),
            Written::Cortexes(cortexes) => Ok(Self::Of(cortexes)),
        }
    }
}

/// What one cortex may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessRule {
    /// The cortex.
    pub cortex: CortexId,
    /// What its operator calls it; decoration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whose events it reads.
    #[serde(default)]
    pub read: Whose,
    /// Whose events are taken whole from it where it is pulled, besides its own.
    #[serde(default)]
    pub relay: Whose,
    /// Whether its own events are taken whole, whichever peer brings them.
    #[serde(default)]
    pub write: Write,
}

impl AccessRule {
    /// The rule of a cortex that may do everything.
    #[must_use]
    pub const fn new(cortex: CortexId) -> Self {
        Self { cortex, name: None, read: Whose::All, relay: Whose::All, write: Write::Yes }
    }
}

/// Whether a cortex may write. In a configuration: `yes` or `no`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Write {
    /// Its events are taken whole.
    #[default]
    Yes,
    /// Of its events the routing parts alone are taken.
    No,
}

impl<'de> Deserialize<'de> for Write {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // YAML reads `yes` as a word or as a truth value, depending on its version.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Word(String),
            Truth(bool),
        }
        match Written::deserialize(deserializer) {
            Ok(Written::Truth(true)) => Ok(Self::Yes),
            Ok(Written::Truth(false)) => Ok(Self::No),
            Ok(Written::Word(word)) if word == "yes" => Ok(Self::Yes),
            Ok(Written::Word(word)) if word == "no" => Ok(Self::No),
            _ => Err(serde::de::Error::custom("write `yes` or `no`")),
        }
    }
}

/// What everybody may do who has no rule and is no peer of the configuration, readers without an identity among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Others {
    /// They read everything.
    All,
    /// They read nothing.
    None,
}

/// The rules of a configuration.
///
/// ```
/// use antiphon_kernel::access::{Access, AccessRule, Authorizer, Standing, Whose};
/// use antiphon_kernel::CortexId;
///
/// let [edge, stranger] = [1, 2].map(|n| CortexId::from_bytes([n; 16]));
/// let mut access = Access::default();
/// assert_eq!(access.read(Some(stranger), Standing::Other), Whose::All);
/// access.rules.push(AccessRule { read: Whose::Of(vec![edge]), ..AccessRule::new(edge) });
/// assert_eq!(access.read(Some(edge), Standing::Other), Whose::Of(vec![edge]));
/// // Once there is a rule, a cortex without one reads nothing. Peers of the configuration do.
/// assert_eq!(access.read(Some(stranger), Standing::Other), Whose::None);
/// assert_eq!(access.read(Some(stranger), Standing::Peer), Whose::All);
/// // A peer that passes on nothing but its own events.
/// access.rules.push(AccessRule { relay: Whose::None, ..AccessRule::new(stranger) });
/// assert!(access.takes(stranger, stranger) && !access.takes(edge, stranger));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// One for each cortex. The first that names it counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<AccessRule>,
    /// Everybody else; if absent, `none` once any rule exists, else `all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others: Option<Others>,
}

/// How this cortex knows a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// It proved to be a peer of the configuration: one that is named there by its id, or pinned under a name there.
    Peer,
    /// It proved another id, or none.
    Other,
}

/// Decides what others may do. [`Access`] goes by the rules of a configuration; an application may decide otherwise.
///
/// It is asked with each question and each handshake, on the tasks of transports, and with each batch, on the thread that writes the log:
/// keep it fast, and let it not block. Call [`Service::set_authorizer`](crate::Service::set_authorizer) when its answers change: a caller
/// that may read nothing then has to leave, and what is taken again is asked for.
pub trait Authorizer: Send + Sync + 'static {
    /// Whose events a caller reads. `None`: it proved no identity.
    fn read(&self, caller: Option<CortexId>, standing: Standing) -> Whose;

    /// Whether events that `writer` wrote are taken whole from the peer `from`. It is not asked about this cortex's own events, which always
    /// are.
    fn takes(&self, writer: CortexId, from: CortexId) -> bool {
        let _ = (writer, from);
        true
    }
}

impl Access {
    fn rule(&self, cortex: CortexId) -> Option<&AccessRule> {
        self.rules.iter().find(|rule| rule.cortex == cortex)
    }
}

impl Authorizer for Access {
    fn takes(&self, writer: CortexId, from: CortexId) -> bool {
        let may_write = self.rule(writer).is_none_or(|rule| rule.write == Write::Yes);
        let may_relay = || writer == from || self.rule(from).is_none_or(|rule| rule.relay.covers(writer));
        may_write && may_relay()
    }

    fn read(&self, caller: Option<CortexId>, standing: Standing) -> Whose {
        let rule = caller.and_then(|caller| self.rule(caller));
        match (rule, standing, self.others) {
            (Some(rule), ..) => rule.read.clone(),
            (None, Standing::Peer, _) | (None, Standing::Other, Some(Others::All)) => Whose::All,
            (None, Standing::Other, Some(Others::None)) => Whose::None,
            (None, Standing::Other, None) => {
                if self.rules.is_empty() {
                    Whose::All
                } else {
                    Whose::None
                }
            }
        }
    }
}

/// The authorizer that is in force.
#[derive(Clone)]
pub(crate) struct InForce(pub(crate) Arc<dyn Authorizer>);

impl Default for InForce {
    fn default() -> Self {
        Self(Arc::new(Access::default()))
    }
}

impl fmt::Debug for InForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InForce")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_a_word_and_nothing_else_say_whose() {
        let id = CortexId::from_bytes([1; 16]);
        let read = |text: &str| serde_json::from_str::<Whose>(text);
        assert_eq!((read("\"all\"").unwrap(), read("\"none\"").unwrap()), (Whose::All, Whose::None));
        assert_eq!(read(&format!("[\"{id}\"]")).unwrap(), Whose::Of(vec![id]));
        for wrong in ["\"some\"", "3", "[3]", "null"] {
            assert!(read(wrong).unwrap_err().to_string().contains("write `all`"), "{wrong}");
        }
        for whose in [Whose::All, Whose::None, Whose::Of(vec![id])] {
            assert_eq!(read(&serde_json::to_string(&whose).unwrap()).unwrap(), whose);
        }
    }

    #[test]
    fn defaults_are_those_of_the_table() {
        let [one, two] = [1, 2].map(|n| CortexId::from_bytes([n; 16]));
        let read = |access: &Access, caller, standing| access.read(caller, standing);
        let open = Access::default();
        for caller in [Some(one), None] {
            assert_eq!(read(&open, caller, Standing::Other), Whose::All);
        }
        let ruled = Access { rules: vec![AccessRule { read: Whose::None, ..AccessRule::new(one) }], others: None };
        assert_eq!(read(&ruled, Some(one), Standing::Peer), Whose::None, "a rule goes first");
        assert_eq!(read(&ruled, Some(two), Standing::Peer), Whose::All);
        assert_eq!(read(&ruled, Some(two), Standing::Other), Whose::None);
        assert_eq!(read(&ruled, None, Standing::Other), Whose::None);
        let friendly = Access { others: Some(Others::All), ..ruled };
        assert_eq!(read(&friendly, None, Standing::Other), Whose::All);
        let closed = Access { rules: Vec::new(), others: Some(Others::None) };
        assert_eq!(read(&closed, Some(two), Standing::Other), Whose::None);
    }

    #[test]
    fn a_cortex_may_be_kept_from_writing_and_from_relaying() {
        let [one, two, three] = [1, 2, 3].map(|n| CortexId::from_bytes([n; 16]));
        assert!(Access::default().takes(one, two), "without rules everything is taken");
        let rules = |rule: AccessRule| Access { rules: vec![rule], others: None };
        let mute = rules(AccessRule { write: Write::No, ..AccessRule::new(one) });
        assert!(!mute.takes(one, one) && !mute.takes(one, two), "from no peer");
        assert!(mute.takes(two, one), "it may still relay");
        let own = rules(AccessRule { relay: Whose::None, ..AccessRule::new(one) });
        assert!(own.takes(one, one) && !own.takes(two, one) && own.takes(two, two));
        let some = rules(AccessRule { relay: Whose::Of(vec![two]), ..AccessRule::new(one) });
        assert!(some.takes(one, one) && some.takes(two, one) && !some.takes(three, one));
    }

    #[test]
    fn yes_and_no_are_read_as_words_and_as_truth_values() {
        let read = |text: &str| serde_json::from_str::<Write>(text);
        for (text, write) in
            [("\"yes\"", Write::Yes), ("true", Write::Yes), ("\"no\"", Write::No), ("false", Write::No)]
        {
            assert_eq!(read(text).unwrap(), write);
        }
        for wrong in ["\"maybe\"", "3", "null"] {
            assert!(read(wrong).unwrap_err().to_string().contains("write `yes` or `no`"), "{wrong}");
        }
        assert_eq!(read(&serde_json::to_string(&Write::No).unwrap()).unwrap(), Write::No);
    }
}
