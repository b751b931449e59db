//! Acknowledges reports after their commit, in a task of its own: a slow broker must not delay the next commit.

use dopq_common::broker::Delivery;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

/// Deliveries that wait to be acknowledged. The broker hands out fewer before some are acknowledged, so
/// there is always room.
const UNSETTLED_MAX: usize = 4096;

/// Acknowledges committed reports.
#[derive(Debug)]
pub(super) struct Settler(mpsc::Sender<Delivery>);

impl Settler {
    /// Starts the task. It ends when the settler is dropped and everything is acknowledged.
    pub(super) fn start(tasks: &TaskTracker) -> Self {
        let (sender, receiver) = mpsc::channel(UNSETTLED_MAX);
        tasks.spawn(run(receiver));
        Self(sender)
    }

    /// Acknowledges `reports` soon. Returns those without space to the broker, which redelivers them.
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
