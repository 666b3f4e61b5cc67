//! Where a transport answers, as an embedder says it. Checked when the cortex starts.

use std::net::SocketAddr;
use std::path::PathBuf;

use antiphon_kernel::config::TlsVersion;
use antiphon_kernel::error_code::ErrorCode;
use antiphon_kernel::transport::ServeError;

use crate::certificate::TlsFiles;
use crate::clients::ClientFiles;

/// An address to answer at, with the bounds `L` of the transport.
#[derive(Debug, Clone)]
pub struct Listen<L> {
    address: String,
    /// The files of the certificate chain and its key.
    certificate: Option<(PathBuf, PathBuf)>,
    client_ca: Option<PathBuf>,
    client_crl: Option<PathBuf>,
    /// The oldest version of TLS that is spoken.
    pub min_version: TlsVersion,
    /// Whether a cortex without a shared key may be reached from beyond this machine.
    pub allow_open: bool,
    /// The transport's bounds.
    pub limits: L,
}

impl<L: Default> Listen<L> {
    /// Without a certificate, with the default bounds.
    #[must_use]
    pub fn on(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            certificate: None,
            client_ca: None,
            client_crl: None,
            min_version: TlsVersion::default(),
            allow_open: false,
            limits: L::default(),
        }
    }
}

impl<L> Listen<L> {
    /// Sets the files of certificate chain and key.
    pub fn set_tls(&mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) {
        self.certificate = Some((certificate.into(), key.into()));
    }

    /// Sets the file of the authority of the clients.
    pub fn set_client_ca(&mut self, ca: impl Into<PathBuf>) {
        self.client_ca = Some(ca.into());
    }

    /// Sets the file with the lists of revoked client certificates.
    pub fn set_client_crl(&mut self, crl: impl Into<PathBuf>) {
        self.client_crl = Some(crl.into());
    }

    /// Returns the files for TLS, if there is a certificate.
    ///
    /// # Errors
    /// [`ServeError`] of this transport if one is missing that another one needs: a server that ignored them would let in any client.
    pub fn tls(&self, transport: &'static str) -> Result<Option<TlsFiles>, ServeError> {
        let fault = |why: &str| ServeError { transport, code: ErrorCode::ListenClientCa, source: why.into() };
        let clients = match (self.client_ca.clone(), self.client_crl.clone()) {
            (None, Some(_)) => {
                return Err(fault("a list of revoked client certificates is set, and no authority of the clients"));
            }
            (ca, crl) => ca.map(|ca| ClientFiles { ca, crl }),
        };
        match (self.certificate.clone(), clients) {
            (None, Some(_)) => Err(fault("an authority of the clients is set, and no certificate of the server")),
            (None, None) => Ok(None),
            (Some((cert, key)), clients) => Ok(Some(TlsFiles { cert, key, clients, min_version: self.min_version })),
        }
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
