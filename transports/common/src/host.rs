//! Host names as name servers and certificates hold them.

use std::net::IpAddr;

use url::Host;

/// Reads a host: a name in any script becomes its ASCII form (`bücher.example` is `xn--bcher-kva.example`), an address its
/// canonical text without brackets. `None` for what is no host.
#[must_use]
pub fn ascii_host(text: &str) -> Option<String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_string());
    }
    match Host::parse(text).ok()? {
        Host::Domain(name) => Some(name),
        Host::Ipv4(address) => Some(address.to_string()),
        Host::Ipv6(address) => Some(address.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_any_script_has_one_ascii_form() {
        for (text, host) in [
            ("alpha.example", "alpha.example"),
            ("BÜCHER.example", "xn--bcher-kva.example"),
            ("bu\u{308}cher.example", "xn--bcher-kva.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
            ("*.bücher.example", "*.xn--bcher-kva.example"),
            ("10.0.0.1", "10.0.0.1"),
            ("::1", "::1"),
            ("[0:0::1]", "::1"),
        ] {
            assert_eq!(ascii_host(text).as_deref(), Some(host), "{text}");
        }
        for text in ["", "a b", "a/b", "a:1", "[x]", "xn--a", "https://alpha.example"] {
            assert_eq!(ascii_host(text), None, "{text}");
        }
    }
}
