//! Antiphon's kernel.

pub mod clock;
pub mod codec;
pub mod config;
pub mod cortex;
pub mod cursor;
pub mod digest;
mod entropy;
pub mod event;
pub mod health;
pub mod ids;
pub mod log;
pub mod machine;
pub mod protocol;
pub mod replay;
pub mod service;
pub mod state;
pub mod store;
pub mod sync;
pub mod testing;
pub mod time;
pub mod transport;
