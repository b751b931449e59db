//! What the driver's loop takes in. Whoever sends it lies above this module, and the loop as well.

use dopq_common::agent::Event;
use dopq_common::broker::Delivery;
use dopq_common::id::Epoch;

/// Whatever the driver takes in.
#[derive(Debug)]
pub(crate) enum Input {
    /// Something happened to the core's world.
    Core(Event),
    /// A master's orders, to be acknowledged once they are committed.
    Orders(Delivery),
    /// Orders whose epoch is far above what was known, and the leadership that the masters told; `None` if the settings
    /// name no master.
    Checked {
        /// The orders.
        delivery: Delivery,
        /// The leadership.
        told: Option<Epoch>,
    },
    /// The broker confirmed these reports.
    Confirmed(Vec<u64>),
}
