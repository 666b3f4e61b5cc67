//! The rounds: each module does one kind of harm, and reports the outcome.

pub(crate) mod errors;
pub(crate) mod flip;
pub(crate) mod full;
pub(crate) mod kill;
pub(crate) mod plan;
pub(crate) mod power;
pub(crate) mod readonly;
pub(crate) mod tail;
