//! What an embedder relies on, over the real store.
#![allow(clippy::unwrap_used, missing_docs)]

mod builder;
mod client_certificates;
mod drops;
#[path = "../../../../transports/common/tests/pki/mod.rs"]
mod pki;
mod readme;
mod root;
mod testing_guide;
