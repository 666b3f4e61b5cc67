//! A peer's endpoint, checked once, before anything is dialled.

use std::net::IpAddr;

use antiphon_kernel::transport::TransportError;
use antiphon_transport_common::configuration;
use reqwest::Url;

/// Where a peer answers.
#[derive(Debug)]
pub(crate) struct Endpoint {
    base: String,
    /// The host and port as the header `Host` has them.
    host: String,
    plaintext: bool,
}

impl Endpoint {
    /// Checks an endpoint. No message repeats it: what stands in the wrong place may be a secret.
    pub(crate) fn parse(text: &str, allow_plaintext_loopback: bool) -> Result<Self, TransportError> {
        let url = Url::parse(text)
            .map_err(|e| configuration(format!("the endpoint is not a URL ({e}); write it as https://host:port")))?;
        // The parser would take the path's first part for the host that is missing.
        if text.split_once("://").is_none_or(|(_, rest)| rest.starts_with('/')) {
            return Err(configuration("the endpoint has no host; write it as https://host:port"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(configuration(
                "the endpoint carries user information, such as a key, which an endpoint must not have",
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(configuration("the endpoint has a query or a fragment; write it as https://host:port"));
        }
        let host = url.host_str().unwrap_or_default();
        let plaintext = match url.scheme() {
            "https" => false,
            "http" if allow_plaintext_loopback && is_loopback(host) => true,
            "http" => {
                return Err(configuration(
                    "plain http would send events and tokens in clear; write the endpoint as https://host:port \
                     (http is for loopback addresses, and only where it was explicitly allowed)",
                ));
            }
            _ => return Err(configuration("this transport dials https; write the endpoint as https://host:port")),
        };
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let host = format!("{host}{port}");
        Ok(Self { base: url.as_str().trim_end_matches('/').to_owned(), host, plaintext })
    }

    /// The address of one of its routes; `path` begins with a slash.
    pub(crate) fn route(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The host and port that are dialled, as the header `Host` has them: what a proof is bound to.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Whether it is plain HTTP.
    pub(crate) const fn is_plaintext(&self) -> bool {
        self.plaintext
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use antiphon_kernel::transport::TransportErrorKind;

    use super::*;

    #[test]
    fn https_goes_anywhere_and_http_nowhere_but_home() {
        assert_eq!(
            Endpoint::parse("https://a.example:7443/", false).unwrap().route("/v1/fetch"),
            "https://a.example:7443/v1/fetch"
        );
        assert_eq!(
            Endpoint::parse("https://a.example/behind", false).unwrap().route("/x"),
            "https://a.example/behind/x"
        );
        for name in ["BÜCHER.example", "bu\u{308}cher.example", "xn--bcher-kva.example", "例え.テスト"] {
            let url = Endpoint::parse(&format!("https://{name}:7443"), false).unwrap().route("/x");
            let host = antiphon_transport_common::ascii_host(name).unwrap();
            assert_eq!(url, format!("https://{host}:7443/x"), "the same as over QUIC, and in certificates");
        }
        for good in ["http://127.0.0.1:80", "http://localhost:1", "http://[::1]:5", "http://127.9.9.9"] {
            assert!(Endpoint::parse(good, true).unwrap().is_plaintext(), "{good}");
            assert_eq!(Endpoint::parse(good, false).unwrap_err().kind(), TransportErrorKind::Configuration);
        }
        for bad in [
            "http://10.0.0.1:80",
            "http://example.com",
            "http://localhost.example.com",
            "ftp://x",
            "x",
            "https://",
            "https:///v1",
        ] {
            assert_eq!(Endpoint::parse(bad, true).unwrap_err().kind(), TransportErrorKind::Configuration, "{bad}");
        }
    }

    #[test]
    fn a_secret_in_the_wrong_place_is_not_repeated() {
        for bad in ["https://me:hunter2@x:1", "https://x:1/?key=hunter2", "https://x:1/#hunter2", "hunter2://x"] {
            let error = Endpoint::parse(bad, true).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
