//! What happens to messages between two names.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::service::Service;

/// Who asks, and whom.
pub(super) type Between = (String, String);

/// Questions from one name to another, and their answers.
#[derive(Debug, Clone, Copy, Default)]
struct Path {
    cut: bool,
    /// How many times it was cut.
    cuts: u64,
    delay: Duration,
    /// How many of the next answers are lost.
    lost: usize,
}

/// The names that answer, and the paths that differ from a perfect one.
#[derive(Default)]
pub(super) struct Paths {
    services: BTreeMap<String, Service>,
    /// How many times each name stopped to answer.
    removed: BTreeMap<String, u64>,
    paths: BTreeMap<Between, Path>,
}

impl Paths {
    pub(super) fn serve(&mut self, name: &str, service: Service) {
        self.services.insert(name.to_owned(), service);
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.services.remove(name);
        *self.removed.entry(name.to_owned()).or_default() += 1;
    }

    pub(super) fn service(&self, name: &str) -> Option<&Service> {
        self.services.get(name)
    }

    fn path(&self, between: &Between) -> Path {
        self.paths.get(between).copied().unwrap_or_default()
    }

    fn change(&mut self, from: &str, to: &str, change: impl FnOnce(&mut Path)) {
        change(self.paths.entry((from.to_owned(), to.to_owned())).or_default());
    }

    pub(super) fn partition(&mut self, one: &str, other: &str) {
        for (from, to) in [(one, other), (other, one)] {
            self.change(from, to, |path| (path.cut, path.cuts) = (true, path.cuts + 1));
        }
    }

    pub(super) fn heal(&mut self) {
        self.paths.values_mut().for_each(|path| path.cut = false);
    }

    pub(super) fn set_delay(&mut self, one: &str, other: &str, delay: Duration) {
        for (from, to) in [(one, other), (other, one)] {
            self.change(from, to, |path| path.delay = delay);
        }
    }

    pub(super) fn lose(&mut self, asker: &str, host: &str, answers: usize) {
        self.change(asker, host, |path| path.lost = answers);
    }

    /// Whether an answer that arrives now is lost. Counts it if so.
    pub(super) fn takes(&mut self, between: &Between) -> bool {
        let Some(path) = self.paths.get_mut(between).filter(|path| path.lost > 0) else { return false };
        path.lost -= 1;
        true
    }

    pub(super) fn is_cut(&self, between: &Between) -> bool {
        self.path(between).cut
    }

    /// Changes whenever everything that is open on a path ends.
    pub(super) fn cuts(&self, between: &Between) -> u64 {
        self.path(between).cuts + self.removed.get(&between.1).copied().unwrap_or_default()
    }

    pub(super) fn delay(&self, between: &Between) -> Duration {
        self.path(between).delay
    }
}
