//! An error with its causes, for a text that is kept.

use std::error::Error;
use std::fmt;

/// An error and its causes, joined by colons.
pub(crate) struct WithCauses<'a>(pub(crate) &'a (dyn Error + 'static));

impl fmt::Display for WithCauses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ClockError;
    use crate::event::InvalidEvent;

    #[test]
    fn each_cause_is_written_once() {
        let error = InvalidEvent::from(ClockError::NotSorted);
        assert_eq!(WithCauses(&error).to_string(), format!("{error}: {}", ClockError::NotSorted));
    }
}
