//! Where a transport answers, as an embedder says it. Checked when the cortex starts.

use std::net::SocketAddr;
use std::path::PathBuf;

use antiphon_kernel::error_code::ErrorCode;
use antiphon_kernel::transport::ServeError;

use crate::certificate::TlsFiles;

/// An address to answer at, with the bounds `L` of the transport.
#[derive(Debug, Clone)]
pub struct Listen<L> {
    address: String,
    /// The certificate chain and its key.
    pub tls: Option<TlsFiles>,
    /// Whether a cortex without a shared key may be reached from beyond this machine.
    pub allow_open: bool,
    /// The transport's bounds.
    pub limits: L,
}

impl<L: Default> Listen<L> {
    /// Without a certificate, with the default bounds.
    #[must_use]
    pub fn on(address: impl Into<String>) -> Self {
        Self { address: address.into(), tls: None, allow_open: false, limits: L::default() }
    }
}

impl<L> Listen<L> {
    /// Sets the files of certificate chain and key.
    pub fn set_tls(&mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) {
        self.tls = Some(TlsFiles { cert: certificate.into(), key: key.into() });
    }

    /// Returns the address.
    ///
    /// # Errors
    /// [`ServeError`] of this transport if the text is no address.
    pub fn addr(&self, transport: &'static str) -> Result<SocketAddr, ServeError> {
        let address = &self.address;
        let why = || format!("`{address}` is not an address to listen on, such as 0.0.0.0:7443");
        address.parse().map_err(|_| ServeError { transport, code: ErrorCode::ListenAddressText, source: why().into() })
    }
}
