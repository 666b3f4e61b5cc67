//! A peer's endpoint, checked once, before anything is dialled.

use std::net::SocketAddr;

use antiphon_kernel::transport::TransportError;
use antiphon_kernel::transport::TransportErrorKind;
use antiphon_transport_common::{ascii_host, configuration, failure};

/// Where a peer answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    host: String,
    port: u16,
}

const FORM: &str = "write it as quic://host:port";

impl Endpoint {
    /// Checks an endpoint. No message repeats it: what stands in the wrong place may be a secret.
    pub(crate) fn parse(text: &str) -> Result<Self, TransportError> {
        let bad = |what: &str| configuration(format!("the endpoint {what}; {FORM}"));
        let rest = text.strip_prefix("quic://").ok_or_else(|| bad("does not begin with quic://"))?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('@') {
            return Err(configuration(
                "the endpoint carries user information, such as a key, which an endpoint must not have",
            ));
        }
        if rest.contains(['/', '?', '#']) {
            return Err(bad("has a path, a query or a fragment"));
        }
        let (host, port) = rest.rsplit_once(':').ok_or_else(|| bad("has no port"))?;
        let port = port.parse().ok().filter(|&port| port != 0).ok_or_else(|| bad("has a port that is none"))?;
        if host.contains(':') && !host.starts_with('[') {
            return Err(bad("has an IPv6 address without brackets"));
        }
        // As the other transport reads it: a name in any script becomes the one that name servers and certificates hold.
        let host = ascii_host(host).ok_or_else(|| bad("has a host that is none"))?;
        if rustls::pki_types::ServerName::try_from(host.as_str()).is_err() {
            return Err(bad("has a host that no certificate could name"));
        }
        Ok(Self { host, port })
    }

    /// What its certificate must hold for.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Its addresses, as the system resolves them now.
    pub(crate) async fn resolve(&self) -> Result<Vec<SocketAddr>, TransportError> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let found: Vec<_> = found
            .map_err(|e| failure(TransportErrorKind::Dns, format!("the host name does not resolve: {e}")))?
            .collect();
        if found.is_empty() {
            return Err(failure(TransportErrorKind::Dns, "the host name has no address"));
        }
        Ok(found)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        for (text, host, port) in [
            ("quic://alpha.example:7443", "alpha.example", 7443),
            ("quic://127.0.0.1:1/", "127.0.0.1", 1),
            ("quic://[::1]:65535", "::1", 65535),
            ("quic://BÜCHER.example:7443", "xn--bcher-kva.example", 7443),
            ("quic://[0:0::1]:5", "::1", 5),
        ] {
            assert_eq!(Endpoint::parse(text).unwrap(), Endpoint { host: host.into(), port });
        }
        for bad in [
            "",
            "x",
            "quic://",
            "quic://x",
            "quic://x:",
            "quic://x:0",
            "quic://x:65536",
            "quic://:1",
            "https://x:1",
            "quic://x:1/path",
            "quic://x:1?q",
            "quic://x:1#f",
            "quic://::1:5",
            "quic://[x]:5",
            "quic://a b:5",
        ] {
            assert_eq!(Endpoint::parse(bad).unwrap_err().kind(), TransportErrorKind::Configuration, "{bad}");
        }
    }

    #[test]
    fn a_secret_in_the_wrong_place_is_not_repeated() {
        for bad in ["quic://me:hunter2@x:1", "quic://x:1/?key=hunter2", "quic://x:1#hunter2", "hunter2://x:1"] {
            let error = Endpoint::parse(bad).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
