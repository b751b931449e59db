//! What the GPUs are and how they are used.

use dopq_common::resources::GpuDevice;
use dopq_common::wire::GpuUse;

/// The result of one look.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Look {
    /// The GPUs in the machine's order.
    pub(crate) devices: Vec<GpuDevice>,
    /// The usage of the healthy ones.
    pub(crate) uses: Vec<GpuUse>,
}
