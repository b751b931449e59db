//! Sends reports in their order, each again until the broker has confirmed it.
//!
//! The reports lie in the records; what is here is only the way out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dopq_common::broker::Broker;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::driver::Input;

const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MOST: Duration = Duration::from_secs(10);

/// Reports on their way. The queue has no bound of its own: what is in it is durable already, and only
/// orders make reports, which do not come while the broker takes none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outbox(Arc<Queue>);

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<VecDeque<(u64, Bytes)>>,
    came: Notify,
    left: Notify,
}

impl Outbox {
    /// Queues committed reports.
    pub(crate) fn push(&self, reports: impl IntoIterator<Item = (u64, Bytes)>) {
        self.0.waiting.lock().extend(reports);
        self.0.came.notify_one();
    }

    /// Sends until `shutdown`, telling the driver what was confirmed.
    pub(crate) async fn run(
        self,
        broker: Broker,
        inputs: mpsc::Sender<Input>,
        shutdown: CancellationToken,
    ) {
        let mut pause = RETRY_FIRST;
        loop {
            let next = self.0.waiting.lock().front().cloned();
            let Some((seq, body)) = next else {
                tokio::select! {
                    () = self.0.came.notified() => continue,
                    () = shutdown.cancelled() => return,
                }
            };
            let sent = tokio::select! {
                sent = broker.publish_report(body) => sent,
                () = shutdown.cancelled() => return,
            };
            match sent {
                Ok(()) => {
                    pause = RETRY_FIRST;
                    self.0.waiting.lock().pop_front();
                    self.0.left.notify_waiters();
                    if inputs.send(Input::Confirmed(seq)).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(report.seq = seq, error = %error, "the broker did not accept a report; sending it again");
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = shutdown.cancelled() => return,
                    }
                    pause = (pause * 2).min(RETRY_MOST);
                }
            }
        }
    }

    /// Waits until everything queued so far has gone out, for `longest` at most.
    pub(crate) async fn drained(&self, longest: Duration) {
        let empty = async {
            loop {
                let left = self.0.left.notified();
                if self.0.waiting.lock().is_empty() {
                    return;
                }
                left.await;
            }
        };
        // Whatever stays is sent after the next start.
        tokio::time::timeout(longest, empty)
            .await
            .unwrap_or_default();
    }
}
