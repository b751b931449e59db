//! The broker of a single process: queues in memory, for `--standalone` and for tests.
//!
//! It outlives its consumers but not the process. That is enough, because what it carries can be made
//! anew: orders from the committed state, reports from the worker's outbox.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

use super::live::{LiveMessage, LiveStream, Ring};
use super::port::{DeadLetter, Delivery, Link, Settle};
use super::{Error, topic};
use crate::id::WorkerId;

/// How many dead letters are kept for people to see; the oldest go first.
const DEAD_MAX: usize = 100;

/// The limits of an in-process broker.
#[derive(Debug, Clone)]
pub struct Options {
    /// Messages that one queue holds; publishing into a full one waits.
    pub queue_max_messages: usize,
    /// How long publishing waits for room.
    pub publish_within: Duration,
    /// Deliveries of one consumer that are out unsettled at a time.
    pub prefetch: usize,
    /// How often a message may come back before it becomes a dead letter.
    pub delivery_limit: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            queue_max_messages: 100_000,
            publish_within: Duration::from_secs(15),
            prefetch: 64,
            delivery_limit: 20,
        }
    }
}

/// Queues in this process. Clones share them.
#[derive(Debug, Clone)]
pub struct Broker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: Options,
    reports: Arc<Queue>,
    orders: Mutex<BTreeMap<WorkerId, Arc<Queue>>>,
    live: Mutex<Vec<Subscription>>,
    dead: Arc<Mutex<VecDeque<DeadLetter>>>,
    link: watch::Sender<Link>,
    closed: watch::Sender<bool>,
}

#[derive(Debug)]
struct Subscription {
    patterns: Vec<String>,
    ring: Weak<Ring>,
}

impl Default for Broker {
    fn default() -> Self {
        Self::new(Options::default())
    }
}

impl Broker {
    /// An empty broker.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let dead = Arc::default();
        Self(Arc::new(Inner {
            reports: Queue::new("reports".to_owned(), &options, &dead),
            options,
            orders: Mutex::default(),
            live: Mutex::default(),
            dead,
            link: watch::Sender::new(Link::Up),
            closed: watch::Sender::new(false),
        }))
    }

    pub(super) fn declare_worker(&self, worker: &WorkerId) -> Result<(), Error> {
        self.open()?;
        self.queue(worker);
        Ok(())
    }

    pub(super) fn remove_worker(&self, worker: &WorkerId) -> Result<(), Error> {
        self.open()?;
        self.0.orders.lock().remove(worker);
        Ok(())
    }

    pub(super) async fn publish_order(&self, worker: &WorkerId, body: Bytes) -> Result<(), Error> {
        self.open()?;
        let queue = self.queue(worker);
        self.publish(&queue, body).await
    }

    pub(super) async fn publish_report(&self, body: Bytes) -> Result<(), Error> {
        self.open()?;
        self.publish(&self.0.reports, body).await
    }

    async fn publish(&self, queue: &Queue, body: Bytes) -> Result<(), Error> {
        let mut closed = self.0.closed.subscribe();
        tokio::select! {
            queued = tokio::time::timeout(self.0.options.publish_within, queue.push(body)) => {
                queued.map_err(|_| Error::Full { queue: queue.name.clone() })
            }
            _ = closed.wait_for(|closed| *closed) => Err(Error::Closed),
        }
    }

    pub(super) fn consume_orders(&self, worker: &WorkerId) -> Result<Consumer, Error> {
        self.open()?;
        Ok(self.consumer(self.queue(worker)))
    }

    pub(super) fn consume_reports(&self) -> Result<Consumer, Error> {
        self.open()?;
        Ok(self.consumer(Arc::clone(&self.0.reports)))
    }

    pub(super) fn publish_live(&self, topic: &str, body: &Bytes) -> Result<(), Error> {
        self.open()?;
        self.0.live.lock().retain(|subscription| {
            let Some(ring) = subscription.ring.upgrade() else {
                return false;
            };
            let wanted = subscription.patterns.iter();
            if wanted.into_iter().any(|p| topic::matches(p, topic)) {
                ring.push(LiveMessage {
                    topic: topic.to_owned(),
                    body: body.clone(),
                });
            }
            true
        });
        Ok(())
    }

    pub(super) fn subscribe_live(&self, topics: &[&str]) -> Result<LiveStream, Error> {
        let ring = Arc::new(Ring::default());
        let mut live = self.0.live.lock();
        self.open()?;
        live.push(Subscription {
            patterns: topics.iter().map(|&topic| topic.to_owned()).collect(),
            ring: Arc::downgrade(&ring),
        });
        Ok(LiveStream::new(ring, None))
    }

    pub(super) fn link(&self) -> watch::Receiver<Link> {
        self.0.link.subscribe()
    }

    pub(super) fn dead_letters(&self) -> Vec<DeadLetter> {
        self.0.dead.lock().iter().cloned().collect()
    }

    pub(super) fn close(&self) {
        let live = self.0.live.lock();
        self.0.closed.send_replace(true);
        self.0.link.send_replace(Link::Down {
            since: tokio::time::Instant::now(),
            why: "it was closed".to_owned(),
        });
        live.iter()
            .filter_map(|subscription| subscription.ring.upgrade())
            .for_each(|ring| ring.close());
    }

    fn open(&self) -> Result<(), Error> {
        match *self.0.closed.borrow() {
            true => Err(Error::Closed),
            false => Ok(()),
        }
    }

    fn queue(&self, worker: &WorkerId) -> Arc<Queue> {
        let mut orders = self.0.orders.lock();
        let queue = orders.entry(worker.clone()).or_insert_with(|| {
            Queue::new(format!("orders.{worker}"), &self.0.options, &self.0.dead)
        });
        Arc::clone(queue)
    }

    fn consumer(&self, queue: Arc<Queue>) -> Consumer {
        Consumer {
            queue,
            unsettled: Arc::new(Semaphore::new(self.0.options.prefetch)),
            closed: self.0.closed.subscribe(),
        }
    }
}

/// One queue. Messages are kept by number, so that one which comes back takes its old place.
#[derive(Debug)]
struct Queue {
    name: String,
    delivery_limit: u32,
    max_messages: usize,
    ready: Mutex<Ready>,
    arrived: Notify,
    room: Notify,
    dead: Arc<Mutex<VecDeque<DeadLetter>>>,
}

#[derive(Debug, Default)]
struct Ready {
    next: u64,
    messages: BTreeMap<u64, Message>,
}

#[derive(Debug, Clone)]
struct Message {
    body: Bytes,
    returns: u32,
}

impl Queue {
    fn new(name: String, options: &Options, dead: &Arc<Mutex<VecDeque<DeadLetter>>>) -> Arc<Self> {
        Arc::new(Self {
            name,
            delivery_limit: options.delivery_limit,
            max_messages: options.queue_max_messages,
            ready: Mutex::default(),
            arrived: Notify::new(),
            room: Notify::new(),
            dead: Arc::clone(dead),
        })
    }

    /// Waits for room and queues.
    async fn push(&self, body: Bytes) {
        loop {
            let room = self.room.notified();
            {
                let mut ready = self.ready.lock();
                if ready.messages.len() < self.max_messages {
                    let number = ready.next;
                    ready.next += 1;
                    ready.messages.insert(number, Message { body, returns: 0 });
                    drop(ready);
                    self.arrived.notify_one();
                    return;
                }
            }
            room.await;
        }
    }

    /// Waits for the first message and takes it. Nothing is taken when the call is cancelled.
    async fn pop(&self) -> (u64, Message) {
        loop {
            let arrived = self.arrived.notified();
            let popped = {
                let mut ready = self.ready.lock();
                let popped = ready.messages.pop_first();
                if popped.is_some() && !ready.messages.is_empty() {
                    // One permit may stand for several arrivals: wake the next consumer as well.
                    self.arrived.notify_one();
                }
                popped
            };
            match popped {
                Some(popped) => {
                    self.room.notify_one();
                    return popped;
                }
                None => arrived.await,
            }
        }
    }

    fn give_back(&self, number: u64, mut message: Message) {
        message.returns += 1;
        if message.returns > self.delivery_limit {
            self.bury(message, "delivery_limit");
        } else {
            self.ready.lock().messages.insert(number, message);
            self.arrived.notify_one();
        }
    }

    fn bury(&self, message: Message, reason: &str) {
        let mut dead = self.dead.lock();
        if dead.len() >= DEAD_MAX {
            dead.pop_front();
        }
        dead.push_back(DeadLetter {
            queue: self.name.clone(),
            reason: reason.to_owned(),
            body: message.body,
        });
    }
}

/// One consumer of one queue.
#[derive(Debug)]
pub(super) struct Consumer {
    queue: Arc<Queue>,
    unsettled: Arc<Semaphore>,
    closed: watch::Receiver<bool>,
}

impl Consumer {
    pub(super) async fn next(&mut self) -> Option<Delivery> {
        let next = async {
            let permit = Arc::clone(&self.unsettled).acquire_owned().await.ok()?;
            let (number, message) = self.queue.pop().await;
            let (body, redelivered) = (message.body.clone(), message.returns > 0);
            let claim = Claim {
                held: Some((number, message)),
                queue: Arc::clone(&self.queue),
                _permit: permit,
            };
            Some(Delivery::new(body, redelivered, Settle::Inproc(claim)))
        };
        tokio::select! {
            // Closing wins, so that nothing is handed out after it.
            biased;
            _ = self.closed.wait_for(|closed| *closed) => None,
            delivery = next => delivery,
        }
    }
}

/// The right to settle one delivery. Dropping it gives the message back.
#[derive(Debug)]
pub(super) struct Claim {
    held: Option<(u64, Message)>,
    queue: Arc<Queue>,
    _permit: OwnedSemaphorePermit,
}

impl Claim {
    pub(super) fn ack(mut self) -> Result<(), Error> {
        self.held = None;
        Ok(())
    }

    pub(super) fn nack(mut self, requeue: bool) -> Result<(), Error> {
        match self.held.take() {
            Some((number, message)) if requeue => self.queue.give_back(number, message),
            Some((_, message)) => self.queue.bury(message, "rejected"),
            None => {}
        }
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some((number, message)) = self.held.take() {
            self.queue.give_back(number, message);
        }
    }
}
