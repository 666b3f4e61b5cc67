//! What hostile clients and members of a federation may try, against the real binary: bounded, on loopback.

mod asker;
mod bombs;
mod bringers;
mod byzantine;
mod disk;
mod forger;
mod frontier;
mod greeter;
mod memory;
mod origins;
mod own_epochs;
mod pages;
mod proofs;
mod receipts;
mod slots;
mod work;
