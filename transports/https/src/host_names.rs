//! The names under which this server is dialled. A greeting is bound to the name that the asker dialled, so a server that took any name
//! would sign for an attacker between the two under the attacker's name.

use std::net::IpAddr;
use std::sync::Arc;

use antiphon_transport_common::{Certificate, names_of};
use axum::http::uri::Authority;

/// The names of a server: configured ones, those of its certificate, and this machine's own where it speaks plain HTTP.
#[derive(Clone)]
pub(crate) struct HostNames {
    configured: Arc<[String]>,
    certificate: Option<Arc<Certificate>>,
}

impl HostNames {
    pub(crate) fn new(configured: Vec<String>, certificate: Option<Arc<Certificate>>) -> Self {
        Self { configured: configured.into(), certificate }
    }

    /// The value of the header `Host`, if it names this server.
    pub(crate) fn checked<'a>(&self, host: &'a str) -> Option<&'a str> {
        let authority = host.parse::<Authority>().ok().filter(|_| !host.contains('@'))?;
        let name = authority.host();
        let is_ours = match &self.certificate {
            Some(certificate) => names_of(&certificate.leaf()).iter().any(|ours| covers(ours, name)),
            None => {
                name.eq_ignore_ascii_case("localhost")
                    || address(name).is_some_and(|ip| ip.to_canonical().is_loopback())
            }
        };
        (is_ours || self.configured.iter().any(|ours| covers(ours, name))).then_some(host)
    }
}

fn address(name: &str) -> Option<IpAddr> {
    name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name).parse().ok()
}

/// Whether a name of a certificate covers this one. A wildcard is one label.
fn covers(ours: &str, name: &str) -> bool {
    match (address(ours), address(name)) {
        (Some(ours), Some(name)) => ours == name,
        (None, None) => match (ours.strip_prefix("*."), name.split_once('.')) {
            (Some(rest), Some((label, of))) => !label.is_empty() && rest.eq_ignore_ascii_case(of),
            (Some(_), None) => false,
            (None, _) => ours.eq_ignore_ascii_case(name),
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_ours_if_it_is_configured_or_this_machine() {
        let plain = HostNames::new(vec!["Alpha.example".to_owned(), "*.edge.example".to_owned()], None);
        for ours in
            ["alpha.example:7443", "alpha.example", "a.edge.example:1", "localhost:7443", "127.0.0.1", "[::1]:7443"]
        {
            assert_eq!(plain.checked(ours), Some(ours));
        }
        for other in [
            "",
            "evil.example",
            "a.b.edge.example",
            "edge.example",
            ".edge.example",
            "10.0.0.1",
            "x@alpha.example",
            "a b",
        ] {
            assert_eq!(plain.checked(other), None, "{other}");
        }
    }
}
