//! The events and data of a request, as bytes. On the admin socket they follow the request's line, so that no payload is escaped,
//! parsed or copied into a tree there.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Bytes that follow a request, each part with its length in the request's line.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Attached {
    lengths: Vec<usize>,
    #[serde(skip)]
    parts: Vec<Bytes>,
}

impl FromIterator<Bytes> for Attached {
    fn from_iter<I: IntoIterator<Item = Bytes>>(parts: I) -> Self {
        let parts: Vec<Bytes> = parts.into_iter().collect();
        Self { lengths: parts.iter().map(Bytes::len).collect(), parts }
    }
}

impl Attached {
    pub fn one(part: impl Into<Bytes>) -> Self {
        [part.into()].into_iter().collect()
    }

    /// The lengths that the line announced.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    pub fn parts(&self) -> &[Bytes] {
        &self.parts
    }

    /// Sets the parts that followed the line.
    pub(crate) fn set_parts(&mut self, parts: Vec<Bytes>) {
        self.parts = parts;
    }

    pub(crate) fn into_parts(self) -> Vec<Bytes> {
        self.parts
    }

    /// The only part; nothing where there is none.
    pub(crate) fn into_one(self) -> Bytes {
        self.parts.into_iter().next().unwrap_or_default()
    }
}
