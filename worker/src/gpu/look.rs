//! What the GPUs are and how they are used.

use dopq_common::resources::GpuDevice;
use dopq_common::wire::GpuUse;

/// The result of one look.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Look {
    /// The GPUs in the machine's order.
    pub(crate) devices: Vec<GpuDevice>,
    /// What the healthy ones do.
    pub(crate) measured: Vec<Measured>,
}

/// What one GPU does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measured {
    /// Its figures.
    pub(crate) usage: GpuUse,
    /// Whether it counts its energy itself.
    pub(crate) counts_energy: bool,
    /// The processes that compute on it.
    pub(crate) processes: Processes,
}

/// The processes that compute on a GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Processes {
    /// It does not tell them.
    Unknown,
    /// Their numbers on the machine.
    Pids(Vec<u32>),
    /// Of a simulated GPU: what the foreign one is, if there is one.
    Simulated(Option<String>),
}
