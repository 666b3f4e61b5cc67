//! Criterion benches of Antiphon beside the things that they are compared with: `make bench`. Ratios within one run are
//! what counts; times differ from machine to machine.

/// The README's example compiles: it needs a store and a transport, which this crate may import and the kernel may not.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
