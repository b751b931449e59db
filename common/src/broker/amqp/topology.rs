//! The exchanges and queues, declared at the start and after every reconnection. `<names>` is
//! `<prefix>.<cluster>`, so that clusters in one vhost never see each other's messages.
//!
//! | exchange | kind | queues |
//! |---|---|---|
//! | `<names>.orders` | direct | `<names>.orders.<worker>`, quorum, by the worker's name |
//! | `<names>.reports` | direct | `<names>.reports`, quorum |
//! | `<names>.dead` | fanout | `<names>.dead`, classic, what was given up on |
//! | `<names>.live` | topic | one for each subscription, gone with its connection |

use lapin::options::{
    BasicPublishOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};

use super::options::Options;
use crate::id::WorkerId;

/// Messages that one queue holds; further publications are refused, and their senders wait.
const QUEUE_MAX_MESSAGES: i32 = 100_000;

/// Dead letters that are kept; the oldest go first.
const DEAD_MAX_MESSAGES: i32 = 10_000;

/// A report comes back with every restart of a master, whether it was looked at or not, and is never
/// rejected, so that it takes more returns than an order before it is given up on.
const REPORT_RETURNS: u32 = 50;

/// Unroutable messages come back to their sender instead of being confirmed and gone.
pub(super) const MANDATORY: BasicPublishOptions = BasicPublishOptions {
    mandatory: true,
    immediate: false,
};

const DURABLE: ExchangeDeclareOptions = ExchangeDeclareOptions {
    passive: false,
    durable: true,
    auto_delete: false,
    internal: false,
    nowait: false,
};

const DURABLE_QUEUE: QueueDeclareOptions = QueueDeclareOptions {
    passive: false,
    durable: true,
    exclusive: false,
    auto_delete: false,
    nowait: false,
};

/// The names of one cluster.
#[derive(Debug, Clone)]
pub(super) struct Names(String);

/// A queue that carries what must not be lost.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Post {
    /// A worker's orders.
    Orders(WorkerId),
    /// Everybody's reports.
    Reports,
}

impl Names {
    pub(super) fn new(options: &Options) -> Self {
        Self(format!("{}.{}", options.prefix, options.cluster))
    }

    /// What all of them begin with.
    pub(super) fn all(&self) -> &str {
        &self.0
    }

    /// The exchange that a message for `post` goes to.
    pub(super) fn exchange(&self, post: &Post) -> ShortString {
        match post {
            Post::Orders(_) => format!("{}.orders", self.0).into(),
            Post::Reports => format!("{}.reports", self.0).into(),
        }
    }

    /// The routing key of a message for `post`.
    pub(super) fn key(post: &Post) -> ShortString {
        match post {
            Post::Orders(worker) => worker.as_str().into(),
            Post::Reports => "report".into(),
        }
    }

    /// The queue of `post`.
    pub(super) fn queue(&self, post: &Post) -> ShortString {
        match post {
            Post::Orders(worker) => format!("{}.orders.{worker}", self.0).into(),
            Post::Reports => format!("{}.reports", self.0).into(),
        }
    }

    /// The exchange and the queue of dead letters.
    pub(super) fn dead(&self) -> ShortString {
        format!("{}.dead", self.0).into()
    }

    /// The exchange of live messages.
    pub(super) fn live(&self) -> ShortString {
        format!("{}.live", self.0).into()
    }
}

/// Declares things on a connection, on a new channel whenever the last was closed by a refusal.
pub(super) struct Declarer<'a> {
    pub(super) connection: &'a Connection,
    pub(super) names: &'a Names,
    pub(super) options: &'a Options,
    channel: Option<Channel>,
}

impl<'a> Declarer<'a> {
    pub(super) const fn new(
        connection: &'a Connection,
        names: &'a Names,
        options: &'a Options,
    ) -> Self {
        Self {
            connection,
            names,
            options,
            channel: None,
        }
    }

    /// Declares what every cluster has.
    pub(super) async fn cluster(&mut self) -> Result<(), lapin::Error> {
        let names = self.names;
        self.exchange(names.dead(), ExchangeKind::Fanout).await?;
        self.exchange(names.live(), ExchangeKind::Topic).await?;
        let orders = format!("{}.orders", names.0).into();
        self.exchange(orders, ExchangeKind::Direct).await?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), text("classic"));
        arguments.insert("x-max-length".into(), AMQPValue::LongInt(DEAD_MAX_MESSAGES));
        self.queue(names.dead(), arguments).await?;
        self.bind(names.dead(), names.dead(), "".into()).await?;
        let reports = Post::Reports;
        self.exchange(names.exchange(&reports), ExchangeKind::Direct)
            .await?;
        self.post(&reports).await
    }

    /// Declares the queue of `post`.
    pub(super) async fn post(&mut self, post: &Post) -> Result<(), lapin::Error> {
        let returns = match post {
            Post::Orders(_) => self.options.delivery_limit,
            Post::Reports => self.options.delivery_limit.saturating_mul(REPORT_RETURNS),
        };
        let mut arguments = FieldTable::default();
        let mut set = |name: &str, value| {
            arguments.insert(name.into(), value);
        };
        set("x-queue-type", text("quorum"));
        set(
            "x-delivery-limit",
            AMQPValue::LongInt(i32::try_from(returns).unwrap_or(i32::MAX)),
        );
        set("x-max-length", AMQPValue::LongInt(QUEUE_MAX_MESSAGES));
        set("x-overflow", text("reject-publish"));
        set("x-dead-letter-exchange", text(self.names.dead().as_str()));
        // A dead letter leaves its queue only when the queue of dead letters has it.
        set("x-dead-letter-strategy", text("at-least-once"));
        let queue = self.names.queue(post);
        self.queue(queue.clone(), arguments).await?;
        self.bind(queue, self.names.exchange(post), Names::key(post))
            .await
    }

    /// Removes the queue of `post`; one that is not there is no error.
    pub(super) async fn remove(&mut self, post: &Post) -> Result<(), lapin::Error> {
        let channel = self.channel().await?;
        let options = QueueDeleteOptions::default();
        let removed = channel.queue_delete(self.names.queue(post), options).await;
        removed.map(drop)
    }

    async fn exchange(
        &mut self,
        name: ShortString,
        kind: ExchangeKind,
    ) -> Result<(), lapin::Error> {
        let channel = self.channel().await?;
        let table = FieldTable::default();
        let declared = channel
            .exchange_declare(name.clone(), kind, DURABLE, table)
            .await;
        self.accept(name.as_str(), declared)
    }

    async fn queue(
        &mut self,
        name: ShortString,
        arguments: FieldTable,
    ) -> Result<(), lapin::Error> {
        let channel = self.channel().await?;
        let declared = channel
            .queue_declare(name.clone(), DURABLE_QUEUE, arguments)
            .await;
        self.accept(name.as_str(), declared.map(drop))
    }

    async fn bind(
        &mut self,
        queue: ShortString,
        exchange: ShortString,
        key: ShortString,
    ) -> Result<(), lapin::Error> {
        let channel = self.channel().await?;
        let (options, table) = (QueueBindOptions::default(), FieldTable::default());
        let bound = channel
            .queue_bind(queue.clone(), exchange, key, options, table)
            .await;
        self.accept(queue.as_str(), bound)
    }

    async fn channel(&mut self) -> Result<Channel, lapin::Error> {
        match &self.channel {
            Some(channel) if channel.status().connected() => Ok(channel.clone()),
            _ => {
                let channel = self.connection.create_channel().await?;
                Ok(self.channel.insert(channel).clone())
            }
        }
    }

    /// Goes on where the broker refuses a declaration but may have the thing all the same: a worker's
    /// account may not declare, and a thing of the same name may have other settings than ours.
    fn accept(
        &mut self,
        name: &str,
        declared: Result<(), lapin::Error>,
    ) -> Result<(), lapin::Error> {
        let Err(error) = declared else {
            return Ok(());
        };
        match soft(&error) {
            Some(AMQPSoftError::ACCESSREFUSED) => {
                tracing::debug!(name, "no permission to declare it; it must exist");
            }
            Some(AMQPSoftError::PRECONDITIONFAILED) => {
                tracing::warn!(name, %error, "it exists with other settings; keeping them");
            }
            _ => return Err(error),
        }
        self.channel = None;
        Ok(())
    }
}

/// The error by which the broker closed a channel, when that is what happened.
pub(super) fn soft(error: &lapin::Error) -> Option<AMQPSoftError> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => match error.kind() {
            AMQPErrorKind::Soft(soft) => Some(soft.clone()),
            AMQPErrorKind::Hard(_) => None,
        },
        _ => None,
    }
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}
