//! Acknowledges reports after their commit, off the owner's path: a broker that is slow to take an
//! acknowledgement must not hold up the next commit.

use std::time::Duration;

use dopq_common::broker::Delivery;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

/// The broker hands out at most so many deliveries before they are acknowledged, so that this much
/// room is always enough.
const UNSETTLED_MAX: usize = 4096;

/// An acknowledgement that takes longer is given up; the report comes again and changes nothing.
const ACK_WITHIN: Duration = Duration::from_secs(5);

/// Takes committed reports.
#[derive(Debug)]
pub(super) struct Settler(mpsc::Sender<Delivery>);

impl Settler {
    /// Starts the task; it ends when the settler is dropped and everything is acknowledged.
    pub(super) fn start(tasks: &TaskTracker) -> Self {
        let (sender, receiver) = mpsc::channel(UNSETTLED_MAX);
        tasks.spawn(run(receiver));
        Self(sender)
    }

    /// Acknowledges `reports` soon. One for which there is no room is given back, and comes again.
    pub(super) fn acknowledge(&self, reports: Vec<Delivery>) {
        for report in reports {
            drop(self.0.try_send(report));
        }
    }
}

async fn run(mut reports: mpsc::Receiver<Delivery>) {
    while let Some(report) = reports.recv().await {
        match tokio::time::timeout(ACK_WITHIN, report.ack()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "failed to acknowledge a report"),
            Err(_) => tracing::debug!("the broker took too long to accept an acknowledgement"),
        }
    }
}
