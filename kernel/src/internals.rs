//! What other packages of this workspace use of the kernel: the log below its handle, the machine of one peer, byte layouts that only
//! tests and benches make, and metrics. **Not stable**: any release may change or remove it.
//!
//! An embedder, a transport and a store need none of it. Each module has the items of the kernel's module of its name.

/// Comparison of clocks as plain words, as benches measure it.
pub mod clock {
    pub use crate::clock::internals::*;
}

/// How events and what the log keeps of them are laid out.
pub mod codec {
    pub use crate::codec::internals::*;
}

/// The identity of a new cortex.
pub mod cortex {
    pub use crate::cortex::internals::*;
}

/// Two live processes with one cortex id.
pub mod doubles {
    pub use crate::doubles::*;
}

/// The log below its handle: decisions, evidence, repair, and what is kept about peers.
pub mod log {
    pub use crate::log::internals::*;
}

/// The protocol with one peer as a pure state machine.
pub mod machine {
    pub use crate::machine::*;
}

/// What the kernel measures. The package `antiphon-metrics` renders it.
pub mod measure {
    pub use crate::measure::*;
}

/// Faults that can be switched on, to see that the simulator finds them.
#[cfg(feature = "mutants")]
pub mod mutant {
    pub use crate::mutant::*;
}

/// A replayer step by step, without its thread.
pub mod replay {
    pub use crate::replay::internals::*;
}

/// An application's own values, before the log runs.
pub mod state {
    pub use crate::state::internals::*;
}

/// Inspections of a fork, and the skew of a peer's clock.
pub mod sync {
    pub use crate::sync::internals::*;
}
