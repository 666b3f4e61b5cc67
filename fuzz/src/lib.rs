//! Fuzz targets as plain functions: libFuzzer runs them through `fuzz_targets/`, and `tests/` replays the corpora with
//! them on a stable compiler. Each panics where a promise is broken, and does nothing else.
//!
//! `make fuzz TARGET=wire_decode TIME=60` looks for new inputs. What it finds goes into `corpus/<target>/`, minimised.

pub mod admission;
mod choices;
pub mod cloud_events;
pub mod configuration;
pub mod peer_machine;
pub mod seeds;
pub mod store_model;
pub mod vclock_laws;
pub mod wire_decode;

/// A fuzz target: panics where the kernel breaks a promise on these bytes.
pub type Target = fn(&[u8]);

/// Every target by name, which is also the name of its corpus and of its binary.
pub const TARGETS: &[(&str, Target)] = &[
    ("admission", admission::run),
    ("cloud_events", cloud_events::run),
    ("configuration", configuration::run),
    ("peer_machine", peer_machine::run),
    ("store_model", store_model::run),
    ("vclock_laws", vclock_laws::run),
    ("wire_decode", wire_decode::run),
];
