//! Values of extension attributes, in the types that CloudEvents JSON keeps apart.

use std::fmt;

/// The value of an extension attribute. CloudEvents' other types (binary, URI, timestamp) are texts in JSON.
///
/// ```
/// use antiphon_kernel::Draft;
/// use antiphon_kernel::event::ExtensionValue;
///
/// let mut draft = Draft::new("order.placed", "");
/// draft.extensions.insert("tenant".to_owned(), "north".into());
/// draft.extensions.insert("priority".to_owned(), 3.into());
/// assert_eq!(draft.extensions["priority"], ExtensionValue::Integer(3));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExtensionValue {
    /// A text.
    Text(String),
    /// A whole number of 32 bits.
    Integer(i32),
    /// True or false.
    Boolean(bool),
}

impl ExtensionValue {
    /// Returns the value, borrowed.
    #[must_use]
    pub fn as_ref(&self) -> ExtensionRef<'_> {
        match self {
            Self::Text(text) => ExtensionRef::Text(text),
            Self::Integer(integer) => ExtensionRef::Integer(*integer),
            Self::Boolean(boolean) => ExtensionRef::Boolean(*boolean),
        }
    }

    /// Returns the text, if the value is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Integer(_) | Self::Boolean(_) => None,
        }
    }
}

impl From<String> for ExtensionValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for ExtensionValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i32> for ExtensionValue {
    fn from(integer: i32) -> Self {
        Self::Integer(integer)
    }
}

impl From<bool> for ExtensionValue {
    fn from(boolean: bool) -> Self {
        Self::Boolean(boolean)
    }
}

impl fmt::Display for ExtensionValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

/// The value of an extension attribute, read in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExtensionRef<'a> {
    /// A text.
    Text(&'a str),
    /// A whole number of 32 bits.
    Integer(i32),
    /// True or false.
    Boolean(bool),
}

impl ExtensionRef<'_> {
    /// Returns a copy of the value.
    #[must_use]
    pub fn to_value(self) -> ExtensionValue {
        match self {
            Self::Text(text) => ExtensionValue::Text(text.to_owned()),
            Self::Integer(integer) => ExtensionValue::Integer(integer),
            Self::Boolean(boolean) => ExtensionValue::Boolean(boolean),
        }
    }

    /// Returns the length of a text in bytes; a number or a boolean has none.
    pub(super) const fn text_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Integer(_) | Self::Boolean(_) => 0,
        }
    }
}

impl fmt::Display for ExtensionRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Integer(integer) => integer.fmt(f),
            Self::Boolean(boolean) => boolean.fmt(f),
        }
    }
}
