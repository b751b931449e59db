//! What can go wrong with the broker.

use std::time::Duration;

/// Why an operation on the broker failed. Fits "failed to {error}".
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The broker was closed by its owner; nothing can be done with it any more.
    #[error("use the broker, which has been closed")]
    Closed,
    /// The link was down for as long as the caller could wait.
    #[error("reach the broker: {why}")]
    Down {
        /// What the link last said of itself.
        why: String,
    },
    /// The broker did not confirm in time. The message may or may not be queued: send it again.
    #[error("get the broker's confirmation within {} s", .0.as_secs_f64())]
    Unconfirmed(Duration),
    /// The queue took no more messages for as long as the caller could wait.
    #[error("queue the message: {queue} is full")]
    Full {
        /// Which queue.
        queue: String,
    },
    /// The queue was gone, and gone again after each time it was declared.
    #[error("queue the message: {queue} keeps disappearing")]
    NoQueue {
        /// Which queue.
        queue: String,
    },
    /// The message is longer than the broker is asked to carry.
    #[error(
        "send a message of {bytes} bytes: the maximum is {}",
        crate::wire::MESSAGE_MAX_BYTES
    )]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The delivery's consumer is gone, so it can no longer be settled; it comes again.
    #[error("settle the delivery: its channel is closed, and the broker will redeliver it")]
    Lost,
    /// The broker refused the operation.
    #[error("{doing}")]
    Refused {
        /// What was being done, as "declare queue dopq.reports".
        doing: String,
        /// What the broker said.
        #[source]
        source: lapin::Error,
    },
}

/// Options that no broker may be opened with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// The text is no AMQP URL; it is not repeated because it may hold a password.
    #[error("the broker's URL must be amqp[s]://user:password@host:port/vhost")]
    Url,
    /// The account that every RabbitMQ is installed with, over a network.
    #[error("guest/guest is refused for another machine ({host}); create an account")]
    Guest {
        /// The broker's host.
        host: String,
    },
    /// The prefix cannot begin a queue's name.
    #[error("the broker's prefix {0:?} must be 1 to 64 letters, digits or . _ -")]
    Prefix(String),
    /// The cluster's name cannot be part of a queue's name.
    #[error("the cluster's name {0:?} is not 1 to 64 letters, digits or any of _ -")]
    Cluster(String),
}
