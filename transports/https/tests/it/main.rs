//! The transport and the server through their public interface: real sockets, real TLS, and peers that misbehave.
#![allow(clippy::unwrap_used)]

mod answers;
mod certificates;
mod corruption;
mod crowds;
mod fakes;
mod greeting;
mod happy;
mod harness;
mod hostile;
mod openapi;
mod pages;
mod proxy;
mod routes;
mod stopping;
mod trust;
