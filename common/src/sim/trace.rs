//! The jobs of traces and histories.

use std::time::Duration;

use crate::id::UserName;
use crate::job::Class;
use crate::resources::MilliGpu;

/// One job of a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceJob {
    /// When it was submitted, since the workload began.
    pub submitted: Duration,
    /// How long it ran.
    pub ran: Duration,
    /// How many GPUs it held.
    pub gpus: u32,
    /// How much of each.
    pub gpu_amount: MilliGpu,
    /// Its user, if the workload has one.
    pub user: Option<UserName>,
    /// Its class.
    pub class: Class,
    /// Orders its user's own jobs; the highest goes first.
    pub priority: i32,
}

impl TraceJob {
    /// The held GPUs, in whole GPUs.
    #[must_use]
    pub fn held(&self) -> f64 {
        f64::from(self.gpus) * f64::from(self.gpu_amount.0) / f64::from(MilliGpu::WHOLE.0)
    }
}
