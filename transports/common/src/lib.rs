//! What Antiphon's network transports share: whom a client trusts, what a server shows, how many it lets in, how frames
//! come out of bytes, and how failures are named.

mod authorities;
mod certificate;
mod errors;
mod frames;
mod host;
mod listen;
pub mod measure;
mod network;
mod pool;
mod slots;
mod validity;
mod wire;

pub use authorities::{Trust, client_config};
pub use certificate::{Certificate, CertificateError, TlsFiles};
pub use errors::{configuration, failure, from_wire, presentable};
pub use frames::Frames;
pub use host::ascii_host;
pub use listen::Listen;
pub use measure::Rejected;
pub use network::address_text;
pub use pool::Bounds;
pub use slots::{POOLS, Slot, Slots};
pub use validity::{Validity, ValidityPeriod, is_authority, names_of};
pub use wire::WireBytes;
