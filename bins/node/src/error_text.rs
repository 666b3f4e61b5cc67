//! What an error says, with what its causes add to it.

/// The error and its causes, joined by colons; a cause that is quoted already, as those of libraries often are, is not said again.
pub fn with_causes(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use antiphon_https::ServerError;

    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let (addr, source) = (([127, 0, 0, 1], 1).into(), std::io::Error::other("it is taken"));
        let error = anyhow::Error::from(ServerError::Listen { addr, source }).context("listen.https");
        let said = with_causes(&error);
        assert!(said.starts_with("listen.https: cannot listen on 127.0.0.1:1: it is taken; "), "{said}");
        assert_eq!(said.matches("it is taken").count(), 1, "{said}");
        let error = anyhow::anyhow!("no room").context("the store could not be opened");
        assert_eq!(with_causes(&error), "the store could not be opened: no room");
    }
}
