//! The kernel through its public API, over stores and networks in memory.
#![allow(clippy::unwrap_used, missing_docs)]

mod budget;
mod evidence;
mod federation;
mod forks;
mod labels;
mod live;
mod log;
mod lost_event;
mod mesh;
mod origins;
mod random;
mod receipts;
mod reload;
mod replay;
mod replay_model;
mod replayers;
mod salvage;
mod shorter;
mod slow_road;
mod slow_store;
mod state;
mod support;
mod threads;
mod withheld;
