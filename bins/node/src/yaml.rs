//! Reads YAML, and says in words of the operator what does not read. The only module that reads it.

use std::borrow::Cow;

use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde_yaml::{Error, MessageFormatter, UserMessageFormatter};

/// Reads a configuration.
///
/// # Errors
/// Where and why it does not read, and a hint.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_yaml::from_str(text).map_err(|error: Error| {
        // Without the lines around it: a key that an operator wrote there would go into logs. The words that it quotes are
        // hidden as well where they look like a key.
        let error = hide_keys(&error.without_snippet().render_with_formatter(&Plain));
        format!("{error}\nhint: {}", hint(text, &error))
    })
}

/// Reads a field that has a name and no value as its default.
pub(crate) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

/// The library's messages, without the names of its types and of ours.
struct Plain;

impl MessageFormatter for Plain {
    fn format_message<'a>(&self, error: &'a Error) -> Cow<'a, str> {
        match error {
            Error::WithSnippet { error, .. } => self.format_message(error),
            Error::NullIntoString { .. } => "a field has no value".into(),
            Error::DuplicateMappingKey { key: Some(key), .. } => format!("the field `{key}` appears twice").into(),
            Error::DuplicateMappingKey { .. } => "a field appears twice".into(),
            Error::InvalidScalar { ty, .. } => format!("{} is expected", value_of(ty)).into(),
            Error::SerdeInvalidType { unexpected, expected, .. } => {
                format!("{} is expected, not {unexpected}", value_of(expected)).into()
            }
            Error::SerdeInvalidValue { unexpected, expected, .. } => {
                format!("{} is expected, not {unexpected}", value_of(expected)).into()
            }
            Error::Unexpected { expected, .. } => format!("{} is expected", value_of(expected)).into(),
            _ => UserMessageFormatter.format_message(error),
        }
    }
}

/// The meaning of a type name. Pure.
fn value_of(ty: &str) -> Cow<'_, str> {
    let number = |ty: &str| ty.len() < 6 && ty.starts_with(['u', 'i']) && ty[1..].chars().all(|c| c.is_ascii_digit());
    match ty {
        "usize" | "isize" => "a whole number".into(),
        _ if number(ty) => "a whole number".into(),
        _ if ty.starts_with("struct ") || ty.starts_with("mapping") || ty == "a map" => "a section with fields".into(),
        _ if ty.starts_with("sequence") || ty == "a sequence" => "a list".into(),
        "bool" | "boolean" | "a boolean" => "true or false".into(),
        _ => ty.into(),
    }
}

/// A text without what looks like a key: so many characters of those that keys are made of, in a row, are not shown. Names of
/// files and hosts have others in between, and peers' names are seldom as long. Pure.
pub(crate) fn hide_keys(text: &str) -> String {
    const SHORTEST: usize = 32;
    let of_a_key = |c: char| c.is_ascii_alphanumeric() || "+=_-".contains(c);
    let mut shown = String::new();
    for run in text.split_inclusive(|c: char| !of_a_key(c)) {
        let key = run.trim_end_matches(|c: char| !of_a_key(c));
        if key.len() >= SHORTEST {
            shown.push_str("(not shown: it may be a key)");
            shown.push_str(&run[key.len()..]);
        } else {
            shown.push_str(run);
        }
    }
    shown
}

/// What may help the operator. Pure.
fn hint(text: &str, error: &str) -> &'static str {
    if text.contains("shared_key") {
        return "the shared key must not be in this file: set ANTIPHON_SHARED_KEY, or name a file in federation.key_file";
    }
    match error {
        _ if error.contains("socket address") => {
            "an address and a port, 127.0.0.1:7443 or [::1]:7443; a host name is not allowed"
        }
        _ if error.contains("appears twice") => "leave one of the two out",
        _ if error.contains("missing field `cert`") || error.contains("missing field `key`") => {
            "`listen.tls` needs `cert` and `key`; a listener without a certificate asks its clients for none"
        }
        _ if error.contains("no value") => "write a value after the colon, or leave the field out",
        _ => "docs/architecture.md lists every field; unknown ones are refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Sample {
        name: String,
        #[serde(default)]
        bytes: usize,
        #[serde(default)]
        open: bool,
        #[serde(default)]
        inner: Inner,
        #[serde(default)]
        list: Vec<Inner>,
    }

    #[derive(Debug, Default, serde::Deserialize)]
    #[allow(dead_code)]
    struct Inner {
        one: u8,
    }

    #[test]
    fn messages_are_in_the_operator_s_words() {
        for (text, says) in [
            ("name:", "no value"),
            ("name: a\nname: b", "the field `name` appears twice"),
            ("name: a\nbytes: many", "a whole number is expected"),
            ("name: a\nopen: perhaps", "true or false is expected"),
            ("name: a\ninner: 3", "a section with fields is expected"),
            ("name: a\nlist: 3", "a list is expected"),
            ("name: a\nother: 3", "unknown field `other`"),
            ("bytes: 3", "missing field `name`"),
            ("name: [", ""),
            ("", ""),
            ("name: a\n---\nname: b", ""),
            ("- name", ""),
        ] {
            let error = read::<Sample>(text).unwrap_err();
            assert!(error.contains(says) && error.contains("\nhint: "), "{text}: {error}");
            for foreign in [
                "Option<",
                "Policy",
                "struct ",
                "usize",
                "u8",
                "from_",
                "deserialize",
                "serde",
                "Sample",
                "Inner",
                "Vec<",
            ] {
                assert!(!error.contains(foreign), "{text}: {error}");
            }
        }
    }

    #[test]
    fn what_looks_like_a_key_is_not_shown() {
        let key = "0123456789abcdef0123456789abcdef";
        let hidden = hide_keys(&format!("unknown variant `{key}`, expected one of `sync`"));
        assert_eq!(hidden, "unknown variant `(not shown: it may be a key)`, expected one of `sync`");
        assert_eq!(hide_keys(key), "(not shown: it may be a key)");
        for plain in ["/var/lib/antiphon/keys/shared.key", "missing field `endpoint` at line 3 column 5", ""] {
            assert_eq!(hide_keys(plain), plain);
        }
    }
}
