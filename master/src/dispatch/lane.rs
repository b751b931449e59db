//! One worker's orders: sent at least once, repeated until the broker has confirmed them or they are
//! superseded. Each worker has its own lane, so that one that cannot be reached holds up no other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dopq_common::broker::{Broker, Link};
use dopq_common::id::{AttemptId, Epoch, WorkerId};
use dopq_common::wire::ClusterKey;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::order::{Filler, Kind};
use crate::metrics::Metrics;
use crate::view::View;

/// So many orders of one worker are on their way to the broker at a time; they are about different
/// attempts, so their order among each other means nothing.
const IN_FLIGHT_MAX: usize = 32;

/// The first pause after an order was not confirmed; doubled up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What sending orders takes.
#[derive(Debug)]
pub struct Orders {
    /// Carries them.
    pub broker: Broker,
    /// The committed state, which they are filled from.
    pub view: View,
    /// Makes the attempts' tokens.
    pub key: ClusterKey,
    /// The cluster's name.
    pub cluster: String,
    /// Where workers reach the data plane.
    pub data_urls: Vec<String>,
    /// The leadership that gives them.
    pub epoch: Epoch,
    /// What is counted.
    pub metrics: Metrics,
}

/// One worker's lane.
#[derive(Debug)]
pub(super) struct Lane(Arc<Pending>);

/// Orders that are not confirmed, the latest of each attempt. Bounded by the attempts that the worker
/// has or had lately.
#[derive(Debug, Default)]
struct Pending {
    orders: Mutex<BTreeMap<AttemptId, Due>>,
    arrived: Notify,
}

#[derive(Debug, Clone)]
struct Due {
    kind: Kind,
    since: Instant,
}

impl Lane {
    /// Sends what is given until `stop`.
    pub(super) fn start(
        worker: WorkerId,
        orders: Arc<Orders>,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let pending = Arc::<Pending>::default();
        let sender = Sender {
            worker,
            orders,
            pending: Arc::clone(&pending),
        };
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = sender.run() => {}
            }
        });
        Self(pending)
    }

    /// Adds an order. It supersedes an earlier one about the same attempt: what is to be stopped need
    /// not be run first, and what is to be forgotten need not be stopped.
    pub(super) fn give(&self, attempt: AttemptId, kind: Kind) {
        let since = Instant::now();
        self.0.orders.lock().insert(attempt, Due { kind, since });
        self.0.arrived.notify_one();
    }
}

struct Sender {
    worker: WorkerId,
    orders: Arc<Orders>,
    pending: Arc<Pending>,
}

impl Sender {
    async fn run(self) {
        let mut pause = PAUSE_MIN;
        let mut declared = false;
        loop {
            if self.pending.orders.lock().is_empty() {
                self.pending.arrived.notified().await;
            }
            if !declared {
                declared = self.declare().await;
            }
            if declared && self.send().await {
                pause = PAUSE_MIN;
                continue;
            }
            // The queue may be gone: it is declared again before the next try.
            declared = false;
            self.rest(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn declare(&self) -> bool {
        match self.orders.broker.declare_worker(&self.worker).await {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(worker.id = %self.worker, %error, "failed to declare the worker's queue");
                false
            }
        }
    }

    /// Sends everything that is pending; false when something was not confirmed and is pending again.
    async fn send(&self) -> bool {
        let due = std::mem::take(&mut *self.pending.orders.lock());
        let sent = futures::stream::iter(due).map(async |(attempt, due)| {
            let confirmed = self.publish(attempt, &due.kind).await;
            if confirmed {
                self.orders.metrics.dispatched(due.since.elapsed());
            } else {
                let mut pending = self.pending.orders.lock();
                pending.entry(attempt).or_insert(due);
            }
            confirmed
        });
        let sent = sent.buffer_unordered(IN_FLIGHT_MAX);
        sent.fold(true, async |all, confirmed| all & confirmed)
            .await
    }

    /// True when the order is confirmed, or need not be sent any more.
    async fn publish(&self, attempt: AttemptId, kind: &Kind) -> bool {
        let orders = &self.orders;
        let filler = Filler {
            key: &orders.key,
            cluster: &orders.cluster,
            data_urls: &orders.data_urls,
            epoch: orders.epoch,
        };
        let filled = orders
            .view
            .read(|model| filler.fill(&model.state, &self.worker, attempt, kind));
        let Some(order) = filled else {
            return true;
        };
        let body = match serde_json::to_vec(&order) {
            Ok(body) => Bytes::from(body),
            Err(error) => {
                tracing::error!(%attempt, worker.id = %self.worker, %error, "failed to encode an order");
                return true;
            }
        };
        match orders.broker.publish_order(&self.worker, body).await {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(%attempt, worker.id = %self.worker, %error, "the broker did not confirm an order; sending it again");
                false
            }
        }
    }

    /// Waits, but not longer than until the broker is there again.
    async fn rest(&self, pause: Duration) {
        let mut link = self.orders.broker.link();
        let was_up = *link.borrow_and_update() == Link::Up;
        let back = async {
            if was_up {
                std::future::pending::<()>().await;
            }
            // The broker is closed when the channel is; then only the pause is left.
            if link.wait_for(|link| *link == Link::Up).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = back => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}
