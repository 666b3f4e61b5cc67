//! Faults that can be switched on, to see that the simulator finds them: a check that finds nothing wrong means something
//! only where it is known to find what is. Only with the feature `mutants`, which is for that test alone; without it,
//! [`is`] is a constant.

/// One broken rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// A cursor is an event id: what joined late with a smaller one is never served.
    ServeById,
    /// The cursor is written before the events that it stands for.
    CursorBeforeData,
    /// An event is stored without the one before it.
    SkipHoleCheck,
    /// What a peer says that it holds counts as held here.
    MergeBlindly,
    /// A cursor is a sequence number, of whichever incarnation of the log, and nothing else: without the check of what is
    /// missing before it, or that one would make up for the epoch.
    ForgetEpoch,
    /// What a crash can still take back is served.
    ServeNotDurable,
    /// Two heads count as compared that never were.
    HeadNeverCompared,
    /// Histories are compared when a question is asked, and not when either moves.
    CheckKnownOnce,
    /// A cursor counts although something before it is missing, or it lies beyond the end.
    CursorBeyondStart,
    /// A log that went backwards goes on under its epoch.
    ExtendOldEpoch,
    /// An event depends on whatever had arrived, seen by its writer or not.
    DepsFromIngest,
    /// An answer is taken by another process than the one that asked.
    AnswersOutlive,
    /// A peer counts as holding what was written here without a comparison of digests.
    ReceiptWithoutComparison,
    /// A reader's cursor is a sequence number in the log, of whichever epoch and with whichever event there.
    CursorWithoutWitness,
    /// A replayer relies on what it read before the store was opened again.
    OpeningForgotten,
    /// A peer may claim a fork any number of times that the question lists.
    ListedForkBelieved,
    /// A batch ends where its limits say, also within a group.
    BatchCutInGroup,
    /// Readers see what a rebuild fills before it is filled.
    SwitchBeforeFilled,
    /// What a given-up or replaced build kept is never deleted.
    OldBuildsStay,
    /// A part is taken for the missing one without a look at its hash.
    PartHashNotChecked,
    /// An origin begins with any inception.
    InceptionNotChecked,
    /// A group is stored with any seal.
    SealNotChecked,
    /// A fork is believed with any seal.
    ForkNotSealed,
    /// A refusal does not say how far the asker's own origin reaches.
    OwnHeadMissing,
    /// A node keeps its epoch although a peer showed it its own seal beyond its head.
    OwnHeadIgnored,
    /// A node believes a peer without a seal that its origin reaches further.
    OwnHeadNotSealed,
    /// A batch has a seal less than groups.
    SealDropped,
    /// A decision about a fork leaves those about later counters of the history that it gives up.
    LaterDecisionsKept,
    /// An identity is taken without proof.
    ClaimTaken,
    /// What the rules of access do not allow is taken.
    NotAllowedTaken,
    /// A parked question is not woken by new events.
    ParkedNotWoken,
    /// The right to read is never given back.
    TurnKept,
    /// The task of a peer forgets what is due.
    TimerForgotten,
    /// An append is acknowledged before it is durable.
    AcknowledgedBeforeSync,
    /// What is sent is not charged to the quota of its asker.
    SentNotCharged,
    /// What a peer sends is not charged to its quota.
    PulledNotCharged,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 36] = [
        Self::ServeById,
        Self::CursorBeforeData,
        Self::SkipHoleCheck,
        Self::MergeBlindly,
        Self::ForgetEpoch,
        Self::ServeNotDurable,
        Self::HeadNeverCompared,
        Self::CheckKnownOnce,
        Self::CursorBeyondStart,
        Self::ExtendOldEpoch,
        Self::DepsFromIngest,
        Self::AnswersOutlive,
        Self::ReceiptWithoutComparison,
        Self::CursorWithoutWitness,
        Self::OpeningForgotten,
        Self::ListedForkBelieved,
        Self::BatchCutInGroup,
        Self::SwitchBeforeFilled,
        Self::OldBuildsStay,
        Self::PartHashNotChecked,
        Self::InceptionNotChecked,
        Self::SealNotChecked,
        Self::ForkNotSealed,
        Self::OwnHeadMissing,
        Self::OwnHeadIgnored,
        Self::OwnHeadNotSealed,
        Self::SealDropped,
        Self::LaterDecisionsKept,
        Self::ClaimTaken,
        Self::NotAllowedTaken,
        Self::ParkedNotWoken,
        Self::TurnKept,
        Self::TimerForgotten,
        Self::AcknowledgedBeforeSync,
        Self::SentNotCharged,
        Self::PulledNotCharged,
    ];
}

#[cfg(feature = "mutants")]
std::thread_local! {
    static ACTIVE: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Breaks one rule on this thread, or none.
#[cfg(feature = "mutants")]
pub fn switch(mutant: Option<Mutant>) {
    ACTIVE.set(mutant);
}

/// Whether this rule is broken.
#[cfg(feature = "mutants")]
pub(crate) fn is(mutant: Mutant) -> bool {
    ACTIVE.get() == Some(mutant)
}

/// Never.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn is(_: Mutant) -> bool {
    false
}
