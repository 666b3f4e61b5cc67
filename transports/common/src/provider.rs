//! What every configuration of TLS has in common: one provider of cryptography, and the versions.

use std::sync::{Arc, LazyLock};

use antiphon_kernel::config::TlsVersion;
use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;
use rustls::version::{TLS12, TLS13};

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));

/// The one provider, shared by all peers and servers.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

/// The versions from this one on.
pub(crate) fn versions(oldest: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
    static NEW: &[&SupportedProtocolVersion] = &[&TLS13];
    match oldest {
        TlsVersion::Tls12 => BOTH,
        TlsVersion::Tls13 => NEW,
    }
}
