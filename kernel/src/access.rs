//! What callers may read: rules, and the trait for decisions of an application's own.
//!
//! | verb | values | a peer of the configuration | others who were let in |
//! |---|---|---|---|
//! | `read` | `all`, `none`, a list of cortexes | `all` | `none` once any rule exists, else `all` |
//!
//! Of a cortex that is not on the list, a caller gets the routing parts of events: order, causality, chains and seals hold, and neither
//! header nor data is sent. A caller that may read nothing is not let in.

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
/// access.rules.push(AccessRule { cortex: edge, name: None, read: Whose::Of(vec![edge]) });
/// assert_eq!(access.read(Some(edge), Standing::Other), Whose::Of(vec![edge]));
/// // Once there is a rule, a cortex without one reads nothing. Peers of the configuration do.
/// assert_eq!(access.read(Some(stranger), Standing::Other), Whose::None);
/// assert_eq!(access.read(Some(stranger), Standing::Peer), Whose::All);
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

/// Decides what callers may do. [`Access`] goes by the rules of a configuration; an application may decide otherwise.
///
/// It is asked with each question and each handshake, on the tasks of transports: keep it fast, and let it not block. Say so with
/// [`Service::set_authorizer`](crate::Service::set_authorizer) when its answers change: a caller that may read nothing then has to leave.
pub trait Authorizer: Send + Sync + 'static {
    /// Whose events a caller reads. `None`: it proved no identity.
    fn read(&self, caller: Option<CortexId>, standing: Standing) -> Whose;
}

impl Authorizer for Access {
    fn read(&self, caller: Option<CortexId>, standing: Standing) -> Whose {
        let rule = caller.and_then(|caller| self.rules.iter().find(|rule| rule.cortex == caller));
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
        let ruled = Access { rules: vec![AccessRule { cortex: one, name: None, read: Whose::None }], others: None };
        assert_eq!(read(&ruled, Some(one), Standing::Peer), Whose::None, "a rule goes first");
        assert_eq!(read(&ruled, Some(two), Standing::Peer), Whose::All);
        assert_eq!(read(&ruled, Some(two), Standing::Other), Whose::None);
        assert_eq!(read(&ruled, None, Standing::Other), Whose::None);
        let friendly = Access { others: Some(Others::All), ..ruled };
        assert_eq!(read(&friendly, None, Standing::Other), Whose::All);
        let closed = Access { rules: Vec::new(), others: Some(Others::None) };
        assert_eq!(read(&closed, Some(two), Standing::Other), Whose::None);
    }
}
