//! The transport over real sockets, on loopback, with real certificates.

#![allow(clippy::unwrap_used)]

mod certificates;
mod crowds;
mod greeting;
mod happy;
mod harness;
mod raw;
mod resuming;
mod roads;
mod stopping;
mod trust;
