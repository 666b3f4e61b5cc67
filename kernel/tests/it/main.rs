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
<<<<<<< HEAD
mod receipts;
=======
mod record_bounds;
>>>>>>> f634589 (docs: add test vectors, and what a reader without the source lacks)
mod reload;
mod replay;
mod replay_model;
mod replayers;
mod rules;
mod salvage;
mod shorter;
mod slow_road;
mod slow_store;
mod state;
mod support;
mod threads;
mod vectors;
mod withheld;
