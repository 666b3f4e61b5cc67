//! The stable codes of errors: `AP-STORE-003` names one kind of failure in every version.
//!
//! A code is an area and a number. **No code is ever renumbered, and none is used again for another failure.** A kind that no version
//! reports any more keeps its code. A new kind gets the next number of its area.
//!
//! Each error type has a method `code`. An error that only passes on another one, or only says where that one is, returns the code of
//! the other one. [`ErrorCode::of`] finds the code of an error whose type was erased.

use std::error::Error;
use std::fmt;

macro_rules! codes {
    ($($variant:ident = $code:literal, $summary:literal;)+) => {
        /// The code of a failure. Match it, log it, or look it up: it means the same in every version.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum ErrorCode { $(#[doc = concat!("`", $code, "`: ", $summary, ".")] $variant,)+ }

        impl ErrorCode {
            /// Every code, by area and number.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The code as text, such as `AP-STORE-003`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// The failure in a few words, without what varies.
            #[must_use]
            pub const fn summary(self) -> &'static str {
                match self { $(Self::$variant => $summary,)+ }
            }
        }
    };
}

codes! {
    StoreCorrupt = "AP-STORE-001", "the store is damaged";
    StoreMissing = "AP-STORE-002", "there is no store";
    StoreInUse = "AP-STORE-003", "another process has the store open";
    StoreNewerFormat = "AP-STORE-004", "a newer version wrote the store";
    StoreReadOnly = "AP-STORE-005", "the store cannot be written to";
    StoreNoSpace = "AP-STORE-006", "no space is left for the store";
    StoreIo = "AP-STORE-007", "the device or file system failed";
    StoreDisplaced = "AP-STORE-008", "the store's files were removed, replaced or covered";
    StoreMisuse = "AP-STORE-009", "the store was asked for what cannot be";
    StoreFamilyName = "AP-STORE-010", "a name cannot be a family's";
    StoreOlderFormat = "AP-STORE-011", "an older version wrote the store";

    OpenNotInitialised = "AP-OPEN-001", "the store holds no cortex";
    OpenAlreadyInitialised = "AP-OPEN-002", "the store already holds a cortex";
    OpenLostEnd = "AP-OPEN-003", "the store lost the end of what was written to it";
    OpenOtherLog = "AP-OPEN-004", "the store belongs to another log than the given one";

    InceptionVersion = "AP-INCEPTION-001", "an inception has a version that is not known";
    InceptionMalformed = "AP-INCEPTION-002", "an inception does not decode";
    InceptionOtherOrigin = "AP-INCEPTION-003", "an inception is another origin's";
    InceptionOtherLog = "AP-INCEPTION-004", "an inception is of another log";

    IdentityStatementVersion = "AP-IDENTITY-001", "a key statement has a version that is not known";
    IdentityStatementMalformed = "AP-IDENTITY-002", "a key statement does not decode or breaks a rule";
    IdentityStatementSignature = "AP-IDENTITY-003", "a key statement is not signed by its root key";
    IdentityKeyText = "AP-IDENTITY-004", "a file is not a key file of its kind";
    IdentityKeyFile = "AP-IDENTITY-005", "a key file cannot be read or written";
    IdentityKeyMode = "AP-IDENTITY-006", "others than its owner may use a key file";
    IdentityKeyExists = "AP-IDENTITY-007", "a key file would be overwritten";
    IdentityKeysMissing = "AP-IDENTITY-008", "the keys of the cortex are missing";
    IdentityOtherCortex = "AP-IDENTITY-009", "keys are another cortex's";
    IdentityRootAway = "AP-IDENTITY-010", "the root key is not here";
    IdentitySign = "AP-IDENTITY-011", "the working key did not sign";
    RotateNotMade = "AP-IDENTITY-012", "the next working key could not be made";
    RotateNotNewer = "AP-IDENTITY-013", "a key statement does not follow the present one";

    StartPeer = "AP-START-001", "a peer cannot be dialled as it is configured";
    StartPinned = "AP-START-002", "a peer is pinned to another cortex than the configured one";
    StartDuplicateReplayer = "AP-START-003", "two replayers have one name";
    StartThread = "AP-START-004", "a thread could not be started";
    StartServe = "AP-START-005", "a transport does not answer peers";

    ConfigDuplicatePeer = "AP-CONFIG-001", "two peers have one name";
    ConfigDuplicateEndpoint = "AP-CONFIG-002", "two peers have one endpoint";
    ConfigReservedName = "AP-CONFIG-003", "a peer's name is reserved for metrics";
    ConfigEndpoint = "AP-CONFIG-004", "an endpoint cannot be dialled";
    ConfigLimits = "AP-CONFIG-005", "a quota is zero, or a cortex has two rules with quotas";
    ConfigListWithoutAuthority = "AP-CONFIG-006", "a peer has a list of revoked certificates and no authority";
    ConfigClientCertificate = "AP-CONFIG-007", "a client certificate has no key, or a key no certificate";

    KeyWeak = "AP-KEY-001", "the shared key is too weak";
    KeyMissing = "AP-KEY-002", "the environment has no shared key";

    ListenPlaintext = "AP-LISTEN-001", "plain HTTP would be served beyond this machine";
    ListenOpen = "AP-LISTEN-002", "the log would be served to everyone, without a shared key";
    ListenAddress = "AP-LISTEN-003", "the address cannot be listened on";
    ListenTls = "AP-LISTEN-004", "TLS cannot be set up for QUIC";
    ListenAddressText = "AP-LISTEN-005", "a text is not an address to listen on";
    ListenClientCa = "AP-LISTEN-006", "clients cannot be asked for certificates as it is configured";

    CertificateUnusable = "AP-CERT-001", "a certificate or its key cannot be used";
    CertificatePassphrase = "AP-CERT-002", "a certificate's key has a passphrase";
    CertificateNotNow = "AP-CERT-003", "a certificate is not valid now";
    CertificateAuthority = "AP-CERT-004", "the authority of client certificates cannot be used";
    RevocationListUnusable = "AP-CERT-005", "a list of revoked certificates cannot be used";
    RevocationListOutdated = "AP-CERT-006", "a list of revoked certificates is outdated";

    ValueUlid = "AP-VALUE-001", "a text is not a ULID";
    ValuePeerName = "AP-VALUE-002", "a text cannot name a peer";
    ValueCursorNumber = "AP-VALUE-003", "a number alone is not a cursor";
    ValueCursor = "AP-VALUE-004", "a text is not a cursor";
    ValueTimestamp = "AP-VALUE-005", "a text is not an RFC 3339 time";
    ValueInterval = "AP-VALUE-006", "a text is not an interval";
    ValueMode = "AP-VALUE-007", "a text is not a mode";

    AppendContextAhead = "AP-APPEND-001", "the context names an event that is not held";
    AppendInDoubt = "AP-APPEND-002", "it is not known whether the event is in the log";
    AppendClosed = "AP-APPEND-003", "the log is closed";
    AppendOrigins = "AP-APPEND-004", "the log holds as many origins as a clock may have";
    AppendTooLarge = "AP-APPEND-005", "the event is larger than this node appends";
    AppendClockBehind = "AP-APPEND-006", "the wall clock is far behind the newest event id";
    AppendGroupTooLarge = "AP-APPEND-007", "one append has too many events, or too many bytes together";

    StateValue = "AP-STATE-001", "a value does not have the form that its key demands";
    StateKey = "AP-STATE-002", "a text is not a key of the state";
    StateClockKey = "AP-STATE-003", "the clock has another key";
    StateClockNotHeld = "AP-STATE-004", "the clock differs from what the log holds";

    DigestText = "AP-DIGEST-001", "a text is not a digest";

    EventTooLarge = "AP-EVENT-001", "a record is larger than the protocol allows";
    EventUnknownVersion = "AP-EVENT-002", "a record has a version that is not known";
    EventMalformed = "AP-EVENT-003", "a record does not decode";
    EventField = "AP-EVENT-004", "a field of an event breaks its bound";
    EventExtension = "AP-EVENT-005", "an extension of an event breaks a rule";
    EventOwnOriginInDeps = "AP-EVENT-006", "an event's dependencies name its own origin";
    EventStaleDeps = "AP-EVENT-007", "an event's dependencies repeat what its chain has";
    EventIdNotIncreasing = "AP-EVENT-008", "an event's id is not greater than the previous id of its chain";
    EventUnknownKind = "AP-EVENT-009", "a record is of a kind that is not known";
    EventOtherKind = "AP-EVENT-010", "a record is no event";
    EventErased = "AP-EVENT-011", "an event was erased";
    EventMissing = "AP-EVENT-012", "a part of an event is missing here";

    CloudEventJson = "AP-CLOUDEVENT-001", "a text is not a JSON object";
    CloudEventMissing = "AP-CLOUDEVENT-002", "a required attribute is missing";
    CloudEventAttribute = "AP-CLOUDEVENT-003", "an attribute has the wrong type or form";
    CloudEventTwice = "AP-CLOUDEVENT-004", "an attribute occurs twice";
    CloudEventTooMany = "AP-CLOUDEVENT-005", "an event has too many attributes";
    CloudEventExtensionName = "AP-CLOUDEVENT-006", "an extension has a name that is not allowed";
    CloudEventExtensionValue = "AP-CLOUDEVENT-007", "an extension's value is not a string, number or boolean";

    ClockTooManyEntries = "AP-CLOCK-001", "a clock has too many entries";
    ClockCounterOutOfRange = "AP-CLOCK-002", "a counter is out of range";
    ClockNotSorted = "AP-CLOCK-003", "the entries of a clock are not in order";

    ReadUnknownEpoch = "AP-READ-001", "a cursor's epoch is not known to this log";
    ReadChanged = "AP-READ-002", "the log changed at or before a cursor";
    ReadBeyond = "AP-READ-003", "a cursor is beyond the newest event";
    ReadOtherEvent = "AP-READ-004", "another event is at a cursor's sequence number";

    MemoryBudget = "AP-MEMORY-001", "no memory of the budget became free in time";

    EpochNotNeeded = "AP-EPOCH-001", "no new epoch is needed";
    EpochClaimed = "AP-EPOCH-002", "events came under this node's id, of an epoch that its store did not begin";

    ForkUnknownVersion = "AP-FORK-001", "no known fork has this version";
    ForkUnproven = "AP-FORK-002", "a peer claims another history and does not prove it";
    ForkEnded = "AP-FORK-003", "the histories agree again";
    ForkTooMany = "AP-FORK-004", "a cortex differs in more histories than one question can name";
    ForkReplayer = "AP-FORK-005", "a fork was resolved, and a replayer did not begin again";
    ForkFound = "AP-FORK-006", "two histories of one origin differ";
    ForkWaiting = "AP-FORK-007", "an event that waits since a repair follows another history now";

    ReplayRebuilding = "AP-REPLAY-001", "a replayer begins again";
    ReplayGone = "AP-REPLAY-002", "a replayer does not answer";
    ReplayHalted = "AP-REPLAY-003", "replay halts at this event or an earlier one";
    ReplayParked = "AP-REPLAY-004", "the event is parked";
    ReplayStopped = "AP-REPLAY-005", "the replayer ended";
    ReplayNoReplayer = "AP-REPLAY-006", "the cortex has no causal replayer";
    ReplayNotWaiting = "AP-REPLAY-007", "the event is neither parked nor the next to replay";
    ReplayDowngrade = "AP-REPLAY-008", "a replayer is older than its state";

    CopiesMissing = "AP-COPIES-001", "peers did not confirm an event in time";

    SyncUnknownPeer = "AP-SYNC-001", "no peer has this name";
    SyncStopped = "AP-SYNC-002", "no task pulls the peer";
    SyncNoSpace = "AP-SYNC-003", "the disk has less free space than its reserve, so no peer is pulled";

    IngestNotAsked = "AP-INGEST-001", "an answer belongs to no open request";
    IngestOtherQuestion = "AP-INGEST-002", "an answer is to another question";
    IngestGap = "AP-INGEST-003", "a batch does not begin at the cursor";
    IngestProtocol = "AP-INGEST-004", "an answer breaks a rule of the protocol";
    IngestInvalid = "AP-INGEST-005", "a peer's event is not valid";
    IngestHole = "AP-INGEST-006", "a batch skips an event of a chain";
    IngestMissingCause = "AP-INGEST-007", "an event came without one of its causes";
    IngestFork = "AP-INGEST-008", "a batch has another history of an origin";
    IngestTooManyOrigins = "AP-INGEST-009", "a batch would bring an origin too many";
    IngestOwnEpoch = "AP-INGEST-010", "a batch has events of this node's own epoch that it does not have, again";
    IngestOtherLog = "AP-INGEST-011", "a batch is of another log";
    IngestOverQuota = "AP-INGEST-012", "a batch goes beyond a quota of who wrote or brought it";

    FillNotHeld = "AP-FILL-001", "a part came for an event that is not held";
    FillNotMissing = "AP-FILL-002", "a part came for an event of which none is missing";
    FillOtherEvent = "AP-FILL-003", "a part came with another event";
    FillOtherPart = "AP-FILL-004", "a part is not the one that its event's hash names";
    FillNothing = "AP-FILL-005", "an event came without the parts that are missing";

    WireNotAFrame = "AP-WIRE-001", "bytes are not a frame";
    WireUnknownVersion = "AP-WIRE-002", "a frame has a version that is not known";
    WireTooLarge = "AP-WIRE-003", "a frame is larger than the limit";
    WireLength = "AP-WIRE-004", "a frame is shorter or longer than its header says";
    WireChecksum = "AP-WIRE-005", "a frame was damaged on the way";
    WireMalformed = "AP-WIRE-006", "a frame's body does not decode or breaks a rule";

    RefusalCursorUnknown = "AP-REFUSAL-001", "the peer does not know the cursor";
    RefusalCursorTooOld = "AP-REFUSAL-002", "the peer's log begins after the cursor";
    RefusalFork = "AP-REFUSAL-003", "the peer holds another history of an origin";
    RefusalNotServing = "AP-REFUSAL-004", "a question was refused, because the peer does not serve its log";
    RefusalWrongCortex = "AP-REFUSAL-005", "the peer is another cortex than the one addressed";
    RefusalProtocol = "AP-REFUSAL-006", "the peer does not speak the protocol";
    RefusalKnownMissing = "AP-REFUSAL-007", "the peer does not remember what the asker holds";
    RefusalBusy = "AP-REFUSAL-008", "the peer has no room for another request";
    RefusalMalformed = "AP-REFUSAL-009", "the peer could not read the request";
    RefusalInternal = "AP-REFUSAL-010", "the peer failed inside";
    RefusalKey = "AP-REFUSAL-011", "a question was refused, because the peer does not accept the shared key";
    RefusalOtherLog = "AP-REFUSAL-012", "a question was refused, because the peer belongs to another log";
    RefusalNewer = "AP-REFUSAL-013", "the peer needs a newer version to read the request";
    RefusalFilter = "AP-REFUSAL-014", "the peer does not serve the filter that a question names";
    RefusalProof = "AP-REFUSAL-015", "a hello was refused, because its proof of identity does not hold";
    RefusalOtherAsker = "AP-REFUSAL-016", "a question names another cortex than its connection proved";
    RefusalNotAllowed = "AP-REFUSAL-017", "a hello or question was refused, because its cortex may not read there";
    RefusalOverQuota = "AP-REFUSAL-018", "a question was refused, because its caller used up its quota there";

    PeerConnectionRefused = "AP-PEER-001", "the peer refuses the connection";
    PeerTimeout = "AP-PEER-002", "the peer does not answer in time";
    PeerDns = "AP-PEER-003", "the peer's host name does not resolve";
    PeerTls = "AP-PEER-004", "the peer could not be trusted over TLS";
    PeerReset = "AP-PEER-005", "the peer broke the connection";
    PeerEof = "AP-PEER-006", "the peer ended its answer early";
    PeerAuth = "AP-PEER-007", "the peer does not accept the shared key";
    PeerIdentity = "AP-PEER-008", "the peer is another cortex than the pinned one";
    PeerRedirect = "AP-PEER-009", "the peer answers with a redirect";
    PeerTooLarge = "AP-PEER-010", "the peer sent more than a frame may hold";
    PeerCorrupt = "AP-PEER-011", "the peer's frame arrived damaged";
    PeerProtocol = "AP-PEER-012", "the peer breaks the protocol";
    PeerVersion = "AP-PEER-013", "the peer speaks no protocol that this node speaks";
    PeerFork = "AP-PEER-014", "the peer claims other histories and cannot show them";
    PeerNotServing = "AP-PEER-015", "the peer does not serve its log";
    PeerTooManyOrigins = "AP-PEER-016", "the peer has events of more origins than a clock may hold";
    PeerBusy = "AP-PEER-017", "the peer takes no questions now";
    PeerStore = "AP-PEER-018", "this node's own store failed during an exchange";
    PeerRollback = "AP-PEER-019", "the peer holds events of this node that the node does not have, again";
    PeerOwnAddress = "AP-PEER-020", "the peer is this node itself";
    PeerPinnedElsewhere = "AP-PEER-021", "another peer name is pinned to the peer's cortex";
    PeerUnexpected = "AP-PEER-022", "the endpoint does not answer as an Antiphon node does";
    PeerConfiguration = "AP-PEER-023", "the peer cannot be dialled as it is configured";
    PeerTooOld = "AP-PEER-024", "the peer no longer holds the events that this node needs next";
    PeerTooManyForks = "AP-PEER-025", "the peer differs in more than 64 histories";
    PeerScheme = "AP-PEER-026", "the peer does not answer in the scheme of its endpoint";
    PeerTaskFault = "AP-PEER-027", "the task that pulls the peer ended by a fault";
    PeerDouble = "AP-PEER-028", "the peer runs with this node's own identity";
    PeerFault = "AP-PEER-029", "the peer reports a failure of its own";
    PeerNewer = "AP-PEER-030", "the peer sends what only a newer version can read";
    PeerNoProgress = "AP-PEER-031", "the peer's answers bring nothing new and no end";
    PeerOtherLog = "AP-PEER-032", "the peer belongs to another log";
    PeerUnproven = "AP-PEER-033", "the peer does not prove that it is the cortex that it says it is";
    PeerProofRefused = "AP-PEER-034", "the peer does not accept this node's proof of identity";
    PeerNotAllowed = "AP-PEER-035", "the peer does not allow this node to read its log";
    PeerOverQuota = "AP-PEER-036", "this node used up its quota at the peer";
    PeerQuotasHere = "AP-PEER-037", "the peer has events of too many cortexes that used up their quotas here";
    PeerRevoked = "AP-PEER-038", "the peer's certificate is revoked";
    PeerRevocationUnknown = "AP-PEER-039", "no current list of revoked certificates covers the peer's certificate";
    PeerCertificateRefused = "AP-PEER-040", "the peer does not accept this node's client certificate, or asks for one";
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The code of the first of these types that the error is of.
macro_rules! code_of {
    ($error:ident, $($type:ty,)+) => {
        $(if let Some(error) = $error.downcast_ref::<$type>() { return Some(error.code()); })+
    };
}

impl ErrorCode {
    /// The code of an error of the kernel whose type was erased; `None` for errors of other crates. Causes are not searched: walk
    /// [`Error::source`] for them.
    #[must_use]
    pub fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        code_of!(
            error,
            crate::budget::OverBudget,
            crate::clock::ClockError,
            crate::codec::StoredError,
            crate::codec::WireError,
            crate::config::InvalidConfig,
            crate::config::InvalidInterval,
            crate::config::KeyFromEnv,
            crate::config::UnknownMode,
            crate::config::WeakKey,
            crate::cortex::ResolveForkError,
            crate::cortex::StartError,
            crate::cursor::InvalidCursor,
            crate::digest::InvalidDigest,
            crate::event::CloudEventError,
            crate::event::InvalidDraft,
            crate::event::InvalidEvent,
            crate::identity::InvalidKeyText,
            crate::identity::InvalidInception,
            crate::identity::InvalidStatement,
            crate::identity::KeyError,
            crate::identity::SignError,
            crate::ids::GeneratorError,
            crate::ids::InvalidPeerName,
            crate::ids::InvalidUlid,
            crate::limits::InvalidLimits,
            crate::log::AppendError,
            crate::log::AppendsRefused,
            crate::log::BringBackError,
            crate::log::CursorUnknown,
            crate::log::InDoubt,
            crate::log::IngestError,
            crate::log::Mismatch,
            crate::log::NewEpochError,
            crate::log::NotAFork,
            crate::log::NotFilled,
            crate::log::OpenError,
            crate::log::ReadError,
            crate::log::ResolveError,
            crate::log::RotateError,
            crate::protocol::Refusal,
            crate::receipts::NotReplicated,
            crate::replay::NotReplayed,
            crate::replay::OpenReplayerError,
            crate::replay::ReadStateError,
            crate::replay::ReplayCommandError,
            crate::replay::SkipError,
            crate::service::NoPage,
            crate::service::PageError,
            crate::state::AppendAndSetError,
            crate::state::StateError,
            crate::store::InvalidFamily,
            crate::store::StoreError,
            crate::sync::CompareError,
            crate::sync::PeerCommandError,
            crate::sync::UnknownPeer,
            crate::time::InvalidTimestamp,
            crate::transport::ServeError,
            crate::transport::TransportError,
        );
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::store::{StoreError, StoreErrorKind};

    #[test]
    fn codes_are_unique_and_the_numbers_of_an_area_have_no_gap() {
        let mut areas: BTreeMap<&str, Vec<u16>> = BTreeMap::new();
        for code in ErrorCode::ALL {
            let [prefix, area, number] = code.as_str().split('-').collect::<Vec<_>>()[..] else { panic!("{code}") };
            assert!(prefix == "AP" && number.len() == 3, "{code}");
            assert!(area.bytes().all(|byte| byte.is_ascii_uppercase()), "{code}");
            areas.entry(area).or_default().push(number.parse().unwrap());
        }
        for (area, numbers) in areas {
            let counted: Vec<u16> = (1..).take(numbers.len()).collect();
            assert_eq!(numbers, counted, "{area}: each number once, in order");
        }
    }

    #[test]
    fn each_code_has_a_summary_of_its_own() {
        let summaries: BTreeSet<_> = ErrorCode::ALL.iter().map(|code| code.summary()).collect();
        assert_eq!(summaries.len(), ErrorCode::ALL.len());
    }

    #[test]
    fn an_erased_error_has_its_code() {
        for kind in StoreErrorKind::ALL {
            let error = StoreError::new(kind, "x");
            assert_eq!(ErrorCode::of(&error), Some(kind.code()));
            let wrapped = crate::cortex::StartError::from(error);
            assert_eq!(ErrorCode::of(&wrapped), Some(kind.code()), "what only passes it on has its code");
        }
        assert_eq!(ErrorCode::of(&std::io::Error::other("x")), None);
    }
}
