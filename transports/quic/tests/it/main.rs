//! The transport over real sockets, on loopback, with real certificates.

#![allow(clippy::unwrap_used)]

mod certificates;
mod clients;
mod crowds;
mod greeting;
mod happy;
mod harness;
#[path = "../../../common/tests/pki/mod.rs"]
mod pki;
mod raw;
mod resuming;
mod revocation;
mod roads;
mod stopping;
mod trust;
