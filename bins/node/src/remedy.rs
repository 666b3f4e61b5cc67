//! What to do about each failure that the libraries report. They name no command and no key of the configuration; this table does.

use antiphon_kernel::error_code::ErrorCode;
use antiphon_kernel::health::PeerHealth;
use antiphon_kernel::time::Timestamp;

/// Of a code that this table does not know.
const UNKNOWN: &str = "look the code up in docs/errors.md of this version";
/// Of a failure that may pass, as long as it is new.
const PASSING: &str = "it is tried again; while a fork is resolved that passes within seconds";

const SAME_VERSION: &str = "run the same version on both nodes; if they do, report a bug with both logs";
const PEER_EVENT: &str = "upgrade this node if a newer version wrote the event; if not, run `antiphon verify` on the peer, and report a bug \
     with both logs if it is clean";
const OTHER_HISTORY: &str =
    "read on after the cursor that the message names, and recognise events that come again by their ids";
const CORRECT_EVENT: &str = "correct the event, then append or import it again";
const NEW_FEDERATION: &str =
    "begin a new federation, and carry over what is needed by `antiphon --json log` and `antiphon import`";
const ASKED_AGAIN: &str = "wait, since it is asked for again; if this repeats, report a bug with both logs";
const PASSES: &str = "usually passes; if not, look at the peer's log and at proxies in between";

const OTHER_LOG: &str =
    "remove the peer here; or make one of the two nodes again, with `antiphon init --log` and the log of the other";

/// Returns what to do about a failure, as one or two clauses without a full stop.
#[must_use]
#[expect(clippy::too_many_lines, reason = "one table, with a line for each code")]
pub const fn remedy(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::StoreCorrupt => {
            "keep a copy of the directory, since nothing was repaired; then let `antiphon verify --repair` keep what is whole, \
             restore a backup, or start an empty store and let the peers refill it"
        }
        ErrorCode::StoreMissing => {
            "run `antiphon init` for a new node; if node.data_dir was changed, put back what was there, or move the data of the \
             stopped node"
        }
        ErrorCode::StoreInUse => "stop that process, or name another directory",
        ErrorCode::StoreOlderFormat => {
            "run the version that wrote it, or begin with an empty data directory; nothing was changed"
        }
        ErrorCode::StoreNewerFormat => "run the version that wrote it, or a later one; nothing was changed",
        ErrorCode::StoreReadOnly => "let this user write there, or name another directory",
        ErrorCode::StoreNoSpace => "make space on that file system; a node that serves continues automatically then",
        ErrorCode::StoreIo => {
            "look for errors of that device in the system's log; a node that serves tries again automatically"
        }
        ErrorCode::StoreDisplaced => {
            "put the same files back at that path, and a node that serves continues; or stop the node and restore a backup"
        }
        ErrorCode::StoreMisuse => "name another path in node.data_dir; if it is right, report a bug",
        ErrorCode::StoreFamilyName => "give the family another name",

        ErrorCode::OpenNotInitialised => "run `antiphon init` first",
        ErrorCode::OpenAlreadyInitialised => "name another data directory for a second node",
        ErrorCode::OpenOtherLog => "give the log that `antiphon status` prints, or name another data directory",
        ErrorCode::OpenLostEnd => {
            "look at `antiphon status`, and repeat what was decided last, such as `antiphon fork resolve` or `antiphon set-mode`"
        }

        ErrorCode::InceptionVersion => "update this node",
        ErrorCode::InceptionMalformed | ErrorCode::InceptionOtherOrigin => {
            "the peer makes the origin up: pause it with `antiphon pause-peer`, and ask its operator"
        }
        ErrorCode::InceptionOtherLog => "correct the peer: it belongs to another log",

        ErrorCode::IdentityStatementVersion => "run the version that made the key, or a later one",
        ErrorCode::IdentityStatementMalformed | ErrorCode::IdentityStatementSignature => {
            "put the key file back from a copy; if a peer sent the statement, that peer makes it up"
        }
        ErrorCode::IdentityKeyText => "name the right file, or put it back from a copy",
        ErrorCode::IdentityKeyFile => "let this user read and write it, and look at the file system",
        ErrorCode::IdentityKeyMode => "run `chmod 600` on the file; if others could read it, treat the key as stolen",
        ErrorCode::IdentityKeyExists => "name another file",
        ErrorCode::IdentityKeysMissing => {
            "put `identity.key` back into the data directory from a copy, or restore with `antiphon restore --keys-from`; without \
             any copy, begin a new node with `antiphon init` in another directory, and let it pull from the peers"
        }
        ErrorCode::IdentityOtherCortex => "use the keys of the cortex whose log is in the store",
        ErrorCode::IdentityRootAway => {
            "bring the root key in with `antiphon identity import-root`, if it is needed here"
        }
        ErrorCode::RotateNotMade => {
            "look at the causes below it: mostly the root key is not here, or the key file cannot be written"
        }
        ErrorCode::RotateNotNewer => "issue a statement with a higher number than the present one",
        ErrorCode::IdentitySign => "look at what keeps the key, such as an HSM, and start the node again",

        ErrorCode::StartPeer => "correct the peer's endpoint or `ca`",
        ErrorCode::StartPinned => {
            "run `antiphon reset-peer` if the node was replaced on purpose; if not, correct `cortex` of that peer"
        }
        ErrorCode::StartDuplicateReplayer => "give each replayer a name of its own",
        ErrorCode::StartThread => "raise the limit of threads for this user",
        ErrorCode::StartServe => "correct what the transport reports, and start again",

        ErrorCode::ConfigDuplicatePeer => "give each peer a name of its own",
        ErrorCode::ConfigDuplicateEndpoint => "remove one of them, or correct its endpoint",
        ErrorCode::ConfigReservedName => "give the peer another name",
        ErrorCode::ConfigEndpoint => {
            "write quic://host:port or https://host:port; a key belongs into ANTIPHON_SHARED_KEY or federation.key_file"
        }
        ErrorCode::ConfigLimits => {
            "correct `limits`: leave a quota out for no bound, and write one rule for each cortex"
        }
        ErrorCode::ConfigListWithoutAuthority => {
            "set `ca` of the peer to the authority that signs its certificate and the list, or remove `crl`"
        }
        ErrorCode::ConfigClientCertificate => "set both `client_cert` and `client_key` of the peer, or neither",

        ErrorCode::KeyWeak => "make a key with `antiphon key`, and give every node the same one",
        ErrorCode::KeyMissing => "set ANTIPHON_SHARED_KEY to the key that all nodes share",

        ErrorCode::ListenPlaintext => {
            "set `listen.tls` (`antiphon dev-certs` makes certificates), or listen on 127.0.0.1"
        }
        ErrorCode::ListenOpen => "set ANTIPHON_SHARED_KEY (`antiphon key` makes one), or listen on 127.0.0.1",
        ErrorCode::ListenAddress => {
            "look whether another process listens there, and whether the address is this machine's"
        }
        ErrorCode::ListenTls => "serve over HTTPS alone, and report a bug with the log",
        ErrorCode::ListenAddressText => "write an address and a port, such as 0.0.0.0:7443",
        ErrorCode::ListenClientCa => {
            "set `tls` with a certificate, `client_ca` with the authority of the clients, and only then `client_crl`"
        }

        ErrorCode::CertificateUnusable => "give `listen.tls` a certificate and its key in PEM form",
        ErrorCode::CertificatePassphrase => "write the key without a passphrase (`openssl pkey -in OLD -out NEW`)",
        ErrorCode::CertificateNotNow => "put a certificate there that is valid now",
        ErrorCode::CertificateAuthority => {
            "give `listen.tls.client_ca` the certificate of the clients' authority, in PEM form"
        }
        ErrorCode::RevocationListUnusable => {
            "put a list of the authority there, of version 2 and in PEM form (`openssl crl -in FILE -noout -text` shows one)"
        }
        ErrorCode::RevocationListOutdated => "put a new list of the authority there",

        ErrorCode::ValueUlid => "copy the id whole from `antiphon log`",
        ErrorCode::ValuePeerName => "use 1 to 64 of the characters A-Z a-z 0-9 . _ -, and no - at the beginning",
        ErrorCode::ValueCursorNumber | ErrorCode::ValueCursor => {
            "copy the cursor of the last event that you processed, or leave it out to begin with the first event"
        }
        ErrorCode::ValueTimestamp => "write the time as 2026-11-23T09:30:00Z",
        ErrorCode::ValueInterval => "write a number and a unit, such as 30s, 5m or 500ms",
        ErrorCode::ValueMode => "write one of the modes that are listed, in lower case",

        ErrorCode::AppendContextAhead => "take the context from what was read on this node, and read it again",
        ErrorCode::AppendInDoubt => "look with `antiphon log` before you append it again",
        ErrorCode::AppendClosed => "look at the node's log; restart the node if it does not stop on purpose",
        ErrorCode::AppendOrigins => NEW_FEDERATION,
        ErrorCode::AppendTooLarge => "split the data, or raise `node.max_append_bytes`",
        ErrorCode::AppendClockBehind => {
            "set this machine's clock right, by NTP, or wait until it catches up to within 24 hours; if it is right now, run \
             `antiphon new-epoch`"
        }

        ErrorCode::StateValue => "write the value in that form",
        ErrorCode::StateKey => "use 1 to 256 bytes, and `peer:` only for the keys of peers",
        ErrorCode::StateClockKey | ErrorCode::StateClockNotHeld => "leave the clock to the log",

        ErrorCode::AppendGroupTooLarge => "append the events in several calls",
        ErrorCode::EventOtherKind => "report a bug with the command that was run",
        ErrorCode::EventErased => "no action brings the event back; the statement that erased it says why",
        ErrorCode::EventMissing => "connect a peer that has the event; the node fetches the part itself",
        ErrorCode::DigestText => "copy the digest from `antiphon fork list`",
        ErrorCode::EventTooLarge => "split the data, or keep it elsewhere and name it in the event",
        ErrorCode::EventUnknownVersion | ErrorCode::EventUnknownKind => {
            "upgrade this node to the version that wrote the event"
        }
        ErrorCode::EventMalformed => PEER_EVENT,
        ErrorCode::EventField | ErrorCode::EventExtension => CORRECT_EVENT,
        ErrorCode::EventOwnOriginInDeps | ErrorCode::EventStaleDeps | ErrorCode::EventIdNotIncreasing => SAME_VERSION,

        ErrorCode::CloudEventJson => "write one JSON object a line; `jq -c '.[]'` makes lines of an array",
        ErrorCode::CloudEventMissing => "add the attribute to the event",
        ErrorCode::CloudEventAttribute => CORRECT_EVENT,
        ErrorCode::CloudEventTwice => "keep one of them",
        ErrorCode::CloudEventTooMany => "put the attributes into the event's data",
        ErrorCode::CloudEventExtensionName => {
            "rename the extension, or use `antiphon import --lowercase-extensions` if the name differs in case only"
        }
        ErrorCode::CloudEventExtensionValue => "put the value into the event's data",

        ErrorCode::ClockTooManyEntries => NEW_FEDERATION,
        ErrorCode::ClockCounterOutOfRange | ErrorCode::ClockNotSorted => SAME_VERSION,

        ErrorCode::ReadUnknownEpoch | ErrorCode::ReadChanged | ErrorCode::ReadBeyond | ErrorCode::ReadOtherEvent => {
            OTHER_HISTORY
        }

        ErrorCode::MemoryBudget => "retry later, or raise `node.memory_budget_mib`",

        ErrorCode::EpochNotNeeded => "leave the epoch as it is: each one uses one of the 1,024 origins",
        ErrorCode::EpochClaimed => "look at `antiphon status`, which names the peer that brought them",

        ErrorCode::ForkUnknownVersion => "copy the digest from `antiphon fork list`",
        ErrorCode::ForkUnproven => {
            "run `antiphon verify` on both nodes; if both are clean, report a bug with both logs"
        }
        ErrorCode::ForkEnded => "do nothing: the fork ended",
        ErrorCode::ForkTooMany => "resolve some of the forks first; `antiphon fork list` shows them",
        ErrorCode::ForkReplayer => "restart this node; do not repeat the decision",
        ErrorCode::ForkFound => "run `antiphon fork list`, which shows how to end each fork",
        ErrorCode::ForkWaiting => "look at `antiphon fork evidence`",

        ErrorCode::ReplayRebuilding => "read again",
        ErrorCode::ReplayGone => {
            "look at `antiphon status`, which shows the event that it hangs in, and restart this node"
        }
        ErrorCode::ReplayHalted | ErrorCode::ReplayParked => {
            "fix the cause, then run `antiphon replay retry`, or leave the event out by `antiphon replay skip`"
        }
        ErrorCode::ReplayStopped => "look at the node's log for the reason, and restart this node",
        ErrorCode::ReplayNoReplayer => "give the cortex a causal replayer, or wait for another replayer by its name",
        ErrorCode::ReplayNotWaiting => "take the cursor from `antiphon replay list`, which shows both",
        ErrorCode::ReplayDowngrade => {
            "start the newer program; to keep the older one, restore a backup of before the upgrade"
        }

        ErrorCode::CopiesMissing => {
            "look at `antiphon status` on the nodes that are named; do not append the event again"
        }

        ErrorCode::SyncUnknownPeer => "name one of the configured peers",
        ErrorCode::SyncStopped => "restart this node, and report a bug with its log if it was not stopping",
        ErrorCode::SyncNoSpace => "free some space, or set `node.min_free_mib` lower",

        ErrorCode::IngestNotAsked | ErrorCode::IngestOtherQuestion | ErrorCode::IngestGap => ASKED_AGAIN,
        ErrorCode::IngestProtocol => SAME_VERSION,
        ErrorCode::IngestInvalid => PEER_EVENT,
        ErrorCode::IngestHole | ErrorCode::IngestMissingCause => {
            "wait, since it is asked for again; if this repeats, run `antiphon verify` on the peer"
        }
        ErrorCode::IngestFork => "run `antiphon fork list`, which shows how to end each fork",
        ErrorCode::IngestTooManyOrigins => {
            "leave out peers that bring needless origins; `antiphon digest --by-origin` lists them"
        }
        ErrorCode::IngestOverQuota => {
            "no action is needed: no event of that cortex is taken from the peer until the quota below `limits` has room"
        }
        ErrorCode::PeerQuotasHere => {
            "raise the quotas below `limits`, or stop pulling the peer with `antiphon pause-peer` if it makes cortexes up"
        }
        ErrorCode::IngestOwnEpoch => {
            "restart this node if its store went back in time under it; if it did not, the peer makes events up"
        }

        ErrorCode::FillNotHeld => "no action is needed, since the event left the log meanwhile",
        ErrorCode::FillNotMissing => "no action is needed, since another peer was faster",
        ErrorCode::FillOtherEvent => "run `antiphon fork list`, which shows how to end each fork",
        ErrorCode::FillOtherPart => "run `antiphon verify` on the peer; if it is clean, report a bug with both logs",
        ErrorCode::FillNothing => "no action is needed, since other peers are asked",

        ErrorCode::WireNotAFrame => "check that the endpoint is an Antiphon node",
        ErrorCode::WireUnknownVersion => "upgrade the older of the two nodes",
        ErrorCode::WireTooLarge => "check that the endpoint is an Antiphon node; if it is, report a bug",
        ErrorCode::WireLength | ErrorCode::WireChecksum => {
            "usually passes; if not, suspect memory or a proxy that rewrites bodies"
        }
        ErrorCode::WireMalformed => SAME_VERSION,

        ErrorCode::RefusalCursorUnknown | ErrorCode::RefusalKnownMissing => {
            "do nothing: the question is asked again without it"
        }
        ErrorCode::RefusalCursorTooOld => "bring this node up from another peer that still has the events",
        ErrorCode::RefusalFork => "run `antiphon fork list`, which shows how to end each fork",
        ErrorCode::RefusalNotServing => "set it to mode sync or publish, or remove the peer here",
        ErrorCode::RefusalWrongCortex => {
            "check the endpoint, or run `antiphon reset-peer` if the node was replaced on purpose"
        }
        ErrorCode::RefusalProtocol => "upgrade the older of the two nodes",
        ErrorCode::RefusalNewer => "upgrade the peer",
        ErrorCode::RefusalFilter => "upgrade the peer, or ask without a filter",
        ErrorCode::RefusalOtherLog | ErrorCode::IngestOtherLog | ErrorCode::PeerOtherLog => OTHER_LOG,
        ErrorCode::RefusalBusy => "usually passes; if not, raise its limits or lower the number of its clients",
        ErrorCode::RefusalMalformed => SAME_VERSION,
        ErrorCode::RefusalInternal => "look at the peer's own log, its disk and its `antiphon status`",
        ErrorCode::RefusalProof | ErrorCode::PeerProofRefused => {
            "if this node's key was replaced, give it the newest one (`antiphon identity show`); if not, retry: a greeting holds for a minute"
        }
        ErrorCode::RefusalNotAllowed | ErrorCode::PeerNotAllowed => {
            "ask the peer's operator to allow this node: `antiphon peers allow`, with the id that `antiphon identity show` prints here"
        }
        ErrorCode::RefusalOverQuota => {
            "wait, since the question is asked again in time; if that is too slow, raise the caller's quota below `limits` there"
        }
        ErrorCode::PeerOverQuota => {
            "wait, since it is asked again in time; if that is too slow, ask the peer's operator to raise this node's quota (`limits`)"
        }
        ErrorCode::RefusalOtherAsker => "report a bug: questions are asked in the name that was proved",
        ErrorCode::RefusalKey => "give both nodes the same key (ANTIPHON_SHARED_KEY or key_file)",

        ErrorCode::PeerConnectionRefused => "check that the node runs and that the endpoint's port is right",
        ErrorCode::PeerTimeout => "check the network path, firewalls, and whether the node hangs",
        ErrorCode::PeerDns => "check the spelling of the endpoint and the name server",
        ErrorCode::PeerTls => {
            "check its certificate (names, dates) and that `ca` is the authority that signed it; if it speaks TLS 1.2 alone, renew it, or set \
             `tls_min_version`"
        }
        ErrorCode::PeerRevoked => "keep it out: ask its operator why, and for a certificate that is not revoked",
        ErrorCode::PeerRevocationUnknown => {
            "put a current list of each authority in its chain into the file of `crl`, then run `antiphon reload`"
        }
        ErrorCode::PeerCertificateRefused => {
            "give `client_cert` and `client_key` of the peer what its `listen.tls.client_ca` signed, valid now and not revoked; on the peer, check \
             that `client_crl` is current"
        }
        ErrorCode::PeerReset | ErrorCode::PeerEof => PASSES,
        ErrorCode::PeerAuth => "give both nodes the same key (ANTIPHON_SHARED_KEY or key_file)",
        ErrorCode::PeerUnproven => {
            "check that the endpoint leads to the peer itself; a proxy in between must pass the header Host on unchanged"
        }
        ErrorCode::PeerIdentity => {
            "if the node was replaced on purpose, run `antiphon reset-peer` for it; if not, check the endpoint"
        }
        ErrorCode::PeerRedirect => "put the node's own address into the endpoint",
        ErrorCode::PeerTooLarge => "check that the endpoint is an Antiphon node; if it is, report a bug",
        ErrorCode::PeerCorrupt => "usually passes; if not, suspect memory or a proxy that rewrites bodies",
        ErrorCode::PeerProtocol => SAME_VERSION,
        ErrorCode::PeerVersion => "upgrade the older of the two nodes",
        ErrorCode::PeerFork => "run `antiphon verify` on both nodes; if both are clean, report a bug with both logs",
        ErrorCode::PeerNotServing => "set it to mode sync or publish, or remove the peer here",
        ErrorCode::PeerTooManyOrigins => {
            "a log holds at most 1,024 origins, 960 of them of nodes that are no peers of this one; make the node \
             that wrote the rest a peer, or begin a new federation"
        }
        ErrorCode::PeerBusy => "usually passes; if not, raise its limits or lower the number of its clients",
        ErrorCode::PeerStore => "look at this node's log, its disk space and its file system",
        ErrorCode::PeerRollback => {
            "restart this node if its store went back in time under it; if it did not, the peer makes events up"
        }
        ErrorCode::PeerOwnAddress => "remove the peer, or put the other node's address into its endpoint",
        ErrorCode::PeerPinnedElsewhere => "keep one name for each cortex; `antiphon reset-peer` clears the old one",
        ErrorCode::PeerUnexpected => {
            "check the endpoint, where another program may be listening, and the peer's own log"
        }
        ErrorCode::PeerConfiguration => "run `antiphon config check`",
        ErrorCode::PeerTooOld => "bring this node up from another peer that still has it",
        ErrorCode::PeerTooManyForks => {
            "end the forks with it: `antiphon fork list` says how, and which peer brought the other versions"
        }
        ErrorCode::PeerScheme => "write https:// if the peer sets `listen.tls`; if it does not, set it there",
        ErrorCode::PeerTaskFault => "restart this node, and report a bug with its log",
        ErrorCode::PeerDouble => {
            "stop the copy for good and keep its data directory; make a new node in its place with `antiphon init`, \
             then look at `antiphon fork list`"
        }
        ErrorCode::PeerFault => "look at the peer's own log, its disk and its `antiphon status`",
        ErrorCode::PeerNewer => "upgrade this node to the peer's version",
        ErrorCode::PeerNoProgress => {
            "run `antiphon verify` on the peer, and report a bug with both logs if it is clean"
        }
        _ => UNKNOWN,
    }
}

/// Returns what to do about a peer's last failure: at first nothing if it may pass.
pub(crate) fn of_health(health: &PeerHealth, now: Timestamp) -> Option<&'static str> {
    health.last_error?;
    Some(health.lasting(now).map_or(PASSING, |error| remedy(error.code())))
}

/// Returns the code with this text, and what to do about it.
pub fn of_text(code: &str) -> Option<&'static str> {
    ErrorCode::ALL.iter().find(|known| known.as_str() == code).map(|&code| remedy(code))
}

#[cfg(test)]
mod tests {
    use antiphon_kernel::health::ErrorCategory;

    use super::*;

    #[test]
    fn every_code_has_a_remedy() {
        for &code in ErrorCode::ALL {
            let text = remedy(code);
            assert_ne!(text, UNKNOWN, "{code}");
            assert!(
                !text.ends_with('.') && !text.contains('|') && !text.starts_with(char::is_uppercase),
                "{code}: {text}"
            );
            assert_eq!(of_text(code.as_str()), Some(text));
        }
        assert_eq!(of_text("AP-STORE-999"), None);
    }

    #[test]
    fn a_failure_that_may_pass_is_one_to_act_on_once_it_lasts() {
        let mut health = PeerHealth::default();
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        assert_eq!(of_health(&health, at(0)), None);
        health.failed(at(10), ErrorCategory::Protocol);
        assert_eq!(of_health(&health, at(14)), Some(PASSING));
        assert_eq!(of_health(&health, at(15)), Some(remedy(ErrorCode::PeerProtocol)));
    }
}
