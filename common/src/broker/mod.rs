//! The message broker port: orders, reports and live traffic, over RabbitMQ or in process.
//!
//! [`Broker`] is the port; [`inproc`] and [`amqp`] are its adapters, chosen by configuration. Both keep
//! the same promises, which the contract suite proves on both: a publication that returned is durable
//! for as long as the broker is, a queue keeps its order, and what a consumer did not acknowledge comes
//! again. What the messages mean is left to [`crate::wire`] and to those who send them.

pub mod amqp;
mod error;
pub mod inproc;
mod live;
mod port;
mod topic;

pub use error::{Error, OptionsError};
pub use live::{LiveMessage, LiveStream};
pub use port::{Broker, Confirmation, DeadLetter, Deliveries, Delivery, Link};
