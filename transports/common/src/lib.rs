//! What Antiphon's network transports share: whom a client trusts, what a server shows, how many it lets in, how frames
//! come out of bytes, and how failures are named.

mod authorities;
mod certificate;
mod certified;
mod client_certificate;
mod client_tls;
mod clients;
mod errors;
mod frames;
mod host;
mod kept;
mod listen;
pub mod measure;
mod network;
mod pool;
mod provider;
mod revocation;
mod revoked;
mod slots;
mod validity;
mod wire;

pub use authorities::Trust;
pub use certificate::{Certificate, Refreshed, TlsFiles};
pub use certified::CertificateError;
pub use client_tls::ClientTls;
pub use clients::{ClientFiles, ClientWatch};
pub use errors::{configuration, failure, from_alert, from_wire, presentable};
pub use frames::Frames;
pub use host::ascii_host;
pub use listen::Listen;
pub use measure::Rejected;
pub use network::address_text;
pub use pool::Bounds;
pub use revocation::{RevocationListError, RevocationLists};
pub use slots::{POOLS, Slot, Slots};
pub use validity::{Validity, ValidityPeriod, is_authority, names_of};
pub use wire::WireBytes;
