//! The admin socket: how commands reach a node that serves. JSON lines over a Unix socket in its data directory, for its owner only.

mod client;
mod frame;
mod hidden;
mod pieces;
mod server;

pub(crate) use client::open_to_serve;
pub use client::{Backend, NodeGone};
pub use frame::Reported;
pub(crate) use hidden::find as find_hidden;
pub use hidden::must_not_be_served;
pub(crate) use server::listen;
