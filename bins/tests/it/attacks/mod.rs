//! What a hostile member of a federation may try, against the real binary: bounded, on loopback.

mod bringers;
mod forger;
mod frontier;
mod own_epochs;
