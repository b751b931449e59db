//! The port: what masters and workers may ask of a broker, whichever it is.

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use super::live::LiveStream;
use super::{Error, amqp, inproc};
use crate::id::WorkerId;
use crate::wire::MESSAGE_MAX_BYTES;

/// A broker. Clones share one link.
#[derive(Debug, Clone)]
pub enum Broker {
    /// Queues in this process, which live as long as it does.
    Inproc(inproc::Broker),
    /// RabbitMQ.
    Amqp(amqp::Broker),
}

/// Whether messages can pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// They can.
    Up,
    /// The broker cannot be reached.
    Down {
        /// Since when.
        since: Instant,
        /// Why, for people.
        why: String,
    },
    /// The broker takes no publications for now (its memory or disk alarm); deliveries go on.
    Blocked,
}

/// A message that was given up on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The queue that it was in.
    pub queue: String,
    /// `rejected`, `delivery_limit` or what else the broker says.
    pub reason: String,
    /// The message.
    pub body: Bytes,
}

impl Broker {
    /// The rights of `worker`'s account, where the broker has accounts.
    #[must_use]
    pub fn rights(&self, worker: &WorkerId) -> Option<amqp::Rights> {
        match self {
            Self::Inproc(_) => None,
            Self::Amqp(broker) => Some(broker.rights(worker)),
        }
    }

    /// Makes sure that `worker` has a queue. Repeats are harmless.
    ///
    /// # Errors
    /// When the broker is not reached in time, or refuses.
    pub async fn declare_worker(&self, worker: &WorkerId) -> Result<(), Error> {
        match self {
            Self::Inproc(broker) => broker.declare_worker(worker),
            Self::Amqp(broker) => broker.declare_worker(worker).await,
        }
    }

    /// Removes `worker`'s queue with the orders in it. Repeats are harmless.
    ///
    /// # Errors
    /// When the broker is not reached in time, or refuses.
    pub async fn remove_worker(&self, worker: &WorkerId) -> Result<(), Error> {
        match self {
            Self::Inproc(broker) => broker.remove_worker(worker),
            Self::Amqp(broker) => broker.remove_worker(worker).await,
        }
    }

    /// Queues an order for `worker`. When this returns, the order is durable and comes to the worker at
    /// least once; orders that are published one after the other are delivered in that order.
    ///
    /// # Errors
    /// The order may have been queued all the same; publishing it again is harmless to a receiver that
    /// takes duplicates as normal, as workers do.
    pub async fn publish_order(&self, worker: &WorkerId, body: Bytes) -> Result<(), Error> {
        check_length(&body)?;
        match self {
            Self::Inproc(broker) => broker.publish_order(worker, body).await,
            Self::Amqp(broker) => broker.publish_order(worker, body).await,
        }
    }

    /// Queues a report for the leader, with the promises of [`Self::publish_order`].
    ///
    /// # Errors
    /// As [`Self::publish_order`].
    pub async fn publish_report(&self, body: Bytes) -> Result<(), Error> {
        check_length(&body)?;
        match self {
            Self::Inproc(broker) => broker.publish_report(body).await,
            Self::Amqp(broker) => broker.publish_report(body).await,
        }
    }

    /// Hands a report over and returns before it is confirmed, so that several can be on their way.
    /// Reports that one caller hands over one after the other arrive in that order. Waits while there is no
    /// link.
    ///
    /// # Errors
    /// The report was not handed over. Unlike [`Self::publish_report`], nothing is tried twice.
    pub async fn send_report(&self, body: Bytes) -> Result<Confirmation, Error> {
        check_length(&body)?;
        match self {
            Self::Inproc(broker) => {
                broker.publish_report(body).await?;
                Ok(Confirmation(Pending::Queued))
            }
            Self::Amqp(broker) => {
                let sent = broker.send_report(body).await?;
                Ok(Confirmation(Pending::Amqp(Box::new(sent))))
            }
        }
    }

    /// Receives `worker`'s orders. The consumer heals itself over broken links; what was not acknowledged
    /// comes again, before what came later.
    ///
    /// # Errors
    /// When the broker was closed. One that is down is waited for in the background.
    pub async fn consume_orders(&self, worker: &WorkerId) -> Result<Deliveries, Error> {
        match self {
            Self::Inproc(broker) => broker.consume_orders(worker).map(Deliveries::inproc),
            Self::Amqp(broker) => broker.consume_orders(worker).map(Deliveries::amqp),
        }
    }

    /// Receives every worker's reports, as [`Self::consume_orders`].
    ///
    /// # Errors
    /// When the broker was closed. One that is down is waited for in the background.
    pub async fn consume_reports(&self) -> Result<Deliveries, Error> {
        match self {
            Self::Inproc(broker) => broker.consume_reports().map(Deliveries::inproc),
            Self::Amqp(broker) => broker.consume_reports().map(Deliveries::amqp),
        }
    }

    /// Tells whoever listens to `topic` now. Nobody's listening is no error, and neither is a link that
    /// is down: live messages are for now or for nobody.
    ///
    /// # Errors
    /// When the message is too long or the broker was closed.
    pub async fn publish_live(&self, topic: &str, body: Bytes) -> Result<(), Error> {
        check_length(&body)?;
        match self {
            Self::Inproc(broker) => broker.publish_live(topic, &body),
            Self::Amqp(broker) => broker.publish_live(topic, body).await,
        }
    }

    /// Listens to live topics; words are separated by dots, `*` is any one word and `#` any number of
    /// them. A message that several patterns match comes once.
    ///
    /// # Errors
    /// When the broker was closed.
    pub async fn subscribe_live(&self, topics: &[&str]) -> Result<LiveStream, Error> {
        match self {
            Self::Inproc(broker) => broker.subscribe_live(topics),
            Self::Amqp(broker) => broker.subscribe_live(topics).await,
        }
    }

    /// Watches whether messages can pass.
    #[must_use]
    pub fn link(&self) -> watch::Receiver<Link> {
        match self {
            Self::Inproc(broker) => broker.link(),
            Self::Amqp(broker) => broker.link(),
        }
    }

    /// The messages that were given up on, oldest first, up to 100. They stay where they are.
    ///
    /// # Errors
    /// When the broker is not reached in time, or refuses.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>, Error> {
        match self {
            Self::Inproc(broker) => Ok(broker.dead_letters()),
            Self::Amqp(broker) => broker.dead_letters().await,
        }
    }

    /// Ends every consumer and subscription. Unacknowledged deliveries stay queued where the broker
    /// outlives this process.
    pub async fn close(&self) {
        match self {
            Self::Inproc(broker) => broker.close(),
            Self::Amqp(broker) => broker.close().await,
        }
    }
}

fn check_length(body: &Bytes) -> Result<(), Error> {
    match body.len() {
        bytes if bytes > MESSAGE_MAX_BYTES => Err(Error::TooLong { bytes }),
        _ => Ok(()),
    }
}

/// A message that was handed over. Whether the broker has it is told by [`Confirmation::wait`].
#[derive(Debug)]
#[must_use = "the message may have been refused"]
pub struct Confirmation(Pending);

#[derive(Debug)]
enum Pending {
    Queued,
    Amqp(Box<amqp::Sent>),
}

impl Confirmation {
    /// Waits for the broker's word. Confirmations of several messages may be awaited in any order.
    ///
    /// # Errors
    /// As [`Broker::publish_report`]: the message may be queued all the same, and should be sent again,
    /// with all that was sent after it where their order matters.
    pub async fn wait(self) -> Result<(), Error> {
        match self.0 {
            Pending::Queued => Ok(()),
            Pending::Amqp(sent) => sent.confirmed().await,
        }
    }
}

/// The deliveries of one consumer. At most 64 are out unsettled at a time. Dropping it ends the
/// consumer; deliveries that are out can still be settled.
#[derive(Debug)]
pub struct Deliveries(Source);

#[derive(Debug)]
enum Source {
    Inproc(inproc::Consumer),
    Amqp(amqp::Consumer),
}

impl Deliveries {
    fn inproc(consumer: inproc::Consumer) -> Self {
        Self(Source::Inproc(consumer))
    }

    fn amqp(consumer: amqp::Consumer) -> Self {
        Self(Source::Amqp(consumer))
    }

    /// The next delivery; `None` only after the broker was closed. Cancelling the call loses nothing.
    pub async fn next(&mut self) -> Option<Delivery> {
        match &mut self.0 {
            Source::Inproc(consumer) => consumer.next().await,
            Source::Amqp(consumer) => consumer.next().await,
        }
    }
}

/// A message that was handed over. It comes again unless it is acknowledged: dropping it gives it back.
#[derive(Debug)]
#[must_use = "a delivery that is dropped is delivered again"]
pub struct Delivery {
    /// The message.
    pub body: Bytes,
    /// Whether it may have been handed over before.
    pub redelivered: bool,
    settle: Settle,
}

#[derive(Debug)]
pub(super) enum Settle {
    Inproc(inproc::Claim),
    Amqp(amqp::Claim),
}

impl Delivery {
    pub(super) fn new(body: Bytes, redelivered: bool, settle: Settle) -> Self {
        Self {
            body,
            redelivered,
            settle,
        }
    }

    /// Done with: it does not come again.
    ///
    /// # Errors
    /// [`Error::Lost`] when its consumer's channel is gone; it then comes again.
    pub async fn ack(self) -> Result<(), Error> {
        match self.settle {
            Settle::Inproc(claim) => claim.ack(),
            Settle::Amqp(claim) => claim.ack().await,
        }
    }

    /// Done with all of them, in as few messages to the broker as their order allows. Returns how many
    /// were too late: their consumer's channel is gone, and they come again.
    pub async fn ack_all(deliveries: impl IntoIterator<Item = Self>) -> usize {
        let (mut claims, mut late) = (Vec::new(), 0);
        for delivery in deliveries {
            match delivery.settle {
                Settle::Inproc(claim) => late += usize::from(claim.ack().is_err()),
                Settle::Amqp(claim) => claims.push(claim),
            }
        }
        late + amqp::Claim::ack_all(claims).await
    }

    /// Not done with: it comes again, or becomes a dead letter when `requeue` is false or it came back
    /// too often.
    ///
    /// # Errors
    /// [`Error::Lost`] when its consumer's channel is gone; it then comes again in any case.
    pub async fn nack(self, requeue: bool) -> Result<(), Error> {
        match self.settle {
            Settle::Inproc(claim) => claim.nack(requeue),
            Settle::Amqp(claim) => claim.nack(requeue).await,
        }
    }
}
