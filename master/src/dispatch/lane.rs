//! One worker's orders: sent at least once, repeated until the broker has confirmed them or they are
//! superseded. Each worker has its own lane, so that one that cannot be reached holds up no other. All that
//! waits while messages are on their way goes into the next message.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dopq_common::broker::{Broker, Link};
use dopq_common::id::{AttemptId, Epoch, WorkerId};
use dopq_common::wire::{
    OrderEnvelope, Packer, ToWorker, WIRE_VERSION, WorkerKey, WorkerKeys as _,
};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::order::{Filler, Kind};
use crate::keys::NodeKeys;
use crate::metrics::Metrics;
use crate::retry::{self, Pauses};
use crate::view::View;

/// Messages of one worker that are on their way to the broker at a time. Their orders are about different
/// attempts, so they may arrive in any order.
const IN_FLIGHT_MAX: usize = 4;

/// What sending orders takes.
#[derive(Debug)]
pub struct Orders {
    /// Carries them.
    pub broker: Broker,
    /// The committed state, which they are filled from.
    pub view: View,
    /// Seals orders and makes the attempts' tokens.
    pub keys: NodeKeys,
    /// The cluster's name.
    pub cluster: String,
    /// Where workers reach the data plane.
    pub data_urls: Vec<String>,
    /// The most that the data plane takes as results.
    pub results_max_bytes: u64,
    /// The most that the data plane takes as a checkpoint.
    pub checkpoint_max_bytes: u64,
    /// The leadership that gives them.
    pub epoch: Epoch,
    /// What is counted.
    pub metrics: Metrics,
}

impl Orders {
    /// What every order of this leadership has in common.
    pub(super) fn filler(&self) -> Filler<'_> {
        Filler {
            keys: &self.keys,
            cluster: &self.cluster,
            data_urls: &self.data_urls,
            results_max_bytes: self.results_max_bytes,
            checkpoint_max_bytes: self.checkpoint_max_bytes,
        }
    }
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

/// An order as it is sent.
struct Filled {
    attempt: AttemptId,
    due: Due,
    json: Box<RawValue>,
}

/// Orders that are sent together.
struct Message {
    about: Vec<(AttemptId, Due)>,
    json: Vec<Box<RawValue>>,
}

impl Message {
    /// As many of `orders` as one message carries, beginning with what was left over by the last; `None`
    /// when there are no more.
    fn pack(
        left_over: &mut Option<Filled>,
        orders: &mut impl Iterator<Item = Filled>,
    ) -> Option<Self> {
        let (mut packer, mut message) = (Packer::default(), None);
        while let Some(order) = left_over.take().or_else(|| orders.next()) {
            if !packer.take(Packer::plain(order.json.get())) {
                *left_over = Some(order);
                break;
            }
            let message = message.get_or_insert_with(|| Self {
                about: Vec::new(),
                json: Vec::new(),
            });
            message.about.push((order.attempt, order.due));
            message.json.push(order.json);
        }
        message
    }
}

struct Sender {
    worker: WorkerId,
    orders: Arc<Orders>,
    pending: Arc<Pending>,
}

impl Sender {
    async fn run(self) {
        let mut pauses = Pauses::new(retry::ORDERS);
        let mut declared = false;
        loop {
            if self.pending.orders.lock().is_empty() {
                self.pending.arrived.notified().await;
            }
            if !declared {
                declared = self.declare().await;
            }
            if declared && self.send().await {
                pauses = Pauses::new(retry::ORDERS);
                continue;
            }
            // The queue may be gone: it is declared again before the next try.
            declared = false;
            self.rest(pauses.pause()).await;
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
        let Some(key) = self.orders.keys.of(&self.worker) else {
            tracing::debug!(worker.id = %self.worker, orders = due.len(), "dropped the orders of a worker without a key");
            return true;
        };
        let mut orders = due
            .into_iter()
            .filter_map(|(attempt, due)| self.fill(attempt, due));
        let mut left_over = None;
        let mut in_flight = FuturesUnordered::new();
        let mut all_confirmed = true;
        loop {
            while in_flight.len() < IN_FLIGHT_MAX
                && let Some(message) = Message::pack(&mut left_over, &mut orders)
            {
                in_flight.push(self.publish(&key, message));
            }
            match in_flight.next().await {
                Some(confirmed) => all_confirmed &= confirmed,
                None => return all_confirmed,
            }
        }
    }

    /// The order as it is sent; `None` when it need not be sent any more.
    fn fill(&self, attempt: AttemptId, due: Due) -> Option<Filled> {
        let orders = &self.orders;
        let filler = orders.filler();
        let order = orders
            .view
            .read(|model| filler.fill(&model.state, &self.worker, attempt, &due.kind))?;
        match to_raw_value(&order) {
            Ok(json) => Some(Filled { attempt, due, json }),
            Err(error) => {
                tracing::error!(%attempt, worker.id = %self.worker, %error, "failed to encode an order");
                None
            }
        }
    }

    /// True when the message is confirmed; what it holds is pending again otherwise.
    async fn publish(&self, key: &WorkerKey, message: Message) -> bool {
        let orders = &self.orders;
        let Message { about, json } = message;
        let envelope = OrderEnvelope {
            version: WIRE_VERSION,
            epoch: orders.epoch,
            orders: json,
        };
        let error = match serde_json::to_vec(&envelope) {
            Ok(body) => {
                let sealed = key.seal_to(ToWorker::Orders, &self.worker, &body);
                match orders
                    .broker
                    .publish_order(&self.worker, sealed.into())
                    .await
                {
                    Ok(()) => {
                        for (_, due) in &about {
                            orders.metrics.dispatched(due.since.elapsed());
                        }
                        return true;
                    }
                    Err(error) => error.to_string(),
                }
            }
            Err(error) => error.to_string(),
        };
        tracing::debug!(worker.id = %self.worker, orders = about.len(), error, "the broker did not confirm orders; sending them again");
        let mut pending = self.pending.orders.lock();
        for (attempt, due) in about {
            pending.entry(attempt).or_insert(due);
        }
        false
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
