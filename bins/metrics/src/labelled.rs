//! A recorder that adds the label `cortex` to each series.

use antiphon_kernel::internals::measure::CORTEX;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Metadata, Recorder, SharedString, Unit};

pub(crate) struct Labelled<'a, R> {
    to: &'a R,
    cortex: Label,
}

impl<'a, R: Recorder> Labelled<'a, R> {
    pub(crate) fn new(to: &'a R, cortex: &str) -> Self {
        Self { to, cortex: Label::new(CORTEX, cortex.to_owned()) }
    }

    fn key(&self, key: &Key) -> Key {
        let labels: Vec<_> = std::iter::once(&self.cortex).chain(key.labels()).cloned().collect();
        Key::from_parts(key.name().to_owned(), labels)
    }
}

impl<R: Recorder> Recorder for Labelled<'_, R> {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.to.describe_counter(name, unit, help);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.to.describe_gauge(name, unit, help);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.to.describe_histogram(name, unit, help);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.to.register_counter(&self.key(key), metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.to.register_gauge(&self.key(key), metadata)
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        self.to.register_histogram(&self.key(key), metadata)
    }
}
