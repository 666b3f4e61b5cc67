//! The metrics of a running node.

use antiphon_metrics::Metrics;
use metrics::{counter, gauge};

use super::catalogue as c;
use crate::node::Node;
use crate::version::REVISION;

/// All metrics, in Prometheus' text format.
pub(super) fn render(node: &Node, metrics: &Metrics) -> String {
    metrics.render_with(node.cortex(), || of_node(node))
}

/// Sets what only a node knows.
fn of_node(node: &Node) {
    c::own().iter().for_each(antiphon_kernel::internals::measure::Metric::describe);
    for (transport, bytes) in node.wire_sent() {
        counter!(c::WIRE_SENT.name, "transport" => transport).absolute(bytes);
    }
    if let Some(until) = node.certificate_until() {
        gauge!(c::CERTIFICATE.name).set(until as f64);
    }
    if let Some(holds) = node.certificate_holds() {
        gauge!(c::CERTIFICATE_VALID.name).set(u8::from(holds));
    }
    let reloads = node.reloads();
    if let Some(worked) = reloads.last {
        gauge!(c::RELOAD_SUCCESS.name).set(u8::from(worked));
    }
    if let Some(at) = reloads.succeeded {
        gauge!(c::RELOAD_TIME.name).set(at.as_micros() as f64 / 1e6);
    }
    gauge!(c::BUILD_INFO.name, "version" => env!("CARGO_PKG_VERSION"), "revision" => REVISION).set(1);
}
