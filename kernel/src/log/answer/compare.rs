//! Comparing both histories wherever that is due.

use super::Failure;
use super::asking::{Checked, OpenQuery};
use crate::digest::Digest;
use crate::ids::Origin;
use crate::log::LogReader;
use crate::log::entry::missing;
use crate::log::segments::{stored_digest, stored_digests};
use crate::mutant::{self, Mutant};
use crate::protocol::{ChainHead, Heads, Refusal};
use crate::store::StoreError;

impl LogReader {
    /// Compares the two histories wherever that is due: at the asker's counter where we hold as much, and else the asker
    /// gets our head, to compare it there.
    pub(super) fn check(&self, asking: &mut OpenQuery, chains: &Heads) -> Result<(), Failure> {
        self.check_withheld(asking, chains)?;
        // Of all that is known, whatever is asked for: an event of one origin may depend on any other.
        for (&origin, theirs) in &asking.known {
            let Some(ours) = chains.get(origin) else { continue };
            if asking.excluded.contains(&origin.cortex()) || mutant::is(Mutant::HeadNeverCompared) {
                continue;
            }
            let due = if ours.counter >= theirs.counter {
                Checked::Here(theirs.counter)
            } else {
                Checked::There(ours.counter)
            };
            if asking.checked.get(&origin) == Some(&due) {
                continue;
            }
            if due == Checked::There(ours.counter) {
                // Where histories that differed are one again, this says so as well, and that nothing differs later on.
                if !asking.differs(origin, ours.counter) {
                    asking.tell.insert(origin, ours);
                }
            } else if !asking.differs(origin, theirs.counter) {
                let digest = self.digest_at(origin, theirs.counter, ours)?;
                if digest != theirs.digest {
                    return Err(Refusal::Fork { origin, counter: theirs.counter, digest }.into());
                }
            }
            asking.checked.insert(origin, due);
        }
        Ok(())
    }

    /// Where the asker found a difference once, the histories may be one again: then its own digest says so. Where
    /// our version was set aside, it gets how far we hold the origin by now.
    fn check_withheld(&self, asking: &mut OpenQuery, chains: &Heads) -> Result<(), StoreError> {
        let mut healed = Vec::new();
        for (&origin, theirs) in &asking.withhold {
            let held = match chains.get(origin) {
                None => ChainHead { counter: 0, digest: Digest::ZERO },
                Some(tip) if tip.counter < theirs.counter => tip,
                Some(tip) => {
                    let digest = self.digest_at(origin, theirs.counter, tip)?;
                    ChainHead { counter: theirs.counter, digest }
                }
            };
            if held == *theirs {
                healed.push(origin);
            } else if asking.shown.insert(origin, held) != Some(held) {
                asking.tell.insert(origin, held);
            }
        }
        for origin in healed {
            if let Some(head) = asking.withhold.remove(&origin) {
                asking.checked.remove(&origin);
                asking.tell.insert(origin, head);
            }
        }
        Ok(())
    }

    fn digest_at(&self, origin: Origin, counter: u64, tip: ChainHead) -> Result<Digest, StoreError> {
        if tip.counter == counter {
            return Ok(tip.digest);
        }
        stored_digest(&**self.store(), origin, counter)?.ok_or_else(|| missing(origin, counter))
    }

    /// The chain heads that the asker is to compare: of what is sent, as of the last event sent, and those that are due.
    /// What is sent counts as known from now on, and as compared: it is ours.
    pub(super) fn heads_for(&self, sent: &[(Origin, u64)], asking: &mut OpenQuery) -> Result<Heads, StoreError> {
        let mut heads = Vec::with_capacity(sent.len() + asking.tell.len());
        for (&(origin, counter), digest) in sent.iter().zip(stored_digests(&**self.store(), sent)?) {
            let head = ChainHead { counter, digest: digest.ok_or_else(|| missing(origin, counter))? };
            asking.known.insert(origin, head);
            asking.checked.insert(origin, Checked::Here(counter));
            asking.tell.remove(&origin);
            heads.push((origin, head));
        }
        heads.extend(asking.tell.iter().map(|(&origin, &head)| (origin, head)));
        Ok(Heads::new(heads))
    }
}
