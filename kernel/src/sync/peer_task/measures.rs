//! How long a peer takes, as metrics.

use std::time::Duration;

use crate::health::ErrorCategory;
use crate::measure::{CORTEX, EXCHANGE_FAILURES, FETCH_SECONDS, INGEST_SECONDS};

/// The metrics of one peer. A histogram is made when there is something to record.
pub(super) struct Measures {
    pub(super) cortex: String,
    pub(super) label: String,
    pub(super) fetch: Option<metrics::Histogram>,
    pub(super) ingest: Option<metrics::Histogram>,
}

impl Measures {
    pub(super) fn fetched(&mut self, took: Duration) {
        let made =
            || metrics::histogram!(FETCH_SECONDS.name, CORTEX => self.cortex.clone(), "peer" => self.label.clone());
        self.fetch.get_or_insert_with(made).record(took);
    }

    pub(super) fn ingested(&mut self, took: Duration) {
        let made =
            || metrics::histogram!(INGEST_SECONDS.name, CORTEX => self.cortex.clone(), "peer" => self.label.clone());
        self.ingest.get_or_insert_with(made).record(took);
    }

    pub(super) fn failed(&self, category: ErrorCategory) {
        let cortex = self.cortex.clone();
        metrics::counter!(EXCHANGE_FAILURES.name, CORTEX => cortex, "category" => category.as_str()).increment(1);
    }
}
