//! What a request comes to before a node is known.

use crate::resources::{GpuAmount, MilliGpu, Request};

/// The GPUs of the whole cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ClusterSize {
    /// GPUs of the nodes that are not lost.
    pub(crate) gpus: u32,
    /// The most slots that one GPU has.
    pub(crate) slots: u32,
}

/// The GPUs that a request asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Demand {
    /// As a fraction of the cluster's GPUs.
    pub(crate) share: f64,
    /// In milli-GPU. Slots are counted as on the GPUs that have most of them.
    pub(crate) milli: u64,
}

impl Demand {
    pub(crate) fn of(cluster: ClusterSize, request: &Request) -> Self {
        let slots = cluster.slots.max(1);
        let whole = u64::from(MilliGpu::WHOLE.0);
        let (each, milli) = match request.gpu_amount {
            GpuAmount::Milli(milli) => (f64::from(milli.0) / 1000.0, u64::from(milli.0)),
            GpuAmount::Slots(count) => (
                f64::from(count) / f64::from(slots),
                whole * u64::from(count) / u64::from(slots),
            ),
        };
        Self {
            share: f64::from(request.gpus) * each.min(1.0) / f64::from(cluster.gpus.max(1)),
            milli: u64::from(request.gpus) * milli.min(whole),
        }
    }
}
