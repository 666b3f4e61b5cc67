//! Configuration from any text: refused with a reason, or a value that holds together; and what is secret stays so.
//!
//! The first byte says what the rest is: a whole file, a file with a key that does not belong there, parts of an endpoint
//! with a key in it, or one value.

use antiphon_kernel::config::{Config, FederationMode, Interval, InvalidConfig, PeerConfig, PeerMode, SharedKey};
use antiphon_kernel::ids::PeerName;

/// What must not be shown. Only the target puts it where it stands: the text around it is arbitrary.
const KEY: &str = "k3y0123456789abcdef0123456789abcdef";

/// First byte: the rest is YAML.
pub(crate) const FILE: u8 = 0;
/// First byte: the rest is YAML, to which a line with a key is added.
pub(crate) const FILE_WITH_KEY: u8 = 1;
/// First byte: the rest is a scheme, a user and a host, separated by spaces.
pub(crate) const ENDPOINT: u8 = 2;
/// First byte: the rest is a value by itself.
pub(crate) const VALUE: u8 = 3;

/// Reads `data` as configuration.
///
/// # Panics
/// Where a reader does, or where a value or an error shows what it must not.
pub fn run(data: &[u8]) {
    let Some((&kind, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    match kind % 4 {
        // A key anywhere else, such as in place of a field's name, cannot be told from that name.
        _ if text.contains(KEY) => {}
        FILE => file(text),
        FILE_WITH_KEY => file(&format!("{text}\nshared_key: {KEY}\n")),
        ENDPOINT => endpoint(text),
        _ => value(text),
    }
}

fn file(text: &str) {
    match serde_yaml::from_str::<Config>(text) {
        Ok(config) => whole(&config),
        Err(error) => {
            let bare = error.without_snippet();
            assert!(!bare.to_string().is_empty() && !error.to_string().is_empty());
            // Its snippet repeats lines of the file, whatever stands in them; the error by itself does not.
            hides_the_key(&format!("{bare} {bare:?}"));
        }
    }
}

fn hides_the_key(shown: &str) {
    assert!(!shown.contains(KEY), "a key is shown: {shown}");
}

fn whole(config: &Config) {
    assert!(config.shared_key.is_open(), "no key comes from the file");
    hides_the_key(&format!("{config:?}"));
    let seconds = config.effective_interval().as_secs_f64();
    assert!((0.01..=86_400.0).contains(&seconds));
    match config.validate() {
        Ok(()) => {
            let endpoints = config.peers.iter().map(|peer| &peer.endpoint);
            assert!(endpoints.clone().all(|endpoint| endpoint.contains("://")));
            let mut both: Vec<_> = config.peers.iter().map(|peer| peer.name.as_str()).collect();
            both.sort_unstable();
            both.dedup();
            assert_eq!(both.len(), config.peers.len(), "names stand once");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    // What `config show` and an embedder write out can be read.
    let written = serde_json::to_string(config).expect("plain values");
    let again: Config = serde_json::from_str(&written).unwrap_or_else(|error| panic!("{error}: {written}"));
    assert_eq!(format!("{again:?}"), format!("{config:?}"));
}

/// Where an address of other programs has user and password, ours are refused without repeating them.
fn endpoint(text: &str) {
    let mut parts = text.splitn(3, ' ');
    let (scheme, user, host) =
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if scheme.contains("://") || user.contains('/') {
        return;
    }
    let endpoint = format!("{scheme}://{user}:{KEY}@{host}");
    let peer = PeerConfig::new(PeerName::new("bravo").expect("a name"), endpoint);
    let config = Config { peers: vec![peer], ..Config::default() };
    let error = config.validate().expect_err("it carries user information");
    assert!(matches!(error, InvalidConfig::Endpoint { .. }));
    hides_the_key(&format!("{error} {error:?}"));
}

fn value(text: &str) {
    match SharedKey::new(text) {
        Ok(key) => {
            let length = text.len();
            assert!(length == 0 || (SharedKey::MIN_LEN..=SharedKey::MAX_LEN).contains(&length));
            assert!(key.matches(text.as_bytes()) && key.expose() == text && key.is_open() == text.is_empty());
            assert!(text.is_empty() || !format!("{key:?}").contains(text));
            assert!(!key.matches(&[text.as_bytes(), b"x"].concat()));
        }
        Err(error) => assert!(text.len() < 20 || !format!("{error} {error:?}").contains(text)),
    }
    if let Some(interval) = parsed::<Interval>(text) {
        assert_eq!(interval.to_string().parse(), Ok(interval), "it reads as it is written");
    }
    if let Some(mode) = parsed::<PeerMode>(text) {
        assert_eq!(mode.as_str(), text);
    }
    if let Some(mode) = parsed::<FederationMode>(text) {
        assert!(mode.as_str() == text && (mode.pulls() || mode.serves()));
    }
    if let Some(name) = parsed::<PeerName>(text) {
        assert_eq!(name.as_str(), text);
    }
}

/// The value of a text, whose refusal has to say something, but not all of a long one.
fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Option<T> {
    match text.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            let said = error.to_string();
            assert!(!said.is_empty() && said.chars().count() < 1024, "{said}");
            None
        }
    }
}
