//! Antiphon's kernel.

pub mod clock;
pub mod codec;
pub mod config;
pub mod cursor;
pub mod digest;
mod entropy;
pub mod event;
pub mod health;
pub mod ids;
pub mod log;
pub mod machine;
pub mod protocol;
pub mod service;
pub mod state;
pub mod store;
pub mod testing;
pub mod time;
pub mod transport;
