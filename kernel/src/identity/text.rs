//! The text of a key file: a header line, then fields, one a line. Lines that begin with `#` are for people.
//!
//! ```text
//! antiphon working key 1
//! # SECRET. Anyone who has this file can write events as this cortex.
//! cortex 01M842DYPH0VSACH9W4H0K0B7S
//! secret BASE64
//! statement BASE64
//! ```

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{InvalidStatement, KeyStatement, Keys, SecretKey};
use crate::error_code::ErrorCode;
use crate::ids::CortexId;

const ROOT: &str = "antiphon root key";
const WORKING: &str = "antiphon working key";
const VERSION: &str = "1";

/// Why a text is not that of a key file. It never repeats the text, which may hold a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKeyText {
    /// It is of something else.
    #[error("it is no file of an {expected}: {found}")]
    Kind {
        /// What was expected.
        expected: &'static str,
        /// What it is, as far as that is known.
        found: &'static str,
    },
    /// A newer version wrote it.
    #[error("it is an {kind} of a version that is not known here")]
    Version {
        /// What it is.
        kind: &'static str,
    },
    /// A field is missing, repeated, unknown or malformed.
    #[error("its field `{field}` {fault}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// Its statement does not hold, or is about another key.
    #[error(transparent)]
    Statement(#[from] InvalidStatement),
}

impl InvalidKeyText {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Kind { .. } | Self::Version { .. } | Self::Field { .. } => ErrorCode::IdentityKeyText,
            Self::Statement(error) => error.code(),
        }
    }
}

impl SecretKey {
    /// Returns the text of a root key file.
    #[must_use]
    pub fn to_root_text(&self) -> Zeroizing<String> {
        let about = "# SECRET. This key is the cortex: keep a copy offline. A running node does not need it.";
        text(ROOT, about, CortexId::of_root(&self.public()), self, None)
    }

    /// Reads the text of a root key file.
    ///
    /// # Errors
    /// [`InvalidKeyText`].
    pub fn from_root_text(text: &str) -> Result<Self, InvalidKeyText> {
        let [cortex, secret] = fields(text, ROOT, ["cortex", "secret"])?;
        let key = secret_from(secret)?;
        must_name(cortex, CortexId::of_root(&key.public()))?;
        Ok(key)
    }
}

impl Keys {
    /// Returns the text of a working key file: the working key and its statement, without the root key.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let about = "# SECRET. Anyone who has this file can write events as this cortex. Never run two nodes with it.";
        text(WORKING, about, self.cortex(), self.working(), Some(super::Signer::statement(self)))
    }

    /// Reads the text of a working key file.
    ///
    /// # Errors
    /// [`InvalidKeyText`].
    pub fn from_text(text: &str) -> Result<Self, InvalidKeyText> {
        let [cortex, secret, statement] = fields(text, WORKING, ["cortex", "secret", "statement"])?;
        let fault = |_| InvalidKeyText::Field { field: "statement", fault: "is not base64" };
        let statement = KeyStatement::from_bytes(&STANDARD.decode(statement).map_err(fault)?)?;
        let keys = Self::new(secret_from(secret)?, statement)?;
        must_name(cortex, keys.cortex())?;
        Ok(keys)
    }
}

fn text(
    kind: &str,
    about: &str,
    cortex: CortexId,
    secret: &SecretKey,
    statement: Option<&KeyStatement>,
) -> Zeroizing<String> {
    // Large enough at once: growing would leave copies of the secret behind.
    let statement = statement.map(|statement| STANDARD.encode(statement.to_bytes()));
    let mut text = Zeroizing::new(String::with_capacity(512 + statement.as_ref().map_or(0, String::len)));
    let _ = write!(text, "{kind} {VERSION}\n{about}\ncortex {cortex}\nsecret ");
    STANDARD.encode_string(secret.expose(), &mut text);
    if let Some(statement) = statement {
        let _ = write!(text, "\nstatement {statement}");
    }
    text.push('\n');
    text
}

/// The values of exactly these fields.
fn fields<'a, const N: usize>(
    text: &'a str,
    kind: &'static str,
    names: [&'static str; N],
) -> Result<[&'a str; N], InvalidKeyText> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let header = lines.next().unwrap_or_default();
    match header.strip_prefix(kind).map(str::trim_start) {
        Some(VERSION) => {}
        Some(_) => return Err(InvalidKeyText::Version { kind }),
        None => return Err(InvalidKeyText::Kind { expected: kind, found: what_is(header) }),
    }
    let mut values = [None; N];
    for line in lines {
        let (name, value) = line.split_once(' ').unwrap_or((line, ""));
        let at = names.iter().position(|&known| known == name);
        let at = at.ok_or(InvalidKeyText::Field { field: "?", fault: "is not known here" })?;
        if values[at].replace(value.trim()).is_some() {
            return Err(InvalidKeyText::Field { field: names[at], fault: "occurs twice" });
        }
    }
    let mut found = [""; N];
    for (at, value) in values.into_iter().enumerate() {
        found[at] = value.ok_or(InvalidKeyText::Field { field: names[at], fault: "is missing" })?;
    }
    Ok(found)
}

/// What a file with this first line is.
fn what_is(header: &str) -> &'static str {
    let known = [
        (ROOT, "it is the file of a root key"),
        (WORKING, "it is the file of a working key"),
        ("-----BEGIN", "it is a PEM file, as certificates and their keys are"),
        ("antiphon-store", "it is a store's file FORMAT"),
        ("{", "it is JSON"),
    ];
    let of = known.into_iter().find(|(begin, _)| header.starts_with(begin)).map(|(_, what)| what);
    of.unwrap_or(if header.is_empty() { "it is empty" } else { "its first line is another" })
}

fn secret_from(base64: &str) -> Result<SecretKey, InvalidKeyText> {
    let fault = |fault| InvalidKeyText::Field { field: "secret", fault };
    let mut bytes = Zeroizing::new([0; 48]);
    let length = STANDARD.decode_slice(base64, &mut *bytes).map_err(|_| fault("is not base64 of 32 bytes"))?;
    match bytes.split_first_chunk::<32>() {
        Some((seed, _)) if length == 32 => Ok(SecretKey::from_bytes(seed)),
        _ => Err(fault("is not base64 of 32 bytes")),
    }
}

/// The field `cortex` is for people; if it disagrees with the key, a line was changed.
fn must_name(field: &str, cortex: CortexId) -> Result<(), InvalidKeyText> {
    match field.parse::<CortexId>() {
        Ok(named) if named == cortex => Ok(()),
        _ => Err(InvalidKeyText::Field { field: "cortex", fault: "is not the cortex of its key" }),
    }
}
