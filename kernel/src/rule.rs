//! The rules of the protocol that an answer can break, each with the one text that names it to an operator.

use std::fmt;

macro_rules! rules {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)+) => {
        /// A rule of the protocol, as what an answer did to break it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Rule { $($(#[$doc])* $variant,)+ }

        impl Rule {
            /// Every rule.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// What the answer did.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

impl Rule {
    /// Whether a newer version may have sent it, so that no node is at fault.
    #[must_use]
    pub const fn is_newer(self) -> bool {
        matches!(self, Self::UnknownKind | Self::UnknownAlgorithm | Self::UnknownDelivery | Self::RoomUnknown)
    }
}

rules! {
    /// Of a frame: it decodes and is no value of its type.
    Undecodable = "the frame's body does not decode",
    /// Of a frame: more bytes than its message has.
    BytesAfterMessage = "bytes follow the message in its frame",
    /// Of a frame: its kind.
    UnknownKind = "the frame's kind is none that this version knows",
    /// Of a message: its digest algorithm.
    UnknownAlgorithm = "the digest algorithm is none that this version knows",
    /// Of a question: its delivery.
    UnknownDelivery = "the delivery is none that this version knows",
    /// Of a message: the entries at its end.
    RoomTooLarge = "the message has more entries or bytes in its room than are allowed",
    /// Of a message: the order of the entries at its end.
    RoomUnordered = "the entries in the room of the message are not strictly increasing by number",
    /// Of a message: an entry at its end that must be known.
    RoomUnknown = "the message has an entry that must be understood, and it needs a newer version",
    /// Of a question: its safe clock.
    SafeClock = "the safe clock is no clock",
    /// Of a greeting: its texts.
    TextNotUtf8 = "a text is not UTF-8",
    /// Of a cursor or floor: the sequence number.
    SeqOutOfRange = "a sequence number is out of range",
    /// Of a chain head or a fork: the counter.
    CounterOutOfRange = "a counter is out of range",
    /// Of a list of chain heads: the order.
    HeadsUnordered = "the chain heads are not strictly increasing by origin",
    /// Of a batch: the order of its events.
    SeqsDoNotIncrease = "the sequence numbers of the events do not increase",
    /// Of a batch: its sender.
    OtherSender = "the answer comes from another cortex than the one asked",
    /// Of a heartbeat: its sender.
    OtherHeartbeat = "the heartbeat comes from another cortex than the one asked",
    /// Of a batch: its log.
    LogMissing = "the answer brings events and does not name their log",
    /// Of a batch: its cursors.
    SeveralEpochs = "the cursors of the answer are of several epochs",
    /// Of a batch: its cursors.
    CursorsRunBackwards = "the cursors of the answer run backwards",
    /// Of a batch: its cursors.
    TwoEventsAtOneSeq = "the cursors of the answer name two events at one sequence number",
    /// Of a batch: where its events are.
    EventsOutsideRun = "the events are outside of the run that the answer claims",
    /// Of a batch: its size.
    TooManyEvents = "the answer has more events than were asked for",
    /// Of a batch: its size.
    TooManyBytes = "the answer has more bytes than were asked for",
    /// Of an event in a batch: what is before it.
    EventsDoNotFollow = "the events of one origin do not follow one another",
    /// Of a batch: its groups.
    GroupCut = "the answer has a part of a group, or a group that is not in one piece",
    /// Of a group: what its events depend on.
    GroupDeps = "an event within a group has dependencies of its own",
    /// Of a group: its size.
    GroupTooLarge = "a group has more events or bytes than a group may have",
    /// Of a batch: how an origin begins.
    InceptionMissing = "the answer brings the first event of an origin without the inception",
    /// Of a batch: how an origin begins.
    InceptionUnasked = "the answer brings the inception of an origin without the first event",
    /// Of a batch: the order of its inceptions.
    InceptionsUnordered = "the inceptions are not strictly increasing by origin",
    /// Of a batch: the seals of its groups.
    SealMissing = "the answer brings a group without a seal",
    /// Of a group: its seal.
    SealWrong = "the seal of a group was not made by the origin's key for this history",
    /// Of a batch: the seals of its groups.
    SealsTooMany = "the answer has more seals than groups",
    /// Of a batch: the clocks of its groups.
    ClockHashes = "the answer has another number of clock hashes than of seals",
    /// Of a batch: a head for each origin in it.
    HeadMissing = "the answer lacks the chain head of an origin whose events it brings",
    /// Of a batch: what depends on a fork.
    DependsOnFork = "the answer brings an event that depends on a history which differs from ours",
    /// Of an event in a batch: its cortex.
    Excluded = "the answer brings an event of a cortex that the question excludes",
    /// Of an event in a batch: what it depends on.
    DependsOnExcluded = "the answer brings an event that depends on a cortex which the question excludes",
    /// Of a refusal: a cursor that was not sent.
    CursorNotSent = "it calls the cursor unknown, and none was sent",
    /// Of a refusal: where a fork is.
    ForkBeforeFirst = "it claims a fork at counter 0, before the first event",
    /// Of refusals: how many forks.
    TooManyForks = "it claims more forks than one question can name",
    /// Of refusals: a fork that the question does not name.
    ForkListed = "it claims a fork that the question lists",
    /// Of an answer while a fork is searched for.
    HoldsLessThanClaimed = "it claims a fork above the counter that it holds",
    /// Of answers in a row: they lead somewhere.
    NoProgress = "many answers in a row brought nothing new",
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_rule_has_a_text_of_its_own() {
        let texts: BTreeSet<_> = Rule::ALL.iter().map(|rule| rule.as_str()).collect();
        assert_eq!(texts.len(), Rule::ALL.len());
    }
}
