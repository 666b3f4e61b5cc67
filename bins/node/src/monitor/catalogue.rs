//! Every metric that a node exports: those of its cortex, and what only a node knows.

use antiphon_kernel::internals::measure::Metric;

macro_rules! metrics {
    ($($id:ident = $kind:ident $name:literal $labels:tt $help:literal;)+) => {
        $(pub(super) const $id: Metric = Metric::$kind($name, &$labels, $help);)+
        const OWN: &[Metric] = &[$($id),+];
    };
}

metrics! {
    WIRE_SENT = counter "antiphon_wire_sent_bytes_total" ["transport"] "Bytes that the server handed to its sockets.";
    CERTIFICATE = gauge "antiphon_certificate_expiry_timestamp_seconds" [] "Until when the certificate holds that the listeners show.";
    CERTIFICATE_VALID = gauge "antiphon_certificate_valid" [] "1 while the certificate that the listeners show holds, 0 before and after; absent without TLS.";
    RELOAD_SUCCESS = gauge "antiphon_config_reload_success" [] "1 if the last reload of the configuration succeeded, 0 if it was refused; absent before.";
    RELOAD_TIME = gauge "antiphon_config_reload_timestamp_seconds" [] "When the configuration was last reloaded successfully.";
    BUILD_INFO = gauge "antiphon_build_info" ["version", "revision"] "1; the labels say which program runs.";
}

/// Returns what only a node knows.
pub(super) const fn own() -> &'static [Metric] {
    OWN
}

#[cfg(test)]
mod tests {
    use antiphon_kernel::internals::measure::{MAX_PEER_LABELS, MetricKind};
    use antiphon_metrics::catalogue::{self, max_series};

    use super::*;

    /// All of them, in the order of the documentation.
    fn all() -> Vec<Metric> {
        [catalogue::own(), OWN, &catalogue::measured()].concat()
    }

    fn table() -> String {
        let mut text = String::from(
            "| metric | labels | series with 3 peers | with 200 and more | what it says |\n|---|---|--:|--:|---|\n",
        );
        let (mut few, mut most) = (0, 0);
        for metric in all() {
            let kind = match metric.kind {
                MetricKind::Gauge => "",
                MetricKind::Counter => " (counter)",
                MetricKind::Histogram => " (histogram)",
            };
            let labels = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
            let (three, many) = (max_series(&metric, 3), max_series(&metric, MAX_PEER_LABELS));
            (few, most) = (few + three, most + many);
            text.push_str(&format!("| `{}`{kind} | {labels} | {three} | {many} | {} |\n", metric.name, metric.help));
        }
        text + &format!("| at most, in all | | {few} | {most} | and ten of `process_*` |\n")
    }

    #[test]
    fn the_documentation_lists_every_metric_as_it_is() {
        crate::documented::check("operations.md", "metrics", &table());
    }

    #[test]
    fn a_node_adds_no_name_that_a_cortex_has() {
        let cortex: Vec<_> = catalogue::all().iter().map(|metric| metric.name).collect();
        assert!(OWN.iter().all(|own| own.name.starts_with("antiphon_") && !cortex.contains(&own.name)));
    }
}
