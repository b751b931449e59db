//! One family of figures from the read model.

use prometheus_client::registry::Unit;

/// A sample: its labels and its value.
pub(super) type Sample = (Vec<(&'static str, String)>, f64);

/// One family of gauges, or of counters.
pub(super) struct Gauges {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) unit: Option<Unit>,
    pub(super) samples: Vec<Sample>,
}
