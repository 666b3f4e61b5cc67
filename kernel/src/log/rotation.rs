//! Replacing the working key of a cortex while it runs.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use super::minted::Minted;
use crate::codec::StoredChain;
use crate::error_code::ErrorCode;
use crate::identity::{EndOfEpoch, InvalidStatement, KeyStatement, MAX_ENDS, Signer};
use crate::ids::{CortexId, Epoch, Origin};
use crate::store::StoreError;

/// Makes the next keys and keeps them durably, before anything is signed with them. It gets the statement that holds now, and the end of
/// each epoch that this cortex began: the next statement lists them. It is called on the thread that writes the log, and may block.
pub(crate) type IssueKeys =
    Box<dyn FnOnce(&KeyStatement, Vec<EndOfEpoch>) -> Result<Arc<dyn Signer>, Box<dyn Error + Send + Sync>> + Send>;

/// Why the working key was not replaced.
///
/// ```
/// use antiphon_kernel::RotateError;
///
/// assert_eq!(RotateError::NotNewer { number: 2 }.to_string(), "the new key statement has number 2, which is not above the present one");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RotateError {
    /// No next keys could be made. The present ones stay in use.
    #[error("the next working key could not be made")]
    NotMade(#[source] Box<dyn Error + Send + Sync>),
    /// The next statement does not hold.
    #[error("the next key statement does not hold")]
    Statement(#[from] InvalidStatement),
    /// The next keys are another cortex's.
    #[error("the next keys are those of cortex {0}")]
    OtherCortex(CortexId),
    /// The next statement does not follow the present one.
    #[error("the new key statement has number {number}, which is not above the present one")]
    NotNewer {
        /// Its number.
        number: u64,
    },
    /// The log was opened without keys.
    #[error("this log was opened without its keys")]
    NoKeys,
    /// The store failed. Where the next keys were kept already, they are in use from the next start on.
    #[error("the new epoch could not be stored; restart this node, which then uses the new key")]
    Store(#[from] StoreError),
}

impl RotateError {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NotMade(_) => ErrorCode::RotateNotMade,
            Self::Statement(error) => error.code(),
            Self::OtherCortex(_) => ErrorCode::IdentityOtherCortex,
            Self::NotNewer { .. } => ErrorCode::RotateNotNewer,
            Self::NoKeys => ErrorCode::IdentityKeysMissing,
            Self::Store(error) => error.code(),
        }
    }
}

/// Checks that keys may follow those whose statement this is.
pub(super) fn follows(next: &KeyStatement, present: &KeyStatement) -> Result<(), RotateError> {
    next.verify()?;
    if next.cortex() != present.cortex() {
        return Err(RotateError::OtherCortex(next.cortex()));
    }
    let number = next.number();
    if number > present.number() { Ok(()) } else { Err(RotateError::NotNewer { number }) }
}

/// The end of each epoch of this cortex: those of its statement, and those that it began and wrote in. If they are too many, the ones with the
/// fewest events are left out.
pub(super) fn ends(
    present: &KeyStatement,
    cortex: CortexId,
    minted: &Minted,
    chains: &BTreeMap<Origin, StoredChain>,
) -> Vec<EndOfEpoch> {
    let stated = present.ends().iter().map(|end| (end.epoch, *end));
    let held = minted.iter().filter_map(|&epoch| {
        let tip = chains.get(&Origin::new(cortex, epoch))?;
        Some((epoch, EndOfEpoch { epoch, counter: tip.counter, digest: tip.digest.to_bytes() }))
    });
    // What is held counts: an epoch may have been written on since the statement.
    let all: BTreeMap<Epoch, EndOfEpoch> = stated.chain(held).collect();
    let mut ends: Vec<_> = all.into_values().collect();
    if ends.len() > MAX_ENDS {
        ends.sort_unstable_by_key(|end| std::cmp::Reverse(end.counter));
        ends.truncate(MAX_ENDS);
        ends.sort_unstable_by_key(|end| end.epoch);
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::identity::SecretKey;

    fn chain(counter: u64) -> StoredChain {
        StoredChain { counter, digest: Digest::of(&counter.to_be_bytes()), ..StoredChain::default() }
    }

    #[test]
    fn a_statement_lists_every_epoch_that_was_begun_and_written_in() {
        let root = SecretKey::generate();
        let cortex = CortexId::of_root(&root.public());
        let earlier = EndOfEpoch { epoch: Epoch::new(1), counter: 7, digest: [1; 32] };
        let written_on = EndOfEpoch { epoch: Epoch::new(2), counter: 7, digest: [1; 32] };
        let present = KeyStatement::issue(&root, 2, SecretKey::generate().public(), vec![earlier, written_on]).unwrap();
        let minted = [2, 3, 4].map(Epoch::new).into_iter().collect();
        let origin = |cortex, epoch| Origin::new(cortex, Epoch::new(epoch));
        let other = CortexId::from_bytes([9; 16]);
        let chains = [
            (origin(cortex, 2), chain(9)),
            (origin(cortex, 4), chain(5)),
            // Made up under this cortex's id, or lost by a restore: not begun here.
            (origin(cortex, 8), chain(1)),
            (origin(other, 3), chain(6)),
        ];
        let ends = ends(&present, cortex, &minted, &chains.into_iter().collect());
        let ends: Vec<_> = ends.iter().map(|end| (end.epoch.get(), end.counter)).collect();
        assert_eq!(ends, [(1, 7), (2, 9), (4, 5)]);
    }

    #[test]
    fn no_more_epochs_are_listed_than_a_statement_may_have() {
        let root = SecretKey::generate();
        let cortex = CortexId::of_root(&root.public());
        let present = KeyStatement::issue(&root, 1, SecretKey::generate().public(), Vec::new()).unwrap();
        let epochs: Minted = (1..=MAX_ENDS as u64 + 10).map(Epoch::new).collect();
        let chains = epochs.iter().map(|&epoch| (Origin::new(cortex, epoch), chain(epoch.get()))).collect();
        let ends = ends(&present, cortex, &epochs, &chains);
        assert_eq!((ends.len(), ends[0].counter), (MAX_ENDS, 11));
        KeyStatement::issue(&root, 2, SecretKey::generate().public(), ends).unwrap();
    }

    #[test]
    fn only_a_later_statement_of_the_same_cortex_follows() {
        let (root, other) = (SecretKey::generate(), SecretKey::generate());
        let of = |root, number| KeyStatement::issue(root, number, SecretKey::generate().public(), Vec::new()).unwrap();
        let present = of(&root, 3);
        assert!(follows(&of(&root, 4), &present).is_ok());
        assert!(matches!(follows(&of(&root, 3), &present), Err(RotateError::NotNewer { number: 3 })));
        assert!(matches!(follows(&of(&other, 4), &present), Err(RotateError::OtherCortex(_))));
    }
}
