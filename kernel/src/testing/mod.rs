//! The proof kit: a store in memory, a network in memory, and the exams that implementers run.

mod memory_store;
mod memory_transport;
mod question;
pub mod sim;
pub mod store_suite;
pub mod transport_suite;

pub use memory_store::{CommitFault, MemoryStore};
pub use memory_transport::MemoryNetwork;
pub use question::question;
