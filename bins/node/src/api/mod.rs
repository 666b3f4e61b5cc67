//! What can be asked of a node, whether it serves or not: a [`Request`] gets a [`Reply`], and the texts of events after it.

mod answer;
mod append;
mod attached;
mod comparison;
mod federation;
mod forks;
mod read;
mod replaying;
mod reply;
mod request;
#[cfg(test)]
mod schema;
mod space;
mod status;
mod texts;
mod version;

pub use answer::answer;
pub use attached::Attached;
pub use reply::{Reply, UnexpectedReply};
pub use request::{Choice, ImportProgress, Request, Wanted};
pub(crate) use status::report;
pub use texts::{Answer, Texts};
pub use version::API_VERSION;
