//! Which program this is.

/// The source revision that this program was built from: `ANTIPHON_REVISION` at build time, or what git says of a release build;
/// `unknown` otherwise.
pub const REVISION: &str = env!("ANTIPHON_REVISION");

/// The version, and the revision in brackets.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("ANTIPHON_REVISION"), ")");
