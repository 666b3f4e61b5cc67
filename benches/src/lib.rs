//! Criterion benches of Antiphon beside the things that they are compared with: `make bench`. Ratios within one run are
//! what counts; times differ from machine to machine.
