//! The transport and the server through their public interface: real sockets, real TLS, and peers that misbehave.
#![allow(clippy::unwrap_used)]

mod answers;
mod certificates;
mod clients;
mod corruption;
mod crowds;
mod fakes;
mod greeting;
mod happy;
mod harness;
mod hostile;
mod openapi;
mod pages;
#[path = "../../../common/tests/pki/mod.rs"]
mod pki;
mod proxy;
mod revocation;
mod routes;
mod stopping;
mod trust;
mod versions;
