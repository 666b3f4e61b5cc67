//! What a node and its commands report. Each struct here is the JSON that a command prints with `--json`, that crosses the admin
//! socket, and that the status page receives. `docs/reference/json.md` is generated from their fields and comments.

mod append;
mod comparison;
mod conflicts;
mod federation;
mod finding;
mod forks;
mod identity;
mod local;
mod log;
mod reload;
mod replay;
mod status;
mod store;

pub use append::{
    AppendReply, Appended, AppendedEvent, Imported, KeptProgress, Late, Progress, Refused, Replicated, WaitReply,
};
pub use comparison::{Chain, Chains, Comparison, OriginComparison, Verified};
pub use conflicts::{ConflictReport, Conflicts, OpenConflict, Resolved};
pub use federation::{CortexAllowed, ModeSet, PeerModeSet, PeerReset, PendingCortex, PendingCortexes};
pub use finding::{Diagnosis, Finding, Level};
pub use forks::{
    Advice, BroughtBack, ForkChoice, ForkCosts, ForkReport, ForkResolution, Forks, KeepOurs, KeepTheirs, OwnedEvents,
    ResolvedFork,
};
pub use identity::{KeyRotated, NodeIdentity, RootKeyMoved};
pub use local::{Certificates, Checked, Done, Failure, Initialised, Unseen};
pub use log::{CursorUnknown, LatestPage, LogPage, LogReply};
pub use reload::{ModeChange, Reloaded};
pub use replay::{ParkedEvent, Replay, ReplayRetried, ReplaySkipped, Replayer, SkippedEvent};
pub use status::{
    AppendsRefused, Brought, ClaimedEpoch, Double, EpochChange, Excluded, LargestOrigin, Peer, Peers, Puller,
    StateChange, Status,
};
pub use store::{Location, Manifest, NewEpoch, Repaired, Restored};
