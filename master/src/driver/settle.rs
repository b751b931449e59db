//! Acknowledges reports after their commit, off the owner's path: a broker that is slow to take an
//! acknowledgement must not hold up the next commit.

use dopq_common::broker::Delivery;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

/// Deliveries that wait to be acknowledged. The broker hands out fewer before some are acknowledged, so
/// there is always room.
const UNSETTLED_MAX: usize = 4096;

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

async fn run(mut committed: mpsc::Receiver<Delivery>) {
    let mut reports = Vec::new();
    while committed.recv_many(&mut reports, UNSETTLED_MAX).await > 0 {
        let late = Delivery::ack_all(reports.drain(..)).await;
        if late > 0 {
            // They come again and change nothing.
            tracing::debug!(late, "failed to acknowledge reports");
        }
    }
}
