//! A node as a library: a cortex that a file configures, with RocksDB, HTTPS and QUIC, metrics, a status page, reload and an
//! admin socket. The program `antiphon` is this and a command line.

#[doc(hidden)]
pub mod admin;
#[doc(hidden)]
pub mod attached;
#[doc(hidden)]
pub mod backup;
mod builder;
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod dev_certs;
#[doc(hidden)]
pub mod error_text;
#[doc(hidden)]
pub mod expiry;
mod exposed;
#[doc(hidden)]
pub mod forks;
#[doc(hidden)]
pub mod hidden;
#[doc(hidden)]
pub mod init;
#[doc(hidden)]
pub mod keys;
mod links;
#[doc(hidden)]
pub mod monitor;
#[doc(hidden)]
pub mod node;
mod overrides;
mod owner;
#[doc(hidden)]
pub mod preflight;
#[doc(hidden)]
pub mod progress;
#[doc(hidden)]
pub mod reload;
#[doc(hidden)]
pub mod repair;
mod replayers;
mod serve;
mod servers;
mod space;
mod status;
#[doc(hidden)]
pub mod status_text;
mod systemd;
#[doc(hidden)]
pub mod terminal;
mod transports;
mod yaml;

pub use builder::NodeBuilder;
pub use config::NodeConfig;
pub use keys::new_key;
pub use node::Node;
pub use preflight::{Finding, Level};
pub use serve::serve;

/// The source revision that this program was built from: `ANTIPHON_REVISION` at build time, or what git says of a release build;
/// `unknown` otherwise.
pub const REVISION: &str = env!("ANTIPHON_REVISION");

/// The version, and the revision in brackets.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("ANTIPHON_REVISION"), ")");

/// Compares a part of a document, between `<!-- NAME -->` and `<!-- /NAME -->`, with what the code says it should be. With
/// ANTIPHON_WRITE_DOCS=1 it is written there instead.
#[cfg(test)]
fn documented(file: &str, name: &str, expected: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(file);
    let text = std::fs::read_to_string(&path).expect("the document can be read");
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = text.split_once(&begin).expect("the part begins");
    let (found, after) = rest.split_once(&end).expect("the part ends");
    if std::env::var_os("ANTIPHON_WRITE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{begin}{expected}{end}{after}")).expect("the document can be written");
    } else {
        assert_eq!(found, expected, "docs/{file} is not what the code says: run this test with ANTIPHON_WRITE_DOCS=1");
    }
}
