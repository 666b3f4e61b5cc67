//! Shared keys: where they come from, and new ones.

use antiphon_kernel::config::SharedKey;
use anyhow::{Result, bail};

/// Keys as this process's environment has them. Set to nothing is not set: what a template left empty must not open a node that
/// has a key file.
pub(crate) fn of_the_environment() -> Result<Option<String>> {
    match std::env::var("ANTIPHON_SHARED_KEY") {
        Ok(keys) => Ok((!keys.trim().is_empty()).then_some(keys)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => bail!("ANTIPHON_SHARED_KEY is not text; `antiphon key` makes a key"),
    }
}

/// Enough keys to replace one by another.
const MAX_KEYS: usize = 4;

pub(crate) fn keys_of(text: &str) -> Result<Vec<SharedKey>> {
    let mut words: Vec<_> = text.split_whitespace().collect();
    // The same one twice is one.
    let mut seen = std::collections::BTreeSet::new();
    words.retain(|word| seen.insert(*word));
    let keys = words.into_iter().map(|key| Ok(SharedKey::new(key)?)).collect::<Result<Vec<_>>>()?;
    if keys.len() > MAX_KEYS {
        bail!(
            "{} keys, where at most {MAX_KEYS} may be valid at once; leave out those that no node presents any more",
            keys.len()
        );
    }
    Ok(keys)
}

/// 256 random bits in hex.
pub fn new_key() -> Result<String> {
    let mut bytes = [0_u8; 32];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| anyhow::anyhow!("the system gives no randomness"))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_key_is_presented_and_all_are_accepted() {
        let (new, old) = ("n".repeat(32), "o".repeat(32));
        let keys = keys_of(&format!("{new}\n{old}\n")).unwrap();
        assert!(keys.len() == 2 && keys[0].matches(new.as_bytes()) && keys[1].matches(old.as_bytes()));
        assert!(keys_of(" \n").unwrap().is_empty());
        assert_eq!(keys_of(&format!("{new}\n{new}\n{old}\n")).unwrap().len(), 2, "the same one twice is one");
        assert!(
            keys_of("short").is_err() && keys_of(&(0..5).map(|n| format!("{new}{n} ")).collect::<String>()).is_err()
        );
    }
}
