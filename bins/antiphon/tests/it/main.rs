//! What an embedder relies on, over the real store.
#![allow(clippy::unwrap_used, missing_docs)]

mod builder;
mod drops;
mod readme;
mod root;
mod testing_guide;
