//! The replayers that a custom node adds to its own.

use std::fmt;
use std::sync::Arc;

use antiphon_kernel::cortex::CortexBuilder;
use antiphon_kernel::replay::EventReplayer;

type Add = Arc<dyn Fn(CortexBuilder) -> CortexBuilder + Send + Sync>;

/// How to make each replayer. A store may be opened several times, and each time takes new ones.
#[derive(Clone, Default)]
pub struct Replayers {
    causal: Option<Add>,
    more: Vec<Add>,
}

impl Replayers {
    pub(crate) fn add<R: EventReplayer>(&mut self, make: impl Fn() -> R + Send + Sync + 'static) {
        self.more.push(Arc::new(move |builder| builder.replayer(make())));
    }

    pub(crate) fn set_causal<R: EventReplayer>(&mut self, make: impl Fn() -> R + Send + Sync + 'static) {
        self.causal = Some(Arc::new(move |builder| builder.causal_replayer(make())));
    }

    /// Adds them to a cortex, with the node's own one. That one is causal unless another is.
    pub(crate) fn add_to(&self, builder: CortexBuilder, own: impl EventReplayer) -> CortexBuilder {
        let builder = match &self.causal {
            Some(causal) => causal(builder).replayer(own),
            None => builder.causal_replayer(own),
        };
        self.more.iter().fold(builder, |builder, add| add(builder))
    }
}

impl fmt::Debug for Replayers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.more.len() + usize::from(self.causal.is_some());
        write!(f, "Replayers({count})")
    }
}
