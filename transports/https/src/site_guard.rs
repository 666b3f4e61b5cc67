//! Keeps pages of other sites out of listeners that have no key or no TLS.

use std::net::{IpAddr, SocketAddr};

use axum::extract::Request;
use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

use crate::routes::refuse;

/// What a listener is, as far as browsers go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scope {
    /// Whether it speaks plain HTTP.
    pub(crate) plain: bool,
    /// Whether it listens on a loopback address.
    pub(crate) local: bool,
}

impl Scope {
    pub(crate) fn of(addr: SocketAddr, plain: bool) -> Self {
        Self { plain, local: addr.ip().to_canonical().is_loopback() }
    }
}

/// Answers the request, or refuses what a page of another site may have sent.
pub(crate) async fn check(scope: Scope, request: Request, next: Next) -> Response {
    match refusal(scope.local, request.headers()) {
        None => next.run(request).await,
        Some((error, hint)) => refuse(StatusCode::FORBIDDEN, error, hint),
    }
}

const OTHER_NAME: (&str, &str) =
    ("the Host header names another site", "use the address of this node, or localhost; a reverse proxy sets Host so");
const OTHER_SITE: (&str, &str) = ("the request comes from a page of another site", "open this node's own page instead");

/// Why a request is refused, if it is, and what to do. Pure.
///
/// A page reads answers if its own name resolves to this node (DNS rebinding). Browsers do not mark such a request where the
/// name has no TLS, so on a loopback address the name alone decides. Beyond loopback a node may have any name, and only a
/// request that a browser marked is judged. A page that does not read the answer still makes this node do work.
fn refusal(local: bool, headers: &HeaderMap) -> Option<(&'static str, &'static str)> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let host = text(HOST.as_str()).unwrap_or_default();
    let (origin, site) = (text(ORIGIN.as_str()), text("sec-fetch-site"));
    // Two could be read as either.
    let once = headers.get_all(HOST).iter().count() <= 1;
    if (local || origin.is_some() || site.is_some()) && !(once && is_an_address(host)) {
        return Some(OTHER_NAME);
    }
    // A link on another page may lead here: that page does not see what the browser shows then.
    let is_link = text("sec-fetch-mode") == Some("navigate") && text("sec-fetch-dest") == Some("document");
    let own_site = is_link || site.is_none_or(|site| site == "same-origin" || site == "none");
    let own_origin = origin.is_none_or(|origin| origin.split_once("://").is_some_and(|(_, from)| from == host));
    (!own_site || !own_origin).then_some(OTHER_SITE)
}

fn is_an_address(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    !host.contains('@') && (name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn passes(local: bool, headers: &[(&str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for &(name, value) in headers {
            map.append(name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap());
        }
        refusal(local, &map).is_none()
    }

    #[test]
    fn other_names_than_the_nodes_own_are_refused_on_loopback() {
        for own in ["localhost:9464", "LOCALHOST", "127.0.0.1:9464", "[::1]:9464", "10.0.0.7", "localhost"] {
            assert!(passes(true, &[("host", own)]), "{own}");
        }
        for other in
            ["evil.example:9464", "", "localhost.evil.example", "[evil]:1", "x@127.0.0.1", "[::1", "127.0.0.1 x"]
        {
            assert!(!passes(true, &[("host", other)]), "{other}");
        }
        assert!(!passes(true, &[]) && !passes(true, &[("host", "localhost"), ("host", "evil.example")]));
        assert!(passes(false, &[("host", "alpha.example:9464")]), "a scraper beyond loopback");
    }

    #[test]
    fn pages_of_other_sites_are_refused_everywhere() {
        let host = ("host", "127.0.0.1:7443");
        for local in [true, false] {
            for own in
                [("origin", "http://127.0.0.1:7443"), ("sec-fetch-site", "same-origin"), ("sec-fetch-site", "none")]
            {
                assert!(passes(local, &[host, own]), "{own:?}");
            }
            for other in [
                ("origin", "http://evil.example"),
                ("origin", "null"),
                ("origin", "http://127.0.0.1:8080"),
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-site", "same-site"),
            ] {
                assert!(!passes(local, &[host, other]), "{other:?}");
                assert!(!passes(local, &[("host", "evil.example"), other]), "{other:?}");
            }
            assert!(!passes(local, &[("host", "evil.example"), ("origin", "http://evil.example")]));
            let site = ("sec-fetch-site", "cross-site");
            let link = [host, site, ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
            assert!(passes(local, &link), "a link that a person follows");
            let form = [&link[..], &[("origin", "http://evil.example")]].concat();
            assert!(!passes(local, &form), "a form that a page sends");
            assert!(!passes(local, &[host, site, link[2], ("sec-fetch-dest", "iframe")]), "a frame in a page");
        }
    }
}
