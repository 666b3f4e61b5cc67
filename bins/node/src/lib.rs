//! A node as a library: a cortex that a file configures, with RocksDB, HTTPS and QUIC, metrics, a status page, reload and an
//! admin socket. The program `antiphon` is this and a command line.

// The layers, from the lowest. A module imports modules of lower layers alone; `.ci/layers` reads these lines.
//
// layer: remedy
// layer: dev_certs documented error_text expiry huge_pages keys links overrides owner replayers reply steps systemd terminal tls transports version yaml
// layer: config data_dir progress status_text
// layer: exposed identity init servers
// layer: node
// layer: backup reload repair rotate
// layer: api
// layer: socket
// layer: monitor preflight
// layer: serve
// layer: builder

#[doc(hidden)]
pub mod api;
#[doc(hidden)]
pub mod backup;
mod builder;
#[doc(hidden)]
pub mod config;
mod data_dir;
#[doc(hidden)]
pub mod dev_certs;
#[cfg(test)]
mod documented;
#[doc(hidden)]
pub mod error_text;
#[doc(hidden)]
pub mod expiry;
mod exposed;
mod huge_pages;
#[doc(hidden)]
pub mod identity;
#[doc(hidden)]
pub mod init;
#[doc(hidden)]
pub mod keys;
mod links;
mod monitor;
#[doc(hidden)]
pub mod node;
mod overrides;
mod owner;
#[doc(hidden)]
pub mod preflight;
mod progress;
#[doc(hidden)]
pub mod reload;
#[doc(hidden)]
pub mod remedy;
#[doc(hidden)]
pub mod repair;
mod replayers;
pub mod reply;
mod rotate;
mod serve;
mod servers;
#[doc(hidden)]
pub mod socket;
#[doc(hidden)]
pub mod status_text;
#[doc(hidden)]
pub mod steps;
mod systemd;
#[doc(hidden)]
pub mod terminal;
#[doc(hidden)]
pub mod tls;
mod transports;
mod version;
mod yaml;

pub use builder::NodeBuilder;
pub use config::NodeConfig;
pub use huge_pages::refuse_huge_pages;
pub use keys::new_key;
pub use node::Node;
pub use remedy::remedy;
pub use reply::{Finding, Level};
pub use serve::serve;
pub use version::{REVISION, VERSION};
