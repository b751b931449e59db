//! Live subscriptions: a bounded ring that drops its oldest message rather than slow its sender.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

/// How many messages wait for a slow subscriber: a few heartbeat rounds of a large cluster, or the
/// tail of a busy log, and at most 64 MiB of the longest messages.
pub(super) const LIVE_MAX_MESSAGES: usize = 1024;

/// One live message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveMessage {
    /// The topic it was published under.
    pub topic: String,
    /// What was published.
    pub body: Bytes,
}

/// A subscription to live topics. Dropping it unsubscribes.
#[derive(Debug)]
pub struct LiveStream {
    ring: Arc<Ring>,
    /// Its fall tells an adapter's task, where there is one, that nobody listens any more.
    _unsubscribe: Option<oneshot::Sender<()>>,
}

impl LiveStream {
    pub(super) fn new(ring: Arc<Ring>, unsubscribe: Option<oneshot::Sender<()>>) -> Self {
        Self {
            ring,
            _unsubscribe: unsubscribe,
        }
    }

    /// The next message; `None` only after the broker was closed. Cancelling the call loses nothing.
    pub async fn next(&mut self) -> Option<LiveMessage> {
        loop {
            let arrived = self.ring.arrived.notified();
            {
                let mut inner = self.ring.inner.lock();
                if let Some(message) = inner.messages.pop_front() {
                    return Some(message);
                }
                if inner.closed {
                    return None;
                }
            }
            arrived.await;
        }
    }

    /// How many messages were dropped so far because this subscriber was too slow.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.ring.inner.lock().dropped
    }
}

/// The messages that wait for one subscriber.
#[derive(Debug, Default)]
pub(super) struct Ring {
    inner: Mutex<RingInner>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct RingInner {
    messages: VecDeque<LiveMessage>,
    dropped: u64,
    closed: bool,
}

impl Ring {
    pub(super) fn push(&self, message: LiveMessage) {
        let mut inner = self.inner.lock();
        if inner.messages.len() >= LIVE_MAX_MESSAGES {
            inner.messages.pop_front();
            inner.dropped += 1;
        }
        inner.messages.push_back(message);
        drop(inner);
        // `notify_one` keeps its permit when nobody waits yet, so that no arrival is missed.
        self.arrived.notify_one();
    }

    pub(super) fn close(&self) {
        self.inner.lock().closed = true;
        self.arrived.notify_one();
    }
}
